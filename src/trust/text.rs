//! Texts in sentences: what someone else wrote, and lists.

use alloc::string::String;
use core::fmt;

/// The start of a text that someone else wrote, fit for a message.
pub(crate) fn shortened(text: &str) -> String {
    let mut start: String = text.chars().take(60).flat_map(char::escape_debug).collect();
    if text.chars().nth(60).is_some() {
        start.push('\u{2026}');
    }
    start
}

/// Writes a list between two texts, or nothing for an empty one.
pub(crate) fn write_list<T: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    before: &str,
    list: &[T],
    after: &str,
) -> fmt::Result {
    let Some((first, rest)) = list.split_first() else { return Ok(()) };
    write!(f, "{before}{first}")?;
    rest.iter().try_for_each(|item| write!(f, ", {item}"))?;
    f.write_str(after)
}

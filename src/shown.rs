//! Text that comes from outside (refs, paths, versions, names, notes, reasons), made fit for a terminal, a log or an error
//! message. There it must not clear the screen, paint a word green or turn the line around.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The text with its control characters and those that change the direction or the look of others written as `\u{…}`, and
/// newlines and tabs as `\n` and `\t`. All else stays as it is.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            c if acts(c) => shown.extend(c.escape_unicode()),
            c => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

/// A name of a file as text: bytes that are no UTF-8 stand as `\xNN`. Not yet fit for a terminal: [`visible`] does that.
pub fn text_of(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            write!(text, "\\x{byte:02x}").expect("writing to a string doesn't fail");
        }
    }
    text
}

/// JSON text, in which the same characters stand as `\uXXXX`: whoever parses it gets them, and a terminal doesn't. JSON
/// has its own newlines between values, which stay.
pub fn visible_json(json: &str) -> Cow<'_, str> {
    let acts = |c: char| acts(c) && c != '\n';
    if !json.contains(acts) {
        return Cow::Borrowed(json);
    }
    let mut shown = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if acts(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(shown, "\\u{unit:04x}").expect("writing to a string doesn't fail");
            }
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// Whether a terminal would do something instead of showing a character: the control characters (C0, DEL, C1), the marks
/// and overrides of direction (Unicode Standard Annex 9), line and paragraph separators, characters without width, and tags.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{61c}' | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::{acts, text_of, visible, visible_json};

    #[test]
    fn a_name_that_is_no_text_is_shown_with_its_bytes() {
        assert_eq!(text_of(b"plain"), "plain");
        assert_eq!(text_of("\u{e4}\n".as_bytes()), "\u{e4}\n");
        assert_eq!(text_of(b"a\xff\xfeb\xc3"), "a\\xff\\xfeb\\xc3");
    }

    #[test]
    fn what_a_terminal_would_obey_is_shown_instead() {
        let shown = visible("1.0\x1b[2J\x1b[32msealed\u{9b}m\u{202e}delaes\r\n\t\u{200b}\x7f");
        assert_eq!(shown, "1.0\\u{1b}[2J\\u{1b}[32msealed\\u{9b}m\\u{202e}delaes\\r\\n\\t\\u{200b}\\u{7f}");
    }

    #[test]
    fn words_of_any_script_stay_as_they_are() {
        for text in ["", "a b", "Änderung “1” — ✓", "עברית", "العربية", "한국어", "e\u{301}"]
        {
            assert_eq!(visible(text), text);
        }
    }

    proptest! {
        #[test]
        fn nothing_that_acts_is_left(text in any::<String>()) {
            prop_assert!(!visible(&text).contains(acts));
        }

        #[test]
        fn json_means_the_same_afterwards(text in any::<String>(), odd in "[\u{1b}\u{85}\u{202e}\u{e0001}\u{2028}]{0,4}") {
            let value = serde_json::json!({ "a": text + &odd, "b": [1, 2] });
            let json = serde_json::to_string_pretty(&value).unwrap();
            let shown = visible_json(&json);
            prop_assert!(!shown.contains(|c| acts(c) && c != '\n'));
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
        }
    }
}

//! Colours on a terminal, and nothing elsewhere.

use std::io::{self, IsTerminal};

/// Escape sequences, or nothing.
pub(super) struct Colours {
    pub(super) good: &'static str,
    pub(super) bad: &'static str,
    pub(super) warning: &'static str,
    pub(super) bold: &'static str,
    pub(super) end: &'static str,
}

impl Colours {
    /// For stdout; <https://no-color.org> is followed.
    pub(super) fn of_stdout() -> Self {
        if io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) {
            Self { good: "\x1b[32m", bad: "\x1b[31m", warning: "\x1b[33m", bold: "\x1b[1m", end: "\x1b[0m" }
        } else {
            Self { good: "", bad: "", warning: "", bold: "", end: "" }
        }
    }

    /// A word in a colour.
    pub(super) fn paint(&self, colour: &str, word: &str) -> String {
        format!("{colour}{word}{}", self.end)
    }
}

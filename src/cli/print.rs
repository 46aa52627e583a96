//! The only way to stdout and stderr. What comes from outside is made visible here; the escape sequences of colours come
//! from here alone. A reader who goes away has seen enough: that is no error, and the exit code stays what it is.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write};
use std::os::unix::net::UnixDatagram;

use anyhow::Context as _;
use serde::Serialize;

use crate::shown::{visible, visible_json};

/// How a piece of text looks on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Good,
    Bad,
    Warning,
    Bold,
    Directory,
    Symlink,
}

/// One line for people, in pieces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Line(Vec<(Style, String)>);

impl Line {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self::default().then(Style::Plain, text)
    }

    /// One more piece.
    pub(super) fn then(mut self, style: Style, text: impl Into<String>) -> Self {
        self.0.push((style, text.into()));
        self
    }

    fn render(&self, colours: bool) -> String {
        let piece = |(style, text): &(Style, String)| match escape_sequence(*style).filter(|_| colours) {
            Some(start) => format!("{start}{}\x1b[0m", visible(text)),
            None => visible(text).into_owned(),
        };
        self.0.iter().map(piece).collect()
    }
}

fn escape_sequence(style: Style) -> Option<&'static str> {
    match style {
        Style::Plain => None,
        Style::Good => Some("\x1b[32m"),
        Style::Bad => Some("\x1b[31m"),
        Style::Warning => Some("\x1b[33m"),
        Style::Bold => Some("\x1b[1m"),
        Style::Directory => Some("\x1b[1;34m"),
        Style::Symlink => Some("\x1b[1;36m"),
    }
}

/// A result on stdout, as lines; in colours on a terminal, unless <https://no-color.org> is asked for.
pub(super) fn page(lines: &[Line]) -> anyhow::Result<()> {
    let wants_none = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let colours = io::stdout().is_terminal() && !wants_none;
    let text: String = lines.iter().map(|line| line.render(colours) + "\n").collect();
    to_stdout(|out| out.write_all(text.as_bytes()))
}

/// A result on stdout, as one line.
pub(super) fn line(text: &impl Display) -> anyhow::Result<()> {
    let text = text.to_string();
    to_stdout(|out| writeln!(out, "{}", visible(&text)))
}

/// A result on stdout, for programs.
pub(super) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    to_stdout(|out| writeln!(out, "{}", visible_json(&text)))
}

/// Results on stdout, for programs: one a line.
pub(super) fn json_lines(values: impl Iterator<Item = impl Serialize>) -> anyhow::Result<()> {
    let mut text = String::new();
    for value in values {
        text.push_str(&visible_json(&serde_json::to_string(&value)?));
        text.push('\n');
    }
    to_stdout(|out| out.write_all(text.as_bytes()))
}

/// A result on stdout whose bytes have a format of their own.
pub(super) fn to_stdout(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match write(&mut stdout).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("writing to stdout"),
    }
}

/// A word on stderr for whoever watches.
pub(super) fn say(text: impl Display) {
    // Nobody is left to be told that nobody hears.
    let _ = writeln!(io::stderr(), "{}", visible(&text.to_string()));
}

/// A word to the system's log, for whoever looks later at what somebody at a terminal has decided; on stderr, too.
pub(super) fn tell_journal(text: impl Display) {
    let text = text.to_string();
    say(&text);
    // Facility user, level notice, as in syslog(3). Where no log listens, stderr has said it.
    let line = format!("<13>ostree-seal: {}", visible(&text));
    let _ = UnixDatagram::unbound().and_then(|socket| socket.send_to(line.as_bytes(), "/dev/log"));
}

/// Why the program could not do what was asked, on stderr.
pub(super) fn error(error: &anyhow::Error) {
    say(format_args!("error: {error:#}"));
}

#[cfg(test)]
mod tests {
    use super::{Line, Style};

    #[test]
    fn colours_come_from_here_and_from_nowhere_else() {
        let line = Line::new("1.0\x1b[2J ").then(Style::Good, "sealed\x1b[0m");
        assert_eq!(line.render(false), "1.0\\u{1b}[2J sealed\\u{1b}[0m");
        assert_eq!(line.render(true), "1.0\\u{1b}[2J \x1b[32msealed\\u{1b}[0m\x1b[0m");
    }
}

//! Bytes that can't stand for themselves in a dump.

use std::io::{self, Write};

/// A backslash that begins no known escape.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadEscape;

/// The bytes that a field stands for, in `buffer` if they differ from the text.
pub(super) fn unescape<'a>(field: &'a [u8], buffer: &'a mut Vec<u8>) -> Result<&'a [u8], BadEscape> {
    if !field.contains(&b'\\') {
        return Ok(field);
    }
    buffer.clear();
    let mut rest = field;
    while let Some(backslash) = rest.iter().position(|byte| *byte == b'\\') {
        buffer.extend_from_slice(&rest[..backslash]);
        let (byte, len) = match &rest[backslash + 1..] {
            [b'\\', ..] => (b'\\', 2),
            [b'n', ..] => (b'\n', 2),
            [b'r', ..] => (b'\r', 2),
            [b't', ..] => (b'\t', 2),
            [b'x', high, low, ..] => ((hex(*high)? << 4) | hex(*low)?, 4),
            _ => return Err(BadEscape),
        };
        buffer.push(byte);
        rest = &rest[backslash + len..];
    }
    buffer.extend_from_slice(rest);
    Ok(buffer)
}

/// The value of a hex digit of either case.
pub(super) fn hex(digit: u8) -> Result<u8, BadEscape> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(BadEscape),
    }
}

/// What a field would be mistaken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mistaken {
    /// Nothing: a path.
    Path,
    /// An unset field, if it is a lone `-`.
    Optional,
    /// The end of an xattr key, if it has a `=`.
    Xattr,
}

/// Writes the bytes of a field: printable ASCII as it is, the rest escaped.
pub(super) fn escape(bytes: &[u8], field: Mistaken, out: &mut impl Write) -> io::Result<()> {
    if field == Mistaken::Optional && bytes == b"-" {
        return out.write_all(b"\\x2d");
    }
    let plain = |byte: &u8| {
        matches!(byte, b'!'..=b'~') && *byte != b'\\' && !(field == Mistaken::Xattr && *byte == b'=')
    };
    let mut rest = bytes;
    while let Some(special) = rest.iter().position(|byte| !plain(byte)) {
        out.write_all(&rest[..special])?;
        match rest[special] {
            b'\\' => out.write_all(b"\\\\")?,
            b'\n' => out.write_all(b"\\n")?,
            b'\r' => out.write_all(b"\\r")?,
            b'\t' => out.write_all(b"\\t")?,
            byte => write!(out, "\\x{byte:02x}")?,
        }
        rest = &rest[special + 1..];
    }
    out.write_all(rest)
}

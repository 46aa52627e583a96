//! How a file of an image or a commit is shown.

use serde::Serialize;

use super::print::{Line, Style};
use crate::look::{Body, Item, Kind};
use crate::shown::text_of;

/// A file for programs.
#[derive(Debug, Serialize)]
pub(super) struct FileReport {
    /// Bytes that are no UTF-8 are `\xNN`; then `path_hex` has them.
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
    /// `f`, `d`, `l`, `c`, `b`, `p` or `s`, as in `find -type`.
    #[serde(rename = "type")]
    kind: char,
    /// Four octal digits.
    mode: String,
    uid: u32,
    gid: u32,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    nlink: Option<u32>,
    mtime: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    rdev: Option<[u32; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    /// Path of the object with the content, below `objects`.
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<String>,
    /// fs-verity digest of the content.
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
}

impl FileReport {
    pub(super) fn new(path: &[u8], item: &Item) -> Self {
        let (object, digest) = object(item);
        Self {
            path: text_of(path),
            path_hex: std::str::from_utf8(path).is_err().then(|| hex(path)),
            kind: item.kind().find_letter(),
            mode: format!("{:04o}", item.mode & 0o7777),
            uid: item.uid,
            gid: item.gid,
            size: item.size,
            nlink: item.nlink,
            mtime: item.mtime.sec,
            rdev: is_device(item).then(|| device(item.rdev)),
            target: item.target().map(text_of),
            object,
            digest,
        }
    }
}

/// Path of the object with a file's content and the digest that it must have, as far as they are known.
pub(super) fn object(item: &Item) -> (Option<String>, Option<String>) {
    match &*item.body {
        Body::Object { payload, digest } => (
            Some(text_of(payload)).filter(|payload| !payload.is_empty()),
            digest.map(|digest| digest.to_string()),
        ),
        _ => (None, None),
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A value as getfattr(1) shows it: in quotes if it is text, else in hex digits. A NUL at its end is part of most labels.
pub(super) fn value(value: &[u8]) -> String {
    let text = value.strip_suffix(&[0]).unwrap_or(value);
    match std::str::from_utf8(text) {
        Ok(text) if !text.contains(|c: char| c.is_control() || c == '"' || c == '\\') => {
            let end = if value.ends_with(&[0]) { "\\000" } else { "" };
            format!("\"{text}{end}\"")
        }
        _ => format!("0x{}", hex(value)),
    }
}

pub(super) fn is_device(item: &Item) -> bool {
    matches!(item.kind(), Kind::CharacterDevice | Kind::BlockDevice)
}

/// Major and minor number of a device, as glibc has them in 32 bits.
pub(super) fn device(rdev: u32) -> [u32; 2] {
    [(rdev >> 8) & 0xfff, (rdev & 0xff) | ((rdev >> 12) & 0xfff00)]
}

/// A path, in the colour that `ls` has for its type.
pub(super) fn coloured(line: Line, path: &[u8], item: &Item) -> Line {
    let style = match item.kind() {
        Kind::Directory => Style::Directory,
        Kind::Symlink => Style::Symlink,
        Kind::File if item.mode & 0o111 != 0 => Style::Good,
        Kind::File => Style::Plain,
        _ => Style::Warning,
    };
    let line = line.then(style, text_of(path));
    match item.target() {
        Some(target) => line.then(Style::Plain, format!(" -> {}", text_of(target))),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::{device, value};

    #[test]
    fn device_numbers_are_those_of_glibc() {
        for (major, minor) in [(1, 3), (8, 255), (8, 256), (259, 70_000), (4095, 0xf_ffff)] {
            let rdev = u32::try_from(rustix::fs::makedev(major, minor)).unwrap();
            assert_eq!(device(rdev), [major, minor]);
        }
    }

    #[test]
    fn values_that_are_text_are_shown_as_text() {
        assert_eq!(value(b"system_u:object_r:usr_t:s0\0"), "\"system_u:object_r:usr_t:s0\\000\"");
        assert_eq!(value(b""), "\"\"");
        assert_eq!(value(&[1, 0, 255]), "0x0100ff");
        assert_eq!(value(b"a\"b"), "0x612262");
    }
}

//! How the root is laid out: `prepare-root.conf`, read as ostree-prepare-root reads it. It says nothing about trust:
//! `[composefs]` is not looked at, because what must be checked is in the policy.

use std::fmt;
use std::path::PathBuf;

use rustix::io::Errno;

use crate::read::{Files, ReadError};

/// Where `prepare-root.conf` may be, below the root of the initramfs.
pub const PLACES: [&str; 2] = ["usr/lib/ostree/prepare-root.conf", "etc/ostree/prepare-root.conf"];

/// The most bytes of a `prepare-root.conf`.
pub const FILE_MAX: usize = 1 << 20;

/// The layout that `prepare-root.conf` asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layout {
    /// What can be done to `/`.
    pub root: RootMode,
    /// `[etc] transient`: `/etc` is an overlay on `/usr/etc` that forgets all changes.
    pub etc_transient: bool,
    /// `[sysroot] readonly`, where the file says it.
    pub sysroot_readonly: Option<bool>,
}

/// `[root] transient` and `[root] transient-ro`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RootMode {
    /// Read-only.
    #[default]
    ReadOnly,
    /// Writable; changes are kept in memory and forgotten.
    Transient,
    /// As transient, but mounted read-only until somebody remounts it in a mount namespace of their own.
    TransientReadOnly,
}

/// Which file can't be followed, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayoutError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong in it.
    pub problem: LayoutProblem,
}

/// Why `prepare-root.conf` can't be followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LayoutProblem {
    /// It is there and can't be read.
    Unreadable(ReadError),
    /// It is not UTF-8.
    NotText,
    /// This line (counted from 1) is neither a group, nor a `key=value` in a group, nor a comment.
    Line(usize),
    /// This key has this value instead of `true` or `false`.
    NotBoolean {
        /// Group and key, as `group.key`.
        key: &'static str,
        /// The value as written.
        value: String,
    },
    /// `[root] transient` and `[root] transient-ro` are both true.
    BothTransient,
}

/// Reads the layout from the files at these paths, which are [`PLACES`] below some directory.
pub fn read(files: &impl Files, paths: [PathBuf; 2]) -> Result<Layout, LayoutError> {
    let mut there = Vec::new();
    for path in paths {
        match files.read(&path, FILE_MAX) {
            Ok(bytes) => there.push((path, bytes)),
            Err(ReadError::Os(Errno::NOENT)) => {}
            Err(error) => return Err(LayoutError { path, problem: LayoutProblem::Unreadable(error) }),
        }
    }
    last_of(there)
}

/// The layout that the files at [`PLACES`] ask for, as far as they are there, in that order. Each must be understood, and
/// the last one counts as a whole, as for ostree-prepare-root.
fn last_of(files: impl IntoIterator<Item = (PathBuf, Vec<u8>)>) -> Result<Layout, LayoutError> {
    let mut layout = Layout::default();
    for (path, bytes) in files {
        let text = std::str::from_utf8(&bytes).map_err(|_| LayoutProblem::NotText);
        layout = text.and_then(parse).map_err(|problem| LayoutError { path, problem })?;
    }
    Ok(layout)
}

/// Reads the text of a `prepare-root.conf`, in the key file format of GLib. Unknown groups and keys are ignored, and of
/// keys given twice the last one counts.
pub fn parse(text: &str) -> Result<Layout, LayoutProblem> {
    let (mut transient, mut transient_ro, mut etc_transient, mut readonly) = (None, None, None, None);
    let mut group = None;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(rest) = line.strip_prefix('[') {
            let name = rest.trim_end().strip_suffix(']').ok_or(LayoutProblem::Line(index + 1))?;
            group = Some(name);
            continue;
        }
        let ((key, value), group) = line.split_once('=').zip(group).ok_or(LayoutProblem::Line(index + 1))?;
        let slot = match (group, key.trim_end()) {
            ("root", "transient") => &mut transient,
            ("root", "transient-ro") => &mut transient_ro,
            ("etc", "transient") => &mut etc_transient,
            ("sysroot", "readonly") => &mut readonly,
            _ => continue,
        };
        *slot = Some(value.trim());
    }
    Ok(Layout {
        root: match (boolean("root.transient", transient)?, boolean("root.transient-ro", transient_ro)?) {
            (Some(true), Some(true)) => return Err(LayoutProblem::BothTransient),
            (Some(true), _) => RootMode::Transient,
            (_, Some(true)) => RootMode::TransientReadOnly,
            _ => RootMode::ReadOnly,
        },
        etc_transient: boolean("etc.transient", etc_transient)?.unwrap_or(false),
        sysroot_readonly: boolean("sysroot.readonly", readonly)?,
    })
}

fn boolean(key: &'static str, value: Option<&str>) -> Result<Option<bool>, LayoutProblem> {
    match value {
        None => Ok(None),
        Some("true" | "1") => Ok(Some(true)),
        Some("false" | "0") => Ok(Some(false)),
        Some(value) => Err(LayoutProblem::NotBoolean { key, value: value.to_owned() }),
    }
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "reading {}: {}", self.path.display(), self.problem)
    }
}

impl std::error::Error for LayoutError {}

impl fmt::Display for LayoutProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => error.fmt(f),
            Self::NotText => write!(f, "it is not UTF-8 text"),
            Self::Line(line) => {
                write!(f, "line {line} is neither [group], key=value in a group, nor a comment")
            }
            Self::NotBoolean { key, value } => write!(f, "{key} is '{value}', expected true or false"),
            Self::BothTransient => {
                write!(f, "root.transient and root.transient-ro are both true, expected at most one")
            }
        }
    }
}

impl std::error::Error for LayoutProblem {}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::{Layout, LayoutProblem, RootMode, last_of, parse};

    #[test]
    fn nothing_said_is_a_read_only_root_and_a_kept_etc() {
        assert_eq!(parse("").unwrap(), Layout::default());
        assert_eq!(
            parse("# comment\n\n[composefs]\nenabled=no\n[new]\nkey = x\n").unwrap(),
            Layout::default()
        );
    }

    #[test]
    fn each_key_is_read() {
        let text = "[root]\ntransient = true \n[etc]\ntransient=1\n[sysroot]\nreadonly=false\n";
        let expected =
            Layout { root: RootMode::Transient, etc_transient: true, sysroot_readonly: Some(false) };
        assert_eq!(parse(text).unwrap(), expected);
        assert_eq!(parse("[root]\ntransient-ro=true").unwrap().root, RootMode::TransientReadOnly);
    }

    #[test]
    fn of_keys_and_groups_given_twice_the_last_counts() {
        let text = "[etc]\ntransient=true\n[root]\n[etc]\ntransient=false\n";
        assert!(!parse(text).unwrap().etc_transient);
    }

    #[test]
    fn the_key_counts_in_its_own_group_only() {
        assert_eq!(parse("[var]\ntransient=true\n[sysroot.x]\nreadonly=true").unwrap(), Layout::default());
    }

    #[test]
    fn of_two_files_the_last_counts_as_a_whole_and_both_must_be_understood() {
        let files = |texts: [&[u8]; 2]| texts.map(|text| ("conf".into(), text.to_vec()));
        let [good, other] = [b"[etc]\ntransient=true".as_slice(), b"[root]\ntransient=true"];
        assert_eq!(last_of(files([good, other])).unwrap(), parse("[root]\ntransient=true").unwrap());
        for bad in [b"[etc]\ntransient=maybe".as_slice(), b"[etc]\n#\xff"] {
            last_of(files([bad, good])).unwrap_err();
            last_of(files([good, bad])).unwrap_err();
        }
    }

    #[test]
    fn refuses_what_is_not_a_boolean() {
        for value in ["yes", "", "TRUE", "2"] {
            let error = parse(&format!("[etc]\ntransient={value}")).unwrap_err();
            assert_eq!(error, LayoutProblem::NotBoolean { key: "etc.transient", value: value.to_owned() });
        }
    }

    #[test]
    fn refuses_both_kinds_of_transient_root() {
        assert_eq!(parse("[root]\ntransient=true\ntransient-ro=true"), Err(LayoutProblem::BothTransient));
    }

    #[test]
    fn refuses_lines_outside_the_format() {
        assert_eq!(parse("transient=true\n"), Err(LayoutProblem::Line(1)));
        assert_eq!(parse("[etc]\n\ntransient\n"), Err(LayoutProblem::Line(3)));
        assert_eq!(parse("[etc\n"), Err(LayoutProblem::Line(1)));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(text in any::<String>(), lines in "([\\[\\]#= a-z]{0,9}\n){0,6}") {
            let _ = parse(&text);
            let _ = parse(&lines);
        }
    }
}

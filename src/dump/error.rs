//! What is wrong with a dump, in which line and field.

use std::fmt;
use std::io;

use crate::tree::{FILE_SIZE_MAX, TreeError};

/// What is wrong with a dump, and where.
#[derive(Debug)]
pub struct DumpError {
    /// The line, counted from 1; 0 for the text as a whole.
    pub line: u64,
    /// The field, if it is one.
    pub field: Option<Field>,
    /// What is wrong with it.
    pub reason: DumpErrorKind,
}

/// A field of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of composefs-dump(5)")]
pub enum Field {
    Path,
    Size,
    Mode,
    Nlink,
    Uid,
    Gid,
    Rdev,
    Mtime,
    Payload,
    Content,
    Digest,
    Xattr,
}

/// What is wrong with a dump.
#[derive(Debug)]
pub enum DumpErrorKind {
    /// The text could not be read.
    Read(io::Error),
    /// No line at all.
    NoLines,
    /// A line of more bytes than any node needs.
    LineTooLong,
    /// A NUL byte, as such or escaped, where text is expected.
    Nul,
    /// A backslash that begins no known escape.
    Escape,
    /// Not a number of this base that fits.
    Number {
        /// The text found.
        found: String,
        /// What it should be.
        expected: &'static str,
    },
    /// The path ends with a slash, or has no name at all.
    NoName,
    /// The first line is not `/`.
    NoRoot,
    /// The root is not a directory.
    RootNotDirectory,
    /// A second line for `/`.
    SecondRoot,
    /// No line before made the parent a directory.
    NoParent(String),
    /// The mode's file type is none.
    FileType(u32),
    /// The content's length is not the size.
    ContentSize {
        /// Bytes of content.
        content: usize,
        /// The size field.
        size: u64,
    },
    /// An external file of more than [`FILE_SIZE_MAX`] bytes.
    FileTooLarge(u64),
    /// Neither `-` nor 64 hex digits.
    Digest,
    /// No `=` between key and value.
    NoEquals,
    /// A hard link without a target.
    NoTarget,
    /// A hard link to what is not there.
    TargetMissing(String),
    /// A hard link to a directory.
    DirectoryLink,
    /// Hard links that lead to one another and to no file.
    LinkCycle,
    /// Something that a tree can't hold.
    Tree(TreeError),
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Path => "PATH",
            Self::Size => "SIZE",
            Self::Mode => "MODE",
            Self::Nlink => "NLINK",
            Self::Uid => "UID",
            Self::Gid => "GID",
            Self::Rdev => "RDEV",
            Self::Mtime => "MTIME",
            Self::Payload => "PAYLOAD",
            Self::Content => "CONTENT",
            Self::Digest => "DIGEST",
            Self::Xattr => "KEY=VALUE",
        })
    }
}

impl fmt::Display for DumpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.field) {
            (0, _) => write!(f, "{}", self.reason),
            (line, None) => write!(f, "line {line}: {}", self.reason),
            (line, Some(field)) => write!(f, "line {line}, field {field}: {}", self.reason),
        }
    }
}

impl fmt::Display for DumpErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => write!(f, "the dump could not be read: {error}"),
            Self::NoLines => write!(f, "the dump has no lines, it needs at least one for /"),
            Self::LineTooLong => write!(f, "the line has more than 16 MiB"),
            Self::Nul => write!(f, "there is a NUL byte"),
            Self::Escape => write!(f, r"there is a \ that begins none of \\ \n \r \t \xHH"),
            Self::Number { found, expected } => write!(f, "expected {expected}, found {found:?}"),
            Self::NoName => write!(f, "the path does not end with a name"),
            Self::NoRoot => write!(f, "the first line must be for /"),
            Self::RootNotDirectory => write!(f, "the root must be a directory"),
            Self::SecondRoot => write!(f, "the root is there twice"),
            Self::NoParent(parent) => write!(f, "no line before this one makes {parent:?} a directory"),
            Self::FileType(mode) => write!(f, "the mode {mode:o} has none of the seven file types"),
            Self::ContentSize { content, size } => {
                write!(f, "the content has {content} bytes, but field SIZE says {size}")
            }
            Self::FileTooLarge(size) => {
                write!(f, "the file has {size} bytes, at most 2^53 = {FILE_SIZE_MAX} are possible")
            }
            Self::Digest => write!(f, "expected - or the 64 hex digits of an fs-verity digest"),
            Self::NoEquals => write!(f, "there is no = between key and value"),
            Self::NoTarget => write!(f, "the hard link has no target"),
            Self::TargetMissing(target) => write!(f, "the hard link's target {target:?} is not there"),
            Self::DirectoryLink => write!(f, "a directory can't be hard linked"),
            Self::LinkCycle => write!(f, "the hard link leads back to itself"),
            Self::Tree(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for DumpError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.reason {
            DumpErrorKind::Read(error) => error.source(),
            _ => None,
        }
    }
}

impl From<TreeError> for DumpErrorKind {
    fn from(error: TreeError) -> Self {
        Self::Tree(error)
    }
}

//! What does not fit into a tree.

use std::fmt;

use super::limits::{INLINE_MAX, NAME_MAX, TARGET_MAX, XATTR_BUDGET, XATTR_NAME_MAX, XATTR_VALUE_MAX};

/// Why a piece does not fit into a [`Tree`](super::Tree). One sentence each; the caller adds the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TreeError {
    /// A name of 0 bytes.
    EmptyName,
    /// A name of more than [`NAME_MAX`] bytes.
    NameTooLong(usize),
    /// A name that is `.` or `..`, or that holds a `/` or a NUL.
    ForbiddenName(Vec<u8>),
    /// The same name twice in one directory.
    DuplicateName(Vec<u8>),
    /// The parent of an entry is not a directory.
    ParentNotDirectory,
    /// A symlink without a target.
    EmptyTarget,
    /// A symlink target or payload of more than [`TARGET_MAX`] bytes.
    TargetTooLong(usize),
    /// Content of more than [`INLINE_MAX`] bytes that is not in a backing file.
    InlineTooLarge(usize),
    /// An xattr name of 0 or more than [`XATTR_NAME_MAX`] bytes.
    XattrName(usize),
    /// An xattr value of more than [`XATTR_VALUE_MAX`] bytes.
    XattrValue(usize),
    /// The xattrs of one node need more than [`XATTR_BUDGET`] bytes, those for whiteouts not counted.
    XattrBudget(usize),
    /// More text or nodes than 32-bit places can name.
    TooLarge,
}

impl fmt::Display for TreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EmptyName => write!(f, "the name is empty"),
            Self::NameTooLong(len) => write!(f, "the name has {len} bytes, at most {NAME_MAX} are possible"),
            Self::ForbiddenName(name) => {
                write!(f, "the name {:?} is not possible", name.escape_ascii().to_string())
            }
            Self::DuplicateName(name) => {
                write!(f, "the name {:?} is there twice", name.escape_ascii().to_string())
            }
            Self::ParentNotDirectory => write!(f, "its parent is not a directory"),
            Self::EmptyTarget => write!(f, "the symlink has no target"),
            Self::TargetTooLong(len) => {
                write!(f, "the target or payload has {len} bytes, at most {TARGET_MAX} are possible")
            }
            Self::InlineTooLarge(len) => {
                write!(f, "the inline content has {len} bytes, at most {INLINE_MAX} are possible")
            }
            Self::XattrName(len) => {
                write!(f, "an xattr name has {len} bytes, 1 to {XATTR_NAME_MAX} are possible")
            }
            Self::XattrValue(len) => {
                write!(f, "an xattr value has {len} bytes, at most {XATTR_VALUE_MAX} are possible")
            }
            Self::XattrBudget(len) => {
                write!(f, "the xattrs need {len} bytes, at most {XATTR_BUDGET} are possible for one file")
            }
            Self::TooLarge => write!(f, "the tree is too large: its text or nodes pass 2^32"),
        }
    }
}

impl std::error::Error for TreeError {}

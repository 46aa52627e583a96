//! Why a tree can't become an image.

use std::fmt;

/// Why a tree can't become an image, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanError {
    /// The offending node; `None` if it has no path or it is the tree as a whole.
    pub path: Option<Vec<u8>>,
    /// What is wrong with it.
    pub reason: PlanErrorKind,
}

/// What is wrong with a node or a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlanErrorKind {
    /// The tree has no node at all, or its first one is no directory.
    RootNotDirectory,
    /// A version that does not exist.
    Version(u32),
    /// The mode has no file type, or one that doesn't fit the content.
    FileType(u32),
    /// The size says one thing, the content another.
    Size {
        /// Bytes that the metadata says.
        size: u64,
        /// Bytes of content.
        content: u64,
    },
    /// An external file of 0 bytes: it has no need for a backing file.
    EmptyExternal,
    /// An external file with more than 2^53 bytes.
    FileTooLarge(u64),
    /// A directory whose names are not in order, or not unique: [`crate::tree::Tree::sort`] was not called.
    NotSorted,
    /// A node that two directories or names place.
    PlacedTwice,
    /// A hard link to a node that no directory places.
    NotPlaced(Vec<u8>),
    /// A hard link to a directory.
    DirectoryLink(Vec<u8>),
    /// More inodes or blocks than 32-bit places can name.
    ImageTooLarge,
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.path {
            write!(f, "{}: ", path.escape_ascii())?;
        }
        write!(f, "{}", self.reason)
    }
}

impl fmt::Display for PlanErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RootNotDirectory => write!(f, "the root is not a directory"),
            Self::Version(version) => write!(f, "there is no image version {version}, only 0 and 1"),
            Self::FileType(mode) => {
                write!(f, "the mode {mode:o} has no file type, or one that doesn't fit the content")
            }
            Self::Size { size, content } => {
                write!(f, "the size is given as {size} bytes, but the content has {content}")
            }
            Self::EmptyExternal => write!(f, "the file has 0 bytes, but a backing file"),
            Self::FileTooLarge(size) => {
                write!(f, "the file has {size} bytes, at most 2^53 = 9007199254740992 are possible")
            }
            Self::NotSorted => write!(f, "the directory's names are not in order, or one is there twice"),
            Self::PlacedTwice => write!(f, "two names place the same node in the tree"),
            Self::NotPlaced(name) => {
                write!(f, "the hard link {:?} leads out of the tree", name.escape_ascii().to_string())
            }
            Self::DirectoryLink(name) => {
                write!(f, "{:?} is a hard link to a directory", name.escape_ascii().to_string())
            }
            Self::ImageTooLarge => write!(f, "the image has more inodes or blocks than 32 bits can count"),
        }
    }
}

impl std::error::Error for PlanError {}
impl std::error::Error for PlanErrorKind {}

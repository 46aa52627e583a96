//! Why an image can't be read.

use std::fmt;

use crate::tree::TreeError;

pub(super) type Result<T> = std::result::Result<T, ReadErrorKind>;

/// Why an image can't be read, and at which path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageError {
    /// The name that led to the offending inode; `None` if it is the image as a whole.
    pub path: Option<Vec<u8>>,
    /// What is wrong.
    pub reason: ReadErrorKind,
}

/// What is wrong with an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadErrorKind {
    /// No composefs header and EROFS superblock.
    NotComposefs,
    /// A version, feature or layout that composefs writers don't use.
    Unsupported(&'static str),
    /// Something lies outside of the image.
    Outside(&'static str),
    /// The inodes take more bytes than the image has.
    Overlap,
    /// The root is no directory.
    RootNotDirectory,
    /// A directory with two names, or one that contains itself.
    DirectoryTwice,
    /// Names of a directory that are not in order.
    NotSorted,
    /// A directory block whose records don't fit together.
    DirectoryBlock,
    /// A mode without a file type.
    FileType(u32),
    /// A size that is not possible for this type of file.
    Size(u64),
    /// An xattr that doesn't fit into its area, or of an unknown kind.
    Xattr,
    /// A metacopy xattr that overlayfs would not take.
    Metacopy,
    /// A NUL in a target, payload or xattr name.
    Nul,
    /// Something that a tree can't hold.
    Tree(TreeError),
}

impl ImageError {
    pub(super) fn whole(reason: ReadErrorKind) -> Self {
        Self { path: None, reason }
    }
}

impl From<TreeError> for ReadErrorKind {
    fn from(error: TreeError) -> Self {
        Self::Tree(error)
    }
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.path {
            write!(f, "{}: ", path.escape_ascii())?;
        }
        write!(f, "{}", self.reason)
    }
}

impl fmt::Display for ReadErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotComposefs => write!(f, "this is no composefs image"),
            Self::Unsupported(what) => write!(f, "the image has a {what} that composefs doesn't use"),
            Self::Outside(what) => write!(f, "its {what} lies outside of the image, which may be cut short"),
            Self::Overlap => write!(f, "the inodes up to here take more bytes than the image has"),
            Self::RootNotDirectory => write!(f, "the root is not a directory"),
            Self::DirectoryTwice => write!(f, "the directory has another name already"),
            Self::NotSorted => write!(f, "the name is not in order, or there twice"),
            Self::DirectoryBlock => write!(f, "the directory has a block that is no list of names"),
            Self::FileType(mode) => write!(f, "the mode {mode:o} has none of the seven file types"),
            Self::Size(size) => write!(f, "{size} bytes are not possible for this type of file"),
            Self::Xattr => write!(f, "it has an xattr that is cut short or of an unknown kind"),
            Self::Metacopy => write!(f, "it has a metacopy xattr that is no SHA-256 digest"),
            Self::Nul => write!(f, "there is a NUL in its target, payload or the name of an xattr"),
            Self::Tree(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for ImageError {}

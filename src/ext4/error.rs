//! Why nothing could be done with a file system.

use std::fmt;
use std::io;

/// What is wrong, where, and what to do.
#[derive(Debug)]
pub enum Error {
    /// No ext4 begins here.
    NotExt4,
    /// The file could not be read or written.
    Io(&'static str, io::Error),
    /// It is of a kind that this code leaves alone.
    Unfit {
        /// What it has.
        what: String,
        /// What to do.
        way_out: &'static str,
    },
    /// It was not unmounted in order, or somebody stopped in the middle of changing it.
    Unclean(&'static str),
    /// It contradicts itself.
    Damaged(String),
    /// A file can't have fs-verity as it is.
    File {
        /// Its inode number.
        inode: u32,
        /// What it has.
        what: &'static str,
        /// What to do.
        way_out: &'static str,
    },
    /// There is too little room.
    NoSpace {
        /// Bytes that are needed.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
}

/// The result of everything in this room.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Something that can't be, in the words of where and what.
    pub(super) fn damaged(what: impl fmt::Display) -> Self {
        Self::Damaged(what.to_string())
    }
}

impl Error {
    /// The file that it is about.
    pub fn inode(&self) -> Option<u32> {
        match self {
            Self::File { inode, .. } => Some(*inode),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotExt4 => write!(f, "there is no ext4 file system"),
            Self::Io(doing, error) => write!(f, "{doing}: {error}"),
            Self::Unfit { what, way_out } => write!(f, "the ext4 file system has {what}; {way_out}"),
            Self::Unclean(why) => write!(
                f,
                "the ext4 file system is not clean: {why}; make the image again, or run `e2fsck -fy` on it and then this \
                 command again"
            ),
            Self::Damaged(what) => {
                write!(
                    f,
                    "the ext4 file system is damaged: {what}; make the image again, or run `e2fsck -fy` on it"
                )
            }
            Self::File { inode, what, way_out } => write!(f, "inode {inode} {what}; {way_out}"),
            Self::NoSpace { needed, free } => write!(
                f,
                "the ext4 file system has {free} bytes free, fs-verity takes {needed}, so nothing was written; make it larger \
                 (`truncate`, then `resize2fs`)"
            ),
        }
    }
}

impl std::error::Error for Error {}

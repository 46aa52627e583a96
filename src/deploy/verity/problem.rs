//! Why an object can't be part of a sealed deployment.

use std::fmt;

use ostree_seal_root::check::verity::{EnableError, MeasureError};
use ostree_seal_trust::digest::Digest;
use rustix::io::Errno;

use crate::deploy::directory::is_damage;

/// Why an object can't be part of a sealed deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectError {
    /// Path below the object directory, if it is about one.
    pub object: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// There is no such file.
    Missing,
    /// It is not a regular file.
    NotRegular,
    /// Its content is not what the image was made from.
    Digest {
        /// The digest in the image.
        expected: Digest,
        /// The digest that the kernel measured.
        found: Digest,
    },
    /// fs-verity could not be switched on.
    Enable(EnableError),
    /// The kernel gave no digest.
    Measure(MeasureError),
    /// It could not be opened or listed.
    Open(Errno),
    /// The file system did not write what was changed, of whichever object.
    Flush(Errno),
}

impl ObjectError {
    pub(super) fn new(path: &[u8], problem: Problem) -> Self {
        Self { object: String::from_utf8_lossy(path).into_owned(), problem }
    }

    /// Whether the objects are not what was signed, rather than the machine being in the way.
    pub fn is_refusal(&self) -> bool {
        matches!(self.problem, Problem::Missing | Problem::NotRegular | Problem::Digest { .. })
    }

    /// Whether the object must be fetched again.
    pub fn is_damage(&self) -> bool {
        let of_disk = match self.problem {
            Problem::Enable(EnableError::Os(errno)) => errno == Errno::IO,
            Problem::Open(errno) => is_damage(errno),
            _ => false,
        };
        of_disk || self.is_refusal()
    }
}

impl fmt::Display for ObjectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problem {
            Problem::Flush(_) => self.problem.fmt(f),
            _ => write!(f, "object {}: {}", self.object, self.problem),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => write!(f, "the file does not exist"),
            Self::NotRegular => write!(f, "not a regular file"),
            Self::Digest { expected, found } => write!(
                f,
                "the image expects the fs-verity digest {expected}, the kernel measured {found}; the content is \
                 damaged"
            ),
            Self::Enable(EnableError::Os(Errno::NOSPC)) => {
                write!(f, "no space left to enable fs-verity; free some space and run the command again")
            }
            Self::Enable(EnableError::Os(Errno::IO)) => {
                write!(f, "the disk could not read or write it (Input/output error): see the kernel's log")
            }
            Self::Enable(EnableError::Os(errno)) => write!(
                f,
                "the kernel could not enable fs-verity: {errno}; look into its log (`dmesg`) for a failing disk, then run \
                 the command again: what is done already stays done"
            ),
            Self::Enable(EnableError::Busy) => write!(
                f,
                "some process holds the file open for writing; find it with `fuser` and run the command again"
            ),
            Self::Enable(error) => error.fmt(f),
            Self::Measure(error) => error.fmt(f),
            Self::Open(errno) if is_damage(*errno) => {
                write!(f, "opening: {errno}; the disk fails, or its fs-verity is damaged")
            }
            Self::Open(errno) => write!(f, "opening: {errno}"),
            Self::Flush(errno) => write!(
                f,
                "the file system did not write the objects' Merkle trees to the disk: {errno}; look into the kernel's log \
                 (`dmesg`), then run the command again"
            ),
        }
    }
}

impl std::error::Error for ObjectError {}

//! Reading a file whole: a regular one, once, up to a limit.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::buffer::spare_capacity;
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::io::{Errno, read, retry_on_intr};

/// Why a file could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadError {
    /// The kernel said no.
    Os(Errno),
    /// It is something else than a regular file.
    NotAFile,
    /// It has more bytes than this.
    TooLarge(usize),
    /// It is a directory with more files than this.
    TooMany(usize),
}

/// The bytes of a regular file of the initramfs. Non-blocking, so that a fifo is an error and not a wait.
pub fn read_file(path: &Path, limit: usize) -> Result<Vec<u8>, ReadError> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    read_limited(openat(CWD, path, flags, Mode::empty())?, limit)
}

/// The bytes of an open regular file of at most `limit` bytes.
pub fn read_limited(file: OwnedFd, limit: usize) -> Result<Vec<u8>, ReadError> {
    let stat = fstat(file.as_fd())?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(ReadError::NotAFile);
    }
    let mut bytes = Vec::new();
    loop {
        bytes.reserve(4096);
        match retry_on_intr(|| read(&file, spare_capacity(&mut bytes)))? {
            _ if bytes.len() > limit => return Err(ReadError::TooLarge(limit)),
            0 => return Ok(bytes),
            _ => {}
        }
    }
}

impl ReadError {
    /// The number that says it best.
    pub fn errno(&self) -> Errno {
        match self {
            Self::Os(errno) => *errno,
            Self::NotAFile => Errno::INVAL,
            Self::TooLarge(_) => Errno::FBIG,
            Self::TooMany(_) => Errno::MFILE,
        }
    }
}

impl From<Errno> for ReadError {
    fn from(errno: Errno) -> Self {
        Self::Os(errno)
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Os(errno) => write!(f, "{errno}"),
            Self::NotAFile => write!(f, "it is not a regular file"),
            Self::TooLarge(limit) => write!(f, "it has more than the {limit} bytes that are possible"),
            Self::TooMany(limit) => write!(f, "it has more than {limit} files"),
        }
    }
}

impl std::error::Error for ReadError {}

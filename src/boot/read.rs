//! Reading a file whole: a regular one, once, up to a limit.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::buffer::spare_capacity;
use rustix::fs::{CWD, FileType, Mode, OFlags, RawDir, fstat, openat};
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
}

/// Where the program's orders are read: in the initramfs that runs, or, before a deployment may boot, in what an archive or a
/// tree holds of one. What is read, and what is too much of it, is decided by who asks.
pub trait Files {
    /// The bytes of a regular file.
    fn read(&self, path: &Path, limit: usize) -> Result<Vec<u8>, ReadError>;

    /// Names in a directory, `.` and `..` left out, no more than `limit`; nothing if there is no such directory.
    fn names(&self, directory: &Path, limit: usize) -> Result<Option<Vec<OsString>>, ReadError>;
}

/// The files that this process sees.
#[derive(Debug, Clone, Copy)]
pub struct Mounted;

impl Files for Mounted {
    fn read(&self, path: &Path, limit: usize) -> Result<Vec<u8>, ReadError> {
        read_file(path, limit)
    }

    fn names(&self, directory: &Path, limit: usize) -> Result<Option<Vec<OsString>>, ReadError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = match openat(CWD, directory, flags, Mode::empty()) {
            Ok(open) => open,
            Err(Errno::NOENT) if !directory.is_symlink() => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let mut names = Vec::new();
        let mut buffer = [MaybeUninit::uninit(); 2048];
        let mut entries = RawDir::new(open, &mut buffer);
        while let (Some(entry), true) = (entries.next(), names.len() < limit) {
            let name = OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        Ok(Some(names))
    }
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
        }
    }
}

impl std::error::Error for ReadError {}

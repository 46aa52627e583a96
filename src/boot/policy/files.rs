//! The policy's directory, read whole: every file once, none above its limit.

use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, RawDir, openat};
use rustix::io::Errno;

use crate::evidence::{ReadError, read_file};
use crate::refusal::Refusal;

/// The most bytes of `policy.conf` or of a key file.
pub const FILE_MAX: usize = 64 << 10;

/// The most files in `trusted.d` or `revoked.d`.
const FILES_MAX: usize = 256;

/// A policy as it lies on disk.
#[derive(Debug, Clone)]
pub struct PolicyFiles {
    /// Where `policy.conf` is.
    pub path: PathBuf,
    /// What is in it.
    pub conf: Vec<u8>,
    /// The files of `trusted.d`, by name.
    pub trusted: Vec<KeyFile>,
    /// The files of `revoked.d`, by name.
    pub revoked: Vec<KeyFile>,
}

/// A file in `trusted.d` or `revoked.d`.
#[derive(Debug, Clone)]
pub struct KeyFile {
    /// The file.
    pub path: PathBuf,
    /// What is in it, or why it could not be read.
    pub content: Result<Vec<u8>, ReadError>,
}

impl PolicyFiles {
    /// Reads `policy.conf`, `trusted.d` and `revoked.d`. Only `policy.conf` must be there.
    pub fn read(directory: &Path) -> Result<Self, Refusal> {
        let path = directory.join("policy.conf");
        let conf = match read_file(&path, FILE_MAX) {
            Ok(conf) => conf,
            Err(ReadError::Os(Errno::NOENT)) => return Err(Refusal::PolicyMissing { path }),
            Err(error) => return Err(Refusal::PolicyUnreadable { path, error: error.to_string() }),
        };
        let trusted = read_keys(&directory.join("trusted.d"))?;
        let revoked = read_keys(&directory.join("revoked.d"))?;
        Ok(Self { path, conf, trusted, revoked })
    }
}

/// Reads the files of `trusted.d` or `revoked.d`, sorted by name; none if there is no such directory.
pub fn read_keys(directory: &Path) -> Result<Vec<KeyFile>, Refusal> {
    let refused = |error: String| Refusal::PolicyUnreadable { path: directory.to_owned(), error };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = match openat(CWD, directory, flags, Mode::empty()) {
        Ok(open) => open,
        Err(Errno::NOENT) if !directory.is_symlink() => return Ok(Vec::new()),
        Err(errno) => return Err(refused(errno.to_string())),
    };
    let mut paths = Vec::new();
    let mut buffer = [MaybeUninit::uninit(); 2048];
    let mut entries = RawDir::new(open, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry.map_err(|errno| refused(errno.to_string()))?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        paths.push(directory.join(name));
        if paths.len() > FILES_MAX {
            return Err(refused(format!("it has more than {FILES_MAX} files")));
        }
    }
    paths.sort();
    Ok(paths.into_iter().map(|path| KeyFile { content: read_file(&path, FILE_MAX), path }).collect())
}

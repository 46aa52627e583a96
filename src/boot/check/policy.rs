//! Reading the policy's directory: every file once, none above its limit.

use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ostree_seal_trust::policy::{FILE_MAX, FILES_MAX, KeyFile, Policy, PolicyFiles};
use rustix::fs::{CWD, Mode, OFlags, RawDir, openat};
use rustix::io::Errno;

use super::error::CheckError;
use crate::read::{ReadError, read_file};

/// Where it is in the initramfs.
pub(crate) const DIRECTORY: &str = "usr/lib/ostree-seal";

/// The policy in a directory with `policy.conf`, `trusted.d` and `revoked.d`, in the initramfs `/usr/lib/ostree-seal`.
pub fn load(directory: &Path) -> Result<Policy, CheckError> {
    Ok(Policy::parse(&read(directory)?)?)
}

/// Reads `policy.conf`, `trusted.d` and `revoked.d`. Only `policy.conf` must be there.
pub fn read(directory: &Path) -> Result<PolicyFiles, CheckError> {
    let path = directory.join("policy.conf");
    let conf = match read_file(&path, FILE_MAX) {
        Ok(conf) => conf,
        Err(ReadError::Os(Errno::NOENT)) => return Err(CheckError::PolicyMissing { path }),
        Err(error) => return Err(CheckError::PolicyUnreadable { path, error }),
    };
    let trusted = read_keys(&directory.join("trusted.d"))?;
    let revoked = read_keys(&directory.join("revoked.d"))?;
    Ok(PolicyFiles { path: path.display().to_string(), conf, trusted, revoked })
}

/// Reads the files of `trusted.d` or `revoked.d`, sorted by name; none if there is no such directory.
pub fn read_keys(directory: &Path) -> Result<Vec<KeyFile>, CheckError> {
    let refused = |error: ReadError| CheckError::PolicyUnreadable { path: directory.to_owned(), error };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = match openat(CWD, directory, flags, Mode::empty()) {
        Ok(open) => open,
        Err(Errno::NOENT) if !directory.is_symlink() => return Ok(Vec::new()),
        Err(errno) => return Err(refused(errno.into())),
    };
    let mut paths = Vec::new();
    let mut buffer = [MaybeUninit::uninit(); 2048];
    let mut entries = RawDir::new(open, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry.map_err(|errno| refused(errno.into()))?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        let path = directory.join(name);
        // Sorted as they come: a handful of names needs no sorting algorithm in the initramfs.
        paths.insert(paths.partition_point(|other| *other < path), path);
        if paths.len() > FILES_MAX {
            return Err(refused(ReadError::TooMany(FILES_MAX)));
        }
    }
    Ok(paths.iter().map(|path| key_file(path)).collect())
}

fn key_file(path: &Path) -> KeyFile {
    let content = read_file(path, FILE_MAX).map_err(|error| error.to_string());
    KeyFile { path: path.display().to_string(), content }
}

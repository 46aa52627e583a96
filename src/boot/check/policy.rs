//! Reading the policy's directory: every file once, none above its limit.

use std::path::Path;

use ostree_seal_trust::policy::{FILE_MAX, FILES_MAX, KeyFile, Policy, PolicyFiles};
use rustix::io::Errno;

use super::error::CheckError;
use crate::read::{Files, Mounted, ReadError};

/// Where it is in the initramfs.
pub(crate) const DIRECTORY: &str = "usr/lib/ostree-seal";

/// The policy in a directory with `policy.conf`, `trusted.d` and `revoked.d`, in the initramfs `/usr/lib/ostree-seal`.
pub fn load(directory: &Path) -> Result<Policy, CheckError> {
    Ok(Policy::parse(&read(&Mounted, directory)?)?)
}

/// Reads `policy.conf`, `trusted.d` and `revoked.d`. Only `policy.conf` must be there.
pub fn read(files: &impl Files, directory: &Path) -> Result<PolicyFiles, CheckError> {
    let path = directory.join("policy.conf");
    let conf = match files.read(&path, FILE_MAX) {
        Ok(conf) => conf,
        Err(ReadError::Os(Errno::NOENT)) => return Err(CheckError::PolicyMissing { path }),
        Err(error) => return Err(CheckError::PolicyUnreadable { path, error }),
    };
    let trusted = read_keys(files, &directory.join("trusted.d"))?;
    let revoked = read_keys(files, &directory.join("revoked.d"))?;
    Ok(PolicyFiles { path: path.display().to_string(), conf, trusted, revoked })
}

/// Reads the files of `trusted.d` or `revoked.d`, sorted by name; none if there is no such directory. Of too many, as many
/// as [`Policy::parse`] refuses.
pub fn read_keys(files: &impl Files, directory: &Path) -> Result<Vec<KeyFile>, CheckError> {
    let names = files
        .names(directory, FILES_MAX + 1)
        .map_err(|error| CheckError::PolicyUnreadable { path: directory.to_owned(), error })?;
    let mut paths = Vec::new();
    for name in names.unwrap_or_default() {
        let path = directory.join(name);
        // Sorted as they come: a handful of names needs no sorting algorithm in the initramfs.
        paths.insert(paths.partition_point(|other| *other < path), path);
    }
    let key_file = |path: &std::path::PathBuf| KeyFile {
        path: path.display().to_string(),
        content: files.read(path, FILE_MAX).map_err(|error| error.to_string()),
    };
    Ok(paths.iter().map(key_file).collect())
}

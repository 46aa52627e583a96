//! What this boot goes by, left in `/run/ostree-seal` for the programs that judge the next update: policy and keys as they
//! were in the initramfs, and the deployments that were there before anything ran. Only root writes in `/run`, and what is
//! there is gone with the boot.

use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use ostree_seal_trust::policy::{KeyFile, PolicyFiles};
use rustix::fs::{Mode, OFlags, RawDir, openat};
use rustix::io::Errno;

use super::run_files::RunFiles;
use crate::error::{BootError, Doing};

/// The directory with policy and keys, in `/run`.
pub const TRUST: &str = "ostree-seal/trust";

/// The list of deployments, in `/run`: a line `STATEROOT/COMMIT.SERIAL` for each.
pub const DEPLOYMENTS: &str = "ostree-seal/deployments";

/// The most lines of it. More deployments than fit into any disk.
const DEPLOYMENTS_MAX: usize = 4096;

/// Leaves policy and keys, all or none: without one of the files, what is left could ask for less.
pub fn leave(policy: &PolicyFiles, files: &mut RunFiles) -> Result<(), BootError> {
    files.whole(|files| {
        if files.has(TRUST) {
            return Err(Doing::step("leaving the policy in /run/ostree-seal/trust")(Errno::EXIST));
        }
        files.directory(TRUST, 0o755)?;
        leave_keys("revoked.d", &policy.revoked, files)?;
        leave_keys("trusted.d", &policy.trusted, files)?;
        files.file(&format!("{TRUST}/policy.conf"), &policy.conf)
    })
}

/// A file that could not be read is no key; where it could have been a revocation, the boot has been refused.
fn leave_keys(directory: &str, keys: &[KeyFile], files: &mut RunFiles) -> Result<(), BootError> {
    files.directory(&format!("{TRUST}/{directory}"), 0o755)?;
    for key in keys {
        let name = key.path.rsplit('/').next().unwrap_or_default();
        if let Ok(content) = &key.content {
            files.file(&format!("{TRUST}/{directory}/{name}"), content)?;
        }
    }
    Ok(())
}

/// Leaves the list of the deployments that are there now, below the physical root: to boot one of those again is a rollback,
/// and what comes later is an update.
pub fn leave_deployments(physical: impl AsFd, files: &mut RunFiles) -> Result<(), BootError> {
    let listing = Doing::step("listing the deployments");
    let mut lines = String::new();
    let mut count = 0;
    let stateroots = open(physical, "ostree/deploy").map_err(&listing)?;
    for stateroot in entries(&stateroots).map_err(&listing)? {
        let deployments = match open(&stateroots, &format!("{stateroot}/deploy")) {
            Err(Errno::NOENT | Errno::NOTDIR) => continue,
            deployments => deployments.map_err(&listing)?,
        };
        for name in entries(&deployments).map_err(&listing)? {
            count += 1;
            if count > DEPLOYMENTS_MAX {
                return Err(listing(Errno::MFILE));
            }
            lines.push_str(&format!("{stateroot}/{name}\n"));
        }
    }
    files.whole(|files| files.file(DEPLOYMENTS, lines.as_bytes()))
}

fn open(beneath: impl AsFd, path: &str) -> Result<OwnedFd, Errno> {
    openat(
        beneath,
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// The names in a directory, but for those that are no part of a line.
fn entries(directory: &OwnedFd) -> Result<Vec<String>, Errno> {
    let mut names = Vec::new();
    let mut buffer = [MaybeUninit::uninit(); 2048];
    let mut entries = RawDir::new(directory, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        match OsStr::from_bytes(entry.file_name().to_bytes()).to_str() {
            Some("." | "..") | None => {}
            Some(name) if name.ends_with(".origin") || name.contains('\n') => {}
            Some(name) => names.push(name.to_owned()),
        }
    }
    Ok(names)
}

//! A deployment's directory: what lies there of ours, and image and note put there, so that a reader, or the next boot
//! after a power cut, sees the old file or the new one and never a part (`atomic`, `output`).

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use fn_error_context::context;
use ostree_seal_root::check::verity::{self, MeasureError};
use ostree_seal_root::find::deployment::IMAGE_NAME;
use ostree_seal_trust::digest::Digest;
use ostree_seal_trust::evidence::NOTE_FILE;
use ostree_seal_trust::note::NOTE_MAX;
use rustix::fs::{self, AtFlags, IFlags, Mode, OFlags};
use rustix::io::Errno;

use super::request::VerityTiming;
use crate::atomic;
use crate::merkle::FileHasher;
use crate::sysroot::{Deployment, SysrootLock};

/// In a deployment whose fs-verity is still to be switched on; says what is left to do.
pub const DEFERRED_NAME: &str = ".ostree.seal-deferred";

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placed {
    /// It was there already, with the same content.
    Kept,
    /// It was written, and replaced what was there.
    Written,
}

/// The most bytes of an image: a million files take a third of it.
pub const IMAGE_MAX: usize = 1 << 30;

/// A deployment's directory, open and changeable.
#[derive(Debug)]
pub struct DeploymentFiles<'a> {
    path: &'a Path,
    fd: OwnedFd,
}

/// Runs `change` on a deployment's directory. A finalized deployment is immutable: the flag is taken away and put back
/// whatever `change` comes to. One that a killed run left changeable is immutable afterwards, too.
pub fn change<T>(
    lock: &SysrootLock<'_>,
    deployment: &Deployment,
    change: impl FnOnce(&DeploymentFiles<'_>) -> Result<T>,
) -> Result<T> {
    let directory = DeploymentFiles::open(&deployment.directory)?;
    let change = |directory: &DeploymentFiles<'_>| {
        atomic::remove_leftovers(directory.path);
        change(directory)
    };
    if deployment.staged {
        return change(&directory);
    }
    lock.set_mutable(deployment, true)?;
    let result = change(&directory);
    let restored = if keeps_deployments_mutable() { Ok(()) } else { lock.set_mutable(deployment, false) };
    let value = result?;
    restored?;
    Ok(value)
}

/// Brings to the disk what a killed run has named, and makes a finalized deployment immutable again that it left changeable,
/// when all else in it was done.
pub fn finish_killed_run(lock: &SysrootLock<'_>, deployment: &Deployment) -> Result<()> {
    let directory = DeploymentFiles::open(&deployment.directory)?;
    // What it has named last is perhaps not on the disk yet.
    fs::fsync(&directory)?;
    // A file system that knows no flags has nothing to put back.
    let changeable = fs::ioctl_getflags(&directory).is_ok_and(|flags| !flags.contains(IFlags::IMMUTABLE));
    if deployment.staged || keeps_deployments_mutable() || !changeable {
        return Ok(());
    }
    change(lock, deployment, |_| Ok(()))
}

/// libostree's own switch for developers.
fn keeps_deployments_mutable() -> bool {
    std::env::var("OSTREE_SYSROOT_DEBUG")
        .is_ok_and(|flags| flags.split([',', ' ', ':']).any(|flag| flag == "mutable-deployments"))
}

impl<'a> DeploymentFiles<'a> {
    #[context("opening the deployment {}", path.display())]
    fn open(path: &'a Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self { path, fd: fs::open(path, flags, Mode::empty())? })
    }

    /// The digest of the image, computed from its bytes, which the kernel checks on the way if it has fs-verity. `None` if
    /// there is no regular file of that name, one that is too large, or one that can't be read to its end: it gets replaced.
    #[context("reading the image {IMAGE_NAME}")]
    pub fn image_digest(&self) -> Result<Option<Digest>> {
        let Some(image) = open_image_in(self)? else { return Ok(None) };
        if image.metadata()?.len() > IMAGE_MAX as u64 {
            return Ok(None);
        }
        match verity::measure(&image) {
            Ok(_) | Err(MeasureError::NotEnabled | MeasureError::Unsupported) => {}
            // fs-verity of another kind than ours: to be replaced.
            Err(MeasureError::OtherAlgorithm(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        match FileHasher::new().digest_reader(&image) {
            Ok((digest, _)) => Ok(Some(digest)),
            Err(error) if is_io_damage(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Keeps the image that is there, whose digest is this one, and sees to it that the kernel enforces it.
    #[context("keeping the image {IMAGE_NAME}")]
    pub fn keep_image(&self, digest: Digest, verity: VerityTiming) -> Result<()> {
        if verity == VerityTiming::Now {
            let image = open_image_in(self)?.context("it has just gone")?;
            verity::enable(&image)?;
            let found = verity::measure(&image)?;
            ensure!(found == digest, "the kernel measures {found} where {digest} was read; check the disk");
            // Not fsync, for btrfs: see `output.rs`.
            fs::syncfs(&image)?;
        }
        Ok(())
    }

    /// Writes the note, unless the same one is there.
    #[context("placing the note {NOTE_FILE}")]
    pub fn place_note(&self, note: &[u8]) -> Result<Placed> {
        self.place_bytes(NOTE_FILE, note)
    }

    /// Marks the deployment as one whose fs-verity is still to be switched on, or takes the mark away.
    #[context("marking the deployment with {DEFERRED_NAME}")]
    pub fn set_deferred(&self, text: Option<&str>) -> Result<()> {
        match text {
            Some(text) => self.place_bytes(DEFERRED_NAME, text.as_bytes()).map(|_| ()),
            None => match fs::unlinkat(&self.fd, DEFERRED_NAME, AtFlags::empty()) {
                Ok(()) => Ok(fs::fsync(&self.fd)?),
                Err(Errno::NOENT) => Ok(()),
                Err(errno) => Err(errno.into()),
            },
        }
    }

    fn place_bytes(&self, name: &str, bytes: &[u8]) -> Result<Placed> {
        if let Some(file) = self.open_file(name)? {
            let mut found = Vec::new();
            file.take(bytes.len() as u64 + 1).read_to_end(&mut found)?;
            if found == bytes {
                return Ok(Placed::Kept);
            }
        }
        atomic::replace(&self.path.join(name), 0o644, |file| file.write_all(bytes))?;
        Ok(Placed::Written)
    }

    fn open_file(&self, name: &str) -> Result<Option<File>> {
        open_file(&self.fd, name)
    }
}

impl AsFd for DeploymentFiles<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The note in a deployment's directory.
#[context("reading {} in {}", NOTE_FILE, deployment.display())]
pub fn existing_note(deployment: &Path) -> Result<Option<Vec<u8>>> {
    let directory = DeploymentFiles::open(deployment)?;
    let Some(file) = directory.open_file(NOTE_FILE)? else { return Ok(None) };
    let mut note = Vec::new();
    // One byte too many, so that the check refuses it for its length.
    file.take(NOTE_MAX as u64 + 1).read_to_end(&mut note)?;
    Ok(Some(note))
}

/// The image in a deployment's directory, open for reading. One that can't be opened because it is damaged counts as absent.
pub fn open_image(deployment: &Path) -> Result<Option<File>> {
    open_image_in(DeploymentFiles::open(deployment)?)
}

fn open_image_in(directory: impl AsFd) -> Result<Option<File>> {
    open_file(directory, IMAGE_NAME).or_else(|error| match error.downcast_ref::<Errno>() {
        Some(errno) if is_damage(*errno) => Ok(None),
        _ => Err(error),
    })
}

/// Whether fs-verity is still to be switched on.
pub fn is_deferred(deployment: &Path) -> bool {
    deployment.join(DEFERRED_NAME).exists()
}

/// Whether a file can't be opened or read since the disk has other bytes than were written. EINVAL is what opening says of
/// an fs-verity descriptor that makes no sense.
pub fn is_damage(errno: Errno) -> bool {
    matches!(errno, Errno::IO | Errno::UCLEAN | Errno::BADMSG | Errno::INVAL)
}

/// The same of an error that went through the standard library.
pub fn is_io_damage(error: &std::io::Error) -> bool {
    Errno::from_io_error(error).is_some_and(is_damage)
}

/// Opens a regular file for reading; anything else counts as absent and gets replaced.
fn open_file(directory: impl AsFd, name: &str) -> Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match fs::openat(directory, name, flags, Mode::empty()).map(File::from) {
        Ok(file) if file.metadata()?.is_file() => Ok(Some(file)),
        Ok(_) | Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => Ok(None),
        Err(errno) => Err(errno).with_context(|| format!("opening {name}")),
    }
}

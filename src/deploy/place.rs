//! Puts image and note into a deployment's directory, so that a reader, or the next boot after a power cut, sees the
//! old file or the new one and never a part: a temporary file in the same directory, fsync, fs-verity, rename, fsync
//! of the directory.

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

use crate::atomic::TEMPORARY_PREFIX;
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

/// Whether the image gets fs-verity now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verity {
    /// Now.
    Now,
    /// Later, on the device: this kernel or file system has none.
    Deferred,
}

/// A deployment's directory, open and changeable.
#[derive(Debug)]
pub struct Directory {
    fd: OwnedFd,
}

/// Runs `change` on a deployment's directory. A finalized deployment is immutable: the flag is taken away and put back
/// whatever `change` comes to. One that a killed run left changeable is immutable afterwards, too.
pub fn change<T>(
    lock: &SysrootLock<'_>,
    deployment: &Deployment,
    change: impl FnOnce(&Directory) -> Result<T>,
) -> Result<T> {
    let directory = Directory::open(&deployment.directory)?;
    let change = |directory: &Directory| {
        directory.remove_leftovers()?;
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
    let directory = Directory::open(&deployment.directory)?;
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

impl Directory {
    #[context("opening the deployment {}", path.display())]
    fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self { fd: fs::open(path, flags, Mode::empty())? })
    }

    /// Keeps the image that is there, whose digest is this one, and sees to it that the kernel enforces it.
    #[context("keeping the image {IMAGE_NAME}")]
    pub fn keep_image(&self, digest: Digest, verity: Verity) -> Result<Placed> {
        if verity == Verity::Now {
            let image = open_image_in(self)?.context("it has just gone")?;
            verity::enable(&image)?;
            let found = verity::measure(&image)?;
            ensure!(found == digest, "the kernel measures {found} where {digest} was read; check the disk");
            // Not fsync, for btrfs: see `output.rs`.
            fs::syncfs(&image)?;
        }
        Ok(Placed::Kept)
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
        let temporary = format!("{TEMPORARY_PREFIX}{name}");
        let result = self.write_temporary(&temporary, bytes).and_then(|()| {
            fs::renameat(&self.fd, &temporary, &self.fd, name)?;
            Ok(fs::fsync(&self.fd)?)
        });
        if result.is_err() {
            // The first error is the one to report. What is left is removed by the next run, or with the deployment.
            drop(self.remove(&temporary));
        }
        result.map(|()| Placed::Written)
    }

    fn write_temporary(&self, temporary: &str, bytes: &[u8]) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
        let mut file = File::from(fs::openat(&self.fd, temporary, flags, mode)?);
        fs::fchmod(&file, mode)?; // whatever the umask
        file.write_all(bytes)?;
        Ok(file.sync_all()?)
    }

    /// Removes what a killed run left under a temporary name.
    #[context("removing what an earlier run left")]
    fn remove_leftovers(&self) -> Result<()> {
        for entry in fs::Dir::read_from(&self.fd)? {
            let entry = entry?;
            if entry.file_name().to_bytes().starts_with(TEMPORARY_PREFIX.as_bytes()) {
                self.remove(entry.file_name())?;
            }
        }
        Ok(())
    }

    fn open_file(&self, name: &str) -> Result<Option<File>> {
        open_file(&self.fd, name)
    }

    fn remove(&self, name: impl rustix::path::Arg + Copy) -> Result<()> {
        match fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The note in a deployment's directory.
#[context("reading {} in {}", NOTE_FILE, deployment.display())]
pub fn existing_note(deployment: &Path) -> Result<Option<Vec<u8>>> {
    let directory = Directory::open(deployment)?;
    let Some(file) = directory.open_file(NOTE_FILE)? else { return Ok(None) };
    let mut note = Vec::new();
    // One byte too many, so that the check refuses it for its length.
    file.take(NOTE_MAX as u64 + 1).read_to_end(&mut note)?;
    Ok(Some(note))
}

/// The image in a deployment's directory, open for reading. One that can't be opened because it is damaged counts as absent.
pub fn open_image(deployment: &Path) -> Result<Option<File>> {
    open_image_in(Directory::open(deployment)?)
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

/// The digest of the image in a deployment's directory, computed from its bytes, which the kernel checks on the way if it
/// has fs-verity. `None` if there is no regular file of that name, or one that can't be read to its end: it gets replaced.
#[context("reading the image {IMAGE_NAME}")]
pub fn existing_digest(directory: impl AsFd) -> Result<Option<Digest>> {
    let Some(image) = open_image_in(directory)? else { return Ok(None) };
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

//! What earlier conversions learned of file objects, so that an update costs what changed: object checksum -> owner,
//! mode, xattrs, size, digest, link target.
//!
//! An OSTree object never changes, so an entry never goes stale. A cache that is missing, damaged, of another version or
//! writable by strangers is an empty one and never an error; the image has the same bytes with any cache and without.
//!
//! # Where it lives, and who may write it
//!
//! By default in the repository, as `ostree-seal.cache`: who may write it may write the objects too. Another place can
//! be shared by several repositories. A file that belongs to neither root nor the user, or that others may write, is not
//! read. Whoever can write the cache decides which digests an image holds:
//!
//! * On a device, a wrong entry makes an image whose digest no signature matches, and it is refused.
//! * On the machine that **signs**, a wrong entry would be signed. There the cache must be as well protected as the
//!   repository is, or be left out with `--no-cache`.
//!
//! # When an entry goes
//!
//! When new objects are added, entries that this conversion didn't need are kept as long as the repository has their
//! objects. In a cache that is shared, where another repository may have them, they stay for [`PATIENCE`] more rounds.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::atomic::NewFile;
use crate::repo::{Checksum, KeptMetadata, ObjectCache, ObjectInfo};

mod build; // entries -> file
mod format; // the file
mod load; // file -> entries

use build::Builder;
use load::Loaded;

/// Name of a repository's own cache, in the repository.
pub const FILE_NAME: &str = "ostree-seal.cache";

/// How many times an entry of a shared cache may go unused while its object is missing.
pub const PATIENCE: u8 = 32;

/// Whose cache it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// One repository's: what is pruned there is pruned here.
    Repository,
    /// Several repositories'.
    Shared,
}

/// A cache, as it was when it was opened and with what was added since.
#[derive(Debug)]
pub struct Cache {
    path: PathBuf,
    scope: Scope,
    view: KeptMetadata,
    known: Loaded,
    added: Mutex<Builder>,
    ignored: Option<String>,
}

impl Cache {
    /// Opens the cache at this path. If there is none that can be used, it's empty; [`Cache::ignored`] says why.
    ///
    /// The view is that of the repository that objects are read from: what one view knows is no use to another.
    pub fn open(path: PathBuf, scope: Scope, view: KeptMetadata) -> Self {
        let (known, ignored) = match read(&path, view) {
            Ok(known) => (known, None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (Loaded::default(), None),
            Err(error) => (Loaded::default(), Some(error.to_string())),
        };
        Self { path, scope, view, known, added: Mutex::default(), ignored }
    }

    /// Why the file that is there was not read.
    pub fn ignored(&self) -> Option<&str> {
        self.ignored.as_deref()
    }

    /// Number of objects that were asked for and known.
    pub fn hits(&self) -> u64 {
        self.known.used_count()
    }

    /// Writes the cache if there is anything new in it: under its name is the old file or the new one, never a part.
    /// `present` tells which objects the repository has.
    pub fn save(self, present: impl Fn(&Checksum) -> bool) -> io::Result<()> {
        let mut builder = self.added.into_inner().unwrap_or_else(PoisonError::into_inner);
        if builder.is_empty() {
            return Ok(());
        }
        let patience = if self.scope == Scope::Shared { PATIENCE } else { 0 };
        self.known.retain_into(&mut builder, |object, age| match age {
            // Used in this round.
            None => Some(0),
            Some(age) if present(object) => Some(age),
            Some(age) => age.checked_add(1).filter(|age| *age <= patience),
        });
        // Readable as far as the directory is; `read` wants that nobody else can write.
        let mut file = NewFile::create(&self.path, 0o644)?;
        builder.write(self.view, file.file())?;
        // Not synced: a file that a power loss cuts short has a wrong checksum and is ignored.
        file.file().flush()?;
        file.rename()
    }
}

impl ObjectCache for Cache {
    fn find(&self, object: &Checksum) -> Option<u32> {
        self.known.find(object)
    }

    fn info(&self, number: u32) -> Option<ObjectInfo> {
        self.known.info(number)
    }

    fn add(&self, object: &Checksum, info: &ObjectInfo) {
        // A thread that panics while it adds ends the conversion, and nothing is saved.
        self.added.lock().unwrap_or_else(PoisonError::into_inner).add(object, info, 0);
    }
}

fn read(path: &Path, view: KeptMetadata) -> io::Result<Loaded> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::LOOP) => return Err(io::Error::other("it is a symlink")),
        Err(errno) => return Err(errno.into()),
    };
    check_owner(&file)?;
    Loaded::read(file, view)
}

fn check_owner(file: &File) -> io::Result<()> {
    let stat = rustix::fs::fstat(file)?;
    let user = rustix::process::geteuid().as_raw();
    if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    if stat.st_uid != 0 && stat.st_uid != user {
        let message = format!("it belongs to user {}, and not to root or user {user}", stat.st_uid);
        return Err(io::Error::other(message));
    }
    if stat.st_mode & 0o022 != 0 {
        let message = format!("others than its owner may write it (mode {:04o})", stat.st_mode & 0o7777);
        return Err(io::Error::other(message));
    }
    Ok(())
}

#[cfg(test)]
mod tests;

//! The loose objects of a repository and its parents, as files.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use anyhow::{Context as _, anyhow, bail, ensure};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::checksum::Checksum;

/// The largest metadata object that is read, in bytes (`OSTREE_MAX_METADATA_SIZE`).
const METADATA_MAX: u64 = 128 * 1024 * 1024;
/// What is read in one go: more than most dirtrees have.
const USUAL: usize = 16 * 1024;

/// How a repository keeps file objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepoMode {
    /// As files with their own owner, mode and xattrs.
    Bare,
    /// As files with owner, mode and xattrs in `user.ostreemeta`; a symlink's target is its content.
    BareUser,
    /// As files with their own mode; owner is 0:0 and there are no xattrs.
    BareUserOnly,
    /// As files with their own owner and mode, and xattrs in an object of their own.
    BareSplitXattrs,
    /// Compressed, with a header. An image of such a repository can't be mounted on it.
    Archive,
}

/// The objects of one repository.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) path: PathBuf,
    pub(super) objects: OwnedFd,
    pub(super) mode: RepoMode,
    pub(super) disable_xattrs: bool,
}

/// Where an object lies below `objects`: `xx/` and the rest of the checksum, a dot and the type.
#[derive(Debug)]
pub(super) struct ObjectPath {
    bytes: [u8; 96],
    len: usize,
}

/// Which kind of metadata object.
#[derive(Debug, Clone, Copy)]
pub(super) enum Metadata {
    Commit,
    Dirtree,
    Dirmeta,
}

impl RepoMode {
    /// The name as in the repository's configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::BareUser => "bare-user",
            Self::BareUserOnly => "bare-user-only",
            Self::BareSplitXattrs => "bare-split-xattrs",
            Self::Archive => "archive",
        }
    }

    /// Whether the repository has the files that an image points at.
    pub fn can_back_a_mount(self) -> bool {
        self != Self::Archive
    }

    /// Extension of a file object.
    pub(super) fn file_extension(self) -> &'static str {
        if self == Self::Archive { "filez" } else { "file" }
    }
}

impl Metadata {
    pub(super) fn extension(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Dirtree => "dirtree",
            Self::Dirmeta => "dirmeta",
        }
    }
}

impl ObjectPath {
    pub(super) fn new(object: &Checksum, extension: &str) -> Self {
        let hex = object.hex();
        let mut path = Self { bytes: [0; 96], len: 0 };
        for part in [&hex[..2], b"/", &hex[2..], b".", extension.as_bytes()] {
            path.bytes[path.len..][..part.len()].copy_from_slice(part);
            path.len += part.len();
        }
        path
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Store {
    /// Opens an object for reading; `Errno::LOOP` says that it's a symlink.
    pub(super) fn open(&self, object: &ObjectPath) -> Result<File, Errno> {
        // Without NONBLOCK, a FIFO in place of an object would be waited for.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        rustix::fs::openat(&self.objects, object.as_bytes(), flags, Mode::empty()).map(File::from)
    }

    /// Whether there is such an object.
    pub(super) fn has(&self, object: &ObjectPath) -> bool {
        rustix::fs::statat(&self.objects, object.as_bytes(), AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }
}

/// Reads a metadata object from the first store that has it, into `buffer`, and compares its SHA-256 with its name.
pub(super) fn read_metadata<'b>(
    stores: &[Store],
    object: &Checksum,
    kind: Metadata,
    buffer: &'b mut Vec<u8>,
) -> anyhow::Result<&'b [u8]> {
    let path = ObjectPath::new(object, kind.extension());
    let name = || format!("{object}.{}", kind.extension());
    for store in stores {
        let file = match store.open(&path) {
            Ok(file) => file,
            Err(Errno::NOENT) => continue,
            Err(errno) => return Err(anyhow!(errno).context(format!("opening object {}", name()))),
        };
        read_all(file, buffer).with_context(|| format!("reading object {}", name()))?;
        let found = Checksum::of(buffer);
        ensure!(found == *object, "object {} is damaged: its content has the SHA-256 {found}", name());
        return Ok(buffer);
    }
    Err(missing(stores, &name()))
}

/// No store has this object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingObject {
    name: String,
    stores: Vec<PathBuf>,
    absence: Absence,
}

/// Why an object is not there, as far as the repository has written it down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Absence {
    /// Nobody said that it would not be: something is damaged.
    Unexplained,
    /// Only a part of its commit was pulled (`state/COMMIT.commitpartial`).
    Partial,
    /// The commit was deleted on purpose (`COMMIT.tombstone-commit`).
    Deleted,
}

impl MissingObject {
    /// Looks into the repositories for what they have written down of the commit that the object is of.
    pub(super) fn explain(&mut self, stores: &[Store], commit: &Checksum) {
        let is_partial = |store: &Store| store.path.join(format!("state/{commit}.commitpartial")).exists();
        let tombstone = ObjectPath::new(commit, "tombstone-commit");
        if stores.iter().any(|store| store.has(&tombstone)) {
            self.absence = Absence::Deleted;
        } else if stores.iter().any(is_partial) {
            self.absence = Absence::Partial;
        }
    }
}

/// The error for an object that no store has.
pub(super) fn missing(stores: &[Store], name: &str) -> anyhow::Error {
    let stores = stores.iter().map(|store| store.path.clone()).collect();
    MissingObject { name: name.to_owned(), stores, absence: Absence::Unexplained }.into()
}

impl fmt::Display for MissingObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stores: Vec<_> = self.stores.iter().map(|store| store.display().to_string()).collect();
        write!(f, "object {} is missing from {}", self.name, stores.join(" and "))?;
        match self.absence {
            Absence::Unexplained => Ok(()),
            Absence::Partial => write!(
                f,
                ": only a part of its commit was pulled; pull it again, without --commit-metadata-only"
            ),
            Absence::Deleted => {
                write!(f, ": its commit was deleted on purpose, which left a tombstone; pull it again")
            }
        }
    }
}

impl std::error::Error for MissingObject {}

/// Most objects take one call: a regular file gives less than it's asked for only at its end, and if it were something
/// else, its bytes would not have the SHA-256 that they must have.
fn read_all(mut file: File, buffer: &mut Vec<u8>) -> anyhow::Result<()> {
    buffer.resize(USUAL, 0);
    let len = file.read(buffer)?;
    buffer.truncate(len);
    if len < USUAL {
        return Ok(());
    }
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        bail!("not a regular file");
    }
    ensure!(metadata.len() <= METADATA_MAX, "{} bytes are too many for metadata", metadata.len());
    file.by_ref().take(METADATA_MAX).read_to_end(buffer)?;
    Ok(())
}

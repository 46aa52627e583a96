//! What speaks for an image: raw bytes, read once and with limits. None of it is trusted before the check.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::buffer::spare_capacity;
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::io::{Errno, read, retry_on_intr};

use crate::commit::Commit;
use crate::names::CommitId;
use crate::note::{NOTE_MAX, Note};
use crate::policy::{Kind, SealedPolicy};
use crate::refusal::Refusal;

/// The most bytes of a commit object, and of a commit's detached metadata.
pub const COMMIT_MAX: usize = 16 << 20;

/// The file beside the image that holds its note.
pub const NOTE_FILE: &str = ".ostree.seal";

/// What is being checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// The image of a deployment, or of a commit in a repository: evidence must be for this commit.
    Commit(CommitId),
    /// An image by itself, on a build host. A commit that the note names can't be compared.
    Image,
}

/// A commit as the repository holds it.
#[derive(Debug, Clone)]
pub struct CommitObject {
    /// The bytes of `objects/xx/….commit`.
    pub bytes: Vec<u8>,
    /// The bytes of `objects/xx/….commitmeta`, if there are any.
    pub detached: Option<Vec<u8>>,
}

/// All that was found to speak for an image.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// What the evidence must be for.
    pub subject: Subject,
    /// The signed note, as in `.ostree.seal`.
    pub note: Option<Vec<u8>>,
    /// The subject's commit.
    pub commit: Option<CommitObject>,
    /// The commit that the subject's commit names as its parent; only where the former came out of a container.
    pub parent: Option<CommitObject>,
}

/// Where the evidence for a deployment lies.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// The deployment's directory, which holds [`NOTE_FILE`].
    pub deployment: BorrowedFd<'a>,
    /// The repository's `objects`.
    pub objects: BorrowedFd<'a>,
}

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

impl Evidence {
    /// Reads what the policy accepts for a deployment, each file at most once and none above its limit. A file that
    /// isn't there is no evidence; a file that can't be read is a refusal.
    pub fn read(places: Places<'_>, commit: CommitId, policy: &SealedPolicy) -> Result<Self, Refusal> {
        let note = match policy.accepts(Kind::Note) {
            true => read_optional(places.deployment, NOTE_FILE, NOTE_MAX)?,
            false => None,
        };
        Self::with_note(note, places.objects, commit, policy)
    }

    /// The same for a note that was read elsewhere, such as from detached metadata on a build host.
    pub fn with_note(
        note: Option<Vec<u8>>,
        objects: BorrowedFd<'_>,
        commit: CommitId,
        policy: &SealedPolicy,
    ) -> Result<Self, Refusal> {
        let mut evidence = Self { subject: Subject::Commit(commit), note, commit: None, parent: None };
        if evidence.needs_commit(commit, policy) {
            evidence.commit = read_commit(objects, commit)?;
            evidence.parent = match evidence.commit.as_ref().and_then(container_parent) {
                Some(parent) => read_commit(objects, parent)?,
                None => None,
            };
        }
        Ok(evidence)
    }

    /// A commit may have megabytes, so it is read only if the check will look at it.
    fn needs_commit(&self, commit: CommitId, policy: &SealedPolicy) -> bool {
        match &self.note {
            Some(note) if policy.accepts(Kind::Note) => {
                let named = Note::parse(note).ok().and_then(|note| note.statement.commit);
                named.is_some_and(|named| named != commit)
            }
            _ => policy.accepts(Kind::Commit),
        }
    }
}

/// The parent of a container import. Only which file is read depends on it: the check draws its own conclusions.
fn container_parent(commit: &CommitObject) -> Option<CommitId> {
    let commit = Commit::parse(&commit.bytes).ok()?;
    commit.parent().filter(|_| commit.is_container_import() == Ok(true))
}

fn read_commit(objects: BorrowedFd<'_>, id: CommitId) -> Result<Option<CommitObject>, Refusal> {
    let id = id.to_string();
    let name = |suffix| format!("{}/{}.{suffix}", &id[..2], &id[2..]);
    let Some(bytes) = read_optional(objects, &name("commit"), COMMIT_MAX)? else { return Ok(None) };
    let detached = read_optional(objects, &name("commitmeta"), COMMIT_MAX)?;
    Ok(Some(CommitObject { bytes, detached }))
}

/// A file's bytes, or nothing if there is no such file. Non-blocking, so that a fifo is an error and not a wait.
fn read_optional(directory: BorrowedFd<'_>, name: &str, limit: usize) -> Result<Option<Vec<u8>>, Refusal> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let bytes = match openat(directory, name, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => Err(ReadError::Os(errno)),
        Ok(file) => read_limited(file, limit),
    };
    bytes.map(Some).map_err(|error| Refusal::EvidenceUnreadable { name: name.to_owned(), error })
}

/// The bytes of a regular file of the initramfs. Non-blocking, so that a fifo is an error and not a wait.
pub(crate) fn read_file(path: &Path, limit: usize) -> Result<Vec<u8>, ReadError> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    read_limited(openat(CWD, path, flags, Mode::empty())?, limit)
}

/// The bytes of an open regular file of at most `limit` bytes.
pub(crate) fn read_limited(file: OwnedFd, limit: usize) -> Result<Vec<u8>, ReadError> {
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
    pub(crate) fn errno(&self) -> Errno {
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

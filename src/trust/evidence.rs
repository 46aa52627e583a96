//! What is to cover an image: raw bytes. None of it is trusted before the check.

use alloc::vec::Vec;
use core::fmt;

use crate::commit::SignedCommit;
use crate::names::CommitId;

/// The most bytes of a commit object, and of a commit's detached metadata.
pub const COMMIT_MAX: usize = 16 << 20;

/// The file beside the image that holds its note.
pub const NOTE_FILE: &str = ".ostree.seal";

/// A kind of evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EvidenceKind {
    /// A signed note.
    Note,
    /// A signed commit that holds the image's digest.
    Commit,
}

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

/// All that was found for an image.
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

impl CommitObject {
    /// The parent, if this is a container import. Only which file is read depends on it: the check draws its own
    /// conclusions.
    pub fn imported_parent(&self) -> Option<CommitId> {
        let commit = SignedCommit::parse(&self.bytes).ok()?;
        commit.parent().filter(|_| commit.is_container_import() == Ok(true))
    }
}

impl fmt::Display for EvidenceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::Commit => "commit",
        })
    }
}

//! What speaks for an image: raw bytes, read once and with limits. None of it is trusted before the check.

use std::os::fd::BorrowedFd;

use crate::names::CommitId;
use crate::policy::SealedPolicy;
use crate::refusal::Refusal;

/// The most bytes of a note. Enough for 16 signatures of any algorithm in sight.
pub const NOTE_MAX: usize = 128 << 10;

/// The most bytes of a commit object, and of a commit's detached metadata.
pub const COMMIT_MAX: usize = 16 << 20;

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
    /// The commit that the subject's commit names as its parent; read for bootc's imports only.
    pub parent: Option<CommitObject>,
}

/// Where the evidence for a deployment lies.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// The deployment's directory, which holds `.ostree.seal`.
    pub deployment: BorrowedFd<'a>,
    /// The repository's `objects`.
    pub objects: BorrowedFd<'a>,
}

impl Evidence {
    /// Reads what the policy accepts for a deployment, each file at most once and none above its limit. A file that
    /// isn't there is no evidence; a file that can't be read is a refusal.
    pub fn read(_: Places<'_>, commit: CommitId, policy: &SealedPolicy) -> Result<Self, Refusal> {
        let _ = (commit, policy);
        Err(Refusal::NoEvidence { accepted: Vec::new() })
    }
}

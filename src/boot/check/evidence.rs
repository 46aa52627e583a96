//! Reading what is to cover the image of a deployment: each file at most once and none above its limit.

use std::os::fd::BorrowedFd;

use ostree_seal_trust::evidence::{COMMIT_MAX, CommitObject, Evidence, EvidenceKind, NOTE_FILE, Subject};
use ostree_seal_trust::names::CommitId;
use ostree_seal_trust::note::{NOTE_MAX, Note};
use ostree_seal_trust::policy::SealedPolicy;
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

use super::error::CheckError;
use crate::read::{ReadError, read_limited};

/// Where the evidence for a deployment lies.
#[derive(Debug, Clone, Copy)]
pub struct EvidencePlaces<'a> {
    /// The deployment's directory, which holds [`NOTE_FILE`].
    pub deployment: BorrowedFd<'a>,
    /// The repository's `objects`.
    pub objects: BorrowedFd<'a>,
}

/// Reads what the policy accepts for a deployment. A file that isn't there is no evidence; a file that can't be read is a
/// refusal.
pub fn read(
    places: EvidencePlaces<'_>,
    commit: CommitId,
    policy: &SealedPolicy,
) -> Result<Evidence, CheckError> {
    let note = match policy.accepts(EvidenceKind::Note) {
        true => read_optional(places.deployment, NOTE_FILE, NOTE_MAX)?,
        false => None,
    };
    let mut evidence = none(commit);
    set_note(&mut evidence, note, places.objects, policy)?;
    Ok(evidence)
}

/// No evidence yet for an image of this commit.
pub fn none(commit: CommitId) -> Evidence {
    Evidence { subject: Subject::Commit(commit), note: None, commit: None, parent: None }
}

/// Takes a note that was read elsewhere, such as one of several from detached metadata on a build host, in the place of the
/// last one. The commit is read once, for the first note that needs it.
pub fn set_note(
    evidence: &mut Evidence,
    note: Option<Vec<u8>>,
    objects: BorrowedFd<'_>,
    policy: &SealedPolicy,
) -> Result<(), CheckError> {
    evidence.note = note;
    let Subject::Commit(commit) = evidence.subject else { return Ok(()) };
    if evidence.commit.is_none() && needs_commit(evidence, commit, policy) {
        evidence.commit = read_commit(objects, commit)?;
        evidence.parent = match evidence.commit.as_ref().and_then(CommitObject::imported_parent) {
            Some(parent) => read_commit(objects, parent)?,
            None => None,
        };
    }
    Ok(())
}

/// A commit may have megabytes, so it is read only if the check will look at it.
fn needs_commit(evidence: &Evidence, commit: CommitId, policy: &SealedPolicy) -> bool {
    match &evidence.note {
        Some(note) if policy.accepts(EvidenceKind::Note) => {
            let named = Note::parse(note).ok().and_then(|note| note.statement.commit);
            named.is_some_and(|named| named != commit)
        }
        _ => policy.accepts(EvidenceKind::Commit),
    }
}

fn read_commit(objects: BorrowedFd<'_>, id: CommitId) -> Result<Option<CommitObject>, CheckError> {
    let id = id.to_string();
    let name = |suffix| format!("{}/{}.{suffix}", &id[..2], &id[2..]);
    let Some(bytes) = read_optional(objects, &name("commit"), COMMIT_MAX)? else { return Ok(None) };
    let detached = read_optional(objects, &name("commitmeta"), COMMIT_MAX)?;
    Ok(Some(CommitObject { bytes, detached }))
}

/// A file's bytes, or nothing if there is no such file. Non-blocking, so that a fifo is an error and not a wait.
fn read_optional(directory: BorrowedFd<'_>, name: &str, limit: usize) -> Result<Option<Vec<u8>>, CheckError> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let bytes = match openat(directory, name, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => Err(ReadError::Os(errno)),
        Ok(file) => read_limited(file, limit),
    };
    bytes.map(Some).map_err(|error| CheckError::EvidenceUnreadable { name: name.to_owned(), error })
}

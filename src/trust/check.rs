//! The check: is the image of this digest one that trusted keys signed, for this policy?
//!
//! ```text
//! evidence ── authenticate ──> claim ── approve ──> claim ── check ──> proof
//!             who signed what?          product, index,      the image's
//!                                       commit               digest
//! ```

use alloc::vec::Vec;

use crate::claim::{Claim, ClaimError};
use crate::commit::{self, CommitError, SignedCommit};
use crate::digest::Digest;
use crate::evidence::{CommitObject, Evidence, EvidenceKind, Subject};
use crate::names::CommitId;
use crate::note::{Note, Statement};
use crate::policy::SealedPolicy;
use crate::refusal::Refusal;
use crate::signatures::{count_commit, count_note};

/// That an image of one digest passed the check. Only [`check`] makes one, so that whoever holds it knows that the check was
/// made. It holds no image: who mounts one ties it to the open file whose digest the kernel enforces.
///
/// ```compile_fail,E0451
/// # use ostree_seal_trust::{check::Proof, claim::Claim};
/// fn forge(claim: Claim) -> Proof {
///     Proof { claim }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    claim: Claim,
}

impl Proof {
    /// The digest that was signed and found.
    pub fn digest(&self) -> Digest {
        self.claim.digest
    }

    /// What was signed, by whom.
    pub fn claim(&self) -> &Claim {
        &self.claim
    }
}

/// The whole check of an image with this digest.
pub fn check(found: Digest, evidence: &Evidence, policy: &SealedPolicy) -> Result<Proof, Refusal> {
    let claim = approve(evidence, policy)?;
    claim.require_digest(found)?;
    Ok(Proof { claim })
}

/// What the policy lets boot of this subject, if an image of the claim's digest is there: all of the check but the digest.
pub fn approve(evidence: &Evidence, policy: &SealedPolicy) -> Result<Claim, Refusal> {
    let claim = authenticate(evidence, policy)?;
    claim.require_policy(policy)?;
    require_subject(&claim, evidence)?;
    Ok(claim)
}

/// What names a commit must be for the subject's, or for the one that came with it in a container.
fn require_subject(claim: &Claim, evidence: &Evidence) -> Result<(), ClaimError> {
    match (claim.commit, evidence.subject) {
        (Some(named), Subject::Commit(id)) if named == id || came_with(evidence, id, named) => Ok(()),
        (Some(named), Subject::Commit(id)) => Err(ClaimError::OtherCommit { note: named, subject: id }),
        (None, Subject::Commit(_)) | (_, Subject::Image) => Ok(()),
    }
}

/// What was signed by as many trusted keys as the policy wants.
///
/// A note decides if there is one and the policy accepts notes. One that fails is not made good by a signed commit: the
/// person who reads the refusal must see what is wrong with the evidence that was meant to count.
pub fn authenticate(evidence: &Evidence, policy: &SealedPolicy) -> Result<Claim, Refusal> {
    match choose(evidence, policy) {
        Some(Chosen::Note(note)) => authenticate_note(note, policy),
        Some(Chosen::Commit(id, object)) => authenticate_commit(id, object, evidence.parent.as_ref(), policy),
        None => Err(no_evidence(policy)),
    }
}

/// The kind of evidence that decides, if there is any that the policy accepts.
pub fn deciding(evidence: &Evidence, policy: &SealedPolicy) -> Option<EvidenceKind> {
    choose(evidence, policy).map(|chosen| match chosen {
        Chosen::Note(_) => EvidenceKind::Note,
        Chosen::Commit(..) => EvidenceKind::Commit,
    })
}

enum Chosen<'a> {
    Note(&'a [u8]),
    Commit(CommitId, &'a CommitObject),
}

fn choose<'a>(evidence: &'a Evidence, policy: &SealedPolicy) -> Option<Chosen<'a>> {
    if let Some(note) = evidence.note.as_deref().filter(|_| policy.accepts(EvidenceKind::Note)) {
        return Some(Chosen::Note(note));
    }
    match (evidence.subject, &evidence.commit) {
        (Subject::Commit(id), Some(object)) if policy.accepts(EvidenceKind::Commit) => {
            Some(Chosen::Commit(id, object))
        }
        _ => None,
    }
}

fn no_evidence(policy: &SealedPolicy) -> Refusal {
    Refusal::NoEvidence { accepted: policy.accepted().to_vec() }
}

fn authenticate_note(note: &[u8], policy: &SealedPolicy) -> Result<Claim, Refusal> {
    let note = Note::parse(note)?;
    let signers = count_note(note.text, &note.signatures, policy)?;
    let Statement { product, image, index, commit } = note.statement;
    Ok(Claim {
        kind: EvidenceKind::Note,
        digest: image,
        product: Some(product),
        index: Some(index),
        commit,
        signers: signers.counted,
        skipped: signers.skipped,
    })
}

fn authenticate_commit(
    id: CommitId,
    object: &CommitObject,
    parent: Option<&CommitObject>,
    policy: &SealedPolicy,
) -> Result<Claim, Refusal> {
    let commit = SignedCommit::named(id, &object.bytes)?;
    let signatures = read_signatures(id, object)?;
    let import =
        commit.is_container_import().map_err(|error| CommitError::Malformed { commit: id, error })?;
    if !signatures.is_empty() || !import {
        return signed_commit((id, object), &commit, &signatures, policy);
    }
    // A container import gets a commit of its own, which nobody has signed. What was signed is its parent.
    let (Some(id), Some(object)) = (commit.parent(), parent) else {
        return Err(CommitError::ParentMissing { commit: id, parent: commit.parent() }.into());
    };
    let parent = SignedCommit::named(id, &object.bytes)?;
    signed_commit((id, object), &parent, &read_signatures(id, object)?, policy)
}

fn read_signatures(id: CommitId, object: &CommitObject) -> Result<Vec<&[u8]>, CommitError> {
    let Some(detached) = &object.detached else { return Ok(Vec::new()) };
    commit::signatures(detached).map_err(|error| CommitError::DetachedMalformed { commit: id, error })
}

fn signed_commit(
    (id, object): (CommitId, &CommitObject),
    commit: &SignedCommit<'_>,
    signatures: &[&[u8]],
    policy: &SealedPolicy,
) -> Result<Claim, Refusal> {
    if signatures.is_empty() {
        return Err(no_evidence(policy));
    }
    let signers = count_commit(&object.bytes, signatures, policy)?;
    let (digest, product, index) = commit.promise(id)?;
    Ok(Claim {
        kind: EvidenceKind::Commit,
        digest,
        product,
        index,
        commit: Some(id),
        signers: signers.counted,
        skipped: signers.skipped,
    })
}

/// Whether the subject is a container import of the commit `original`.
fn came_with(evidence: &Evidence, id: CommitId, original: CommitId) -> bool {
    let commit = evidence.commit.as_ref().and_then(|object| SignedCommit::named(id, &object.bytes).ok());
    commit.is_some_and(|commit| commit.is_container_import() == Ok(true) && commit.parent() == Some(original))
}

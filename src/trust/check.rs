//! The check: an image and its evidence, against the policy.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::commit::{self, Commit};
use crate::digest::Digest;
use crate::evidence::{CommitObject, Evidence, Subject};
use crate::names::{CommitId, Product};
use crate::note::{Note, SIGNATURES_MAX, Statement, shortened};
use crate::policy::{Kind, SealedPolicy};
use crate::refusal::Refusal;
use crate::vkey::KeyId;

use crate::tally::Tally;

/// That an image of one digest passed the check. Nothing but [`examine`] makes one. It holds no image: who mounts one ties
/// it to the open file whose digest the kernel enforces.
#[derive(Debug, Clone)]
pub struct Proof {
    report: Report,
}

/// What a check found out, whether it said yes or no.
#[derive(Debug, Clone)]
pub struct Report {
    /// The image's digest.
    pub found: Digest,
    /// The digest that was signed, as far as the check came to it.
    pub expected: Option<Digest>,
    /// The kind of evidence that decided.
    pub kind: Option<Kind>,
    /// The product that was signed.
    pub product: Option<Product>,
    /// The index that was signed.
    pub index: Option<u64>,
    /// The commit that the evidence is about.
    pub commit: Option<CommitId>,
    /// The keys that counted.
    pub counted: Vec<KeyId>,
    /// The signatures that did not count.
    pub skipped: Vec<SkippedSignature>,
}

/// A signature that was there and did not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedSignature {
    /// The key, as far as the signature names it or is known to be its: `NAME+HASH`, or only a name.
    pub key: Option<String>,
    /// Why it did not count.
    pub reason: SkippedReason,
}

/// Why a signature did not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkippedReason {
    /// No trusted key has this name and hash, or made this signature.
    UnknownKey,
    /// The key is revoked.
    Revoked,
    /// The same public key has been counted already.
    Repeated,
    /// It can't be a signature of a known type.
    Malformed,
}

impl Proof {
    /// The digest that was checked.
    pub fn digest(&self) -> Digest {
        self.report.found
    }

    /// What the check found out.
    pub fn report(&self) -> &Report {
        &self.report
    }
}

/// The whole check of an image with this digest, and what it found out on the way.
pub fn examine(
    found: Digest,
    evidence: &Evidence,
    policy: &SealedPolicy,
) -> (Report, Result<Proof, Refusal>) {
    let mut report = Report {
        found,
        expected: None,
        kind: None,
        product: None,
        index: None,
        commit: None,
        counted: Vec::new(),
        skipped: Vec::new(),
    };
    let verdict = decide(&mut report, evidence, policy);
    let verdict = verdict.map(|()| Proof { report: report.clone() });
    (report, verdict)
}

/// A note decides if there is one and the policy accepts notes. One that fails is not made good by a signed commit:
/// the person who reads the refusal must see what is wrong with the evidence that was meant to count.
fn decide(report: &mut Report, evidence: &Evidence, policy: &SealedPolicy) -> Result<(), Refusal> {
    let note = evidence.note.as_deref().filter(|_| policy.accepts(Kind::Note));
    let commit = evidence.commit.as_ref().filter(|_| policy.accepts(Kind::Commit));
    match (note, evidence.subject, commit) {
        (Some(note), ..) => check_note(report, note, evidence, policy),
        (None, Subject::Commit(id), Some(commit)) => check_commit(report, (id, commit), evidence, policy),
        _ => Err(Refusal::NoEvidence { accepted: policy.accept.clone() }),
    }
}

fn check_note(
    report: &mut Report,
    note: &[u8],
    evidence: &Evidence,
    policy: &SealedPolicy,
) -> Result<(), Refusal> {
    report.kind = Some(Kind::Note);
    let note = Note::parse(note).map_err(Refusal::NoteMalformed)?;
    let mut tally = Tally::new(policy);
    for signature in &note.signatures {
        tally.add_named(note.text.as_bytes(), signature)?;
    }
    tally.close(Kind::Note, report)?;
    let Statement { product, image, index, commit } = note.statement;
    report.commit = commit;
    check_claim(report, Claim { product: Some(product), index: Some(index), digest: image }, policy)?;
    match (commit, evidence.subject) {
        (Some(named), Subject::Commit(id)) if named != id && !came_with(evidence, id, named) => {
            Err(Refusal::OtherCommit { note: named, subject: id })
        }
        _ => Ok(()),
    }
}

/// Whether the subject is a container import of the commit `original`.
fn came_with(evidence: &Evidence, id: CommitId, original: CommitId) -> bool {
    let Some(object) = evidence.commit.as_ref().filter(|object| commit::id(&object.bytes) == id) else {
        return false;
    };
    Commit::parse(&object.bytes)
        .is_ok_and(|commit| commit.is_container_import() == Ok(true) && commit.parent() == Some(original))
}

fn check_commit(
    report: &mut Report,
    subject: (CommitId, &CommitObject),
    evidence: &Evidence,
    policy: &SealedPolicy,
) -> Result<(), Refusal> {
    report.kind = Some(Kind::Commit);
    let (id, object) = subject;
    let commit = read_commit(id, &object.bytes)?;
    let own = read_signatures(id, object)?;
    let import =
        commit.is_container_import().map_err(|error| Refusal::CommitMalformed { commit: id, error })?;
    if !own.is_empty() || !import {
        return check_signed_commit(report, (id, object), (&commit, &own), policy);
    }
    // A container import gets a commit of its own, which nobody has signed. What was signed is its parent.
    let (Some(id), Some(object)) = (commit.parent(), &evidence.parent) else {
        return Err(Refusal::ParentMissing { commit: id, parent: commit.parent() });
    };
    let parent = read_commit(id, &object.bytes)?;
    check_signed_commit(report, (id, object), (&parent, &read_signatures(id, object)?), policy)
}

/// Reads a commit after its bytes have been found to be those that its name stands for.
fn read_commit(id: CommitId, bytes: &[u8]) -> Result<Commit<'_>, Refusal> {
    let found = commit::id(bytes);
    if found != id {
        return Err(Refusal::CommitNotItsName { name: id, found });
    }
    Commit::parse(bytes).map_err(|error| Refusal::CommitMalformed { commit: id, error })
}

fn read_signatures(id: CommitId, object: &CommitObject) -> Result<Vec<&[u8]>, Refusal> {
    let Some(detached) = &object.detached else { return Ok(Vec::new()) };
    commit::signatures(detached).map_err(|error| Refusal::DetachedMalformed { commit: id, error })
}

fn check_signed_commit(
    report: &mut Report,
    (id, object): (CommitId, &CommitObject),
    (commit, signatures): (&Commit<'_>, &[&[u8]]),
    policy: &SealedPolicy,
) -> Result<(), Refusal> {
    if signatures.is_empty() {
        return Err(Refusal::NoEvidence { accepted: policy.accept.clone() });
    }
    if signatures.len() > SIGNATURES_MAX {
        return Err(Refusal::TooManySignatures(signatures.len()));
    }
    let mut tally = Tally::new(policy);
    for signature in signatures {
        tally.add_nameless(&object.bytes, signature);
    }
    tally.close(Kind::Commit, report)?;
    report.commit = Some(id);
    check_claim(report, read_claim(id, commit)?, policy)
}

/// What a commit says of its image. Nothing in it counts before the signatures do.
fn read_claim(id: CommitId, commit: &Commit<'_>) -> Result<Claim, Refusal> {
    let malformed = |error| Refusal::CommitMalformed { commit: id, error };
    let digest = commit.digest().map_err(malformed)?;
    let product = match commit.product().map_err(malformed)? {
        None => None,
        Some(text) => Some(
            text.parse()
                .map_err(|_| Refusal::CommitProductMalformed { commit: id, found: shortened(text) })?,
        ),
    };
    Ok(Claim {
        product,
        index: commit.index().map_err(malformed)?,
        digest: digest.ok_or(Refusal::CommitWithoutDigest { commit: id })?,
    })
}

/// What enough trusted keys have signed.
struct Claim {
    product: Option<Product>,
    index: Option<u64>,
    digest: Digest,
}

fn check_claim(report: &mut Report, claim: Claim, policy: &SealedPolicy) -> Result<(), Refusal> {
    report.product.clone_from(&claim.product);
    report.index = claim.index;
    report.expected = Some(claim.digest);
    if let Some(expected) = policy.product.as_ref().filter(|product| claim.product.as_ref() != Some(product))
    {
        return Err(Refusal::OtherProduct { expected: expected.clone(), found: claim.product });
    }
    if claim.index.unwrap_or(0) < policy.minimum_index {
        return Err(Refusal::IndexTooLow { minimum: policy.minimum_index, found: claim.index });
    }
    if claim.digest != report.found {
        return Err(Refusal::OtherDigest { expected: claim.digest, found: report.found });
    }
    Ok(())
}

impl fmt::Display for SkippedSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "{}: {}", shortened(key), self.reason),
            None => write!(f, "a signature: {}", self.reason),
        }
    }
}

impl fmt::Display for SkippedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownKey => "no trusted key",
            Self::Revoked => "revoked",
            Self::Repeated => "counted already",
            Self::Malformed => "malformed or of unknown type",
        })
    }
}

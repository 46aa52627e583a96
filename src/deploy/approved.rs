//! What was signed for a deployment: the notes that may count, and which of them both the initramfs's check and the running
//! system accept.

use std::collections::HashSet;
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::Result;
use ostree_seal_root::check::evidence;
use ostree_seal_trust::check::{Proof, approve, check};
use ostree_seal_trust::claim::{Claim, ClaimError};
use ostree_seal_trust::digest::Digest;
use ostree_seal_trust::evidence::{Evidence, EvidenceKind};
use ostree_seal_trust::names::CommitId;
use ostree_seal_trust::policy::SealedPolicy;
use ostree_seal_trust::refusal::Refusal;

use super::directory;
use crate::continuity::judge::{Continuity, Objection};
use crate::convert::check_promise;
use crate::refused::Refused;
use crate::repo::{Checksum, Commit, Source};

/// The most different notes of a commit that are looked at: one for each product or rotation of keys is a handful.
const NOTES_MAX: usize = 256;

/// Evidence that the check accepts for an image of one digest, which the running system lets come. Only [`Approved::find`]
/// makes one.
#[derive(Debug)]
pub struct Approval {
    note: Option<Vec<u8>>,
    claim: Claim,
    continuity: Continuity,
}

/// All that the check accepts for one deployment, each for an image of its own digest, at least one.
#[derive(Debug)]
pub struct Approved {
    first: Approval,
    others: Vec<Approval>,
}

/// Where evidence is looked for.
#[derive(Debug, Clone, Copy)]
pub struct EvidenceSources<'a> {
    /// The repository.
    pub source: &'a Source,
    /// The deployment's commit.
    pub commit: &'a Commit,
    /// The deployment's directory.
    pub deployment: &'a Path,
    /// A note from elsewhere, which then is the only one.
    pub note: Option<&'a [u8]>,
}

impl Approval {
    /// The note to be placed, if the evidence is one.
    pub fn note(&self) -> Option<&[u8]> {
        self.note.as_deref()
    }

    /// The digest that the image must have.
    pub fn digest(&self) -> Digest {
        self.claim.digest
    }

    /// What was signed, by whom.
    pub fn claim(&self) -> &Claim {
        &self.claim
    }

    /// Why the running system lets it come.
    pub fn continuity(&self) -> &Continuity {
        &self.continuity
    }
}

impl Approved {
    /// Asks the check about each note, and the running system about the image that it is for. A commit that promises an image
    /// of another digest rules a note out. The first refusal is told if none is accepted.
    pub fn find(
        sources: EvidenceSources<'_>,
        objects: impl AsFd,
        policy: &SealedPolicy,
        judge: impl Fn(Digest) -> Result<Continuity, Objection>,
    ) -> Result<Self> {
        let commit = sources.commit;
        let mut refusal = None;
        let mut approvals = Vec::new();
        let mut evidence = evidence::none(CommitId(commit.checksum.0));
        for note in notes(sources, policy)? {
            evidence::set_note(&mut evidence, note, objects.as_fd(), policy)?;
            match approval_of(&evidence, commit, policy, &judge) {
                Ok(approval) => approvals.push(approval),
                Err(error) => refusal = refusal.or(Some(error)),
            }
        }
        let mut approvals = approvals.into_iter();
        match approvals.next() {
            Some(first) => Ok(Self { first, others: approvals.collect() }),
            None => Err(refusal
                .expect("invariant: there is at least one to ask about, if only that there is no note")),
        }
    }

    /// What was signed for an image of this digest.
    pub fn of(&self, digest: Digest) -> Option<&Approval> {
        std::iter::once(&self.first).chain(&self.others).find(|approval| approval.digest() == digest)
    }

    /// The same of an image that was made. If it is none that was signed, the refusal names the digest that is expected first.
    pub fn require(&self, found: Digest) -> Result<&Approval, Refusal> {
        let expected = self.first.digest();
        self.of(found).ok_or_else(|| ClaimError::OtherDigest { expected, found }.into())
    }
}

/// What the running system's policy says of an image of this digest, by all evidence that there is, or else the first refusal.
/// It may go by another note than the deployment, such as in a rotation of keys, so that a note which was given doesn't stand
/// alone here.
pub fn proofs(
    sources: EvidenceSources<'_>,
    objects: impl AsFd,
    digest: Digest,
    policy: &SealedPolicy,
) -> Result<Vec<Proof>> {
    let mut notes = notes(EvidenceSources { note: None, ..sources }, policy)?;
    if let Some(note) = sources.note.filter(|_| policy.accepts(EvidenceKind::Note)) {
        notes.retain(Option::is_some);
        notes.insert(0, Some(note.to_owned()));
    }
    let mut evidence = evidence::none(CommitId(sources.commit.checksum.0));
    let mut refusal = None;
    let mut proofs = Vec::new();
    for note in notes {
        evidence::set_note(&mut evidence, note, objects.as_fd(), policy)?;
        match check(digest, &evidence, policy) {
            Ok(proof) => proofs.push(proof),
            Err(error) => refusal = refusal.or(Some(error)),
        }
    }
    match refusal {
        Some(refusal) if proofs.is_empty() => Err(refusal.into()),
        _ => Ok(proofs),
    }
}

/// The notes that may count: the one that was given, or those of the commit and, behind them, the one that is there
/// already, since an earlier run may have been given it. Nothing in the list is evidence without a note.
fn notes(sources: EvidenceSources<'_>, policy: &SealedPolicy) -> Result<Vec<Option<Vec<u8>>>> {
    let EvidenceSources { source, commit, deployment, note } = sources;
    if !policy.accepts(EvidenceKind::Note) {
        return Ok(vec![None]);
    }
    if let Some(note) = note {
        return Ok(vec![Some(note.to_owned())]);
    }
    let mut notes = source.notes(&commit.checksum)?;
    if let (true, Some(parent)) = (notes.is_empty(), imported_from(source, commit)?) {
        notes = source.notes(&parent)?;
    }
    let of_commit = notes.into_iter().map(String::into_bytes);
    let all = of_commit.chain(directory::existing_note(deployment)?);
    // Whoever writes detached metadata may have written the same note thousands of times.
    let mut seen = HashSet::new();
    let notes: Vec<_> = all.filter(|note| seen.insert(note.clone())).map(Some).take(NOTES_MAX + 1).collect();
    if notes.len() > NOTES_MAX {
        return Err(Refused(format!(
            "the commit {} has more than {NOTES_MAX} different notes; attach those that count to a commit of their own",
            commit.checksum
        ))
        .into());
    }
    Ok(if notes.is_empty() { vec![None] } else { notes })
}

/// The commit that a container was made from, if this one came out of a container: signatures stay with that one.
fn imported_from(source: &Source, commit: &Commit) -> Result<Option<Checksum>> {
    let bytes = source.commit_bytes(&commit.checksum)?;
    let parsed = ostree_seal_trust::commit::SignedCommit::parse(&bytes)?;
    let parent = if parsed.is_container_import()? { parsed.parent() } else { None };
    Ok(parent.map(|parent| Checksum(parent.0)))
}

fn approval_of(
    evidence: &Evidence,
    commit: &Commit,
    policy: &SealedPolicy,
    judge: impl Fn(Digest) -> Result<Continuity, Objection>,
) -> Result<Approval> {
    let claim = approve(evidence, policy)?;
    check_promise(commit, claim.digest)?;
    let continuity = judge(claim.digest).map_err(|objection| Refused(objection.to_string()))?;
    Ok(Approval { note: evidence.note.clone(), claim, continuity })
}

//! Whether the running system vouches for a deployment.

use std::fmt;

use ostree_seal_trust::check::{Proof, check};
use ostree_seal_trust::digest::Digest;
use ostree_seal_trust::evidence::Evidence;
use ostree_seal_trust::policy::SealedPolicy;
use ostree_seal_trust::refusal::Refusal;

use super::allowed::Allowed;
use super::running::{RunningSystem, RunningTrust};
use crate::repo::Checksum;

/// A deployment that its own initramfs will boot, as the running system sees it.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Its commit.
    pub commit: Checksum,
    /// `STATEROOT/COMMIT.SERIAL`.
    pub name: &'a str,
    /// How it is to become the default.
    pub way: Way,
}

/// How a deployment becomes the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It is staged: an update, whatever was there before.
    Staged,
    /// It is in the boot order: an update, or an older one that was chosen again.
    InOrder,
}

/// Why a deployment may go on from what runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Continuity {
    /// No sealed system runs here that could be asked.
    NobodyToAsk,
    /// It was there when this system was booted: to choose it again is a rollback, which the operator decides.
    WasThere,
    /// The running system's keys vouch for its image.
    Vouched(Box<Proof>),
    /// They don't, and an administrator has let it through by name.
    Allowed(Box<Objection>),
}

/// Why the running system doesn't vouch for a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Objection {
    /// What the running system goes by can't be told.
    Unknown {
        /// The deployment's commit.
        commit: Checksum,
        /// Why not.
        why: String,
    },
    /// Its policy and keys say no.
    NotVouched {
        /// The deployment's commit.
        commit: Checksum,
        /// Why not.
        why: String,
    },
    /// It is an older release than the one that runs.
    Downgrade {
        /// The deployment's commit.
        commit: Checksum,
        /// The index of what runs.
        running: u64,
        /// The highest index that was signed for it, if any has one.
        found: Option<u64>,
    },
}

/// Judges a deployment whose image has this digest, by all evidence that there is. `evidence` is asked only if a policy runs
/// that needs it.
pub fn judge<E: fmt::Display>(
    running: &RunningSystem,
    allowed: &Allowed,
    candidate: Candidate<'_>,
    vouch: impl FnOnce(&SealedPolicy) -> Result<Vec<Proof>, E>,
) -> Result<Continuity, Objection> {
    let commit = candidate.commit;
    let trust = match running {
        RunningSystem::NotHere | RunningSystem::Unsealed => return Ok(Continuity::NobodyToAsk),
        RunningSystem::Unknown(why) => {
            return unless_untrusted(allowed, Objection::Unknown { commit, why: why.clone() });
        }
        RunningSystem::Sealed(trust) => trust,
    };
    if candidate.way == Way::InOrder && trust.was_there(candidate.name) {
        return Ok(Continuity::WasThere);
    }
    match vouch(trust.policy()) {
        Err(why) => unless_untrusted(allowed, Objection::NotVouched { commit, why: why.to_string() }),
        Ok(proofs) => newest(trust, allowed, commit, proofs),
    }
}

/// What the check says of an image of this digest, by each evidence that covers it; or else the first refusal.
pub fn proofs(digest: Digest, evidence: &[Evidence], policy: &SealedPolicy) -> Result<Vec<Proof>, Refusal> {
    let mut refusal = None;
    let mut proofs = Vec::new();
    for evidence in evidence {
        match check(digest, evidence, policy) {
            Ok(proof) => proofs.push(proof),
            Err(error) => refusal = refusal.or(Some(error)),
        }
    }
    if proofs.is_empty() {
        return Err(refusal.unwrap_or(Refusal::NoEvidence { accepted: policy.accepted().to_vec() }));
    }
    Ok(proofs)
}

/// The same image may have been signed as several releases: the newest of them counts.
fn newest(
    trust: &RunningTrust,
    allowed: &Allowed,
    commit: Checksum,
    proofs: Vec<Proof>,
) -> Result<Continuity, Objection> {
    let Some(proof) = proofs.into_iter().max_by_key(|proof| proof.claim().index) else {
        let why = "nothing that was signed covers it".to_owned();
        return unless_untrusted(allowed, Objection::NotVouched { commit, why });
    };
    let found = proof.claim().index;
    match trust.index() {
        Some(running) if found.unwrap_or(0) < running => {
            let objection = Objection::Downgrade { commit, running, found };
            if allowed.downgrade == Some(commit) {
                Ok(Continuity::Allowed(Box::new(objection)))
            } else {
                Err(objection)
            }
        }
        Some(_) | None => Ok(Continuity::Vouched(Box::new(proof))),
    }
}

fn unless_untrusted(allowed: &Allowed, objection: Objection) -> Result<Continuity, Objection> {
    match &objection {
        Objection::Unknown { commit, .. } | Objection::NotVouched { commit, .. }
            if allowed.untrusted.as_ref() == Some(commit) =>
        {
            Ok(Continuity::Allowed(Box::new(objection)))
        }
        _ => Err(objection),
    }
}

impl Continuity {
    /// A word for programs.
    pub fn word(&self) -> &'static str {
        match self {
            Self::NobodyToAsk => "nobody-to-ask",
            Self::WasThere => "was-there",
            Self::Vouched(_) => "vouched",
            Self::Allowed(_) => "allowed",
        }
    }
}

impl Objection {
    /// Every word that [`Objection::word`] has.
    pub const WORDS: [&'static str; 3] =
        ["continuity/unknown", "continuity/not-vouched", "continuity/downgrade"];

    /// A word for programs, and for whoever looks it up.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "continuity/unknown",
            Self::NotVouched { .. } => "continuity/not-vouched",
            Self::Downgrade { .. } => "continuity/downgrade",
        }
    }
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (commit, option) = match self {
            Self::Unknown { commit, why } => {
                write!(
                    f,
                    "what the running system trusts can't be told, so it vouches for no update: {why}"
                )?;
                (commit, "--allow-untrusted")
            }
            Self::NotVouched { commit, why } => {
                write!(
                    f,
                    "the running system doesn't vouch for this deployment, whatever its own policy says: {why}; sign it \
                     with keys that the running system trusts (in a rotation with the old and the new one)"
                )?;
                (commit, "--allow-untrusted")
            }
            Self::Downgrade { commit, running, found } => {
                let found = found.map_or_else(|| "none".to_owned(), |index| index.to_string());
                write!(
                    f,
                    "the running system has index {running}, this deployment has {found}: an update doesn't go back"
                )?;
                (commit, "--allow-downgrade")
            }
        };
        write!(
            f,
            "; if it is meant, `ostree-seal deploy --pending {option} {commit}`, and stage it again if it was withdrawn"
        )
    }
}

impl std::error::Error for Objection {}

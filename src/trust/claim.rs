//! What was signed, by whom, and whether it is what the policy wants of this subject.

use alloc::vec::Vec;
use core::fmt;

use crate::digest::Digest;
use crate::evidence::EvidenceKind;
use crate::names::{CommitId, Product};
use crate::policy::SealedPolicy;
use crate::signatures::SkippedSignature;
use crate::vkey::KeyId;

/// What enough trusted keys have signed. That they did says neither that the policy wants such an image nor that one is
/// there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The kind of evidence that decided.
    pub kind: EvidenceKind,
    /// The image's fs-verity digest.
    pub digest: Digest,
    /// What the image is meant for; a signed commit may say nothing.
    pub product: Option<Product>,
    /// The release's place in the order of releases; a signed commit may say nothing.
    pub index: Option<u64>,
    /// The commit that was signed or that the note names; a note may name none.
    pub commit: Option<CommitId>,
    /// The keys that counted.
    pub signers: Vec<KeyId>,
    /// The signatures that did not count.
    pub skipped: Vec<SkippedSignature>,
}

/// Why what was signed is not for this policy, this commit or this image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimError {
    /// It is for another product than the policy's.
    OtherProduct {
        /// What the policy wants.
        expected: Product,
        /// What was signed; a commit may say nothing.
        found: Option<Product>,
    },
    /// Its index is lower than the policy allows.
    IndexTooLow {
        /// What the policy wants.
        minimum: u64,
        /// What was signed; a commit may say nothing.
        found: Option<u64>,
    },
    /// The note is for another commit.
    OtherCommit {
        /// The commit that the note names.
        note: CommitId,
        /// The deployment's commit.
        subject: CommitId,
    },
    /// The image is not the one that was signed.
    OtherDigest {
        /// What was signed.
        expected: Digest,
        /// The image's digest.
        found: Digest,
    },
}

impl Claim {
    /// Product and index are what the policy wants.
    pub(crate) fn require_policy(&self, policy: &SealedPolicy) -> Result<(), ClaimError> {
        let wanted = policy.product().filter(|product| self.product.as_ref() != Some(product));
        if let Some(expected) = wanted {
            return Err(ClaimError::OtherProduct { expected: expected.clone(), found: self.product.clone() });
        }
        if self.index.unwrap_or(0) < policy.minimum_index() {
            return Err(ClaimError::IndexTooLow { minimum: policy.minimum_index(), found: self.index });
        }
        Ok(())
    }

    /// The image has the digest that was signed.
    pub(crate) fn require_digest(&self, found: Digest) -> Result<(), ClaimError> {
        if self.digest == found {
            Ok(())
        } else {
            Err(ClaimError::OtherDigest { expected: self.digest, found })
        }
    }
}

impl ClaimError {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::OtherProduct { .. } => "claim/other-product",
            Self::IndexTooLow { .. } => "claim/index-too-low",
            Self::OtherCommit { .. } => "claim/other-commit",
            Self::OtherDigest { .. } => "claim/other-digest",
        }
    }
}

impl fmt::Display for ClaimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherProduct { expected, found: Some(found) } => {
                write!(f, "the policy wants product {expected}, the signature is for {found}")
            }
            Self::OtherProduct { expected, found: None } => {
                write!(f, "the policy wants product {expected}, the signature is for none")
            }
            Self::IndexTooLow { minimum, found: Some(found) } => write!(
                f,
                "the policy wants an index of {minimum} or more, the signature is for {found}; boot a newer release"
            ),
            Self::IndexTooLow { minimum, found: None } => write!(
                f,
                "the policy wants an index of {minimum} or more, the signature is for none; boot a newer release"
            ),
            Self::OtherCommit { note, subject } => write!(
                f,
                "the note is for commit {note}, and the deployment is of commit {subject}; fetch the note of this commit"
            ),
            Self::OtherDigest { expected, found } => write!(
                f,
                "the signed digest is {expected}, the image's is {found}; make the image of the signed commit again, or \
                 fetch the note that belongs to this one"
            ),
        }
    }
}

impl core::error::Error for ClaimError {}

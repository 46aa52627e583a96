//! The check: an image and what speaks for it, against the policy.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use crate::digest::Digest;
use crate::evidence::Evidence;
use crate::names::{CommitId, Product};
use crate::policy::{Kind, SealedPolicy};
use crate::refusal::Refusal;
use crate::verity;
use crate::vkey::KeyId;

/// An open image with the digest that the kernel enforces on it. Not yet checked against anything.
#[derive(Debug)]
pub struct MeasuredImage {
    image: OwnedFd,
    digest: Digest,
}

/// An open image that passed the check. Nothing else makes one, and nothing else can be mounted as a sealed root.
#[derive(Debug)]
pub struct VerifiedImage {
    image: OwnedFd,
    report: Report,
}

/// A digest that a program computed, as on a build host. It can be checked and never mounted: what was read once
/// may be different when it is read again.
#[derive(Debug, Clone, Copy)]
pub struct ComputedDigest(Digest);

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
    /// The key, as the signature names it; a signature in a commit names none.
    pub key: Option<KeyId>,
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

impl MeasuredImage {
    /// Measures an open image. The path is for the error only; nothing is opened.
    pub fn measure(image: OwnedFd, path: &Path) -> Result<Self, Refusal> {
        match verity::measure(&image) {
            Ok(digest) => Ok(Self { image, digest }),
            Err(error) => Err(Refusal::NotMeasured { path: path.to_owned(), error }),
        }
    }

    /// The digest that the kernel enforces.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Gives the image back as one that may be mounted, or says why not.
    pub fn verify(self, evidence: &Evidence, policy: &SealedPolicy) -> Result<VerifiedImage, Refusal> {
        let (report, verdict) = examine(self.digest, evidence, policy);
        verdict.map(|()| VerifiedImage { image: self.image, report })
    }
}

impl VerifiedImage {
    /// What the check found out.
    pub fn report(&self) -> &Report {
        &self.report
    }
}

impl AsFd for VerifiedImage {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.image.as_fd()
    }
}

impl ComputedDigest {
    /// A digest that was computed in user space.
    pub fn new(digest: Digest) -> Self {
        Self(digest)
    }

    /// The initramfs's check of this digest: what it found out, and its verdict.
    pub fn examine(self, evidence: &Evidence, policy: &SealedPolicy) -> (Report, Result<(), Refusal>) {
        examine(self.0, evidence, policy)
    }
}

/// The whole check, and what it found out on the way.
fn examine(digest: Digest, _: &Evidence, policy: &SealedPolicy) -> (Report, Result<(), Refusal>) {
    let report = Report {
        found: digest,
        expected: None,
        kind: None,
        product: None,
        index: None,
        commit: None,
        counted: Vec::new(),
        skipped: Vec::new(),
    };
    (report, Err(Refusal::NoEvidence { accepted: policy.accept.clone() }))
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

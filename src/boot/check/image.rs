//! An image from the moment it is open: measured, then verified, and always the same descriptor.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use ostree_seal_trust::check::{self, Proof, Report};
use ostree_seal_trust::digest::Digest;
use ostree_seal_trust::evidence::Evidence;
use ostree_seal_trust::policy::SealedPolicy;
use ostree_seal_trust::refusal::Refusal;

use super::error::CheckError;
use super::verity;

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
    proof: Proof,
}

impl MeasuredImage {
    /// Measures an open image. The path is for the error only; nothing is opened.
    pub fn measure(image: OwnedFd, path: &Path) -> Result<Self, CheckError> {
        match verity::measure(&image) {
            Ok(digest) => Ok(Self { image, digest }),
            Err(error) => Err(CheckError::NotMeasured { path: path.to_owned(), error }),
        }
    }

    /// The digest that the kernel enforces.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Gives the image back as one that may be mounted, or says why not.
    pub fn verify(self, evidence: &Evidence, policy: &SealedPolicy) -> Result<VerifiedImage, Refusal> {
        let (_, verdict) = check::examine(self.digest, evidence, policy);
        verdict.map(|proof| VerifiedImage { image: self.image, proof })
    }
}

impl VerifiedImage {
    /// What the check found out.
    pub fn report(&self) -> &Report {
        self.proof.report()
    }
}

impl AsFd for VerifiedImage {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.image.as_fd()
    }
}

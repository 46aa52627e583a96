//! An image from the moment it is open: measured, then verified, and always the same descriptor.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use ostree_seal_trust::check::{Proof, check};
use ostree_seal_trust::claim::Claim;
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

/// An open image that passed the check. Only [`MeasuredImage::verify`] makes one, and nothing else can be mounted as a sealed
/// root: neither an image that was only measured,
///
/// ```compile_fail,E0308
/// # use ostree_seal_root::{check::image::MeasuredImage, error::BootError, mount::{Layers, mount_verified}};
/// fn mount(image: &MeasuredImage, layers: &Layers<'_>) -> Result<(), BootError> {
///     mount_verified(image, "image", layers).map(drop)
/// }
/// ```
///
/// nor another file under a proof that was made for this one:
///
/// ```compile_fail,E0451
/// # use std::os::fd::OwnedFd;
/// # use ostree_seal_root::check::image::VerifiedImage;
/// # use ostree_seal_trust::check::Proof;
/// fn forge(image: OwnedFd, proof: Proof) -> VerifiedImage {
///     VerifiedImage { image, proof }
/// }
/// ```
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
        let proof = check(self.digest, evidence, policy)?;
        Ok(VerifiedImage { image: self.image, proof })
    }
}

impl VerifiedImage {
    /// What was signed, by whom.
    pub fn claim(&self) -> &Claim {
        self.proof.claim()
    }

    /// That the check was made.
    pub fn proof(&self) -> &Proof {
        &self.proof
    }
}

impl AsFd for VerifiedImage {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.image.as_fd()
    }
}

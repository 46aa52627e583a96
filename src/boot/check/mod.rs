//! The check of what was found: policy, evidence and the measured image. The decision is ostree-seal-trust's.

use std::os::fd::AsFd as _;
use std::path::Path;

use ostree_seal_trust::policy::SealedPolicy;

use crate::error::BootError;
use crate::find::Found;
use evidence::EvidencePlaces;
use image::{MeasuredImage, VerifiedImage};

pub mod error; // why there is no verified image
pub mod evidence; // reading what is to cover the image
pub mod image; // measured, then verified
pub mod policy; // reading the policy and the keys
pub mod verity; // the digest as the kernel measures it

/// Opens the image, measures it, reads the evidence and checks both against the policy. Nothing is mounted.
pub fn verify(found: &Found, policy: &SealedPolicy) -> Result<VerifiedImage, BootError> {
    let path = found.deployment.image_path();
    let image = found.deployment.open_image()?;
    let places = EvidencePlaces { deployment: found.deployment.dir.as_fd(), objects: found.objects.as_fd() };
    let evidence = evidence::read(places, found.deployment.commit, policy)
        .map_err(|error| BootError::check(&path, error))?;
    let image = MeasuredImage::measure(image, &Path::new("/").join(&path)).map_err(BootError::unchecked)?;
    image.verify(&evidence, policy).map_err(|refusal| BootError::check(&path, refusal))
}

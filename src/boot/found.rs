//! What a boot finds on the disk, and the check of it: one path for the initramfs and for the preflight of a deployment
//! that is to boot next.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use crate::check::{MeasuredImage, VerifiedImage};
use crate::deployment::{self, Deployment};
use crate::error::{BootError, Doing};
use crate::evidence::{Evidence, Places};
use crate::policy::SealedPolicy;

/// The deployment to boot, where it lies, and the repository's objects.
#[derive(Debug)]
pub struct Found {
    /// The physical root, opened with `O_PATH`.
    pub physical: OwnedFd,
    /// The deployment.
    pub deployment: Deployment,
    /// The repository's `objects`, opened with `O_PATH`.
    pub objects: OwnedFd,
}

impl Found {
    /// Looks below the physical root for the deployment that `target` names, relative to that root.
    pub fn find(physical: &Path, target: &str) -> Result<Self, BootError> {
        let physical =
            deployment::open_root(physical).map_err(Doing::with("opening the physical root", physical))?;
        let deployment = deployment::find(&physical, target)?;
        let objects = deployment::open_objects(&physical)?;
        Ok(Self { physical, deployment, objects })
    }

    /// Opens the image, measures it, reads the evidence and checks both against the policy. Nothing is mounted.
    pub fn verify(&self, policy: &SealedPolicy) -> Result<VerifiedImage, BootError> {
        let path = self.deployment.image_path();
        let refused = |refusal| BootError::Check(path.clone(), Box::new(refusal));
        let image = self.deployment.open_image()?;
        let places = Places { deployment: self.deployment.dir.as_fd(), objects: self.objects.as_fd() };
        let evidence = Evidence::read(places, self.deployment.commit, policy).map_err(refused)?;
        let image =
            MeasuredImage::measure(image, &Path::new("/").join(&path)).map_err(BootError::unchecked)?;
        image.verify(&evidence, policy).map_err(refused)
    }
}

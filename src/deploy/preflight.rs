//! The initramfs's own check of a deployment, with its own functions, before the reboot.

use std::os::fd::AsFd;
use std::path::Path;

use ostree_seal_root::check::{MeasuredImage, VerifiedImage};
use ostree_seal_root::deployment;
use ostree_seal_root::error::BootError;
use ostree_seal_root::evidence::{Evidence, Places};
use ostree_seal_root::policy::SealedPolicy;

/// Does what the initramfs does up to the mount: finds the deployment at `target` below the physical root, opens its
/// image once, measures it, reads the evidence and checks both against the policy.
pub fn check(physical: &Path, target: &str, policy: &SealedPolicy) -> Result<VerifiedImage, BootError> {
    let root = deployment::open_root(physical).map_err(|errno| BootError::Step {
        doing: format!("opening the physical root {}", physical.display()),
        errno,
        log: String::new(),
    })?;
    let found = deployment::find(&root, target)?;
    let objects = deployment::open_objects(&root)?;
    let path = found.image_path();
    let image = found.open_image()?;
    let places = Places { deployment: found.dir.as_fd(), objects: objects.as_fd() };
    let refused = |refusal| BootError::Check(path.clone(), Box::new(refusal));
    let evidence = Evidence::read(places, found.commit, policy).map_err(refused)?;
    let image = MeasuredImage::measure(image, &Path::new("/").join(&path))
        .map_err(|refusal| BootError::Unchecked(Box::new(refusal)))?;
    image.verify(&evidence, policy).map_err(refused)
}

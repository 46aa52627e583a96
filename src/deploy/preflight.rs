//! The initramfs's own check of a deployment, with its own functions, before the reboot.

use std::os::fd::AsFd;
use std::path::Path;

use ostree_seal_root::check::VerifiedImage;
use ostree_seal_root::deployment;
use ostree_seal_root::error::BootError;
use ostree_seal_root::policy::SealedPolicy;
use ostree_seal_root::run;
use ostree_seal_root::state::Steps;

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
    run::check(&found, objects.as_fd(), policy, &mut Steps::default())
}

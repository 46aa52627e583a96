//! The initramfs's own check of a deployment, with its own functions, before the reboot.

use std::path::Path;

use ostree_seal_root::check::image::VerifiedImage;
use ostree_seal_root::check::verify;
use ostree_seal_root::error::BootError;
use ostree_seal_root::find::Found;
use ostree_seal_trust::policy::SealedPolicy;

/// Does what the initramfs does up to the mount: finds the deployment at `target` below the physical root, opens its
/// image once, measures it, reads the evidence and checks both against the policy.
pub fn check(physical: &Path, target: &str, policy: &SealedPolicy) -> Result<VerifiedImage, BootError> {
    verify(&Found::find(physical, target)?, policy)
}

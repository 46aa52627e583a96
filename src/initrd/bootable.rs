//! The initramfs that boots a deployment: in a unified kernel image made for it, in what its boot entry names, or else
//! in its tree.

use super::policy::{self, Bootable};
use super::uki;
use crate::sysroot::{Deployment, Sysroot};

/// Reads the initramfs of a deployment. A unified kernel image whose own command line names the deployment was made to
/// boot it, whatever libostree's boot entry says; its command line is the only one that can't be edited.
pub fn of(sysroot: &Sysroot, deployment: &Deployment) -> Bootable {
    match uki::of_deployment(sysroot.path(), sysroot.physical(), &deployment.directory) {
        Some(image) => policy::bootable(&deployment.directory, &[image]),
        None if deployment.staged => {
            policy::bootable_staged(&deployment.directory, &deployment.staged_overlays)
        }
        None => policy::bootable(&deployment.directory, &deployment.initrds),
    }
}

//! What a boot finds on the disk: one path for the initramfs and for the preflight of a deployment that is to boot next.

use std::os::fd::OwnedFd;
use std::path::Path;

use deployment::DeploymentDir;

use crate::error::{BootError, Doing};

pub mod cmdline; // which deployment the kernel was told to boot
pub mod deployment; // where it is, and its image, opened once

/// The deployment to boot, where it lies, and the repository's objects.
#[derive(Debug)]
pub struct Found {
    /// The physical root, opened with `O_PATH`.
    pub physical: OwnedFd,
    /// The deployment.
    pub deployment: DeploymentDir,
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
}

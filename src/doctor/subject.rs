//! What all checks look at.

use crate::initrd::policy::Bootable;
use crate::status::Status;
use crate::sysroot::{Deployment, Sysroot};

/// What all checks look at: the deployment that boots next.
pub(super) struct Subject<'a> {
    pub(super) sysroot: &'a Sysroot,
    pub(super) next: &'a Deployment,
    pub(super) bootable: &'a Bootable,
    pub(super) status: &'a Status,
    /// What its kernel is called, as `uname -r` prints it, if it has one.
    pub(super) release: Option<String>,
}

impl Subject<'_> {
    /// The command that makes the initramfs again, where the image is built.
    pub(super) fn make_initramfs(&self) -> String {
        let release = self.release.as_deref().unwrap_or("KERNEL");
        format!(
            "in the OS build: dracut --force --add ostree-seal /usr/lib/modules/{release}/initramfs.img {release}"
        )
    }
}

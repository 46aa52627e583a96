//! A mount namespace of our own, in which `/sysroot` may become writable without the rest of the system seeing it.

use anyhow::Result;
use fn_error_context::context;
use rustix::mount::{MountPropagationFlags, mount_change};

/// Moves this process, which must not have threads yet, into a mount namespace of its own. libostree then makes
/// `/sysroot` and `/boot` writable in it when it takes the sysroot's lock.
#[context("entering a mount namespace of our own")]
pub fn enter() -> Result<()> {
    ostree_seal_root::mount::namespace::unshare_mounts()?;
    // Mounts of others keep coming in, ours don't go out.
    Ok(mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?)
}

//! What is known of a file object, whichever way its repository keeps it.

use anyhow::ensure;
use ostree_seal_trust::digest::Digest;

use super::xattrs::Xattrs;
use crate::tree::TARGET_MAX;

/// All that an image needs to know of a file object. An object never changes, so neither does this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// `st_mode`; its type agrees with `kind`.
    pub mode: u32,
    /// Extended attributes.
    pub xattrs: Xattrs,
    /// What it is.
    pub kind: ObjectKind,
}

/// Regular file or symlink: OSTree knows nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectKind {
    /// A file of 0 bytes.
    Empty,
    /// A file with content.
    Regular {
        /// Bytes of content, at least 1.
        size: u64,
        /// fs-verity digest of the content.
        digest: Digest,
    },
    /// A symlink with this target.
    Symlink(Box<[u8]>),
}

/// A symlink whose target comes from an object's bytes instead of the kernel.
pub(super) fn symlink(target: Vec<u8>) -> anyhow::Result<ObjectKind> {
    ensure!(!target.is_empty(), "the symlink has no target");
    ensure!(target.len() <= TARGET_MAX, "the symlink's target has more than {TARGET_MAX} bytes");
    ensure!(!target.contains(&0), "the symlink's target holds a NUL");
    Ok(ObjectKind::Symlink(target.into()))
}

//! The descriptor: what a file's fs-verity digest is the SHA-256 of.

use ostree_seal_trust::digest::Digest;
use sha2::{Digest as _, Sha256};

/// Bytes of a descriptor.
pub(super) const DESCRIPTOR: usize = 256;

/// The SHA-256 of its descriptor is a file's digest.
pub(super) fn describe(size: u64, root_hash: &[u8]) -> Digest {
    Digest(Sha256::digest(descriptor(size, root_hash)).into())
}

/// `struct fsverity_descriptor` (include/uapi/linux/fsverity.h); no root hash is one of zeros.
pub(super) fn descriptor(size: u64, root_hash: &[u8]) -> [u8; DESCRIPTOR] {
    let mut descriptor = [0; DESCRIPTOR];
    descriptor[0] = 1; // version
    descriptor[1] = 1; // hash_algorithm: FS_VERITY_HASH_ALG_SHA256
    descriptor[2] = 12; // log_blocksize
    descriptor[8..16].copy_from_slice(&size.to_le_bytes()); // data_size
    descriptor[16..16 + root_hash.len()].copy_from_slice(root_hash); // root_hash; salt and the rest are zeros
    descriptor
}

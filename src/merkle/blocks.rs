//! SHA-256 of many 4096-byte blocks.

use sha2::{Digest as _, Sha256};

/// Bytes of a block of data or of hashes.
pub(super) const BLOCK: usize = 4096;
/// Bytes of a hash.
pub(super) const HASH: usize = 32;

/// Appends the hash of each block.
pub(super) fn hash_blocks(blocks: &[u8], hashes: &mut Vec<u8>) {
    debug_assert!(blocks.len() % BLOCK == 0);
    for block in blocks.chunks_exact(BLOCK) {
        hashes.extend_from_slice(&Sha256::digest(block));
    }
}

//! The fs-verity digest in user space: SHA-256 Merkle tree, 4096-byte blocks, no salt, as the kernel computes it
//! (`Documentation/filesystems/fsverity.rst`).

mod batch; // many small files at once
mod hasher; // one file
mod leaves; // the hashes of one file's blocks, to check it again
pub mod tree; // the trees themselves

mod descriptor; // what the digest is a hash of
mod lanes; // many blocks at once

pub use batch::Batch;
pub use hasher::{FileHasher, Hasher, digest};
pub use leaves::Leaves;

#[cfg(test)]
mod tests;

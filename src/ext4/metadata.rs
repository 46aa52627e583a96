//! What ext4 keeps of fs-verity behind the end of a file (`fs/ext4/verity.c`): the Merkle tree, then the descriptor, and the
//! descriptor's size in the last four bytes of its block.

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};

use tempfile::SpooledTempFile;

use super::error::{Error, Result};
use super::format::{BLOCK, BLOCK_LEN, METADATA_ALIGNMENT};
use crate::merkle::tree::{self, MerkleTree};

/// How much of trees is kept in memory; more goes to a file without a name.
const SPOOL_MEMORY: usize = 8 << 20;
/// Bytes of a descriptor.
const DESCRIPTOR: usize = 256;

/// The block of a file that the metadata begin at.
pub(super) fn first_block(size: u64) -> u64 {
    size.div_ceil(METADATA_ALIGNMENT) * (METADATA_ALIGNMENT / BLOCK)
}

/// How many blocks they have.
pub(super) fn blocks(size: u64) -> u64 {
    tree::blocks(size) + 1
}

/// All of them.
pub(super) fn bytes(size: u64, hashes: &[u8], descriptor: &[u8; DESCRIPTOR]) -> Vec<u8> {
    let mut bytes = Vec::new();
    tree::append_blocks(size, hashes, &mut bytes);
    let block = bytes.len();
    bytes.resize(block + BLOCK_LEN, 0);
    bytes[block..block + DESCRIPTOR].copy_from_slice(descriptor);
    let end = bytes.len();
    bytes[end - size_of::<u32>()..].copy_from_slice(&[0, 1, 0, 0]);
    bytes
}
const _: () = assert!(u32::from_le_bytes([0, 1, 0, 0]) as usize == DESCRIPTOR);

/// Where a tree is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stored {
    offset: u64,
}

/// Trees that are kept until they are written, without what fills up their blocks.
#[derive(Debug)]
pub(super) struct Spool {
    file: SpooledTempFile,
    len: u64,
}

impl Spool {
    pub(super) fn new() -> Self {
        Self { file: tempfile::spooled_tempfile(SPOOL_MEMORY), len: 0 }
    }

    /// Keeps a tree.
    pub(super) fn add(&mut self, tree: &MerkleTree) -> Result<Stored> {
        let stored = Stored { offset: self.len };
        let mut write = |bytes: &[u8]| self.file.write_all(bytes);
        write(&tree.descriptor).and_then(|()| write(&tree.hashes)).map_err(failed)?;
        self.len += (tree.descriptor.len() + tree.hashes.len()) as u64;
        Ok(stored)
    }

    /// The metadata of a file of this size.
    pub(super) fn metadata(&mut self, size: u64, stored: Stored) -> Result<Vec<u8>> {
        let mut descriptor = [0; DESCRIPTOR];
        let mut hashes = vec![0; usize::try_from(tree::hashes_len(size)).unwrap_or(usize::MAX)];
        self.file
            .seek(SeekFrom::Start(stored.offset))
            .and_then(|_| self.file.read_exact(&mut descriptor))
            .and_then(|()| self.file.read_exact(&mut hashes))
            .map_err(failed)?;
        Ok(bytes(size, &hashes, &descriptor))
    }
}

fn failed(error: std::io::Error) -> Error {
    Error::Io("keeping Merkle trees in a temporary file", error)
}

#[cfg(test)]
mod tests {
    use super::{blocks, bytes, first_block};

    #[test]
    fn lie_behind_the_next_multiple_of_64_kib() {
        for (size, first, count) in
            [(0, 0, 1), (1, 16, 1), (4097, 16, 2), (65536, 16, 2), (65537, 32, 2), (524_289, 144, 4)]
        {
            assert_eq!((first_block(size), blocks(size)), (first, count), "{size}");
        }
        assert_eq!(bytes(0, &[], &[1; 256])[4090..], [0, 0, 0, 1, 0, 0]);
    }
}

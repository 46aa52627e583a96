//! The Merkle trees of files, from the hashes of their blocks: whole, as a file system stores them, or only the digest.

use ostree_seal_trust::digest::Digest;

use super::descriptor::{DESCRIPTOR, describe, descriptor};
use super::lanes::{BLOCK, HASH, hash_blocks, hash_messages};

/// Hashes in a block.
const FANOUT: u64 = (BLOCK / HASH) as u64;

/// A file's Merkle tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MerkleTree {
    /// Bytes of the file.
    pub size: u64,
    /// The fs-verity digest.
    pub digest: Digest,
    /// `struct fsverity_descriptor`.
    pub descriptor: [u8; DESCRIPTOR],
    /// The hashes of each level that is stored, the root's level first, the data's own last; none of a file of one block.
    pub hashes: Vec<u8>,
}

/// How many hashes each stored level of a file's tree has, the root's level first.
pub fn levels(size: u64) -> Vec<u64> {
    let mut levels = Vec::new();
    let mut count = size.div_ceil(BLOCK as u64);
    while count > 1 {
        levels.push(count);
        count = count.div_ceil(FANOUT);
    }
    levels.reverse();
    levels
}

/// How many blocks a file's tree has.
pub fn blocks(size: u64) -> u64 {
    levels(size).into_iter().map(|count| count.div_ceil(FANOUT)).sum()
}

/// How many bytes [`MerkleTree::hashes`] of a file has.
pub fn hashes_len(size: u64) -> u64 {
    levels(size).into_iter().sum::<u64>() * HASH as u64
}

/// Appends the blocks of a tree with these [`MerkleTree::hashes`]: each level is filled up with zeros to whole blocks.
pub fn append_blocks(size: u64, mut hashes: &[u8], out: &mut Vec<u8>) {
    for count in levels(size) {
        let len = usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(HASH).min(hashes.len());
        let (level, rest) = hashes.split_at(len);
        out.extend_from_slice(level);
        out.resize(out.len() + len.next_multiple_of(BLOCK) - len, 0);
        hashes = rest;
    }
}

/// Makes the trees of many files, one after another, a level of all of them at a time.
#[derive(Debug, Default)]
pub struct Forest {
    /// The hashes of all data blocks so far.
    leaves: Vec<u8>,
    /// The sizes of the files so far.
    sizes: Vec<u64>,
}

impl Forest {
    /// One without files.
    pub fn new() -> Self {
        Self::default()
    }

    /// Hashes the next blocks of data. A file's last block is filled up with zeros, the next file's first one follows.
    pub fn add_blocks(&mut self, blocks: &[u8]) {
        hash_blocks(blocks, &mut self.leaves);
    }

    /// Takes note of the size of the next file, before or after its blocks.
    pub fn add_file(&mut self, size: u64) {
        self.sizes.push(size);
    }

    /// The trees of all files, in their order. It is empty again.
    ///
    /// # Panics
    ///
    /// Where there are other blocks than the files have.
    pub fn finish(&mut self) -> Vec<MerkleTree> {
        let (leaves, sizes) = (std::mem::take(&mut self.leaves), std::mem::take(&mut self.sizes));
        let mut rest = leaves.as_slice();
        let mut files: Vec<Levels> = sizes
            .into_iter()
            .map(|size| {
                let count = usize::try_from(size.div_ceil(BLOCK as u64)).unwrap_or(usize::MAX);
                let (hashes, next) = rest.split_at(count.saturating_mul(HASH));
                rest = next;
                Levels { size, levels: vec![hashes.to_vec()] }
            })
            .collect();
        assert!(rest.is_empty(), "{} bytes of hashes belong to no file", rest.len());
        while grow(&mut files) {}
        trees(files)
    }
}

/// The digest of the file of this size whose blocks have these hashes.
pub(super) fn digest_of_leaves(size: u64, leaves: Vec<u8>) -> Digest {
    let mut file = [Levels { size, levels: vec![leaves] }];
    while grow(&mut file) {}
    describe(size, file[0].top())
}

/// A tree in the making: the data's own level first.
struct Levels {
    size: u64,
    levels: Vec<Vec<u8>>,
}

impl Levels {
    fn top(&self) -> &[u8] {
        self.levels.last().map_or(&[], Vec::as_slice)
    }

    fn is_growing(&self) -> bool {
        self.top().len() > HASH
    }
}

/// Makes the next level of each tree that isn't done; whether there was one.
fn grow(files: &mut [Levels]) -> bool {
    let mut blocks = Vec::new();
    for file in files.iter().filter(|file| file.is_growing()) {
        blocks.extend_from_slice(file.top());
        blocks.resize(blocks.len().next_multiple_of(BLOCK), 0);
    }
    let mut hashes = Vec::with_capacity(blocks.len() / BLOCK * HASH);
    hash_blocks(&blocks, &mut hashes);
    let mut rest = hashes.as_slice();
    for file in files.iter_mut().filter(|file| file.is_growing()) {
        let (level, next) = rest.split_at(file.top().len().div_ceil(BLOCK) * HASH);
        rest = next;
        file.levels.push(level.to_vec());
    }
    !blocks.is_empty()
}

fn trees(files: Vec<Levels>) -> Vec<MerkleTree> {
    let descriptors: Vec<_> = files.iter().map(|file| descriptor(file.size, file.top())).collect();
    let mut digests = Vec::with_capacity(files.len() * HASH);
    hash_messages::<DESCRIPTOR>(descriptors.as_flattened(), &mut digests);
    let described = files.into_iter().zip(descriptors).zip(digests.chunks_exact(HASH));
    let tree = |((file, descriptor), found): ((Levels, [u8; DESCRIPTOR]), &[u8])| {
        let mut digest = Digest([0; HASH]);
        digest.0.copy_from_slice(found);
        // What has one hash is the root hash, which is in the descriptor.
        let stored = file.levels.iter().rev().filter(|level| level.len() > HASH);
        MerkleTree { size: file.size, digest, descriptor, hashes: stored.flatten().copied().collect() }
    };
    described.map(tree).collect()
}

#[cfg(test)]
#[path = "tree/tests.rs"]
mod tests;

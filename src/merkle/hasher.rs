//! The digest of one file, whose data comes in pieces.
//!
//! Levels grow from the data upwards and a level never keeps more than a batch of blocks, so that a file of any size
//! takes one pass and a few hundred kilobytes.

use std::io::{self, Read, Write};

use ostree_seal_trust::digest::Digest;

use super::descriptor::describe;
use super::lanes::{BLOCK, HASH, LANES, hash_blocks};

/// How much is hashed in one go where the data comes in pieces, of data as of hashes: a block for every lane.
const BATCH: usize = LANES * BLOCK;
/// How much of a file is read in one go: large enough that system calls don't count, small enough for the L2 cache.
pub(super) const READ: usize = 256 * 1024;

/// The digest of these bytes, as of a file that holds them.
pub fn digest(bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(bytes);
    hasher.finish()
}

/// Computes the digest of data that comes in pieces.
#[derive(Debug, Default)]
pub struct Hasher {
    /// Bytes of data so far.
    size: u64,
    /// Data that waits for a batch to fill; shorter than one.
    pending: Vec<u8>,
    /// The hashes of each level's blocks that wait for a batch to fill; the data's own are first.
    levels: Vec<Vec<u8>>,
}

impl Hasher {
    /// A hasher that has seen no data.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next bytes of the file.
    pub fn update(&mut self, mut data: &[u8]) {
        self.size += data.len() as u64;
        if !self.pending.is_empty() {
            let (head, rest) = data.split_at(data.len().min(BATCH - self.pending.len()));
            self.pending.extend_from_slice(head);
            data = rest;
            if self.pending.len() < BATCH {
                return;
            }
            let mut full = std::mem::take(&mut self.pending);
            self.add_blocks(&full);
            full.clear();
            self.pending = full;
        }
        let (whole, rest) = data.split_at(data.len() - data.len() % BATCH);
        self.add_blocks(whole);
        self.pending.extend_from_slice(rest);
    }

    /// The digest of everything that was added.
    pub fn finish(mut self) -> Digest {
        let rest = std::mem::take(&mut self.pending);
        let (whole, tail) = rest.split_at(rest.len() - rest.len() % BLOCK);
        self.add_blocks(whole);
        if !tail.is_empty() {
            let mut block = [0; BLOCK];
            block[..tail.len()].copy_from_slice(tail);
            self.add_blocks(&block);
        }
        describe(self.size, &self.root_hash())
    }

    fn add_blocks(&mut self, blocks: &[u8]) {
        for blocks in blocks.chunks(BATCH) {
            if self.levels.is_empty() {
                self.levels.push(Vec::new());
            }
            hash_blocks(blocks, &mut self.levels[0]);
            self.fold();
        }
    }

    /// Hashes a level's blocks into the level above wherever a batch has gathered.
    fn fold(&mut self) {
        let mut level = 0;
        while level < self.levels.len() && self.levels[level].len() >= BATCH {
            let mut hashes = std::mem::take(&mut self.levels[level]);
            let whole = hashes.len() - hashes.len() % BLOCK;
            if level + 1 == self.levels.len() {
                self.levels.push(Vec::new());
            }
            hash_blocks(&hashes[..whole], &mut self.levels[level + 1]);
            hashes.drain(..whole);
            self.levels[level] = hashes;
            level += 1;
        }
    }

    /// The hash of the top level's only block; zeros for an empty file, which has no block at all.
    fn root_hash(&mut self) -> [u8; HASH] {
        let mut level = 0;
        while level < self.levels.len() {
            let mut hashes = std::mem::take(&mut self.levels[level]);
            let top = level + 1 == self.levels.len();
            if let (true, Ok(root)) = (top, <[u8; HASH]>::try_from(hashes.as_slice())) {
                return root;
            }
            if !hashes.is_empty() {
                hashes.resize(hashes.len().next_multiple_of(BLOCK), 0);
                if top {
                    self.levels.push(Vec::new());
                }
                hash_blocks(&hashes, &mut self.levels[level + 1]);
            }
            level += 1;
        }
        [0; HASH]
    }
}

impl Write for Hasher {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.update(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Computes digests of whole files, with one buffer for all of them. Each thread has its own.
#[derive(Debug)]
pub struct FileHasher {
    buffer: Vec<u8>,
}

impl FileHasher {
    /// A hasher with its buffer.
    pub fn new() -> Self {
        Self { buffer: vec![0; READ] }
    }

    /// Reads to the end (from where the reader stands) and returns the digest and the number of bytes.
    pub fn digest_reader(&mut self, mut reader: impl Read) -> io::Result<(Digest, u64)> {
        let mut hasher = Hasher::new();
        loop {
            let len = read_full(&mut reader, &mut self.buffer)?;
            hasher.update(&self.buffer[..len]);
            if len < self.buffer.len() {
                let size = hasher.size;
                return Ok((hasher.finish(), size));
            }
        }
    }
}

impl Default for FileHasher {
    fn default() -> Self {
        Self::new()
    }
}

/// Fills the buffer unless the end comes first; returns how much of it is data.
pub(super) fn read_full(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < buffer.len() {
        match reader.read(&mut buffer[len..]) {
            Ok(0) => break,
            Ok(more) => len += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

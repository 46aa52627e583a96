//! Many small files at once: an OS has more of them than of anything else, and one alone has too few blocks for all
//! lanes.

use std::fs::File;
use std::io::{self, Read};

use ostree_seal_trust::digest::Digest;

use super::descriptor::{DESCRIPTOR, descriptor};
use super::hasher::Hasher;
use super::lanes::{BLOCK, HASH, hash_blocks, hash_messages};

/// Bytes of data that are hashed together: enough for all lanes, few enough to stay in the L2 cache.
const CAPACITY: usize = 256 * 1024;
/// With less room than this, what is there is hashed before the next file is read.
const ROOM: usize = 64 * 1024;
/// Small files have one block of hashes or none.
const _: () = assert!(CAPACITY / BLOCK <= BLOCK / HASH);

/// Computes the digests of many files. Each thread has its own.
#[derive(Debug)]
pub struct Batch {
    /// Small files' data, each padded to whole blocks.
    data: Vec<u8>,
    /// How much of it is used.
    used: usize,
    /// The files in `data`, in this order.
    small: Vec<Small>,
    /// The digests of all files since the last [`Batch::finish`]; zeros for those in `data`.
    digests: Vec<Digest>,
}

/// A file in the batch's data.
#[derive(Debug)]
struct Small {
    /// Its place among the digests.
    index: usize,
    /// Bytes of data.
    size: u64,
    /// Blocks of data; none for an empty file.
    blocks: usize,
}

impl Batch {
    /// A batch without files.
    pub fn new() -> Self {
        Self { data: vec![0; CAPACITY], used: 0, small: Vec::new(), digests: Vec::new() }
    }

    /// Reads a regular file from its beginning to its end, which must come after `size` bytes.
    pub fn add(&mut self, file: &File, size: u64) -> io::Result<()> {
        self.add_observed(file, size, &mut |_| ())
    }

    /// The same; `observe` gets the bytes in their order, while they are in the processor's cache.
    pub fn add_observed(&mut self, file: &File, size: u64, observe: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        if CAPACITY - self.used < ROOM {
            self.hash_small();
        }
        let free = &mut self.data[self.used..];
        let len = read_to_end_or_full(file, free)?;
        if len == free.len() {
            let digest = stream(file, free, size, observe)?;
            self.digests.push(digest);
            return Ok(());
        }
        check_size(len as u64, size)?;
        observe(&free[..len]);
        let blocks = len.div_ceil(BLOCK);
        free[len..blocks * BLOCK].fill(0);
        self.small.push(Small { index: self.digests.len(), size, blocks });
        self.digests.push(Digest([0; HASH]));
        self.used += blocks * BLOCK;
        Ok(())
    }

    /// The digests of all files, in the order in which they were added. The batch is empty again.
    pub fn finish(&mut self) -> Vec<Digest> {
        self.hash_small();
        std::mem::take(&mut self.digests)
    }

    /// Forgets all files, as after an error.
    pub fn clear(&mut self) {
        self.used = 0;
        self.small.clear();
        self.digests.clear();
    }

    /// Data, then blocks of hashes, then descriptors: each step over all files.
    fn hash_small(&mut self) {
        let mut leaves = Vec::with_capacity(self.used / BLOCK * HASH);
        hash_blocks(&self.data[..self.used], &mut leaves);
        let mut tops = Vec::new();
        let mut rest = leaves.as_slice();
        for file in self.small.iter().filter(|file| file.blocks > 0) {
            let (hashes, next) = rest.split_at(file.blocks * HASH);
            rest = next;
            if file.blocks > 1 {
                let end = tops.len() + BLOCK;
                tops.extend_from_slice(hashes);
                tops.resize(end, 0);
            }
        }
        let mut top_hashes = Vec::with_capacity(tops.len() / BLOCK * HASH);
        hash_blocks(&tops, &mut top_hashes);
        self.describe_small(&leaves, &top_hashes);
        self.small.clear();
        self.used = 0;
    }

    fn describe_small(&mut self, mut leaves: &[u8], tops: &[u8]) {
        let mut tops = tops.chunks_exact(HASH);
        let mut descriptors = Vec::with_capacity(self.small.len() * DESCRIPTOR);
        for file in &self.small {
            let (hashes, next) = leaves.split_at(file.blocks * HASH);
            leaves = next;
            let root_hash = match file.blocks {
                0 | 1 => hashes,
                _ => tops.next().expect("invariant: each file of several blocks has a block of hashes"),
            };
            descriptors.extend_from_slice(&descriptor(file.size, root_hash));
        }
        let mut digests = Vec::with_capacity(self.small.len() * HASH);
        hash_messages::<DESCRIPTOR>(&descriptors, &mut digests);
        for (file, digest) in self.small.iter().zip(digests.chunks_exact(HASH)) {
            self.digests[file.index].0.copy_from_slice(digest);
        }
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

/// Hashes a file whose beginning fills `buffer` already.
fn stream(
    mut file: &File,
    buffer: &mut [u8],
    size: u64,
    observe: &mut dyn FnMut(&[u8]),
) -> io::Result<Digest> {
    let mut hasher = Hasher::new();
    let mut len = buffer.len();
    let mut total = 0;
    while len > 0 {
        total += len as u64;
        hasher.update(&buffer[..len]);
        observe(&buffer[..len]);
        len = match file.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result?,
        };
    }
    check_size(total, size)?;
    Ok(hasher.finish())
}

/// Reads as much as fits. A regular file gives less than it was asked for only at its end, so that most files need
/// one call.
fn read_to_end_or_full(mut file: &File, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn check_size(read: u64, size: u64) -> io::Result<()> {
    if read == size {
        return Ok(());
    }
    let message = format!("it has {read} bytes to read, but its size is {size}");
    Err(io::Error::new(io::ErrorKind::InvalidData, message))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Seek as _, Write as _};

    use ostree_seal_trust::digest::Digest;
    use proptest::prelude::{Strategy, prop, prop_assert_eq, prop_oneof, proptest};

    use super::{Batch, CAPACITY, ROOM};
    use crate::merkle::digest;

    fn file(data: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(data).unwrap();
        file.rewind().unwrap();
        file
    }

    fn data(len: usize, seed: usize) -> Vec<u8> {
        (seed..seed + len).map(|at| u8::try_from(at % 251).unwrap()).collect()
    }

    fn digests(batch: &mut Batch, files: &[Vec<u8>]) -> Vec<Digest> {
        for data in files {
            batch.add(&file(data), data.len() as u64).unwrap();
        }
        batch.finish()
    }

    fn length() -> impl Strategy<Value = usize> {
        prop_oneof![
            10 => 0..20_000_usize,
            3 => (0..6_usize, 0..3_usize).prop_map(|(blocks, around)| (blocks * 4096 + around).saturating_sub(1)),
            1 => CAPACITY - ROOM - 5000..CAPACITY - ROOM + 5000,
            1 => CAPACITY - 5000..CAPACITY + 5000,
            1 => 600_000..700_000_usize,
        ]
    }

    proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
        #[test]
        fn files_of_any_size_get_their_own_digests(lengths in prop::collection::vec(length(), 0..40)) {
            let files: Vec<_> = lengths.iter().enumerate().map(|(n, len)| data(*len, n)).collect();
            let expected: Vec<_> = files.iter().map(|data| digest(data)).collect();
            prop_assert_eq!(digests(&mut Batch::new(), &files), expected);
        }
    }

    #[test]
    fn a_batch_can_be_used_again() {
        let mut batch = Batch::new();
        for round in 0..3 {
            let files = [data(5000, round), data(0, 0), data(CAPACITY, round), data(1, round)];
            assert_eq!(digests(&mut batch, &files), files.each_ref().map(|data| digest(data)));
        }
    }

    #[test]
    fn refuses_a_file_of_another_size_than_expected() {
        for (len, size) in [(10, 9), (10, 11), (0, 1), (CAPACITY + 1, CAPACITY), (CAPACITY, CAPACITY + 1)] {
            let error = Batch::new().add(&file(&data(len, 0)), size as u64).unwrap_err();
            assert_eq!(error.to_string(), format!("it has {len} bytes to read, but its size is {size}"));
        }
    }

    #[test]
    fn forgets_files_after_an_error() {
        let mut batch = Batch::new();
        batch.add(&file(&data(3, 1)), 3).unwrap();
        batch.add(&file(&data(3, 1)), 4).unwrap_err();
        batch.clear();
        assert_eq!(digests(&mut batch, &[data(7, 7)]), [digest(&data(7, 7))]);
    }
}

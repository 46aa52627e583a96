//! The hashes of a file's blocks: what the digest is made of, and what each block is compared with when it is read again.

use std::io::{self, Read};

use ostree_seal_trust::digest::Digest;

use super::hasher::{READ, read_full};
use super::lanes::{BLOCK, HASH, hash_blocks};
use super::tree::digest_of_leaves;

/// The hashes of all blocks of a file: 32 bytes for 4096 of content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaves {
    hashes: Vec<u8>,
    size: u64,
}

impl Leaves {
    /// Reads to the end; `observe` gets the bytes in their order.
    pub fn of(mut reader: impl Read, observe: &mut dyn FnMut(&[u8])) -> io::Result<Self> {
        let mut buffer = vec![0; READ];
        let (mut hashes, mut size) = (Vec::new(), 0);
        loop {
            let len = read_full(&mut reader, &mut buffer)?;
            observe(&buffer[..len]);
            size += len as u64;
            hash_padded(&mut buffer, len, &mut hashes);
            if len < buffer.len() {
                return Ok(Self { hashes, size });
            }
        }
    }

    /// The file's fs-verity digest.
    pub fn digest(&self) -> Digest {
        digest_of_leaves(self.size, self.hashes.clone())
    }

    /// How many bytes the file has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Reads the file again and gives each piece on, but only after all of its blocks were compared.
    pub fn copy(
        &self,
        mut reader: impl Read,
        write: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut buffer = vec![0; READ];
        let mut left = self.hashes.as_slice();
        loop {
            let len = read_full(&mut reader, &mut buffer)?;
            let mut found = Vec::with_capacity(READ / BLOCK * HASH);
            hash_padded(&mut buffer, len, &mut found);
            left = left.strip_prefix(found.as_slice()).ok_or_else(changed)?;
            write(&buffer[..len])?;
            if len < buffer.len() {
                return if left.is_empty() { Ok(()) } else { Err(changed()) };
            }
        }
    }
}

fn changed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "its content changed while it was read")
}

fn hash_padded(buffer: &mut [u8], len: usize, hashes: &mut Vec<u8>) {
    let end = len.next_multiple_of(BLOCK);
    buffer[len..end].fill(0);
    hash_blocks(&buffer[..end], hashes);
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::{Leaves, READ};
    use crate::merkle::digest;

    fn data(len: usize) -> Vec<u8> {
        (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect()
    }

    #[test]
    fn leaves_have_the_digest_of_their_file() {
        for len in [0, 1, 4095, 4096, 4097, 128 * 4096, 128 * 4096 + 1, READ, READ + 1, 3_000_000] {
            let data = data(len);
            let mut seen = Vec::new();
            let leaves = Leaves::of(data.as_slice(), &mut |bytes| seen.extend_from_slice(bytes)).unwrap();
            assert_eq!((leaves.digest(), leaves.size()), (digest(&data), len as u64), "{len}");
            assert_eq!(seen, data);
            let mut copied = Vec::new();
            leaves.copy(data.as_slice(), &mut |bytes| copied.write_all(bytes)).unwrap();
            assert_eq!(copied, data);
        }
    }

    #[test]
    fn no_block_goes_out_that_changed_since_it_was_checked() {
        let good = data(READ * 2 + 10);
        let leaves = Leaves::of(good.as_slice(), &mut |_| ()).unwrap();
        for at in [0, 5000, READ - 1, READ, READ * 2 + 9] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            let mut copied = Vec::new();
            let error = leaves.copy(bad.as_slice(), &mut |bytes| copied.write_all(bytes)).unwrap_err();
            assert_eq!(error.to_string(), "its content changed while it was read");
            assert!(copied.len() <= at && good.starts_with(&copied), "{at}");
        }
        for other in [&good[..good.len() - 1], &[&good[..], b"x"].concat(), &good[..READ], &[]] {
            assert!(leaves.copy(other, &mut |_| Ok(())).is_err(), "{}", other.len());
        }
    }
}

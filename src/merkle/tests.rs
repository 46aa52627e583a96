use std::io::Write;

use proptest::prelude::{Just, Strategy, any, prop, prop_assert_eq, proptest};
use sha2::{Digest as _, Sha256};

use super::descriptor::describe;
use super::hasher::READ;
use super::lanes::BLOCK;
use super::{FileHasher, Hasher, digest};

struct Case {
    label: &'static str,
    len: usize,
    digest: &'static str,
}

/// Computed by `fsverity digest` (fsverity-utils) for files whose byte `i` is `i % 251`.
const CASES: &[Case] = &[
    Case {
        label: "empty file, a root hash of zeros",
        len: 0,
        digest: "3d248ca542a24fc62d1c43b916eae5016878e2533c88238480b26128a1f1af95",
    },
    Case {
        label: "one byte",
        len: 1,
        digest: "b803429503d95915829b29fdbc8bbad142f3abfd11b1cadf5526582e685c0551",
    },
    Case {
        label: "one block less a byte",
        len: 4095,
        digest: "5f4953aad672b0188023d6cd6fbce9d09508eb7dad165b6298ce0086bc1e72db",
    },
    Case {
        label: "one block",
        len: 4096,
        digest: "13e9b8848ae484a36acb3f3cac0ceb2f7601e96633d15c92f9bd3dd44e492157",
    },
    Case {
        label: "one block and a byte, the first with a block of hashes",
        len: 4097,
        digest: "b0d074abef4d544404facfab6ba242f6a8ccbde90f1325cd286f3c8aa8d0f8aa",
    },
    Case {
        label: "a full block of hashes less a byte",
        len: 128 * 4096 - 1,
        digest: "9735c4bb231d3222d1e5e23a4004d8b59dd33395d7de390530e15c2572000b47",
    },
    Case {
        label: "a full block of hashes",
        len: 128 * 4096,
        digest: "d82861203d50ae9b60948504a704f35f5118bd229aeb1a22d6dae47b1767c4c4",
    },
    Case {
        label: "a full block of hashes and a byte",
        len: 128 * 4096 + 1,
        digest: "4dc6905041c9c4ee73e13b53f63f5d289c46da359b664a965ead7f8cc4d799d4",
    },
    Case {
        label: "a full block of hashes and a block",
        len: 129 * 4096,
        digest: "dd56ffe5de24c1229fe22d25f91db9e735f6adc921510dcf480094624458c92a",
    },
    Case {
        label: "two full levels less a byte",
        len: 128 * 128 * 4096 - 1,
        digest: "53e70e3b30d8c6800a47af2e04737f8e0192e035e7d35f9323f54f5c72b03866",
    },
    Case {
        label: "two full levels",
        len: 128 * 128 * 4096,
        digest: "196650e8bd05f8516c0ede56deeb4d1ff2be9809dc2d827261db4a7773957567",
    },
    Case {
        label: "two full levels and a byte, the first with three levels",
        len: 128 * 128 * 4096 + 1,
        digest: "acba6554fbff4e8b2fc0361086b9e8ed6afbbd3196ade159c0f3e2bf9ecb2ed1",
    },
];

fn pattern(len: usize) -> Vec<u8> {
    (0..251).cycle().take(len).collect()
}

#[test]
fn digests_are_those_of_fsverity_utils() {
    for case in CASES {
        assert_eq!(digest(&pattern(case.len)).to_string(), case.digest, "{}", case.label);
    }
}

#[test]
fn a_reader_gives_the_digest_and_the_number_of_bytes() {
    let mut hasher = FileHasher::new();
    for case in CASES {
        let data = pattern(case.len);
        let (digest, size) = hasher.digest_reader(data.as_slice()).unwrap();
        assert_eq!((digest.to_string().as_str(), size), (case.digest, case.len as u64), "{}", case.label);
    }
}

#[test]
fn a_reader_that_gives_little_at_a_time_changes_nothing() {
    struct Trickle<'a>(&'a [u8]);
    impl std::io::Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let len = self.0.len().min(buffer.len()).min(1 + self.0.len() % 1000);
            let (head, rest) = self.0.split_at(len);
            buffer[..len].copy_from_slice(head);
            self.0 = rest;
            Ok(len)
        }
    }
    for len in [0, 1, READ - 1, READ, READ + 1, 3 * READ + 17] {
        let data = pattern(len);
        let (found, size) = FileHasher::new().digest_reader(Trickle(&data)).unwrap();
        assert_eq!((found, size), (naive(&data), len as u64));
    }
}

#[test]
fn a_reader_error_is_passed_on() {
    struct Broken;
    impl std::io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::UnexpectedEof.into())
        }
    }
    let error = FileHasher::new().digest_reader(Broken).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
}

/// The tree as the documentation says it, whole levels at a time.
fn naive(data: &[u8]) -> ostree_seal_trust::digest::Digest {
    let mut level: Vec<u8> = data.to_vec();
    loop {
        level = level
            .chunks(BLOCK)
            .flat_map(|chunk| {
                let mut block = [0; BLOCK];
                block[..chunk.len()].copy_from_slice(chunk);
                <[u8; 32]>::from(Sha256::digest(block))
            })
            .collect();
        match level.len() {
            0 => return describe(0, &[0; 32]),
            32 => return describe(data.len() as u64, &level),
            _ => {}
        }
    }
}

/// Data whose length is near a block, a batch or a level, and where to cut it.
fn data_and_cuts() -> impl Strategy<Value = (Vec<u8>, Vec<usize>)> {
    (0..160_usize, 0..3_usize, any::<u64>()).prop_flat_map(|(blocks, around, seed)| {
        let len = (blocks * BLOCK + around).saturating_sub(1);
        let data: Vec<u8> = (0..len as u64)
            .map(|at| (seed.wrapping_add(at).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56).to_le_bytes()[0])
            .collect();
        (Just(data), prop::collection::vec(0..=len, 0..6))
    })
}

proptest! {
    #[test]
    fn pieces_of_any_size_give_the_digest_of_the_whole((data, mut cuts) in data_and_cuts()) {
        cuts.sort_unstable();
        let mut hasher = Hasher::new();
        let mut start = 0;
        for cut in cuts {
            hasher.write_all(&data[start..cut]).unwrap();
            start = cut;
        }
        hasher.write_all(&data[start..]).unwrap();
        prop_assert_eq!(hasher.finish(), naive(&data));
    }
}

//! Trees against the recipe's figures, against the digest alone, and against Debian's `fsverity`.

use std::process::Command;

use proptest::prelude::{ProptestConfig, prop_assert_eq, proptest};
use sha2::{Digest as _, Sha256};

use super::{BLOCK, Forest, MerkleTree, append_blocks, blocks, hashes_len, levels};
use crate::merkle;

fn content(len: usize) -> Vec<u8> {
    b"ostree-seal\n".iter().copied().cycle().take(len).collect()
}

fn trees(files: &[Vec<u8>]) -> Vec<MerkleTree> {
    let mut forest = Forest::new();
    for file in files {
        let mut padded = file.clone();
        padded.resize(file.len().next_multiple_of(BLOCK), 0);
        forest.add_file(file.len() as u64);
        forest.add_blocks(&padded);
    }
    forest.finish()
}

fn stored(tree: &MerkleTree) -> Vec<u8> {
    let mut bytes = Vec::new();
    append_blocks(tree.size, &tree.hashes, &mut bytes);
    assert_eq!(bytes.len() as u64, blocks(tree.size) * BLOCK as u64);
    assert_eq!(tree.hashes.len() as u64, hashes_len(tree.size));
    bytes
}

const SIZES: [usize; 12] = [
    0,
    1,
    4095,
    4096,
    4097,
    65535,
    65536,
    128 * 4096,
    128 * 4096 + 1,
    1_000_000,
    16384 * 4096,
    16384 * 4096 + 1,
];

#[test]
fn levels_are_the_kernels() {
    for (size, expected) in [
        (0, &[][..]),
        (4096, &[]),
        (4097, &[2]),
        (128 * 4096, &[128]),
        (128 * 4096 + 1, &[2, 129]),
        (16384 * 4096, &[128, 16384]),
        (16384 * 4096 + 1, &[2, 129, 16385]),
    ] {
        assert_eq!(levels(size), expected, "{size}");
    }
}

/// Size, blocks, digest, SHA-256 of tree and descriptor's block with the size of the descriptor in its last bytes: as Linux
/// 6.12 and 7.2 wrote them.
const KERNEL: [(usize, u64, &str, &str); 4] = [
    (
        0,
        0,
        "3d248ca542a24fc62d1c43b916eae5016878e2533c88238480b26128a1f1af95",
        "c6bd3bd65685c9fe82d09f23d57000790160ce7d9772f24d918063447ef7991f",
    ),
    (
        4097,
        1,
        "24f5c5f0f52b815980834ea8e868fc05dcf185e3207c59aac2728eaacf484922",
        "05ea0e0a1915cfcf326acdd8ef41e3bc9a7cc9b1dc0e261710ea1a042848cd09",
    ),
    (
        524_289,
        3,
        "11c3d7f3722c1abb95d2a2a8c8179260e3b8fdcf1dc4f06465ba9974cabebe84",
        "40aa89b6238ce049d2e45fb9f3448c6a17ec3f8570cca44ab0956b2d6eab2313",
    ),
    (
        1_000_000,
        3,
        "11fa5d711d306bf6245642022dd3f379c7627539724aa537e43587c52f6f21bd",
        "3a7a58109b02e81f291e395bfb0be02053d6f4463a20749d524afbf9e3019568",
    ),
];

#[test]
fn bytes_are_those_that_a_kernel_wrote() {
    for (size, count, digest, sha256) in KERNEL {
        let tree = trees(&[content(size)]).remove(0);
        assert_eq!((blocks(tree.size), tree.digest.to_string().as_str()), (count, digest), "{size}");
        let mut bytes = stored(&tree);
        bytes.extend_from_slice(&tree.descriptor);
        bytes.resize(bytes.len().next_multiple_of(BLOCK) - 4, 0);
        bytes.extend_from_slice(&256_u32.to_le_bytes());
        let hex: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, sha256, "{size}");
    }
}

#[test]
fn digests_are_those_of_the_hasher_alone() {
    let files = SIZES.map(content);
    for (tree, file) in trees(&files).iter().zip(&files) {
        assert_eq!(tree.digest, merkle::digest(file), "{}", file.len());
        stored(tree);
    }
}

#[test]
fn bytes_are_those_of_fsverity_utils() {
    if Command::new("fsverity").arg("--version").output().is_err() {
        eprintln!("SKIP bytes_are_those_of_fsverity_utils: there is no fsverity");
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name);
    for size in SIZES {
        std::fs::write(path("file"), content(size)).unwrap();
        let output = Command::new("fsverity")
            .args(["digest", "--compact", "--out-merkle-tree=tree", "--out-descriptor=descriptor", "file"])
            .current_dir(scratch.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let tree = trees(&[content(size)]).remove(0);
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), tree.digest.to_string(), "{size}");
        assert!(std::fs::read(path("tree")).unwrap() == stored(&tree), "{size}");
        assert_eq!(std::fs::read(path("descriptor")).unwrap(), tree.descriptor, "{size}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn many_files_get_their_own_trees(sizes in proptest::collection::vec(0..1_200_000_usize, 0..8)) {
        let files: Vec<_> = sizes.into_iter().map(content).collect();
        let expected: Vec<_> = files.iter().map(|file| trees(std::slice::from_ref(file)).remove(0)).collect();
        prop_assert_eq!(trees(&files), expected);
    }
}

//! fs-verity in ext4 images, byte by byte: files of every awkward kind, in file systems of every kind, against e2fsck, Debian's
//! `fsverity` and a reader that isn't ours.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test program: a panic is its answer, and nobody links it"
)]

mod common;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use common::disks::{self, contents, debugfs, enable_all, make, require_clean, require_verity};
use common::oracle::Oracle;
use common::{run, scratch};
use ostree_seal::ext4::FileSystem;
use ostree_seal::ext4::enable::EnablePlan;
use ostree_seal::ext4::examine::Verity;
use ostree_seal::ext4::file_system::ROOT;
use ostree_seal::ext4::inode::FileType;
use proptest::prelude::{Just, ProptestConfig, Strategy, prop, prop_oneof, proptest};

/// Bytes that are no pattern.
fn bytes(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..len).map(|_| next()).collect()
}

const SIZES: [usize; 18] = [
    0, 1, 59, 60, 61, 150, 4095, 4096, 4097, 8192, 65535, 65536, 65537, 524_288, 524_289, 1_000_000,
    67_108_864, 67_108_869,
];

/// Files of every awkward kind.
fn awkward(directory: &Path) {
    let file = |name: String| File::create(directory.join(name)).unwrap();
    for (seed, size) in (1..).zip(SIZES) {
        file(format!("size-{size}")).write_all_at(&bytes(size, seed), 0).unwrap();
    }
    file("hole".into()).set_len(300_001).unwrap();
    let end = file("hole-at-the-end".into());
    end.write_all_at(&bytes(5000, 1), 0).unwrap();
    end.set_len(1_000_001).unwrap();
    file("hole-at-the-beginning".into()).write_all_at(&bytes(5000, 2), 900_000).unwrap();
    for extents in [3, 4, 5, 8, 341, 1500] {
        let fragmented = file(format!("extents-{extents}"));
        (0..extents).for_each(|at| fragmented.write_all_at(&bytes(4096, at + 9), at * 8192).unwrap());
    }
    fs::write(directory.join("hard"), bytes(20_000, 3)).unwrap();
    fs::create_dir(directory.join("many")).unwrap();
    fs::hard_link(directory.join("hard"), directory.join("many/link")).unwrap();
    std::os::unix::fs::symlink("hard", directory.join("symlink")).unwrap();
    for name in 0..1500 {
        fs::write(directory.join(format!("many/{name:04}")), bytes(name % 130, 4)).unwrap();
    }
}

/// The digests that `fsverity` computes of the files themselves.
fn expected(directory: &Path, paths: &[&String]) -> BTreeMap<String, String> {
    let files: Vec<_> = paths.iter().map(|path| directory.join(path.trim_start_matches('/'))).collect();
    let output = Command::new("fsverity").args(["digest", "--compact"]).args(&files).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    paths.iter().map(ToString::to_string).zip(text.lines().map(str::to_owned)).collect()
}

/// Switches fs-verity on and checks everything that can be checked without a kernel.
fn enabled(directory: &Path, image: &Path, what: &str) {
    let before = contents(image);
    let digests = enable_all(image).unwrap_or_else(|error| panic!("{what}: {error}"));
    require_clean(image, what);
    require_verity(image, what);
    assert!(contents(image) == before, "{what}: contents differ");
    let paths: Vec<&String> = digests.keys().collect();
    let found: BTreeMap<String, String> =
        digests.iter().map(|(path, digest)| (path.clone(), digest.to_string())).collect();
    assert_eq!(found, expected(directory, &paths), "{what}");
}

#[test]
fn files_of_every_kind_get_their_digests_in_file_systems_of_every_kind() {
    let scratch = scratch();
    let (directory, image) = (scratch.path().join("files"), scratch.path().join("image"));
    fs::create_dir(&directory).unwrap();
    awkward(&directory);
    for (size, args) in [
        ("300M", &["-O", "verity"][..]),
        ("300M", &["-O", "^verity"]),
        ("300M", &["-O", "^64bit"]),
        ("300M", &["-O", "^metadata_csum"]),
        ("300M", &["-O", "metadata_csum_seed"]),
        ("300M", &["-O", "^flex_bg"]),
        ("300M", &["-O", "^has_journal,sparse_super2"]),
        ("300M", &["-I", "128"]),
        ("300M", &["-I", "1024"]),
        ("300M", &["-O", "casefold,large_dir,ea_inode"]),
        ("300M", &["-O", "fast_commit,stable_inodes,orphan_file"]),
        ("300M", &["-O", "^resize_inode"]),
        ("6G", &[]),
    ] {
        make(&image, size, &directory, args);
        enabled(&directory, &image, &format!("{size} {args:?}"));
    }
}

/// Makes an image whose free blocks lie one by one: small files fill it, and every other one is removed.
fn fragmented(directory: &Path, image: &Path, fillers: usize) {
    let filler = directory.join("filler");
    fs::create_dir(&filler).unwrap();
    for name in 0..fillers {
        fs::write(filler.join(name.to_string()), bytes(4096, 5)).unwrap();
    }
    make(image, "48M", directory, &["-O", "^has_journal", "-N", "8000"]);
    disks::fill(image, disks::free_blocks(image) - 5);
    let removed: String = (0..fillers).step_by(2).map(|name| format!("rm /filler/{name}\n")).collect();
    debugfs(image, &removed);
    fs::remove_dir_all(&filler).unwrap();
}

#[test]
fn trees_go_into_free_blocks_that_lie_one_by_one() {
    let scratch = scratch();
    let (directory, image) = (scratch.path().join("files"), scratch.path().join("image"));
    fs::create_dir(&directory).unwrap();
    // A tree of 51 blocks, in a file system in which two free blocks side by side are rare.
    fs::write(directory.join("large"), bytes(25_000_000, 6)).unwrap();
    fragmented(&directory, &image, 5200);
    let file = disks::open(&image);
    let mut system = disks::system(&file).unwrap();
    let large = system.lookup(b"large").unwrap().unwrap().number();
    let findings = disks::look(&system, &[large]).unwrap();
    EnablePlan::new(&mut system, findings).unwrap().write().unwrap();
    require_clean(&image, "one by one");
    let found = disks::look(&system, &[large]).unwrap().files.remove(0);
    assert_eq!(found.verity, Verity::Right);
    let extents = run_debugfs(&image, "ex /large");
    assert!(extents.lines().count() > 20, "{extents}");
}

fn run_debugfs(image: &Path, command: &str) -> String {
    common::Run::of(disks::tool("debugfs").arg("-R").arg(command).arg(image)).ok()
}

#[test]
fn the_same_image_becomes_the_same_bytes_with_any_number_of_threads() {
    let scratch = scratch();
    let (directory, image) = (scratch.path().join("files"), scratch.path().join("image"));
    fs::create_dir(&directory).unwrap();
    for (seed, size) in (1..).zip(&SIZES[..15]) {
        fs::write(directory.join(seed.to_string()), bytes(*size, seed)).unwrap();
    }
    make(&image, "64M", &directory, &[]);
    let again = scratch.path().join("again");
    fs::copy(&image, &again).unwrap();
    enable_all(&image).unwrap();
    enable_all(&again).unwrap();
    assert!(fs::read(&image).unwrap() == fs::read(&again).unwrap());
    let before = fs::read(&image).unwrap();
    enable_all(&image).unwrap();
    assert!(fs::read(&image).unwrap() == before, "a second run has nothing to do");
}

#[test]
fn what_lies_behind_the_end_of_a_file_becomes_zeros() {
    let scratch = scratch();
    let (directory, image) = (scratch.path().join("files"), scratch.path().join("image"));
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("file"), "ten bytes!").unwrap();
    make(&image, "16M", &directory, &[]);
    let block: u64 = run_debugfs(&image, "bmap /file 0").trim().parse().unwrap();
    disks::open(&image).write_all_at(b"stray", block * 4096 + 100).unwrap();
    enabled(&directory, &image, "stray bytes");
    let mut tail = [1; 4086];
    File::open(&image).unwrap().read_exact_at(&mut tail, block * 4096 + 10).unwrap();
    assert_eq!(tail, [0; 4086]);
}

#[test]
fn the_kernels_tools_go_on_working_afterwards() {
    let scratch = scratch();
    let (directory, image) = (scratch.path().join("files"), scratch.path().join("image"));
    fs::create_dir(&directory).unwrap();
    for (seed, size) in (1..).zip(&SIZES[..15]) {
        fs::write(directory.join(seed.to_string()), bytes(*size, seed)).unwrap();
    }
    make(&image, "200M", &directory, &[]);
    enabled(&directory, &image, "before");
    let path = image.to_str().unwrap();
    for (program, args) in [
        ("resize2fs", &["-M", path][..]),
        ("resize2fs", &[path, "400M"]),
        ("tune2fs", &["-U", "random", path]),
    ] {
        common::Run::of(disks::tool(program).args(args)).ok();
        require_clean(&image, program);
        require_verity(&image, program);
    }
}

#[test]
fn sids_e2fsck_finds_nothing_either_in_what_sids_mke2fs_has_made() {
    let Some(oracle) = Oracle::find("sids_e2fsck_finds_nothing_either_in_what_sids_mke2fs_has_made") else {
        return;
    };
    let scratch = scratch();
    let (directory, image) = (scratch.path().join("files"), scratch.path().join("image"));
    fs::create_dir(&directory).unwrap();
    awkward(&directory);
    let e2fsck = || oracle.run(scratch.path(), &["e2fsck", "-fn", "image"]);
    let mke2fs = ["mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-d", "files", "image", "300M"];
    oracle.run(scratch.path(), &mke2fs).ok();
    enabled(&directory, &image, "sid's mke2fs");
    e2fsck().ok();
    make(&image, "300M", &directory, &[]);
    enabled(&directory, &image, "Debian 12's mke2fs");
    e2fsck().ok();
}

/// A file as pieces of data and of holes.
fn file() -> impl Strategy<Value = Vec<(bool, usize)>> {
    let len =
        prop_oneof![0..200_usize, 4000..4200_usize, 60_000..70_000_usize, Just(524_288), 1..900_000_usize];
    prop::collection::vec((prop::bool::weighted(0.7), len), 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 20, ..ProptestConfig::default() })]
    #[test]
    fn any_files_in_any_free_space_are_enabled_and_clean(
        files in prop::collection::vec(file(), 1..12),
        removed in prop::collection::vec(prop::bool::ANY, 300),
        features in prop_oneof![Just("^metadata_csum"), Just("verity"), Just("^flex_bg"), Just("^64bit")],
    ) {
        let scratch = scratch();
        let (directory, image) = (scratch.path().join("files"), scratch.path().join("image"));
        fs::create_dir(&directory).unwrap();
        for (name, pieces) in files.iter().enumerate() {
            let file = File::create(directory.join(name.to_string())).unwrap();
            let mut at = 0;
            for (is_data, len) in pieces {
                if *is_data {
                    file.write_all_at(&bytes(*len, at + 1), at).unwrap();
                }
                at += *len as u64;
                file.set_len(at).unwrap();
            }
        }
        let filler = directory.join("filler");
        fs::create_dir(&filler).unwrap();
        (0..removed.len()).for_each(|name| fs::write(filler.join(name.to_string()), bytes(4096, 7)).unwrap());
        make(&image, "96M", &directory, &["-O", features]);
        let gone = removed.iter().enumerate().filter(|(_, gone)| **gone);
        debugfs(&image, &gone.map(|(name, _)| format!("rm /filler/{name}\n")).collect::<String>());
        enabled(&directory, &image, features);
    }
}

#[test]
fn the_oracle_is_there() {
    run("fsverity", &["--version"]);
    common::Run::of(disks::tool("e2fsck").arg("-V")).ok();
}

/// A small file system without checksums, so that what is changed is believed; a seed of the fuzz target.
const SEED: &str = "fuzz/seeds/ext4/plain";

/// Tries to switch on fs-verity for what can be found, between two pieces that don't belong to the file system.
fn try_on(file: &File, image: &[u8]) {
    let guard = [0x5a; 4096];
    let end = 4096 + image.len() as u64;
    file.write_all_at(&guard, 0).unwrap();
    file.write_all_at(image, 4096).unwrap();
    file.write_all_at(&guard, end).unwrap();
    let Ok(mut system) = FileSystem::open(file, 4096, image.len() as u64) else { return };
    let mut inodes = Vec::new();
    let root = system.inode(ROOT).and_then(|root| system.entries(&root)).unwrap_or_default();
    for entry in root {
        match system.inode(entry.inode) {
            Ok(inode) if inode.kind() == FileType::File => inodes.push(entry.inode),
            Ok(inode) => drop(system.entries(&inode)),
            Err(_) => {}
        }
    }
    inodes.sort_unstable();
    inodes.dedup();
    if let Ok(findings) = disks::look(&system, &inodes) {
        if let Ok(plan) = EnablePlan::new(&mut system, findings) {
            drop(plan.write());
        }
    }
    for place in [0, end] {
        let mut found = [0; 4096];
        file.read_exact_at(&mut found, place).unwrap();
        assert!(found == guard, "something was written outside of the file system");
    }
    assert_eq!(file.metadata().unwrap().len(), end + 4096);
}

#[test]
fn any_byte_of_the_metadata_may_be_another_and_nothing_panics_or_leaves_the_file_system() {
    let image = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(SEED)).unwrap();
    let file = File::from(rustix::fs::memfd_create("image", rustix::fs::MemfdFlags::CLOEXEC).unwrap());
    try_on(&file, &image);
    let block = |number: usize, len: usize| number * 4096..number * 4096 + len;
    // Superblock, group descriptor, block bitmap, root directory, a leaf of extents, inodes.
    let places = [1024..2048, block(1, 64), block(2, 16), block(3, 120), block(17, 84), block(34, 17 * 256)];
    for at in places.into_iter().flatten() {
        for change in [1, 0x80, 0xff] {
            let mut image = image.clone();
            image[at] ^= change;
            try_on(&file, &image);
        }
    }
}

//! `ostree-seal verity`, killed at each of its writes, on a disk that fails, and when the power fails: the next run says so, e2fsck
//! repairs, no file has lost a byte, and a run after that completes.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test program: a panic is its answer, and nobody links it"
)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::disks::{self, contents, make, require_clean, require_verity};
use common::system::System;
use common::{Run, program, seal};

/// Blocks of a group, and so the block of the first copy of the superblock.
const GROUP: &str = "4096";

/// An image whose files are many enough for several groups and deep extent trees.
fn image(system: &System) -> PathBuf {
    system.deploy(&["--defer-verity"]).ok();
    let extra = system.root.join("extra");
    fs::create_dir(&extra).unwrap();
    for (name, extents) in [("few", 3_u64), ("four", 4), ("more", 9), ("many", 400)] {
        let file = fs::File::create(extra.join(name)).unwrap();
        for at in 0..extents {
            std::os::unix::fs::FileExt::write_all_at(&file, &[7; 4096], at * 8192).unwrap();
        }
    }
    (0..190).for_each(|name| fs::write(extra.join(name.to_string()), [8; 5000]).unwrap());
    let image = system.directory.path().join("original");
    make(&image, "40M", &system.root, &["-g", GROUP]);
    image
}

/// The program under strace, which does something to it at a system call.
fn traced(image: &Path, log: &Path, options: &[&str]) -> Run {
    let mut command = Command::new("strace");
    command.args(["-f", "-o"]).arg(log).args(options).arg(program().get_program());
    Run::of(command.args(["verity", "--also=/extra/*", "--threads=1"]).arg(image))
}

fn verity(image: &Path) -> Run {
    seal(&["verity", "--also=/extra/*", image.to_str().unwrap()])
}

/// Repairs. A superblock that is torn has copies, which e2fsck finds by itself where groups have the usual size.
fn e2fsck(image: &Path, what: &str) {
    let mut run = Run::of(disks::tool("e2fsck").arg("-fy").arg(image));
    if run.code == Some(8) && run.stdout.contains("Superblock checksum does not match superblock") {
        run = Run::of(disks::tool("e2fsck").args(["-fy", "-B", "4096", "-b", GROUP]).arg(image));
    }
    assert!(matches!(run.code, Some(0 | 1)), "{what}: {run:?}");
}

/// Contents without what e2fsck may have made.
fn own(image: &Path) -> BTreeMap<String, Vec<u8>> {
    contents(image).into_iter().filter(|(path, _)| !path.starts_with("/lost+found")).collect()
}

#[test]
fn killed_at_any_write_nothing_is_lost_and_the_next_but_one_run_completes() {
    if Command::new("strace").arg("-V").output().is_err() {
        println!("SKIP killed_at_any_write_nothing_is_lost_and_the_next_but_one_run_completes: needs strace");
        return;
    }
    let system = System::sealable();
    let original = image(&system);
    let (work, log) = (system.directory.path().join("work"), system.directory.path().join("log"));
    fs::copy(&original, &work).unwrap();
    traced(&work, &log, &["-e", "trace=pwrite64"]).ok();
    let writes = fs::read_to_string(&log).unwrap().matches("pwrite64(").count();
    assert!(writes > 200, "{writes}");
    let before = own(&original);
    let done = own(&work);
    assert!(done == before);
    let mut refused = 0;
    // Evenly spread, the first and the last among them; `make soak` has all.
    let places = number("OSTREE_SEAL_KILLS").unwrap_or(64).min(writes);
    for place in 1..=places {
        let write = 1 + (place - 1) * (writes - 1) / (places - 1);
        fs::copy(&original, &work).unwrap();
        let inject = format!("inject=pwrite64:signal=KILL:when={write}");
        let run = traced(&work, &log, &["-e", "trace=pwrite64", "-e", &inject]);
        assert_ne!(run.code, Some(0), "write {write}");
        let is_refused = completes(&work, &before, &format!("killed at write {write}"));
        // Only before the first byte, and after the last, there is nothing to refuse.
        assert!(is_refused || [1, writes].contains(&write), "write {write}");
        refused += usize::from(is_refused);
    }
    println!("killed at {places} of {writes} writes, {refused} refused by the next run");
    assert!(refused >= places - 2, "{refused} of {places}");
}

fn number(variable: &str) -> Option<usize> {
    std::env::var(variable).ok().map(|value| value.parse().unwrap())
}

/// Requires that an image on which a run was cut short is refused and then repaired, or whole; that no file has lost a byte;
/// and that the next run completes the job. Whether it was refused.
fn completes(image: &Path, before: &BTreeMap<String, Vec<u8>>, what: &str) -> bool {
    let next = verity(image);
    let is_refused = next.code != Some(0);
    if is_refused {
        assert_eq!(next.code, Some(1), "{what}: {}", next.stderr);
        let says_so =
            ["is not clean", "file system is damaged"].iter().any(|said| next.stderr.contains(said));
        assert!(says_so && next.stderr.contains("e2fsck -fy"), "{what}: {}", next.stderr);
        e2fsck(image, what);
        assert!(own(image) == *before, "{what}: contents differ after e2fsck");
        verity(image).ok();
    }
    require_clean(image, what);
    assert!(own(image) == *before, "{what}: contents differ");
    assert!(verity(image).ok().contains("enabled on 0 files"), "{what}");
    is_refused
}

/// What a run asks of the disk.
enum Call {
    Write(usize, Vec<u8>),
    Sync,
}

/// The calls in a log of strace that has all bytes in hexadecimal.
fn calls(log: &str) -> Vec<Call> {
    let call = |line: &str| {
        if line.contains("fdatasync(") {
            return Some(Call::Sync);
        }
        let (_, rest) = line.split_once("pwrite64(")?;
        let [_, bytes, rest] = rest.split('"').collect::<Vec<_>>().try_into().unwrap();
        let bytes: Vec<u8> =
            bytes.split("\\x").skip(1).map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
        let numbers: Vec<usize> = rest.split([',', ')', ' ']).filter_map(|word| word.parse().ok()).collect();
        assert_eq!(numbers[0], bytes.len(), "strace has cut the bytes: {rest}");
        Some(Call::Write(numbers[1], bytes))
    };
    log.lines().filter_map(call).collect()
}

/// A disk after so many calls and a power cut: what was synced is there, and of what was written after that any part, by
/// sectors.
fn cut(original: &[u8], calls: &[Call], random: &mut impl FnMut() -> u64) -> Vec<u8> {
    const SECTOR: usize = 512;
    let synced = calls.iter().rposition(|call| matches!(call, Call::Sync)).unwrap_or(0);
    let (mut disk, lost) = (original.to_vec(), random() % 5);
    for (at, call) in calls.iter().enumerate() {
        let Call::Write(offset, bytes) = call else { continue };
        for (sector, bytes) in bytes.chunks(SECTOR).enumerate() {
            let offset = offset + sector * SECTOR;
            if at < synced || random() % 4 >= lost {
                disk[offset..offset + bytes.len()].copy_from_slice(bytes);
            }
        }
    }
    disk
}

#[test]
fn a_power_cut_at_any_moment_loses_nothing_and_the_next_run_completes() {
    if Command::new("strace").arg("-V").output().is_err() {
        println!("SKIP a_power_cut_at_any_moment_loses_nothing_and_the_next_run_completes: needs strace");
        return;
    }
    let system = System::sealable();
    let original = image(&system);
    let (work, log) = (system.directory.path().join("work"), system.directory.path().join("log"));
    fs::copy(&original, &work).unwrap();
    traced(&work, &log, &["-xx", "-s", "2000000", "-e", "trace=pwrite64,fdatasync"]).ok();
    let calls = calls(&fs::read_to_string(&log).unwrap());
    let (disk, before) = (fs::read(&original).unwrap(), own(&original));
    let mut nothing_lost = || 0;
    assert!(
        cut(&disk, &calls, &mut nothing_lost) == fs::read(&work).unwrap(),
        "the log has all that was written"
    );
    let (cuts, seed) = (number("OSTREE_SEAL_CUTS").unwrap_or(20), number("OSTREE_SEAL_SEED").unwrap_or(1));
    let mut refused = 0;
    for number in 0..cuts {
        let mut state = ((seed * 1_000_003 + number) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state >> 8
        };
        let at = usize::try_from(random() % (calls.len() as u64 + 1)).unwrap();
        fs::write(&work, cut(&disk, &calls[..at], &mut random)).unwrap();
        let what = format!("OSTREE_SEAL_SEED={seed}, cut {number} after {at} of {} calls", calls.len());
        refused += usize::from(completes(&work, &before, &what));
    }
    println!("{cuts} power cuts in {} calls, {refused} refused by the next run", calls.len());
    assert!(refused * 2 > cuts, "{refused} of {cuts}");
}

#[test]
fn a_disk_that_fails_is_said_and_leaves_what_e2fsck_repairs() {
    if Command::new("strace").arg("-V").output().is_err() {
        println!("SKIP a_disk_that_fails_is_said_and_leaves_what_e2fsck_repairs: needs strace");
        return;
    }
    let system = System::sealable();
    let original = image(&system);
    let (work, log) = (system.directory.path().join("work"), system.directory.path().join("log"));
    for (inject, words) in [
        ("inject=pwrite64:error=EIO:when=1", "writing the image: Input/output error"),
        ("inject=pwrite64:error=ENOSPC:when=9", "writing the image: No space left on device"),
        ("inject=fdatasync:error=EIO:when=1", "writing the image to the disk: Input/output error"),
        ("inject=fdatasync:error=EIO:when=2", "writing the image to the disk: Input/output error"),
    ] {
        fs::copy(&original, &work).unwrap();
        let run = traced(&work, &log, &["-e", "trace=pwrite64,fdatasync", "-e", inject]);
        assert_eq!(run.code, Some(1), "{inject}: {run:?}");
        assert!(run.stderr.contains(words), "{inject}: {}", run.stderr);
        e2fsck(&work, inject);
        verity(&work).ok();
        require_clean(&work, inject);
    }
    fs::copy(&original, &work).unwrap();
    let run = traced(&work, &log, &["-e", "trace=pread64", "-e", "inject=pread64:error=EIO:when=90"]);
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(run.stderr.contains("reading the image: Input/output error"), "{}", run.stderr);
    assert!(fs::read(&work).unwrap() == fs::read(&original).unwrap(), "nothing was written");
}

#[test]
fn what_was_done_is_right() {
    let system = System::sealable();
    let image = image(&system);
    let files = disks::enable_all(&image).unwrap();
    assert!(files.len() > 10);
    require_verity(&image, "all files");
    require_clean(&image, "all files");
}

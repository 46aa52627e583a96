//! `ostree-seal verity`, killed at each of its writes, and on a disk that fails: the next run says so, e2fsck repairs, no file
//! has lost a byte, and a run after that completes.

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
    (0..60).for_each(|name| fs::write(extra.join(name.to_string()), [8; 5000]).unwrap());
    let image = system.directory.path().join("original");
    make(&image, "64M", &system.root, &["-g", "4096"]);
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

fn e2fsck(image: &Path) {
    let run = Run::of(disks::tool("e2fsck").arg("-fy").arg(image));
    assert!(matches!(run.code, Some(0 | 1)), "{run:?}");
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
    assert!(writes > 70, "{writes}");
    let before = own(&original);
    let done = own(&work);
    assert!(done == before);
    let mut refused = 0;
    for write in 1..=writes {
        fs::copy(&original, &work).unwrap();
        let inject = format!("inject=pwrite64:signal=KILL:when={write}");
        let run = traced(&work, &log, &["-e", "trace=pwrite64", "-e", &inject]);
        assert_ne!(run.code, Some(0), "write {write}");
        let next = verity(&work);
        if next.code == Some(1) {
            assert!(next.stderr.contains("is not clean"), "write {write}: {}", next.stderr);
            refused += 1;
            e2fsck(&work);
            assert!(own(&work) == before, "write {write}: contents differ");
            verity(&work).ok();
        } else {
            // Before the first byte, or after the last.
            assert!(next.code == Some(0) && [1, writes].contains(&write), "write {write}: {next:?}");
        }
        require_clean(&work, &format!("write {write}"));
        assert!(own(&work) == before, "write {write}: contents differ");
        assert!(verity(&work).ok().contains("enabled on 0 files"), "write {write}");
    }
    assert!(refused >= writes - 2, "{refused} of {writes}");
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
        e2fsck(&work);
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

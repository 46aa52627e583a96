//! Deployments that a stranger made: no command hangs, takes long or takes much memory, whatever lies where the initramfs is
//! looked for.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test program: a panic is its answer, and nobody links it"
)]

mod common;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use common::system::{System, set_immutable};
use common::{is_root, program};

const KERNEL: &str = "usr/lib/modules/6.12";
/// In KiB, of address space: the program itself maps a few hundred MiB.
const MEMORY: u32 = 1_500_000;

fn fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// A cpio archive with one file of a MiB under so many names.
fn linked(names: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let member = |bytes: &mut Vec<u8>, name: &str, content: &[u8]| {
        write!(bytes, "070701{:08x}{:08x}{:016x}{names:08x}{:08x}", 1, 0o100_644, 0, 0).unwrap();
        write!(bytes, "{:08x}{:032x}{:08x}{:08x}{name}\0", content.len(), 0, name.len() + 1, 0).unwrap();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend_from_slice(content);
    };
    member(&mut bytes, "first", &vec![0; 1 << 20]);
    for name in 1..names {
        member(&mut bytes, &format!("usr/share/name-{name}"), &[]);
    }
    member(&mut bytes, "TRAILER!!!", &[]);
    bytes
}

fn packed(program: &str, bytes: &[u8], to: &Path) {
    let plain = to.with_extension("plain");
    fs::write(&plain, bytes).unwrap();
    let line = format!("{program} <{} >{}", plain.display(), to.display());
    assert!(Command::new("sh").args(["-c", &line]).status().unwrap().success());
    fs::remove_file(plain).unwrap();
}

#[test]
fn no_command_hangs_or_grows_whatever_lies_where_the_initramfs_is_looked_for() {
    if !is_root("no_command_hangs_or_grows_whatever_lies_where_the_initramfs_is_looked_for") {
        return;
    }
    type Plant = fn(&Path);
    let plants: [(&str, Plant); 9] = [
        ("initramfs is a fifo", |modules| fifo(&modules.join("initramfs.img"))),
        ("initramfs leads to /dev/zero", |modules| {
            symlink("/dev/zero", modules.join("initramfs.img")).unwrap()
        }),
        ("initramfs is a directory", |modules| fs::create_dir(modules.join("initramfs.img")).unwrap()),
        ("initramfs is a sparse terabyte", |modules| {
            fs::File::create(modules.join("initramfs.img")).unwrap().set_len(1 << 40).unwrap();
        }),
        ("a unified kernel image is a fifo", |modules| fifo(&modules.join("x.efi"))),
        ("a unified kernel image leads to a fifo", |modules| {
            fifo(&modules.join("fifo"));
            symlink("fifo", modules.join("x.efi")).unwrap();
        }),
        ("one file has 20,000 names", |modules| {
            packed("gzip -9", &linked(20_000), &modules.join("initramfs.img"));
        }),
        ("600 MB in 92 kB of xz", |modules| {
            packed("xz -1", &vec![0; 600 << 20], &modules.join("initramfs.img"));
        }),
        ("prepare-root.conf is a fifo", |modules| {
            let conf = modules.join("../../ostree");
            fs::create_dir_all(&conf).unwrap();
            fifo(&conf.join("prepare-root.conf"));
        }),
    ];
    for (what, plant) in plants {
        let system = System::sealable();
        let deployment = system.only_deployment();
        set_immutable(&deployment, false);
        plant(&deployment.join(KERNEL));
        let sysroot = format!("--sysroot={}", system.root.display());
        for args in
            [&["status", &sysroot][..], &["doctor", &sysroot], &["deploy", &sysroot, "--defer-verity"]]
        {
            let started = Instant::now();
            let limited = format!("ulimit -v {MEMORY}; exec timeout 30 \"$@\"");
            let mut command = Command::new("bash");
            command.args(["-c", &limited, "bash"]).arg(program().get_program()).args(args);
            let output = command.output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(
                matches!(output.status.code(), Some(0 | 1 | 3)),
                "{what}: {args:?}: {:?} {said}",
                output.status
            );
            assert!(started.elapsed() < Duration::from_secs(10), "{what}: {args:?}: {:?}", started.elapsed());
        }
        // The lock is not held by anybody.
        system.deploy(&["--defer-verity"]);
    }
}

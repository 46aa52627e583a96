//! Deployments that a stranger made: no command hangs, takes much memory or keeps the lock, whatever lies where something is
//! read.

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
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use common::boot_files::{cpio, uki};
use common::system::{System, set_immutable};
use common::{Run, is_root, program};
use nix::sys::resource::{UsageWho, getrusage};
use ostree_seal::erofs::{self, Versions};
use serde_json::Value;

const KERNEL: &str = "usr/lib/modules/6.12";
/// In KiB, of any program that ran.
const MEMORY: i64 = 300 * 1024;
/// Nothing takes so long that doesn't wait for ever.
const HANGS: &str = "120";

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
    let plants: [(&str, Make); 12] = [
        ("initramfs is a fifo", |modules| fifo(&modules.join("initramfs.img"))),
        ("initramfs leads to /dev/zero", |modules| {
            symlink("/dev/zero", modules.join("initramfs.img")).unwrap()
        }),
        ("initramfs is a directory", |modules| fs::create_dir(modules.join("initramfs.img")).unwrap()),
        ("initramfs is a sparse terabyte", |modules| {
            fs::File::create(modules.join("initramfs.img")).unwrap().set_len(1 << 40).unwrap();
        }),
        ("initramfs is 1 GiB of nothing", |modules| {
            fs::File::create(modules.join("initramfs.img")).unwrap().set_len(1 << 30).unwrap();
        }),
        ("initramfs has one file of 900 MB", |modules| {
            let header =
                [0, 0o100_644, 0, 0, 1, 0, 900_000_000, 0, 0, 0, 0, 2, 0].map(|field| format!("{field:08x}"));
            let initramfs = modules.join("initramfs.img");
            fs::write(&initramfs, format!("070701{}x\0", header.concat())).unwrap();
            fs::File::options().write(true).open(initramfs).unwrap().set_len(900_100_000).unwrap();
        }),
        ("a unified kernel image has an initramfs of 900 MB", |modules| {
            let mut image = uki(&[(".initrd", b"070701")]);
            let at = image.windows(8).position(|name| name == b".initrd\0").unwrap();
            for field in [8, 16] {
                image[at + field..at + field + 4].copy_from_slice(&900_000_000_u32.to_le_bytes());
            }
            let path = modules.join("x.efi");
            fs::write(&path, image).unwrap();
            fs::File::options().write(true).open(path).unwrap().set_len(950_000_000).unwrap();
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
        all_commands(&system, what);
    }
}

/// Runs all commands that look at a deployment. Each ends, with little memory, and says yes or no; nobody holds the lock then.
fn all_commands(system: &System, what: &str) {
    let sysroot = format!("--sysroot={}", system.root.display());
    for args in [&["status", &sysroot][..], &["doctor", &sysroot], &["deploy", &sysroot, "--defer-verity"]] {
        let mut command = Command::new("timeout");
        let run = Run::of(command.arg(HANGS).arg(program().get_program()).args(args));
        assert!(matches!(run.code, Some(0 | 1 | 3)), "{what}: {args:?}: {:?} {}", run.code, run.stderr);
        let peak = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap().max_rss();
        assert!(peak < MEMORY, "{what}: {args:?}: {peak} KiB");
    }
}

/// Where something is read: below the deployment, or below the sysroot.
const PLACES: [&str; 18] = [
    "D/.ostree.cfs",
    "D/.ostree.seal",
    "D/.ostree.seal-deferred",
    "D/usr/etc/ostree-seal/policy.conf",
    "D/usr/lib/modules",
    "D/usr/lib/modules/6.12/config",
    "D/usr/lib/modules/6.12/initramfs.img",
    "D/usr/lib/modules/6.12/modules.dep",
    "D/usr/lib/modules/6.12/vmlinuz",
    "D/usr/lib/modules/6.12/x.efi",
    "D/usr/lib/ostree-boot",
    "D/usr/lib/ostree-seal/ostree-seal-root",
    "D/usr/lib/ostree-seal/policy.conf",
    "D/usr/lib/ostree-seal/revoked.d",
    "D/usr/lib/ostree-seal/trusted.d/x.vkey",
    "D/usr/lib/ostree/prepare-root.conf",
    "R/boot/EFI/Linux",
    "R/boot/EFI/Linux/a.efi",
];

/// Puts something in a place where nothing is.
type Make = fn(&Path);

/// What is put there.
const THINGS: [(&str, Make); 16] = [
    ("a fifo", fifo),
    ("a socket", |path| drop(std::os::unix::net::UnixListener::bind(short(path)).unwrap())),
    ("a link to a device", |path| symlink("/dev/zero", path).unwrap()),
    ("a link to the kernel's messages", |path| symlink("/dev/kmsg", path).unwrap()),
    ("a link to a descriptor", |path| symlink("/proc/self/fd/0", path).unwrap()),
    ("a link to itself", |path| symlink(path.file_name().unwrap(), path).unwrap()),
    ("a link to nothing", |path| symlink("/nothing", path).unwrap()),
    ("a link up and up", |path| symlink("../".repeat(40) + "etc/passwd", path).unwrap()),
    ("a link to /", |path| symlink("/", path).unwrap()),
    ("a directory", |path| fs::create_dir(path).unwrap()),
    ("many names", |path| {
        fs::create_dir(path).unwrap();
        (0..10_500).for_each(|name| fs::write(path.join(format!("{name}.efi")), "").unwrap());
    }),
    ("nothing in a file", |path| fs::write(path, "").unwrap()),
    ("a terabyte", |path| fs::File::create(path).unwrap().set_len(1 << 40).unwrap()),
    ("noise", |path| fs::write(path, noise(1 << 20)).unwrap()),
    ("an image that names nothing", |path| {
        fs::write(path, uki(&[(".initrd", b"x"), (".cmdline", b"")])).unwrap()
    }),
    ("a bomb", |path| assert!(fs::copy(bomb(), path).unwrap() > 0)),
];

/// 64 MiB of nothing in a few bytes.
fn bomb() -> &'static Path {
    static BOMB: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let make = || {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bomb");
        packed("gzip -9", &vec![0; 64 << 20], &path);
        (directory, path)
    };
    &BOMB.get_or_init(make).1
}

/// The path of a socket has a few bytes only.
fn short(path: &Path) -> PathBuf {
    let directory = fs::File::open(path.parent().unwrap()).unwrap();
    let short = format!("/proc/self/fd/{}/{}", std::os::fd::AsRawFd::as_raw_fd(&directory), name_of(path));
    std::mem::forget(directory); // for the test's life
    short.into()
}

fn name_of(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

/// Bytes without any meaning, the same ones each time.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// Puts something in a place, and says what was there before, kept beside the sysroot. Not behind a link, which may lead out.
fn plant(system: &System, place: &str, make: Make, number: usize) -> Option<(PathBuf, Option<PathBuf>)> {
    let deployment = system.only_deployment();
    let root = if place.starts_with('D') { &deployment } else { &system.root };
    let path = root.join(&place[2..]);
    let mut above = path.ancestors().skip(1).take_while(|above| above.starts_with(root));
    if above.any(|above| above.symlink_metadata().is_ok_and(|found| !found.is_dir())) {
        return None;
    }
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let kept = system.directory.path().join(format!("kept-{number}"));
    let kept = fs::rename(&path, &kept).is_ok().then_some(kept);
    make(&path);
    Some((path, kept))
}

fn restore((path, kept): (PathBuf, Option<PathBuf>)) {
    match path.symlink_metadata() {
        Ok(found) if found.is_dir() => fs::remove_dir_all(&path).unwrap(),
        Ok(_) => fs::remove_file(&path).unwrap(),
        Err(_) => {}
    }
    if let Some(kept) = kept {
        fs::rename(kept, &path).unwrap();
    }
}

#[test]
fn no_command_hangs_or_grows_on_any_of_200_hostile_deployments() {
    if !is_root("no_command_hangs_or_grows_on_any_of_200_hostile_deployments") {
        return;
    }
    let all: Vec<_> =
        PLACES.iter().flat_map(|place| THINGS.iter().map(move |thing| (*place, thing))).collect();
    assert!(all.len() >= 200);
    // Each once, and beside it another one; half of them on one system, half on another.
    std::thread::scope(|scope| {
        for half in 0..2 {
            let all = &all;
            scope.spawn(move || hostile_deployments(all, |index| index % 36 < 25 && index % 2 == half));
        }
    });
}

/// All commands on a system in which, one after the other, each selected thing stands in its place.
fn hostile_deployments(all: &[(&str, &(&str, Make))], is_selected: impl Fn(usize) -> bool) {
    let system = System::sealable();
    for (index, (place, (thing, make))) in all.iter().enumerate().filter(|(index, _)| is_selected(*index)) {
        let (other_place, (other_thing, other_make)) = all[(index * 101 + 57) % all.len()];
        set_immutable(&system.only_deployment(), false);
        let planted = [(*place, *make), (other_place, *other_make)].into_iter().enumerate();
        let mut planted: Vec<_> =
            planted.filter_map(|(n, (place, make))| plant(&system, place, make, n)).collect();
        all_commands(&system, &format!("{place} is {thing}, {other_place} is {other_thing}"));
        set_immutable(&system.only_deployment(), false);
        while let Some(planted) = planted.pop() {
            restore(planted);
        }
    }
    // Nobody holds the lock, and nothing was lost.
    system.deploy(&["--defer-verity"]).ok();
}

/// A system that boots with unified kernel images, and what is on their command line.
fn system_with_ukis() -> (System, String) {
    let system = System::sealable();
    fs::create_dir_all(system.root.join("boot/EFI/Linux")).unwrap();
    let target = format!("ostree=/ostree/deploy/test/deploy/{}.0", system.only_commit());
    (system, target)
}

/// A unified kernel image with the program and this policy in it.
fn sealed_uki(target: &str, policy: &[(&str, String)]) -> Vec<u8> {
    let mut files: Vec<(&str, &[u8])> = policy.iter().map(|(name, text)| (*name, text.as_bytes())).collect();
    files.push(("usr/bin/ostree-seal-root", b"program"));
    uki(&[(".cmdline", target.as_bytes()), (".initrd", &cpio(&files))])
}

fn status(system: &System) -> Value {
    let sysroot = format!("--sysroot={}", system.root.display());
    let text = Run::of(program().args(["status", &sysroot, "--json"])).ok();
    serde_json::from_str::<Value>(&text).unwrap()["deployments"][0].clone()
}

#[test]
fn two_unified_kernel_images_for_one_deployment_are_named_and_both_are_asked() {
    if !is_root("two_unified_kernel_images_for_one_deployment_are_named_and_both_are_asked") {
        return;
    }
    let (system, target) = system_with_ukis();
    let esp = system.root.join("boot/EFI/Linux");
    let good = sealed_uki(&target, &system.policy(""));
    fs::write(esp.join("os.efi"), &good).unwrap();
    let alone = system.deploy(&["--defer-verity"]);
    assert!(alone.code == Some(0) && !alone.stderr.contains("may boot it"), "{}", alone.stderr);
    assert_eq!(
        (status(&system)["verdict"].as_str(), status(&system)["ambiguity"].as_str()),
        (Some("deferred"), None)
    );

    // The same one twice is no matter of trust, but is said.
    fs::write(esp.join("copy.efi"), &good).unwrap();
    let twice = system.deploy(&["--defer-verity"]);
    let both = "copy.efi or ";
    assert!(
        twice.code == Some(0) && twice.stderr.contains(both) && twice.stderr.contains("os.efi may boot it"),
        "{}",
        twice.stderr
    );
    let said = status(&system);
    assert_eq!(said["verdict"], "deferred");
    let ambiguity = said["ambiguity"].as_str().unwrap();
    assert!(ambiguity.contains(both) && ambiguity.contains("nothing here authenticates"), "{ambiguity}");
    fs::remove_file(esp.join("copy.efi")).unwrap();

    // One that was planted, under a name that sorts first or last.
    let unsealed = [("usr/lib/ostree-seal/policy.conf", "[seal]\nmode = unsealed\n".to_owned())];
    let others = System::new();
    let cases = [
        (sealed_uki(&target, &unsealed), "would boot it without any check", "unsealed"),
        (sealed_uki(&target, &others.policy("")), "0.efi would boot it", "deferred"),
        (uki(&[(".cmdline", target.as_bytes()), (".initrd", b"noise")]), "", ""),
    ];
    for name in ["0.efi", "z.efi"] {
        for (planted, reason, verdict) in &cases {
            fs::write(esp.join(name), planted).unwrap();
            let refused = system.deploy(&["--defer-verity"]);
            let said = status(&system);
            assert!(said["ambiguity"].as_str().unwrap().contains(name), "{said}");
            if !reason.is_empty() {
                let reason = reason.replace("0.efi", name);
                assert!(refused.code == Some(3) && refused.stderr.contains(&reason), "{}", refused.stderr);
                assert_eq!(said["verdict"], *verdict);
            }
            fs::remove_file(esp.join(name)).unwrap();
        }
    }
}

/// An image of this length whose inodes are all the same, as small as they can be: what it costs to look into it is at its worst.
fn bloated(len: usize, inode: &dyn Fn(usize) -> [u8; 32]) -> Vec<u8> {
    const BLOCK: usize = 4096;
    let tree = ostree_seal::dump::parse("/ 4096 40755 2 0 0 0 0.0 - - -\n".as_bytes()).unwrap();
    let plan = erofs::plan(&tree, Versions::default()).unwrap();
    let mut image = Vec::new();
    erofs::emit(&tree, &plan, std::num::NonZeroUsize::MIN, &mut image).unwrap();
    image.resize(BLOCK, 0);
    image.truncate(BLOCK);
    // The superblock: where the root is, and that inodes begin in the next block.
    image[1024 + 14..][..2].fill(0);
    image[1024 + 40..][..4].copy_from_slice(&1_u32.to_le_bytes());
    // A name takes 12 bytes of an entry and 4 of its own.
    let entries = (BLOCK - 4) / 16;
    let count = (len - BLOCK) / (32 + 17);
    let blocks = count / entries;
    let directories = (BLOCK + (blocks * entries + 1) * 32).next_multiple_of(BLOCK);
    let size = u32::try_from(blocks * BLOCK).unwrap();
    image.extend(compact(0, 0o040_755, size, u32::try_from(directories / BLOCK).unwrap()));
    (0..blocks * entries).for_each(|number| image.extend(inode(number)));
    image.resize(directories, 0);
    for block in 0..blocks {
        let names: Vec<String> = (0..entries).map(|entry| name_in_order(block * entries + entry)).collect();
        for (entry, name) in names.iter().enumerate() {
            let nid = (block * entries + entry + 1) as u64;
            image.extend(nid.to_le_bytes());
            image.extend(u16::try_from(entries * 12 + entry * name.len()).unwrap().to_le_bytes());
            image.extend([1, 0]);
        }
        image.extend(names.concat().into_bytes());
        image.resize(image.len().next_multiple_of(BLOCK), 0);
    }
    image
}

/// A name of four bytes, sorted like its number.
fn name_in_order(number: usize) -> String {
    let digit = |place: u32| char::from(b'0' + u8::try_from(number / 60_usize.pow(place) % 60).unwrap());
    (0..4).rev().map(digit).collect()
}

/// An inode of the small kind: its layout, mode, size and where its content is.
fn compact(layout: u16, mode: u16, size: u32, union: u32) -> [u8; 32] {
    let mut inode = [0; 32];
    inode[..2].copy_from_slice(&(layout << 1).to_le_bytes());
    inode[4..6].copy_from_slice(&mode.to_le_bytes());
    inode[6..8].copy_from_slice(&1_u16.to_le_bytes());
    inode[8..12].copy_from_slice(&size.to_le_bytes());
    inode[16..20].copy_from_slice(&union.to_le_bytes());
    inode
}

#[test]
fn an_image_that_anybody_made_takes_a_few_times_its_length_in_memory() {
    if !is_root("an_image_that_anybody_made_takes_a_few_times_its_length_in_memory") {
        return;
    }
    let system = System::sealable();
    let deployment = system.only_deployment();
    set_immutable(&deployment, false);
    fs::write(deployment.join(".ostree.seal-deferred"), "").unwrap();
    let len = 60 << 20;
    let external = |_| compact(4, 0o100_644, 1 << 20, 0);
    let directory = |_| compact(0, 0o040_755, 0, 0);
    for (what, image) in
        [("external files", bloated(len, &external)), ("directories", bloated(len, &directory))]
    {
        assert!(image.len() > len * 9 / 10 && image.len() < len * 11 / 10, "{}", image.len());
        // It is one that is understood.
        let backings = erofs::backings(&image).unwrap().len();
        assert_eq!(backings > 1_000_000, what == "external files", "{what}: {backings}");
        fs::write(deployment.join(".ostree.cfs"), &image).unwrap();
        drop(image);
        all_commands(&system, what);
        set_immutable(&deployment, false);
    }
}

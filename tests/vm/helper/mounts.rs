//! The mounts that `ostree-seal-root` makes, and nothing else: no policy, no check, no file in /run, no sentence when
//! something fails. No program that sets up the root does it with less, so `bench-boot` measures this one as the lower bound.
//!
//! It finds the deployment at `/tmp/deployment` and the physical root on `/sysroot`. With any argument it also does what no
//! check can go without: it verifies one signature by one key, and compares the signed digest with the kernel's.

#![no_main]

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use base64ct::{Base64, Encoding};
use dlmalloc::GlobalDlmalloc;
use ostree_seal_root::check::verity;
use ostree_seal_trust::vkey::Vkey;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::{Errno, read};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount_remount, move_mount,
    open_tree, unmount,
};

#[global_allocator]
static MEMORY: GlobalDlmalloc = GlobalDlmalloc;

ostree_seal_root::program!(run);

fn run(arguments: usize) -> u8 {
    mounts(arguments > 0).is_err().into()
}

fn mounts(checked: bool) -> Result<(), Errno> {
    let image = open("/tmp/deployment/.ostree.cfs")?;
    if checked {
        check(&image).ok_or(Errno::KEYREJECTED)?;
    }
    let source = format!("/proc/self/fd/{}", image.as_raw_fd());
    let erofs = new_mount("erofs", &[("source", &source)], &["ro", "noacl"])?;
    rustix::fs::mkdirat(CWD, "/run/lower", Mode::RWXU)?;
    attach(&erofs, "/run/lower")?;
    let options = [
        ("source", "composefs"),
        ("metacopy", "on"),
        ("redirect_dir", "on"),
        ("verity", "require"),
        ("lowerdir+", "/run/lower"),
        ("datadir+", "/sysroot/ostree/repo/objects"),
    ];
    let root = new_mount("overlay", &options, &[])?;
    rustix::fs::mkdirat(CWD, "/run/root", Mode::RWXU)?;
    attach(&root, "/run/root")?;
    attach(&clone("/tmp/deployment/etc", OpenTreeFlags::empty())?, "/run/root/etc")?;
    attach(&clone("/sysroot", OpenTreeFlags::empty())?, "/run/root/sysroot")?;
    attach(
        &clone("/tmp/deployment/../../var", OpenTreeFlags::empty())?,
        "/run/root/sysroot/ostree/deploy/small/var",
    )?;
    mount_remount("/run/root/sysroot", MountFlags::BIND | MountFlags::RDONLY, "")?;
    unmount("/sysroot", UnmountFlags::DETACH)?;
    move_mount(CWD, "/run/root", CWD, "/sysroot", MoveMountFlags::empty())
}

fn open(path: &str) -> Result<OwnedFd, Errno> {
    openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// One key, one note with one signature, one digest; what is wrong is not said.
fn check(image: &OwnedFd) -> Option<()> {
    let (mut key, mut note, mut signature) = ([0; 256], [0; 1024], [0; 68]);
    let len = read(open("/usr/lib/ostree-seal/trusted.d/release.vkey").ok()?, &mut key[..]).ok()?;
    let key = Vkey::parse(&key[..len]).ok()?;
    let len = read(open("/tmp/deployment/.ostree.seal").ok()?, &mut note[..]).ok()?;
    let (text, line) = std::str::from_utf8(&note[..len]).ok()?.split_once("\n\n")?;
    let (_, base64) = line.trim_end().rsplit_once(' ')?;
    let signature = Base64::decode(base64, &mut signature).ok()?;
    let signed = key.signed(&note[..=text.len()], signature.get(4..)?);
    (signed && text.contains(&verity::measure(image).ok()?.to_string())).then_some(())
}

fn new_mount(kind: &str, options: &[(&str, &str)], flags: &[&str]) -> Result<OwnedFd, Errno> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        fsconfig_set_string(&context, *key, *value)?;
    }
    for flag in flags {
        fsconfig_set_flag(&context, *flag)?;
    }
    fsconfig_create(&context)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_RDONLY)
}

fn clone(path: &str, flags: OpenTreeFlags) -> Result<OwnedFd, Errno> {
    open_tree(CWD, path, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | flags)
}

fn attach(tree: &OwnedFd, path: &str) -> Result<(), Errno> {
    move_mount(tree, "", CWD, Path::new(path), MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

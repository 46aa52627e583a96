//! The mounts that `ostree-seal-root` makes, and nothing else: no policy, no check, no file in /run, no sentence when
//! something fails. No program that sets up the root does it with less, so `bench-boot` measures this one as the lower bound.
//!
//! It finds the deployment at `/tmp/deployment` and the physical root on `/sysroot`.

#![no_main]

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use dlmalloc::GlobalDlmalloc;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount_remount, move_mount,
    open_tree, unmount,
};

#[global_allocator]
static MEMORY: GlobalDlmalloc = GlobalDlmalloc;

ostree_seal_root::program!(run);

fn run(_arguments: usize) -> u8 {
    mounts().is_err().into()
}

fn mounts() -> Result<(), Errno> {
    let image = openat(CWD, "/tmp/deployment/.ostree.cfs", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
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

//! A mount namespace of our own, in which the root is put together. What goes wrong in there is gone when the program
//! ends, so that a failure at any step leaves the initramfs's own mounts as they were; success changes them at the end.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{
    MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount_change, move_mount, open_tree,
    unmount,
};
use rustix::process::{chroot, fchdir};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::{BootError, Doing};
use crate::sys;

/// This thread's own mount namespace, and the one that it came from.
#[derive(Debug)]
pub struct PrivateMounts {
    namespace: OwnedFd,
    /// The root directory of this process, which the kernel forgets on the way back.
    slash: OwnedFd,
    /// The directory that holds `/sysroot`: the same, but for a library user with other plans.
    root: OwnedFd,
    sysroot: PathBuf,
}

/// A copy of a mount, not attached anywhere.
const CLONE: OpenTreeFlags = OpenTreeFlags::OPEN_TREE_CLONE.union(OpenTreeFlags::OPEN_TREE_CLOEXEC);

/// The directory below the root on which the physical root is mounted, and in the end the deployment's.
pub const SYSROOT: &str = "sysroot";

impl PrivateMounts {
    /// Moves this thread into a copy of its mount namespace. Nothing that is mounted from now on is seen outside.
    pub fn unshare(root: &Path) -> Result<Self, BootError> {
        let doing = Doing::step("entering a mount namespace");
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let namespace = openat(CWD, "/proc/thread-self/ns/mnt", flags, Mode::empty()).map_err(&doing)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let slash = openat(CWD, "/", flags, Mode::empty()).map_err(&doing)?;
        let outside = openat(CWD, root, flags, Mode::empty()).map_err(&doing)?;
        sys::unshare_mount_namespace().map_err(&doing)?;
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).map_err(&doing)?;
        Ok(Self { namespace, slash, root: outside, sysroot: root.join(SYSROOT) })
    }

    /// Goes back and puts `tree`, with all that is mounted on it, in the place of the physical root.
    pub fn publish(&self, tree: impl AsFd) -> Result<(), BootError> {
        let doing = Doing::step("putting the new root in its place");
        let flags = CLONE | OpenTreeFlags::AT_RECURSIVE | OpenTreeFlags::AT_EMPTY_PATH;
        let tree = open_tree(tree, "", flags).map_err(&doing)?;
        self.enter().map_err(&doing)?;
        // The physical root has to be gone from there, or it could not be unmounted at shutdown.
        let physical = open_tree(&self.root, SYSROOT, CLONE).map_err(&doing)?;
        fchdir(&self.root).and_then(|()| unmount(SYSROOT, UnmountFlags::DETACH)).map_err(&doing)?;
        attach(&tree, &self.root, Path::new(SYSROOT)).map_err(|errno| {
            // As it was before. If this fails as well, nothing is mounted there, which is not bootable either.
            let _ = attach(&physical, &self.root, Path::new(SYSROOT));
            doing(errno)
        })
    }

    /// Goes back with nothing. If even that fails, the program is about to end, and its namespace with it.
    pub fn discard(&self) {
        let _ = self.enter();
    }

    fn enter(&self) -> Result<(), Errno> {
        move_into_link_name_space(self.namespace.as_fd(), Some(LinkNameSpaceType::Mount))?;
        fchdir(&self.slash).and_then(|()| chroot("."))
    }

    /// Path of the directory on which the physical root is mounted.
    pub fn sysroot(&self) -> &Path {
        &self.sysroot
    }
}

/// A copy of the mount at an open directory, of that directory and what is below it, without further mounts.
pub fn clone_tree(dir: impl AsFd) -> Result<OwnedFd, Errno> {
    open_tree(dir, "", CLONE | OpenTreeFlags::AT_EMPTY_PATH)
}

/// Mounts `tree` on the directory `path` below `dir`, without following a symbolic link at its end.
pub fn attach(tree: impl AsFd, dir: impl AsFd, path: &Path) -> Result<(), Errno> {
    move_mount(tree, "", dir, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// Gives this process, which must not have threads yet, a mount namespace of its own: for the deploy step, which makes
/// `/sysroot` writable for itself alone.
pub fn unshare_mounts() -> Result<(), Errno> {
    sys::unshare_mount_namespace()
}

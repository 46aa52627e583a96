//! What is mounted on the new root before it takes its place: `/etc`, `/var`, `/boot`, `/usr` and the physical root on
//! `/sysroot`, laid out as ostree-prepare-root lays them out.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, StatVfsMountFlags, fstatvfs, lstat, openat2, statat,
};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, mount_change, mount_remount};

use crate::error::{BootError, Doing};
use crate::find::deployment::DeploymentDir;
use crate::mount::namespace::{attach, clone_tree};
use crate::mount::{Changes, mount_changeable};

pub mod prepare_root_conf; // how the root is laid out

/// The new root while it is put together, in this thread's own mount namespace.
#[derive(Debug)]
pub struct NewRoot<'a> {
    /// Where it is mounted.
    pub path: &'a Path,
    /// The physical root as it was mounted.
    pub physical: &'a OwnedFd,
    /// The deployment.
    pub deployment: &'a DeploymentDir,
    /// What the mounts on `/boot` and `/sysroot` may not do: [`NO_PRIVILEGES`] where everything else is checked.
    pub of_disk: MountFlags,
}

/// Nobody checks the physical root: what has the set-user-ID bit there, or is a device, counts as a plain file.
pub const NO_PRIVILEGES: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);

impl NewRoot<'_> {
    /// `/etc` of the deployment, writable.
    pub fn bind_etc(&self) -> Result<(), BootError> {
        let doing = Doing::step("mounting the deployment's etc on /etc");
        let etc = directory(&self.deployment.dir, "etc").and_then(clone_tree).map_err(&doing)?;
        let place = self.path.join("etc");
        attach(etc, rustix::fs::CWD, &place).and_then(|()| set_read_only(&place, false)).map_err(doing)
    }

    /// `/etc` as an overlay on `/usr/etc`, whose changes are forgotten.
    pub fn overlay_etc(&self, changes: &Changes) -> Result<(), BootError> {
        let overlay = mount_changeable(&self.path.join("usr/etc"), changes)?;
        attach(overlay, rustix::fs::CWD, &self.path.join("etc"))
            .map_err(Doing::step("mounting the transient overlay on /etc"))
    }

    /// `/usr` on itself, read-only: for a root that isn't an image.
    pub fn protect_usr(&self) -> Result<(), BootError> {
        let doing = Doing::step("making /usr read-only");
        let usr = directory(&self.deployment.dir, "usr").and_then(clone_tree).map_err(&doing)?;
        let place = self.path.join("usr");
        attach(usr, rustix::fs::CWD, &place).and_then(|()| set_read_only(&place, true)).map_err(doing)
    }

    /// The physical root on `/sysroot`. If it is to be read-only, the stateroot's `var` stays writable in it.
    pub fn bind_sysroot(&self, read_only: bool) -> Result<(), BootError> {
        let doing = Doing::step("mounting the physical root on /sysroot");
        let place = self.path.join("sysroot");
        let tree = clone_tree(self.physical).map_err(&doing)?;
        attach(tree, rustix::fs::CWD, &place)
            .and_then(|()| restrict(&place, self.of_disk))
            .map_err(&doing)?;
        if read_only {
            let var = self.stateroot_var();
            self.attach_var(&place.join(var))?;
            set_read_only(&place, true).map_err(&doing)?;
        }
        Ok(())
    }

    /// The physical root's `boot` on `/boot`, if the boot loader's entries are in there and not on a disk of their own. Newer
    /// versions of ostree than Debian 13's do it later, from a generator, which then finds it done.
    pub fn bind_boot(&self) -> Result<(), BootError> {
        let Ok(boot) = directory(self.physical, "boot") else { return Ok(()) };
        let entries = statat(&boot, "loader", AtFlags::SYMLINK_NOFOLLOW);
        let place = self.path.join("boot");
        let place_is_there = lstat(&place).is_ok_and(|stat| is_a(FileType::Directory, &stat));
        if !place_is_there || !entries.is_ok_and(|stat| is_a(FileType::Symlink, &stat)) {
            return Ok(());
        }
        clone_tree(boot)
            .and_then(|tree| attach(tree, rustix::fs::CWD, &place))
            .and_then(|()| restrict(&place, self.of_disk))
            .map_err(Doing::step("mounting the physical root's boot on /boot"))
    }

    /// The stateroot's `var` on `/var`. Mounts below one of the two don't appear below the other.
    pub fn bind_var(&self) -> Result<(), BootError> {
        let place = self.path.join("var");
        self.attach_var(&place)?;
        mount_change(&place, MountPropagationFlags::DOWNSTREAM)
            .and_then(|()| mount_change(&place, MountPropagationFlags::SHARED))
            .map_err(Doing::with("separating the mounts below", &place))
    }

    fn attach_var(&self, place: &Path) -> Result<(), BootError> {
        let var = self.stateroot_var();
        let doing = |errno| Doing::with(&format!("mounting /{var} on"), place)(errno);
        let tree = directory(self.physical, &var).and_then(clone_tree).map_err(doing)?;
        attach(tree, rustix::fs::CWD, place).and_then(|()| set_read_only(place, false)).map_err(doing)
    }

    fn stateroot_var(&self) -> String {
        format!("ostree/deploy/{}/var", self.deployment.stateroot)
    }
}

fn is_a(kind: FileType, stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == kind
}

/// A directory below another one; no symbolic link on the way is followed.
fn directory(dir: &OwnedFd, path: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat2(dir, path, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
}

/// Makes the mount at `place` read-only or writable. Its other restrictions stay.
fn set_read_only(place: &Path, read_only: bool) -> Result<(), Errno> {
    let current = restrictions(place)?;
    let mut wanted = current;
    wanted.set(MountFlags::RDONLY, read_only);
    remount(place, current, wanted)
}

/// Adds restrictions to the mount at `place`.
fn restrict(place: &Path, more: MountFlags) -> Result<(), Errno> {
    let current = restrictions(place)?;
    remount(place, current, current | more)
}

fn remount(place: &Path, current: MountFlags, wanted: MountFlags) -> Result<(), Errno> {
    if current == wanted { Ok(()) } else { mount_remount(place, MountFlags::BIND | wanted, "") }
}

/// What the mount at `place` doesn't let anybody do.
fn restrictions(place: &Path) -> Result<MountFlags, Errno> {
    let seen = rustix::fs::openat(rustix::fs::CWD, place, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let current = fstatvfs(seen.as_fd())?.f_flag;
    let mut found = MountFlags::empty();
    for (is, flag) in [
        (StatVfsMountFlags::RDONLY, MountFlags::RDONLY),
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
    ] {
        found.set(flag, current.contains(is));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::ErrorKind;

    use rustix::fs::{CWD, mknodat};
    use rustix::mount::{MountPropagationFlags, mount, unmount};
    use rustix::process::geteuid;

    use super::{
        FileType, Mode, MountFlags, NO_PRIVILEGES, mount_change, restrict, restrictions, set_read_only,
    };
    use crate::mount::namespace::unshare_mounts;

    #[test]
    fn what_the_disk_brings_has_no_privileges_and_stays_so_when_it_becomes_writable() {
        if !geteuid().is_root() {
            println!(
                "SKIP what_the_disk_brings_has_no_privileges_and_stays_so_when_it_becomes_writable: needs root"
            );
            return;
        }
        let place = std::env::temp_dir().join(format!("ostree-seal-restrict-{}", std::process::id()));
        std::fs::create_dir(&place).unwrap();
        unshare_mounts().unwrap();
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
        mount("tmpfs", &place, "tmpfs", MountFlags::empty(), None).unwrap();
        let zero = place.join("zero");
        mknodat(CWD, &zero, FileType::CharacterDevice, Mode::RUSR, rustix::fs::makedev(1, 5)).unwrap();
        File::open(&zero).unwrap();
        assert_eq!(restrictions(&place).unwrap(), MountFlags::empty());
        restrict(&place, MountFlags::empty()).unwrap();
        restrict(&place, NO_PRIVILEGES).unwrap();
        assert_eq!(restrictions(&place).unwrap(), NO_PRIVILEGES);
        assert_eq!(File::open(&zero).unwrap_err().kind(), ErrorKind::PermissionDenied);
        set_read_only(&place, true).unwrap();
        assert_eq!(restrictions(&place).unwrap(), NO_PRIVILEGES | MountFlags::RDONLY);
        set_read_only(&place, false).unwrap();
        assert_eq!(restrictions(&place).unwrap(), NO_PRIVILEGES);
        unmount(&place, rustix::mount::UnmountFlags::empty()).unwrap();
        std::fs::remove_dir(&place).unwrap();
    }
}

//! The policy, keys and layout in a deployment's tree, put together as the hooks do it for the initramfs.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use ostree_seal_root::check::error::CheckError;
use ostree_seal_root::check::policy as files;
use ostree_seal_root::layout::prepare_root_conf::{self, Layout, LayoutError, PLACES};
use ostree_seal_root::read::{Files, Mounted, ReadError, read_limited};
use ostree_seal_trust::policy::PolicyFiles;
use rustix::io::Errno;

use crate::initrd::file;

/// The files of a tree, none of which anybody has vouched for.
struct Tree;

impl Files for Tree {
    fn read(&self, path: &Path, limit: usize) -> Result<Vec<u8>, ReadError> {
        let open =
            file::open_regular(path, u64::MAX).map_err(|error| match error.downcast_ref::<Errno>() {
                Some(errno) => ReadError::Os(*errno),
                None => ReadError::NotAFile,
            })?;
        read_limited(open.into(), limit)
    }

    fn names(&self, directory: &Path, limit: usize) -> Result<Option<Vec<OsString>>, ReadError> {
        Mounted.names(directory, limit)
    }
}

/// What the tree has, put together as the hooks do it for the initramfs: the administrator's `policy.conf` if there is
/// one, and the keys of both directories.
pub fn policy(directory: &Path) -> Result<Option<PolicyFiles>, CheckError> {
    let vendor = directory.join("usr/lib/ostree-seal");
    let admin = administrators(directory, "ostree-seal");
    let with_policy = |place: &Path| place.join("policy.conf").symlink_metadata().is_ok();
    let (first, second) = match (with_policy(&admin), with_policy(&vendor)) {
        (false, false) => return Ok(None),
        (true, _) => (&admin, &vendor),
        (false, true) => (&vendor, &admin),
    };
    let mut policy = files::read(&Tree, first)?;
    for (keys, name) in [(&mut policy.trusted, "trusted.d"), (&mut policy.revoked, "revoked.d")] {
        keys.extend(files::read_keys(&Tree, &second.join(name))?);
    }
    Ok(Some(policy))
}

/// The layout that the tree asks for.
pub(super) fn layout(directory: &Path) -> Result<Layout, LayoutError> {
    let [vendor, _] = PLACES.map(|name| directory.join(name));
    let admin = administrators(directory, "ostree").join("prepare-root.conf");
    prepare_root_conf::read(&Tree, [vendor, admin])
}

/// The administrator's directory of this name, as it was when the initramfs was made, if the tree has it.
fn administrators(directory: &Path, name: &str) -> PathBuf {
    let [in_tree, on_machine] = ["usr/etc", "etc"].map(|etc| directory.join(etc).join(name));
    if !in_tree.exists() && on_machine.exists() { on_machine } else { in_tree }
}

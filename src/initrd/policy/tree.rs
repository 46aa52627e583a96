//! The policy, keys and layout in a deployment's tree, put together as the hooks do it for the initramfs.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use ostree_seal_root::check::error::CheckError;
use ostree_seal_root::check::policy as files;
use ostree_seal_root::layout::prepare_root_conf::{self, Layout, LayoutError, PLACES};
use ostree_seal_root::read::{Files, ReadError};
use ostree_seal_trust::policy::PolicyFiles;

use crate::beneath::Below;

/// The files of a tree, none of which anybody has vouched for. Paths begin with the tree's own.
struct Tree<'a>(&'a Path);

impl Tree<'_> {
    fn below(&self, path: &Path) -> Below {
        Below::new(self.0, path.strip_prefix(self.0).unwrap_or(path))
    }
}

impl Files for Tree<'_> {
    fn read(&self, path: &Path, limit: usize) -> Result<Vec<u8>, ReadError> {
        self.below(path).try_read(limit)
    }

    fn names(&self, directory: &Path, limit: usize) -> Result<Option<Vec<OsString>>, ReadError> {
        self.below(directory).names(limit)
    }
}

/// What the tree has, put together as the hooks do it for the initramfs: the administrator's `policy.conf` if there is
/// one, and the keys of both directories.
pub fn policy(directory: &Path) -> Result<Option<PolicyFiles>, CheckError> {
    let vendor = directory.join("usr/lib/ostree-seal");
    let admin = administrators(directory, "ostree-seal");
    let tree = Tree(directory);
    let with_policy = |place: &Path| {
        let path = place.join("policy.conf");
        let is_named = tree.below(&path).is_named();
        is_named.map_err(|errno| CheckError::PolicyUnreadable { path, error: errno.into() })
    };
    let (first, second) = match (with_policy(&admin)?, with_policy(&vendor)?) {
        (false, false) => return Ok(None),
        (true, _) => (&admin, &vendor),
        (false, true) => (&vendor, &admin),
    };
    let mut policy = files::read(&tree, first)?;
    for (keys, name) in [(&mut policy.trusted, "trusted.d"), (&mut policy.revoked, "revoked.d")] {
        keys.extend(files::read_keys(&tree, &second.join(name))?);
    }
    Ok(Some(policy))
}

/// The layout that the tree asks for.
pub(super) fn layout(directory: &Path) -> Result<Layout, LayoutError> {
    let [vendor, _] = PLACES.map(|name| directory.join(name));
    let admin = administrators(directory, "ostree").join("prepare-root.conf");
    prepare_root_conf::read(&Tree(directory), [vendor, admin])
}

/// The administrator's directory of this name, as it was when the initramfs was made, if the tree has it.
fn administrators(directory: &Path, name: &str) -> PathBuf {
    let [in_tree, on_machine] = ["usr/etc", "etc"].map(|etc| directory.join(etc).join(name));
    // What the disk can't tell is taken to be there, so that reading it says why.
    let exists = |path: &Path| Tree(directory).below(path).exists().unwrap_or(true);
    if !exists(&in_tree) && exists(&on_machine) { on_machine } else { in_tree }
}

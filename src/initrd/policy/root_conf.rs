//! `prepare-root.conf`, which the boot program reads after the policy, and without which it makes no root.

use std::path::{Path, PathBuf};

use anyhow::Result;
use ostree_seal_root::layout::prepare_root_conf::{PLACES, last_of};
use rustix::io::Errno;

use super::{Bootable, administrators};
use crate::initrd::file;
use crate::refused::Refused;

/// The most bytes of the file; it has a few hundred.
const CONF_MAX: u64 = 1 << 20;

/// Refuses what the boot program could not follow, in its words. It reads the files of the initramfs; where that can't be
/// read or there is none, those of the tree count, which it is made from.
pub(super) fn check(directory: &Path, bootable: &Bootable) -> Result<()> {
    let files = match bootable {
        Bootable::Read(path, initramfs) => {
            let inside = |name: &str| PathBuf::from(format!("{}:/{name}", path.display()));
            let file = |name: &str| Some((inside(name), initramfs.layout.get(name)?.clone()));
            PLACES.into_iter().filter_map(file).collect()
        }
        Bootable::None | Bootable::Unreadable(..) => of_tree(directory)?,
    };
    match last_of(files) {
        Ok(_) => Ok(()),
        Err(error) => Err(Refused(format!(
            "{error}, so the boot would end there; mend the file, make the initramfs again and commit the tree again"
        ))
        .into()),
    }
}

fn of_tree(directory: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let [vendor, _] = PLACES.map(|name| directory.join(name));
    let admin = administrators(directory, "ostree").join("prepare-root.conf");
    let mut files = Vec::new();
    for path in [vendor, admin] {
        match file::read(&path, CONF_MAX) {
            Ok(bytes) => files.push((path, bytes)),
            Err(error) if error.downcast_ref() == Some(&Errno::NOENT) => {}
            Err(error) => return Err(error.context(format!("reading {}", path.display()))),
        }
    }
    Ok(files)
}

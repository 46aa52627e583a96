//! `prepare-root.conf`, which the boot program reads after the policy, and without which it makes no root.

use std::path::{Path, PathBuf};

use anyhow::Result;
use ostree_seal_root::layout::prepare_root_conf::{PLACES, last_of};
use rustix::io::Errno;

use crate::initrd::content::Initramfs;
use crate::initrd::file;
use crate::refused::Refused;

/// The most bytes of the file; it has a few hundred.
const CONF_MAX: u64 = 1 << 20;

/// Refuses what the boot program could not follow, in its words. It reads the files of the initramfs; where that can't be
/// read or there is none, those of the tree count, which it is made from: the vendor's and that in the directory `admin`.
pub(super) fn check(directory: &Path, admin: &Path, initramfs: Option<(&Path, &Initramfs)>) -> Result<()> {
    let files = match initramfs {
        Some((path, initramfs)) => {
            let inside = |name: &str| PathBuf::from(format!("{}:/{name}", path.display()));
            let file = |name: &str| Some((inside(name), initramfs.layout.get(name)?.clone()));
            PLACES.into_iter().filter_map(file).collect()
        }
        None => of_tree(directory, admin)?,
    };
    match last_of(files) {
        Ok(_) => Ok(()),
        Err(error) => Err(Refused(format!(
            "{error}, so the boot would end there; mend the file, make the initramfs again and commit the tree again"
        ))
        .into()),
    }
}

fn of_tree(directory: &Path, admin: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let [vendor, _] = PLACES.map(|name| directory.join(name));
    let mut files = Vec::new();
    for path in [vendor, admin.join("prepare-root.conf")] {
        match file::read(&path, CONF_MAX) {
            Ok(bytes) => files.push((path, bytes)),
            Err(error) if error.downcast_ref() == Some(&Errno::NOENT) => {}
            Err(error) => return Err(error.context(format!("reading {}", path.display()))),
        }
    }
    Ok(files)
}

//! The parts of a system that decide how it boots, copied out of an image into a directory: boot entries, kernels and
//! initramfs images, commits, and of each deployment the note, the policy and the layout. No object is among them.
//!
//! The image may come from an enemy: nothing that is there is replaced, and no link that leads out of the directory stays.

use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use ostree_seal_root::find::deployment::OBJECTS;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

use crate::ext4::inode::{FileType, Inode};
use crate::ext4::{FileSystem, NamedInode};

/// The most bytes that are copied: several times what kernels and initramfs images of all deployments have.
const BYTES_MAX: u64 = 2 << 30;
/// The most names that are copied.
const NAMES_MAX: usize = 100_000;

/// What is copied with all that is below it.
const WHOLE: [&str; 10] = [
    "usr/lib/ostree-seal",
    "usr/etc/ostree-seal",
    "etc/ostree-seal",
    "usr/lib/ostree",
    "usr/etc/ostree",
    "etc/ostree",
    "usr/lib/modules",
    "usr/lib/ostree-boot",
    "boot",
    ".ostree.seal",
];

/// Copies the parts of the system in `root`, with the deployments at these paths, to `target`.
pub(super) fn copy(system: &FileSystem<'_>, root: u32, deployments: &[&str], target: &Path) -> Result<()> {
    let mut copy = Copy { system, bytes: BYTES_MAX, names: NAMES_MAX, links: Vec::new() };
    for place in ["boot", "efi", "ostree/repo/config", "ostree/repo/refs"] {
        copy.place(root, place, target)?;
    }
    copy.matching(root, "ostree", target, |name| name.starts_with(b"boot."))?;
    for directory in 0..=255_u8 {
        let is_commit = |name: &[u8]| name.ends_with(b".commit") || name.ends_with(b".commitmeta");
        copy.matching(root, &format!("{OBJECTS}/{directory:02x}"), target, is_commit)?;
    }
    for path in deployments {
        fs::create_dir_all(target.join(path))?;
        WHOLE.iter().try_for_each(|place| copy.place(root, &format!("{path}/{place}"), target))?;
        if let Some((above, _)) = path.rsplit_once('/') {
            let origin = format!("{}.origin", &path[above.len() + 1..]);
            copy.place(root, &format!("{above}/{origin}"), target)?;
        }
    }
    copy.remove_escapes(target)
}

struct Copy<'a> {
    system: &'a FileSystem<'a>,
    /// What may still be copied.
    bytes: u64,
    names: usize,
    links: Vec<PathBuf>,
}

impl Copy<'_> {
    /// A path with all that is below it, if it is there and wasn't copied yet.
    fn place(&mut self, root: u32, path: &str, target: &Path) -> Result<()> {
        let Some(inode) = self.system.lookup_from(root, path.as_bytes())? else { return Ok(()) };
        let to = target.join(path);
        if to.symlink_metadata().is_ok() {
            return Ok(());
        }
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        self.node(&inode, &to).with_context(|| format!("reading /{path} in the image"))
    }

    /// The names in a directory that match, with all that is below them.
    fn matching(&mut self, root: u32, path: &str, target: &Path, matches: fn(&[u8]) -> bool) -> Result<()> {
        let Some(inode) = self.system.lookup_from(root, path.as_bytes())? else { return Ok(()) };
        fs::create_dir_all(target.join(path))?;
        if inode.kind() == FileType::Directory {
            let entries = self.system.entries(&inode)?;
            let wanted = entries.into_iter().filter(|entry| matches(&entry.name));
            self.entries(wanted, &target.join(path))
                .with_context(|| format!("reading /{path} in the image"))?;
        }
        Ok(())
    }

    fn entries(&mut self, entries: impl IntoIterator<Item = NamedInode>, to: &Path) -> Result<()> {
        for entry in entries {
            let inode = self.system.inode(entry.inode)?;
            self.node(&inode, &to.join(std::ffi::OsStr::from_bytes(&entry.name)))?;
        }
        Ok(())
    }

    /// Each name costs, so that a directory that holds itself ends.
    fn node(&mut self, inode: &Inode, to: &Path) -> Result<()> {
        self.names =
            self.names.checked_sub(1).with_context(|| format!("it has more than {NAMES_MAX} names"))?;
        match inode.kind() {
            FileType::Directory => {
                fs::create_dir(to)?;
                self.entries(self.system.entries(inode)?, to)?;
            }
            FileType::File => {
                let Some(left) = self.bytes.checked_sub(inode.size()) else {
                    bail!("it has more than {BYTES_MAX} bytes");
                };
                self.bytes = left;
                self.system.copy(inode, &mut File::create_new(to)?)?;
            }
            FileType::Symlink => {
                symlink(std::ffi::OsStr::from_bytes(&self.system.target(inode)?), to)?;
                self.links.push(to.to_owned());
            }
            FileType::Other => {}
        }
        Ok(())
    }

    /// What a link out of the directory leads to is not in the image.
    fn remove_escapes(&self, target: &Path) -> Result<()> {
        let root = File::open(target)?;
        for link in &self.links {
            let below = link.strip_prefix(target)?;
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
            match openat2(&root, below, flags, Mode::empty(), resolve) {
                Ok(_) | Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(_) => fs::remove_file(link)?,
            }
        }
        Ok(())
    }
}

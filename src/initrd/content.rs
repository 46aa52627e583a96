//! What an initramfs holds of ours, read as the kernel unpacks it: a row of cpio archives ("newc"), each plain or
//! compressed, where a later file replaces an earlier one of the same name. A unified kernel image carries its own.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use fn_error_context::context;
use ostree_seal_root::layout::prepare_root_conf;
use ostree_seal_root::read::{Files, ReadError};
use ostree_seal_trust::digest::Digest;
use rustix::io::Errno;

use super::uki;
use crate::beneath::Below;
use input::Part;
use rootfs::{Node, Rootfs};
use units::Starts;
use unpack::Unpacker;

pub use unpack::{Budget, Malformed, NotReadableHere};

mod bytes; // what a file in them holds
mod cpio; // the archives
mod input; // the bytes of a file in their order
mod rootfs; // the tree that they make
mod units; // what sets up the root
mod unpack; // the row of them

/// The program that checks and mounts the root.
pub const PROGRAM: &str = "ostree-seal-root";
/// Where the policy and the keys lie.
pub const POLICY_DIRECTORY: &str = "usr/lib/ostree-seal";

const MODULES: [&str; 3] = ["erofs", "overlay", "loop"];

/// What an initramfs holds of what a sealed boot needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Initramfs {
    /// [`PROGRAM`].
    pub program: Option<Program>,
    /// What is a symlink, or otherwise no regular file, where the program reads one. It follows links, and no link is
    /// followed here.
    pub irregular: BTreeSet<String>,
    /// The kernel modules `erofs`, `overlay` and `loop`, as far as they are there as modules.
    pub modules: Vec<String>,
    starts: Starts,
    tree: Rootfs,
}

/// The program in an initramfs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Where it lies.
    pub path: String,
    /// Digest of its content.
    pub digest: Digest,
}

/// An initramfs as the program in it sees its files, below the path of the initramfs itself and a colon.
#[derive(Debug, Clone, Copy)]
pub struct Inside<'a> {
    initramfs: &'a Initramfs,
    path: &'a Path,
}

/// Reads an initramfs that may be split into several files, such as a main one and overlays.
pub fn read(paths: &[Below], budget: &mut Budget) -> Result<Initramfs> {
    let mut unpacker = Unpacker::new(matters, *budget);
    let result = paths.iter().try_for_each(|path| read_into(path, &mut unpacker));
    *budget = unpacker.budget();
    result?;
    Initramfs::of(unpacker.finish())
}

#[context("reading the initramfs {path}")]
fn read_into(path: &Below, unpacker: &mut Unpacker) -> Result<()> {
    let file = path.open(uki::IMAGE_MAX)?;
    if !uki::is_pe(&file) {
        return unpacker.unpack(Part::new(&file, 0..uki::IMAGE_MAX as u64));
    }
    let initrds = uki::initrds(&file)?;
    if initrds.is_empty() {
        bail!("it is an EFI program without a section `.initrd`");
    }
    initrds.into_iter().try_for_each(|initrd| unpacker.unpack(Part::new(&file, initrd)))
}

/// Reads an initramfs that is in memory.
pub fn unpack(bytes: &[u8]) -> Result<Initramfs> {
    let mut unpacker = Unpacker::new(matters, Budget::default());
    unpacker.unpack(bytes)?;
    Initramfs::of(unpacker.finish())
}

/// Whether the content of a file counts.
fn matters(path: &[u8]) -> bool {
    let is_program = path.rsplit(|byte| *byte == b'/').next() == Some(PROGRAM.as_bytes());
    is_program || policy_name(path).is_some() || is_layout(path)
}

impl Initramfs {
    fn of(tree: Rootfs) -> Result<Self> {
        Ok(Self {
            program: program(&tree),
            irregular: irregular(&tree),
            modules: modules(&tree),
            starts: Starts::of(&tree).context(Malformed)?,
            tree,
        })
    }

    /// Its files, with `path` before their names.
    pub fn inside<'a>(&'a self, path: &'a Path) -> Inside<'a> {
        Inside { initramfs: self, path }
    }

    /// Whether it has a policy, good or not.
    pub fn has_policy(&self) -> bool {
        self.tree.at(POLICY_DIRECTORY.as_bytes()).is_some_and(|node| match node {
            Node::Directory(directory) => {
                self.tree.entries(directory).any(|(name, _)| name != PROGRAM.as_bytes())
            }
            _ => false,
        })
    }

    /// What keeps from telling what the program will read.
    pub fn obstacle(&self) -> Option<&str> {
        // A program that isn't seen may be behind a link in its directory. Any other link is its own affair, then.
        let counts = |name: &&String| self.program.is_some() || policy_name(name.as_bytes()).is_some();
        self.irregular.iter().find(counts).map(String::as_str)
    }

    /// Whether something in it starts the program: systemd, or a script of initramfs-tools.
    pub fn starts_program(&self) -> bool {
        self.starts.program
    }

    /// The file that switches the program's unit off, if there is one.
    pub fn masked(&self) -> Option<&str> {
        self.starts.masked.as_deref()
    }

    /// Whether ostree-prepare-root would be started, too.
    pub fn starts_prepare_root(&self) -> bool {
        self.starts.prepare_root
    }
}

impl Inside<'_> {
    /// The path of a file, as sentences have it.
    pub fn path(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("{}:/{name}", self.path.display()))
    }

    fn node(&self, path: &Path) -> Result<&Node, ReadError> {
        let outside = self.path("");
        let name = path.as_os_str().as_bytes().strip_prefix(outside.as_os_str().as_bytes());
        name.and_then(|name| self.initramfs.tree.at(name)).ok_or(ReadError::Os(Errno::NOENT))
    }
}

impl Files for Inside<'_> {
    fn read(&self, path: &Path, limit: usize) -> Result<Vec<u8>, ReadError> {
        let Node::File(file) = self.node(path)? else { return Err(ReadError::NotAFile) };
        match &file.content {
            content if content.size > limit as u64 => Err(ReadError::TooLarge(limit)),
            content if content.size == 0 => Ok(Vec::new()),
            content => content.bytes.clone().ok_or(ReadError::Os(Errno::IO)),
        }
    }

    fn names(&self, directory: &Path, limit: usize) -> Result<Option<Vec<OsString>>, ReadError> {
        match self.node(directory) {
            Ok(Node::Directory(found)) => {
                let names =
                    self.initramfs.tree.entries(found).map(|(name, _)| OsString::from_vec(name.to_owned()));
                Ok(Some(names.take(limit).collect()))
            }
            Ok(_) => Err(ReadError::Os(Errno::NOTDIR)),
            Err(_) => Ok(None),
        }
    }
}

/// The program where it is installed, or else the first that has its name.
fn program(tree: &Rootfs) -> Option<Program> {
    let of = |node: &Node| match node {
        Node::File(file) => Some(file.content.digest.unwrap_or_else(|| crate::merkle::digest(b""))),
        _ => None,
    };
    let place = format!("{POLICY_DIRECTORY}/{PROGRAM}");
    if let Some(digest) = tree.at(place.as_bytes()).and_then(of) {
        return Some(Program { path: place, digest });
    }
    let mut named = tree.all().filter(|found| found.name == PROGRAM.as_bytes());
    named.find_map(|found| {
        let digest = of(found.node())?;
        Some(Program { path: String::from_utf8_lossy(&found.path()).into_owned(), digest })
    })
}

fn modules(tree: &Rootfs) -> Vec<String> {
    let of = |found: rootfs::Named<'_>| {
        let (module, _) = std::str::from_utf8(found.name).ok()?.split_once(".ko")?;
        let is_module = MODULES.contains(&module) && matches!(found.node(), Node::File(_));
        is_module.then(|| module.to_owned())
    };
    tree.all().filter_map(of).collect::<BTreeSet<_>>().into_iter().collect()
}

/// What must be in a place that the program reads.
#[derive(Clone, Copy)]
enum Expected {
    Directory,
    File,
    /// Anything but a symlink: it isn't read, but may be meant to be.
    Anything,
}

impl Expected {
    fn is_met(self, node: &Node) -> bool {
        match (self, node) {
            (_, Node::Link(_)) => false,
            (Self::Directory, node) => matches!(node, Node::Directory(_)),
            (Self::File, node) => matches!(node, Node::File(_)),
            (Self::Anything, _) => true,
        }
    }
}

/// What leads to the program's files, and is none.
fn irregular(tree: &Rootfs) -> BTreeSet<String> {
    let places = prepare_root_conf::PLACES;
    let keys = ["trusted.d", "revoked.d"].map(|name| format!("{POLICY_DIRECTORY}/{name}"));
    let directories = places.into_iter().chain([POLICY_DIRECTORY]).flat_map(above).map(str::to_owned);
    let directories = directories.chain([POLICY_DIRECTORY.to_owned()]).chain(keys.clone());
    let mut wanted: Vec<_> = directories.map(|path| (path, Expected::Directory)).collect();
    wanted.extend(places.map(|path| (path.to_owned(), Expected::File)));
    let at = |(path, expected): (String, Expected)| Some((tree.at(path.as_bytes())?, path, expected));
    let mut found: Vec<_> = wanted.into_iter().filter_map(at).collect();
    for directory in keys.into_iter().chain([POLICY_DIRECTORY.to_owned()]) {
        let Some(Node::Directory(entries)) = tree.at(directory.as_bytes()) else { continue };
        for (name, node) in tree.entries(entries) {
            let name = String::from_utf8_lossy(name);
            let is_read = name == "policy.conf" || name.ends_with(".vkey");
            let expected = if is_read { Expected::File } else { Expected::Anything };
            found.push((node, format!("{directory}/{name}"), expected));
        }
    }
    let irregular = found.into_iter().filter(|(node, _, expected)| !expected.is_met(node));
    irregular.map(|(_, path, _)| path).collect()
}

/// The directories above a path.
fn above(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(slash, _)| &path[..slash])
}

fn policy_name(path: &[u8]) -> Option<&[u8]> {
    path.strip_prefix(POLICY_DIRECTORY.as_bytes())?.strip_prefix(b"/")
}

fn is_layout(path: &[u8]) -> bool {
    prepare_root_conf::PLACES.iter().any(|place| place.as_bytes() == path)
}

#[cfg(test)]
pub(super) mod tests;

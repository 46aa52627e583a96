//! The backing files that an image points at, and nothing else of it: a small part of the work that a tree is.

use ostree_seal_trust::digest::Digest;

use super::content;
use super::error::{ImageError, Result};
use super::image::{Budget, Image};
use super::inode::Inode;
use super::xattrs::{self, Entry};
use crate::erofs::overlay::{METACOPY, REDIRECT};

/// A file whose content lies outside of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BackingFile<'i> {
    /// Path of the backing file, below the directory of all of them.
    pub payload: &'i [u8],
    /// The fs-verity digest that it must have, if the image says one.
    pub digest: Option<Digest>,
}

/// The backing files of an image, once for each inode that has one: those that [`read`](super::read) finds. Other parts
/// of the image may be such that it finds them wrong.
pub fn backings(image: &[u8]) -> std::result::Result<Vec<BackingFile<'_>>, ImageError> {
    let walk = Image::new(image).and_then(Walk::new);
    walk.and_then(Walk::run).map_err(ImageError::whole)
}

/// A walk over the directories of an image.
struct Walk<'i> {
    image: Image<'i>,
    budget: Budget,
    is_seen: Vec<bool>,
    /// The slots of directories whose names are to be read.
    directories: Vec<usize>,
    found: Vec<BackingFile<'i>>,
}

impl<'i> Walk<'i> {
    fn new(image: Image<'i>) -> Result<Self> {
        let (budget, is_seen) = (image.budget(), vec![false; image.slots()]);
        let mut walk = Self { image, budget, is_seen, directories: Vec::new(), found: Vec::new() };
        walk.inode(image.root()?)?;
        Ok(walk)
    }

    fn run(mut self) -> Result<Vec<BackingFile<'i>>> {
        while let Some(slot) = self.directories.pop() {
            let directory = self.image.inode(slot)?;
            for block in content::blocks(self.image.bytes, &directory) {
                for entry in content::entries(block)? {
                    let (name, nid) = entry?;
                    if name != b"." && name != b".." {
                        self.inode(self.image.slot(nid)?)?;
                    }
                }
            }
        }
        Ok(self.found)
    }

    fn inode(&mut self, slot: usize) -> Result<()> {
        if std::mem::replace(&mut self.is_seen[slot], true) {
            return Ok(());
        }
        let inode = self.image.inode(slot)?;
        self.budget.take(inode.taken())?;
        if inode.is_directory() {
            self.directories.push(slot);
        } else if inode.is_external() {
            let backing = self.backing(&inode)?;
            self.found.push(backing);
        }
        Ok(())
    }

    /// The last xattr of each name counts. Of all others no more than the name is looked at, and nothing is remembered: an
    /// image may share one among all its inodes, or have a million of them.
    fn backing(&self, inode: &Inode) -> Result<BackingFile<'i>> {
        let mut values = Values::default();
        let (mut inline, shared) = xattrs::area(self.image.bytes, inode)?;
        while !inline.is_empty() {
            values.learn(&Entry::take(&mut inline)?);
        }
        for id in shared {
            values.learn(&Entry::take(&mut self.image.shared_xattr(id.get())?)?);
        }
        Ok(BackingFile {
            payload: values.redirect.map_or(Ok(&b""[..]), xattrs::payload)?,
            digest: values.metacopy.map_or(Ok(None), xattrs::digest)?,
        })
    }
}

/// The values of the xattrs that say which the backing file is.
#[derive(Default)]
struct Values<'i> {
    redirect: Option<&'i [u8]>,
    metacopy: Option<&'i [u8]>,
}

impl<'i> Values<'i> {
    fn learn(&mut self, xattr: &Entry<'i>) {
        if xattr.is_named(REDIRECT) {
            self.redirect = Some(xattr.value);
        } else if xattr.is_named(METACOPY) {
            self.metacopy = Some(xattr.value);
        }
    }
}

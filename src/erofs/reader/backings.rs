//! The backing files that an image points at, and nothing else of it: a small part of the work that a tree is.

use std::collections::HashMap;

use ostree_seal_trust::digest::Digest;

use super::content;
use super::error::{ReadError, Result};
use super::image::{Budget, Image};
use super::inode::Inode;
use super::xattrs::{self, Entry};
use crate::erofs::overlay::{METACOPY, REDIRECT};

/// A file whose content lies outside of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Backing<'i> {
    /// Path of the backing file, below the directory of all of them.
    pub payload: &'i [u8],
    /// The fs-verity digest that it must have, if the image says one.
    pub digest: Option<Digest>,
}

/// The backing files of an image, once for each inode that has one: those that [`read`](super::read) finds. Other parts
/// of the image may be such that it finds them wrong.
pub fn backings(image: &[u8]) -> std::result::Result<Vec<Backing<'_>>, ReadError> {
    let walk = Image::new(image).and_then(Walk::new);
    walk.and_then(Walk::run).map_err(ReadError::whole)
}

/// A walk over the directories of an image.
struct Walk<'i> {
    image: Image<'i>,
    budget: Budget,
    is_seen: Vec<bool>,
    /// Shared xattrs that were read already, by id.
    known: HashMap<u32, Meaning<'i>>,
    /// Directories whose names are to be read.
    directories: Vec<Inode>,
    found: Vec<Backing<'i>>,
}

impl<'i> Walk<'i> {
    fn new(image: Image<'i>) -> Result<Self> {
        let (budget, is_seen) = (image.budget(), vec![false; image.slots()]);
        let (known, directories, found) = (HashMap::new(), Vec::new(), Vec::new());
        let mut walk = Self { image, budget, is_seen, known, directories, found };
        walk.inode(image.root()?)?;
        Ok(walk)
    }

    fn run(mut self) -> Result<Vec<Backing<'i>>> {
        while let Some(directory) = self.directories.pop() {
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
            self.directories.push(inode);
        } else if inode.is_external() {
            let backing = self.backing(&inode)?;
            self.found.push(backing);
        }
        Ok(())
    }

    fn backing(&mut self, inode: &Inode) -> Result<Backing<'i>> {
        let mut backing = Backing { payload: b"", digest: None };
        let (mut inline, shared) = xattrs::area(self.image.bytes, inode)?;
        while !inline.is_empty() {
            backing.learn(Meaning::of(&Entry::take(&mut inline)?)?);
        }
        for id in shared {
            backing.learn(self.shared(id.get())?);
        }
        Ok(backing)
    }

    /// What a shared xattr means. Each is read once, however many inodes have it.
    fn shared(&mut self, id: u32) -> Result<Meaning<'i>> {
        if let Some(known) = self.known.get(&id) {
            return Ok(*known);
        }
        let mut bytes = self.image.shared_xattr(id)?;
        let before = bytes.len();
        let meaning = Meaning::of(&Entry::take(&mut bytes)?)?;
        self.budget.take((before - bytes.len()) as u64)?;
        self.known.insert(id, meaning);
        Ok(meaning)
    }
}

/// What one xattr says of the backing file.
#[derive(Clone, Copy)]
enum Meaning<'i> {
    Payload(&'i [u8]),
    Digest(Option<Digest>),
    Nothing,
}

impl<'i> Meaning<'i> {
    fn of(xattr: &Entry<'i>) -> Result<Self> {
        if xattr.is_named(REDIRECT) {
            Ok(Self::Payload(xattrs::payload(xattr.value)?))
        } else if xattr.is_named(METACOPY) {
            Ok(Self::Digest(xattrs::digest(xattr.value)?))
        } else {
            Ok(Self::Nothing)
        }
    }
}

impl<'i> Backing<'i> {
    fn learn(&mut self, meaning: Meaning<'i>) {
        match meaning {
            Meaning::Payload(payload) => self.payload = payload,
            Meaning::Digest(digest) => self.digest = digest,
            Meaning::Nothing => {}
        }
    }
}

//! What can be looked into.

use std::io::Read;

use anyhow::Result;
use ostree_seal_trust::digest::Digest;

use super::item::Item;
use crate::repo::{Checksum, NameCheck};

/// A file system that is looked into, one directory at a time.
pub trait View {
    /// The root directory.
    fn root(&mut self) -> Result<Item>;

    /// The names of a directory with what they stand for, in bytewise order.
    fn entries(&mut self, directory: &Item) -> Result<Vec<(Vec<u8>, Item)>>;

    /// What a name of a directory stands for.
    fn entry(&mut self, directory: &Item, name: &[u8]) -> Result<Option<Item>>;

    /// The content of a regular file, from its beginning. It was not checked.
    fn content(&self, file: &Item) -> Result<Box<dyn Read>>;

    /// What the content of a regular file must be.
    fn expected(&self, file: &Item) -> Result<Expected>;
}

/// What a content is compared with.
#[derive(Debug, Clone)]
pub enum Expected {
    /// It lies in the image itself.
    Image,
    /// An fs-verity digest, of the object at this path.
    Digest(Digest, Vec<u8>),
    /// The name of its object.
    Name(Box<NameCheck>, Checksum),
    /// Nothing says what it must be.
    Unknown,
}

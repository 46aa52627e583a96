//! The entries of a directory as the image has them, and how they fill blocks. README.md, "Directories".

use std::iter::Peekable;
use std::slice;

use super::format::{BLOCK_SIZE, Dirent};
use super::overlay::ROOT_WHITEOUTS;
use crate::tree::{DirectoryId, Entry, Tree};

/// What a name in an image's directory names.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target {
    /// `.`
    Itself,
    /// `..`
    Parent,
    /// A real whiteout in the root, by its number.
    RootWhiteout(u8),
    /// An entry of the tree.
    Entry(Entry),
}

/// The names of a directory in bytewise order: the tree's, `.`, `..`, and in the root the real whiteouts `00` to `ff`
/// where the tree has no such name.
pub(super) struct Names<'t> {
    tree: &'t Tree,
    entries: Peekable<slice::Iter<'t, Entry>>,
    added: u16,
    added_end: u16,
}

/// A name that the writer adds: `.` and `..` come before the hex digits.
fn added(number: u16) -> (&'static [u8], Target) {
    match number {
        0 => (b".", Target::Itself),
        1 => (b"..", Target::Parent),
        _ => {
            let whiteout = (number - 2).to_le_bytes()[0];
            (&ROOT_WHITEOUTS[usize::from(whiteout)], Target::RootWhiteout(whiteout))
        }
    }
}

impl<'t> Names<'t> {
    pub(super) fn new(tree: &'t Tree, directory: DirectoryId, is_root: bool) -> Self {
        let added_end = if is_root { 2 + 256 } else { 2 };
        Self { tree, entries: tree.entries(directory).iter().peekable(), added: 0, added_end }
    }
}

impl<'t> Iterator for Names<'t> {
    type Item = (&'t [u8], Target);

    fn next(&mut self) -> Option<Self::Item> {
        let of_tree = self.entries.peek().map(|entry| &self.tree[entry.name]);
        if self.added < self.added_end {
            let (name, target) = added(self.added);
            if of_tree.is_none_or(|of_tree| name <= of_tree) {
                self.added += 1;
                if of_tree != Some(name) {
                    return Some((name, target));
                }
            }
        }
        let entry = *self.entries.next()?;
        Some((&self.tree[entry.name], Target::Entry(entry)))
    }
}

/// Fills blocks one name at a time.
#[derive(Debug, Default)]
pub(super) struct Packing {
    /// Blocks that are full.
    pub(super) closed: u32,
    /// Bytes in the block that is being filled.
    pub(super) used: usize,
}

/// Bytes that a name takes in a block.
fn cost(name_len: usize) -> usize {
    size_of::<Dirent>() + name_len
}

impl Packing {
    /// Adds a name; true if the block before it is full now.
    pub(super) fn add(&mut self, name_len: usize) -> bool {
        let closes = (self.used + cost(name_len)) as u64 > BLOCK_SIZE;
        if closes {
            self.closed += 1;
            self.used = 0;
        }
        self.used += cost(name_len);
        closes
    }
}

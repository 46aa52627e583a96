//! Which of a node's names is its place, and which are hard links.
//!
//! An image doesn't say. But inodes lie in the order of their places (README.md, "Order"), so a name whose inode is
//! the next one in the image is a place. In images of other writers, it's the first name of what is left over.

use crate::tree::{NodeId, Role, Span};

/// What an inode slot of the image turned out to be.
#[derive(Clone, Copy)]
pub(super) enum Slot {
    /// No name led there yet.
    Unseen,
    /// A real whiteout, which the tree doesn't have.
    Hidden,
    /// A node.
    Node(NodeId),
}

/// A name found.
#[derive(Clone, Copy)]
pub(super) struct Name {
    pub(super) parent: NodeId,
    pub(super) name: Span,
    pub(super) slot: usize,
    /// `None` for a real whiteout.
    pub(super) node: Option<NodeId>,
}

/// The role of each name. `names` are in the order of a breadth-first walk that began at the slot `root`.
pub(super) fn of(names: &[Name], slots: &[Slot], root: usize) -> Vec<Role> {
    let inodes = slots.iter().enumerate().filter(|(_, slot)| !matches!(slot, Slot::Unseen));
    let mut waiting = inodes.map(|(slot, _)| slot).skip_while(|slot| *slot <= root).peekable();
    let mut is_placed = vec![false; slots.len()];
    let mut roles = vec![Role::Link; names.len()];
    for (name, role) in names.iter().zip(&mut roles) {
        if waiting.next_if_eq(&name.slot).is_some() {
            is_placed[name.slot] = true;
            *role = Role::Place;
        }
    }
    for (name, role) in names.iter().zip(&mut roles) {
        if !std::mem::replace(&mut is_placed[name.slot], true) {
            *role = Role::Place;
        }
    }
    roles
}

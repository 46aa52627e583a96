//! Which of a node's names is its place, and which are hard links.
//!
//! An image doesn't say. But inodes lie in the order of their places (README.md, "Order"), so a name whose inode is
//! the next one in the image is a place. In images of other writers, it's the first name of what is left over.

use super::Name;
use crate::tree::Role;

/// The role of each name. `names` are in the order of a breadth-first walk; the first node is the root.
pub(super) fn roles(names: &[Name], slots: &[usize]) -> Vec<Role> {
    let mut roles = vec![Role::Place; names.len()];
    if names.len() + 1 == slots.len() {
        return roles;
    }
    let mut in_image: Vec<usize> = slots.to_vec();
    in_image.sort_unstable();
    let mut waiting = in_image.iter().skip_while(|slot| **slot <= slots[0]).peekable();
    let mut is_placed = vec![false; slots.len()];
    for (name, role) in names.iter().zip(&mut roles) {
        let slot = slots[name.node.index()];
        if waiting.next_if(|next| **next == slot).is_some() {
            is_placed[name.node.index()] = true;
        } else {
            *role = Role::Link;
        }
    }
    for (name, role) in names.iter().zip(&mut roles) {
        if !std::mem::replace(&mut is_placed[name.node.index()], true) {
            *role = Role::Place;
        }
    }
    roles
}

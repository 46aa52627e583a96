//! Which paths are one inode.

use std::collections::HashMap;

use crate::tree::{NodeId, Role, Tree};

/// The paths of the inodes that have several.
#[derive(Debug)]
pub(super) struct Groups(HashMap<NodeId, Vec<Vec<u8>>>);

impl Groups {
    pub(super) fn of(tree: &Tree) -> Self {
        let mut groups: HashMap<NodeId, Vec<Vec<u8>>> = HashMap::new();
        let children = || tree.nodes().filter_map(|(node, _)| Some((node, tree.children(node)?)));
        for (_, entries) in children() {
            for entry in entries.iter().filter(|entry| entry.role == Role::Link) {
                groups.insert(entry.node, Vec::new());
            }
        }
        if groups.is_empty() {
            return Self(groups);
        }
        let paths = tree.paths();
        for (node, entries) in children() {
            for entry in entries {
                if let (Some(group), Some(parent)) = (groups.get_mut(&entry.node), paths.path(tree, node)) {
                    let parent = if parent == b"/" { &[] } else { parent.as_slice() };
                    group.push([parent, b"/", &tree[entry.name]].concat());
                }
            }
        }
        groups.values_mut().for_each(|group| group.sort());
        Self(groups)
    }

    /// All paths of an inode, if it has several.
    pub(super) fn paths(&self, node: NodeId) -> &[Vec<u8>] {
        self.0.get(&node).map_or(&[], Vec::as_slice)
    }
}

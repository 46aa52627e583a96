//! The path of a node, for messages. A tree keeps no parents, so this searches; it runs once, when something failed.

use super::{Content, DirectoryId, NodeId, Role, Tree};

impl Tree {
    /// The path at which a node is placed: `/` and its names; `None` if no directory places it.
    pub fn path_of(&self, node: NodeId) -> Option<Vec<u8>> {
        let mut places: Vec<Option<(NodeId, super::Span)>> = vec![None; self.len()];
        for (parent, parent_node) in self.nodes() {
            let Content::Directory(directory) = parent_node.content else { continue };
            for entry in self.entries(directory).iter().filter(|entry| entry.role == Role::Place) {
                places[entry.node.index()] = Some((parent, entry.name));
            }
        }
        let mut names = Vec::new();
        let mut at = node;
        while at != Self::ROOT {
            let (parent, name) = places.get(at.index()).copied().flatten()?;
            names.push(name);
            if names.len() > self.len() {
                return None;
            }
            at = parent;
        }
        if names.is_empty() {
            return Some(b"/".to_vec());
        }
        Some(names.iter().rev().flat_map(|name| [b"/", &self[*name]].concat()).collect())
    }

    /// The path at which a directory is placed.
    pub fn path_of_directory(&self, directory: DirectoryId) -> Option<Vec<u8>> {
        let (node, _) = self.nodes().find(|(_, node)| node.content == Content::Directory(directory))?;
        self.path_of(node)
    }
}

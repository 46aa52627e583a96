//! The paths of nodes. A tree keeps no parents, so they are gathered where paths are needed: for messages, and for the
//! targets of hard links.

use super::data::{Content, DirectoryId, NodeId, Role, Span, Tree};

/// Where each node is placed.
#[derive(Debug)]
pub struct Paths(Vec<Option<(NodeId, Span)>>);

impl Tree {
    /// Where each node is placed.
    pub fn paths(&self) -> Paths {
        let mut paths = vec![None; self.len()];
        for (parent, node) in self.nodes() {
            let Content::Directory(directory) = node.content else { continue };
            for entry in self.entries(directory).iter().filter(|entry| entry.role == Role::Place) {
                paths[entry.node.index()] = Some((parent, entry.name));
            }
        }
        Paths(paths)
    }

    /// The path at which a node is placed: `/` and its names; `None` if no directory places it.
    pub fn path_of(&self, node: NodeId) -> Option<Vec<u8>> {
        self.paths().path(self, node)
    }

    /// The path at which a directory is placed.
    pub fn path_of_directory(&self, directory: DirectoryId) -> Option<Vec<u8>> {
        let (node, _) = self.nodes().find(|(_, node)| node.content == Content::Directory(directory))?;
        self.path_of(node)
    }
}

impl Paths {
    /// The path at which a node of the same tree is placed; `None` if nothing places it, or it lies in itself.
    pub fn path(&self, tree: &Tree, node: NodeId) -> Option<Vec<u8>> {
        let mut names = Vec::new();
        let mut at = node;
        while at != Tree::ROOT {
            let (parent, name) = self.0.get(at.index()).copied().flatten()?;
            names.push(name);
            if names.len() > self.0.len() {
                return None;
            }
            at = parent;
        }
        if names.is_empty() {
            return Some(b"/".to_vec());
        }
        Some(names.iter().rev().flat_map(|name| [b"/", &tree[*name]].concat()).collect())
    }
}

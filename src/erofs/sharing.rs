//! In which order an image has the xattrs of its inodes, without a plan: a dump lists them so.

use super::directory::{Names, Target};
use super::error::PlanErrorKind;
use super::inode;
use super::layout::{Versions, choose_version};
use super::overlay;
use super::sets::{OverlayRole, SetId, Sets};
use super::xattrs::{InodeXattrs, Xattrs};
use crate::tree::{Content, NodeId, Role, Tree, XattrId};

/// Which xattrs of a tree are shared in its image.
pub struct Sharing {
    xattrs: Xattrs,
    /// By node.
    sets: Vec<SetId>,
}

impl Sharing {
    /// Finds out what would be shared in the image of a tree.
    pub fn new(tree: &Tree) -> Result<Self, PlanErrorKind> {
        let is_whiteout = |node: NodeId| overlay::is_whiteout(&tree[node].meta);
        let has_whiteouts = |node: NodeId| {
            let mut entries = tree.children(node).unwrap_or_default().iter();
            entries.any(|entry| entry.role == Role::Place && is_whiteout(entry.node))
        };
        let version = choose_version(Versions::default(), tree.nodes().any(|(node, _)| is_whiteout(node)))?;
        let mut sets = Sets::new(tree, version)?;
        let mut of_nodes = Vec::with_capacity(tree.len());
        for (node, data) in tree.nodes() {
            let role = OverlayRole::of(tree, node, has_whiteouts(node));
            of_nodes.push(sets.join(data.meta.xattrs, role, inode::backing(data.content))?);
        }
        let root = tree.nodes().next().map(|(_, root)| root);
        if let Some((Content::Directory(id), meta)) = root.map(|root| (root.content, root.meta)) {
            let names = Names::new(tree, id, true);
            for _ in names.filter(|(_, target)| matches!(target, Target::RootWhiteout(_))) {
                sets.join(meta.xattrs, OverlayRole::RootWhiteout, None)?;
            }
        }
        Ok(Self { xattrs: Xattrs::new(sets)?, sets: of_nodes })
    }

    /// The xattrs of a node in the order of the image: the inline ones, then the shared ones.
    pub fn stored_order(&self, tree: &Tree, node: NodeId) -> Vec<XattrId> {
        let own = tree.xattr_ids(tree[node].meta.xattrs);
        if own.len() < 2 {
            return own.to_vec();
        }
        let of = InodeXattrs { set: self.sets[node.index()], backing: inode::backing(tree[node].content) };
        self.xattrs.stored_order(tree, of, own)
    }
}

impl std::fmt::Debug for Sharing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sharing").field("nodes", &self.sets.len()).finish_non_exhaustive()
    }
}

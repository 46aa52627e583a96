//! The inodes of an image in their order, checked one by one: breadth first, names in bytewise order. README.md,
//! "Order".

use super::directory::{Names, Target};
use super::error::{PlanError, PlanErrorKind};
use super::overlay;
use crate::tree::{
    Content, DirectoryId, Entry, FILE_SIZE_MAX, Metadata, Mtime, Node, NodeId, Role, Tree, mode,
};

/// The node of the tree that an inode stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Node,
    /// A real whiteout in the root, with the root's owner and times.
    RootWhiteout,
}

/// What a directory's inode needs beyond its node.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Directory {
    /// Place of its parent among the inodes.
    pub(super) parent: u32,
    /// 2 + number of directories in it.
    pub(super) nlink: u32,
    /// Whether it places whiteouts.
    pub(super) has_whiteouts: bool,
}

/// Not the place of any inode.
const UNPLACED: u32 = u32::MAX;

/// The inodes in order.
pub(super) struct Order {
    /// Node and kind of each inode; a whiteout in the root has the root as its node.
    pub(super) inodes: Vec<(NodeId, Source)>,
    /// Place of each node among the inodes.
    pub(super) places: Vec<u32>,
    /// Place of each real whiteout in the root; unused where the tree has that name.
    pub(super) root_whiteouts: Vec<u32>,
    /// By [`DirectoryId`].
    pub(super) directories: Vec<Directory>,
    /// The least time stamp of all inodes.
    pub(super) min_mtime: Mtime,
    /// Whether any inode is a whiteout of the input.
    pub(super) has_whiteouts: bool,
}

/// Puts the inodes of a tree into their order.
pub(super) fn order(tree: &Tree) -> Result<Order, PlanError> {
    let Some((root, root_node)) = tree.nodes().next() else {
        return Err(PlanError { path: None, reason: PlanErrorKind::RootNotDirectory });
    };
    let mut order = Order {
        inodes: Vec::with_capacity(tree.len() + 256),
        places: vec![UNPLACED; tree.len()],
        root_whiteouts: vec![UNPLACED; 256],
        directories: vec![Directory::default(); tree.directory_count()],
        min_mtime: root_node.meta.mtime,
        has_whiteouts: false,
    };
    let at = |node| move |reason| PlanError { path: tree.path_of(node), reason };
    if !matches!(root_node.content, Content::Directory(_)) {
        return Err(at(root)(PlanErrorKind::RootNotDirectory));
    }
    order.place(tree, root).map_err(at(root))?;
    let mut next = 0;
    while next < order.inodes.len() {
        let (node, source) = order.inodes[next];
        if let (Content::Directory(directory), Source::Node) = (tree[node].content, source) {
            order.enter(tree, node, directory)?;
        }
        next += 1;
    }
    order.check_links(tree)?;
    Ok(order)
}

impl Order {
    /// Makes a node the next inode.
    fn place(&mut self, tree: &Tree, node: NodeId) -> Result<(), PlanErrorKind> {
        let meta = &tree[node].meta;
        check(tree, &tree[node])?;
        let place = self.append(node, Source::Node)?;
        if std::mem::replace(&mut self.places[node.index()], place) != UNPLACED {
            return Err(PlanErrorKind::PlacedTwice);
        }
        self.min_mtime = self.min_mtime.min(meta.mtime);
        Ok(())
    }

    fn append(&mut self, node: NodeId, source: Source) -> Result<u32, PlanErrorKind> {
        let place = u32::try_from(self.inodes.len()).map_err(|_| PlanErrorKind::ImageTooLarge)?;
        self.inodes.push((node, source));
        Ok(place)
    }

    /// Places what a directory places.
    fn enter(&mut self, tree: &Tree, node: NodeId, id: DirectoryId) -> Result<(), PlanError> {
        let at = |node| move |reason| PlanError { path: tree.path_of(node), reason };
        let place = self.places[node.index()];
        if self.directories[id.index()].nlink != 0 {
            return Err(at(node)(PlanErrorKind::PlacedTwice));
        }
        let mut directory = Directory { nlink: 2, ..self.directories[id.index()] };
        let mut before: &[u8] = b"";
        for (name, target) in Names::new(tree, id, node == Tree::ROOT) {
            if name <= before {
                return Err(at(node)(PlanErrorKind::NotSorted));
            }
            before = name;
            match target {
                Target::RootWhiteout(number) => {
                    let place = self.append(node, Source::RootWhiteout).map_err(at(node))?;
                    self.root_whiteouts[usize::from(number)] = place;
                }
                Target::Entry(Entry { node: child, role: Role::Place, .. }) => {
                    self.place(tree, child).map_err(at(child))?;
                    directory.has_whiteouts |= overlay::is_whiteout(&tree[child].meta);
                    if let Content::Directory(child) = tree[child].content {
                        directory.nlink += 1;
                        self.directories[child.index()].parent = place;
                    }
                }
                _ => {}
            }
        }
        self.has_whiteouts |= directory.has_whiteouts;
        self.directories[id.index()] = directory;
        Ok(())
    }

    /// A hard link must lead to a placed node that is no directory.
    fn check_links(&self, tree: &Tree) -> Result<(), PlanError> {
        for &(node, source) in &self.inodes {
            let (Some(entries), Source::Node) = (tree.children(node), source) else { continue };
            for entry in entries.iter().filter(|entry| entry.role == Role::Link) {
                let name = || tree[entry.name].to_vec();
                let reason = if matches!(tree[entry.node].content, Content::Directory(_)) {
                    PlanErrorKind::DirectoryLink(name())
                } else if self.places[entry.node.index()] == UNPLACED {
                    PlanErrorKind::NotPlaced(name())
                } else {
                    continue;
                };
                return Err(PlanError { path: tree.path_of(node), reason });
            }
        }
        Ok(())
    }
}

/// Whether mode, size and content of a node agree, and its size is possible.
fn check(tree: &Tree, node: &Node) -> Result<(), PlanErrorKind> {
    let Metadata { mode: st_mode, size, .. } = node.meta;
    let expected = match node.content {
        Content::Directory(_) => &[mode::S_IFDIR][..],
        Content::Empty | Content::Inline(_) | Content::External(_) => &[mode::S_IFREG],
        Content::Symlink(_) => &[mode::S_IFLNK],
        Content::Special => &[mode::S_IFCHR, mode::S_IFBLK, mode::S_IFIFO, mode::S_IFSOCK],
    };
    if !expected.contains(&(st_mode & mode::S_IFMT)) {
        return Err(PlanErrorKind::FileType(st_mode));
    }
    match node.content {
        Content::Empty if size != 0 => Err(PlanErrorKind::Size { size, content: 0 }),
        Content::External(_) if size == 0 => Err(PlanErrorKind::EmptyExternal),
        Content::External(_) if size > FILE_SIZE_MAX => Err(PlanErrorKind::FileTooLarge(size)),
        Content::Inline(span) if size != tree[span].len() as u64 => {
            Err(PlanErrorKind::Size { size, content: tree[span].len() as u64 })
        }
        _ => Ok(()),
    }
}

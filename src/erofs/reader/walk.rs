//! The walk over an image's inodes, which makes its tree.

use super::content;
use super::error::{ImageError, ReadErrorKind, Result};
use super::image::Image;
use super::inode::Inode;
use super::roles::{self, Name, Slot};
use super::xattrs::Workspace;
use crate::tree::{Content, INLINE_MAX, Metadata, Node, NodeId, Role, TARGET_MAX, Tree, XattrsId, mode};

/// The tree of an image. Writing it again with the image's own version gives the same image, if a composefs writer
/// made it.
///
/// What the format adds for overlayfs is taken off again, and whiteouts are character devices with the number 0 as in
/// the input. The error names the path of the offending inode.
pub fn read(image: &[u8]) -> std::result::Result<Tree, ImageError> {
    let mut reader = Reader::new(image).map_err(ImageError::whole)?;
    let root = reader.root().map_err(|reason| ImageError { path: Some(b"/".to_vec()), reason })?;
    let mut next = root.into_iter().collect::<Vec<_>>();
    let mut at = 0;
    while let Some(&(node, inode)) = next.get(at) {
        reader.directory(node, &inode, &mut next)?;
        at += 1;
    }
    reader.finish()
}

/// What was read of an image.
struct Reader<'i> {
    space: Workspace<'i>,
    /// What is in each slot of the image.
    slots: Vec<Slot>,
    /// All names in the order in which they were found; their places are decided at the end.
    names: Vec<Name>,
    /// Nodes that were made whiteouts, and what they are if their directory is not marked.
    whiteouts: Vec<(NodeId, Metadata)>,
    /// Directories that are marked as having whiteouts, and their xattrs without the marks.
    marked: Vec<(NodeId, XattrsId)>,
}

impl<'i> Reader<'i> {
    fn new(image: &'i [u8]) -> Result<Self> {
        let image = Image::new(image)?;
        Ok(Self {
            space: Workspace::new(image)?,
            slots: vec![Slot::Unseen; image.slots()],
            names: Vec::new(),
            whiteouts: Vec::new(),
            marked: Vec::new(),
        })
    }

    /// Reads the root's inode.
    fn root(&mut self) -> Result<Option<(NodeId, Inode)>> {
        let slot = self.space.image.root()?;
        let root = self.node(slot)?.filter(|(_, inode)| inode.is_directory());
        if root.is_none() { Err(ReadErrorKind::RootNotDirectory) } else { Ok(root) }
    }

    /// Reads the names of a directory, and the inodes that are new. `next` gets the directories among them.
    fn directory(
        &mut self,
        parent: NodeId,
        inode: &Inode,
        next: &mut Vec<(NodeId, Inode)>,
    ) -> std::result::Result<(), ImageError> {
        let image = self.space.image.bytes;
        let mut before: &[u8] = b"";
        for block in content::blocks(image, inode) {
            let entries = content::entries(block).map_err(|reason| self.error(parent, None, reason))?;
            for entry in entries {
                let (name, nid) = entry.map_err(|reason| self.error(parent, None, reason))?;
                if name <= before {
                    return Err(self.error(parent, Some(name), ReadErrorKind::NotSorted));
                }
                before = name;
                if name != b"." && name != b".." {
                    let found = self.name(parent, name, nid);
                    next.extend(found.map_err(|reason| self.error(parent, Some(name), reason))?);
                }
            }
        }
        Ok(())
    }

    /// Reads one name. It returns the inode if that is a directory, whose names are to be read.
    fn name(&mut self, parent: NodeId, name: &[u8], nid: u64) -> Result<Option<(NodeId, Inode)>> {
        let slot = self.space.image.slot(nid)?;
        let found = match self.slots[slot] {
            Slot::Hidden => None,
            Slot::Unseen => self.node(slot)?.map(|(node, inode)| (node, Some(inode))),
            Slot::Node(node) if self.space.tree.children(node).is_some() => {
                return Err(ReadErrorKind::DirectoryTwice);
            }
            Slot::Node(node) => Some((node, None)),
        };
        let (node, inode) = found.unzip();
        let name = self.space.tree.add_name(name)?;
        self.names.push(Name { parent, name, slot, node });
        Ok(node.zip(inode.flatten().filter(Inode::is_directory)))
    }

    /// Makes the inode in a slot a node; `None` if it is a real whiteout.
    fn node(&mut self, slot: usize) -> Result<Option<(NodeId, Inode)>> {
        let inode = self.space.image.inode(slot)?;
        self.space.budget.take(inode.taken())?;
        if inode.is_whiteout() {
            self.slots[slot] = Slot::Hidden;
            return Ok(None);
        }
        let found = self.space.xattrs(&inode)?;
        let mut meta = inode.meta(found.all);
        let mut regular = None;
        let content = match meta.mode & mode::S_IFMT {
            mode::S_IFDIR => self.space.tree.add_directory()?,
            mode::S_IFREG => match found.of_whiteout.filter(|_| meta.size == 0) {
                Some(xattrs) => {
                    regular = Some(meta);
                    meta = Metadata { mode: meta.mode & !mode::S_IFMT | mode::S_IFCHR, xattrs, ..meta };
                    Content::Special
                }
                None if inode.is_external() => {
                    Content::External(self.space.tree.add_backing_at(found.payload, found.digest)?)
                }
                None => {
                    let content =
                        content::whole(self.space.image.bytes, &inode, INLINE_MAX, &mut self.space.buffer)?;
                    self.space.tree.add_inline(content)?
                }
            },
            mode::S_IFLNK => {
                let target =
                    content::whole(self.space.image.bytes, &inode, TARGET_MAX, &mut self.space.buffer)?;
                if target.contains(&0) {
                    return Err(ReadErrorKind::Nul);
                }
                self.space.tree.add_symlink(target)?
            }
            mode::S_IFCHR | mode::S_IFBLK | mode::S_IFIFO | mode::S_IFSOCK => Content::Special,
            _ => return Err(ReadErrorKind::FileType(meta.mode)),
        };
        let node = self.space.tree.add_node(meta, content)?;
        if inode.is_directory() {
            self.marked.extend(found.of_directory.map(|others| (node, others)));
        }
        self.whiteouts.extend(regular.map(|regular| (node, regular)));
        self.slots[slot] = Slot::Node(node);
        Ok(Some((node, inode)))
    }

    /// Puts the names found into the tree.
    fn finish(mut self) -> std::result::Result<Tree, ImageError> {
        let root = self.space.image.root().map_err(ImageError::whole)?;
        let roles = roles::of(&self.names, &self.slots, root);
        let mut parents = vec![Tree::ROOT; self.space.tree.len()];
        for (name, role) in self.names.iter().zip(roles) {
            let Some(node) = name.node else { continue };
            if role == Role::Place {
                parents[node.index()] = name.parent;
            }
            let inserted = self.space.tree.insert(name.parent, name.name, node, role);
            inserted.map_err(|error| ImageError::whole(error.into()))?;
        }
        self.settle_whiteouts(&parents);
        Ok(self.space.tree)
    }

    /// A file marked as a whiteout is one if its directory is marked too, and a directory's marks are the format's if
    /// it places a whiteout. All other marks were the input's.
    fn settle_whiteouts(&mut self, parents: &[NodeId]) {
        let mut places_whiteout = vec![None; parents.len()];
        for (node, _) in &self.marked {
            places_whiteout[node.index()] = Some(false);
        }
        for (node, regular) in &self.whiteouts {
            match &mut places_whiteout[parents[node.index()].index()] {
                Some(places_whiteout) => *places_whiteout = true,
                None => self.space.tree.replace(*node, *regular, Content::Empty),
            }
        }
        for (node, xattrs) in &self.marked {
            if places_whiteout[node.index()] == Some(true) {
                let Node { meta, content } = self.space.tree[*node];
                self.space.tree.replace(*node, Metadata { xattrs: *xattrs, ..meta }, content);
            }
        }
    }

    /// An error at a name of a directory, or at the directory itself.
    fn error(&self, mut node: NodeId, name: Option<&[u8]>, reason: ReadErrorKind) -> ImageError {
        let mut first_names = vec![None; self.space.tree.len()];
        for name in self.names.iter().rev() {
            if let Some(node) = name.node {
                first_names[node.index()] = Some(*name);
            }
        }
        let mut names: Vec<&[u8]> = name.into_iter().collect();
        while let Some(name) = first_names[node.index()] {
            names.push(&self.space.tree[name.name]);
            node = name.parent;
        }
        let path = if names.is_empty() {
            b"/".to_vec()
        } else {
            names.iter().rev().flat_map(|name| [b"/", *name].concat()).collect()
        };
        ImageError { path: Some(path), reason }
    }
}

//! The tree and what it is made of.
//!
//! All text (names, targets, payloads, xattrs) lies in one arena, and xattr sets and backing files are interned, so
//! that a node costs no allocation of its own and a tree of 1,000,000 files stays small.

use std::fmt;
use std::hash::RandomState;
use std::ops::Index;

use hashbrown::HashTable;
use ostree_seal_trust::digest::Digest;

use super::error::TreeError;
use super::limits::{INLINE_MAX, NAME_MAX, TARGET_MAX};

/// A node's place in its [`Tree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(super) u32);

/// An interned set of xattrs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct XattrsId(pub(super) u32);

/// An interned xattr: equal names with equal values have the same id, whatever sets they are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct XattrId(pub(super) u32);

/// A file outside the tree that holds a regular file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackingId(pub(super) u32);

/// A piece of the tree's arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub(super) start: u32,
    pub(super) len: u32,
}

/// A time stamp: whole seconds since 1970 and nanoseconds, as in the input (not range checked).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Mtime {
    /// Seconds since 1970-01-01, negative before.
    pub sec: i64,
    /// Nanoseconds.
    pub nsec: u32,
}

/// What `stat` says of a node, and its xattrs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// `st_mode`; an image keeps the low 16 bits.
    pub mode: u32,
    /// Link count; directories get theirs from their children instead.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of a character or block device, as glibc's `makedev` cut to 32 bits.
    pub rdev: u32,
    /// Bytes of content of a regular file, length of a symlink's target. Others keep what the input says.
    pub size: u64,
    /// Time of the last change.
    pub mtime: Mtime,
    /// Extended attributes.
    pub xattrs: XattrsId,
}

/// What a node is, beside its metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// A directory; its entries are [`Tree::entries`].
    Directory(DirectoryId),
    /// A regular file of 0 bytes.
    Empty,
    /// A regular file whose content lies in the tree.
    Inline(Span),
    /// A regular file whose content lies in a backing file.
    External(BackingId),
    /// A symbolic link and its target.
    Symlink(Span),
    /// A device, FIFO or socket: the mode says which.
    Special,
}

/// A directory's place in its [`Tree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DirectoryId(pub(super) u32);

/// One inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    /// What `stat` says.
    pub meta: Metadata,
    /// What it is.
    pub content: Content,
}

/// A name in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The name, 1 to 255 bytes.
    pub name: Span,
    /// The node it names.
    pub node: NodeId,
    /// Whether this name is the node's place in the tree or a further hard link to it.
    pub role: Role,
}

/// Each node has one name that places it in the tree, and any number of further ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The place that decides the node's turn in a walk.
    Place,
    /// A further hard link.
    Link,
}

/// A file outside the tree: where the mount finds it below the object directory, and its digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backing {
    /// Path below the object directory; empty if the input names none.
    pub payload: Span,
    /// fs-verity digest of the content, if known.
    pub digest: Option<Digest>,
}

/// One extended attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Xattr {
    /// Full name, prefix included.
    pub name: Span,
    /// Value.
    pub value: Span,
}

/// A file system as plain data. The first node is the root directory.
pub struct Tree {
    pub(super) arena: Vec<u8>,
    pub(super) nodes: Vec<Node>,
    pub(super) directories: Vec<Vec<Entry>>,
    pub(super) backings: Vec<Backing>,
    pub(super) xattrs: Vec<Xattr>,
    pub(super) known_xattrs: HashTable<XattrId>,
    pub(super) xattr_ids: Vec<XattrId>,
    pub(super) xattr_sets: Vec<(u32, u32)>,
    pub(super) known_sets: HashTable<XattrsId>,
    pub(super) hasher: RandomState,
}

impl Tree {
    /// A tree that holds an empty root directory with this owner, mode and xattrs.
    pub fn new() -> Self {
        Self {
            arena: Vec::new(),
            nodes: Vec::new(),
            directories: Vec::new(),
            backings: Vec::new(),
            xattrs: Vec::new(),
            known_xattrs: HashTable::new(),
            xattr_ids: Vec::new(),
            xattr_sets: vec![(0, 0)],
            known_sets: HashTable::new(),
            hasher: RandomState::new(),
        }
    }

    /// The root directory: the first node.
    pub const ROOT: NodeId = NodeId(0);

    /// Number of nodes (inodes, not names).
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether not even a root was added yet.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// All nodes with their ids, in the order in which they were added.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        (0..).map(NodeId).zip(&self.nodes)
    }

    /// The node at a position in [`Tree::nodes`].
    pub fn node_at(&self, index: usize) -> Option<NodeId> {
        (index < self.nodes.len()).then(|| NodeId(narrow(index)))
    }

    /// A directory's entries. In bytewise order of their names once [`Tree::sort`] has run.
    pub fn entries(&self, directory: DirectoryId) -> &[Entry] {
        &self.directories[directory.0 as usize]
    }

    /// A node's entries, or `None` if it isn't a directory.
    pub fn children(&self, node: NodeId) -> Option<&[Entry]> {
        match self[node].content {
            Content::Directory(id) => Some(self.entries(id)),
            _ => None,
        }
    }

    /// The entry of a sorted directory with this name.
    pub fn lookup(&self, directory: DirectoryId, name: &[u8]) -> Option<&Entry> {
        let entries = self.entries(directory);
        entries.binary_search_by(|entry| self[entry.name].cmp(name)).ok().map(|index| &entries[index])
    }

    /// Number of directories: every [`DirectoryId`] is below it.
    pub fn directory_count(&self) -> usize {
        self.directories.len()
    }

    /// Number of backing files: every [`BackingId`] is below it.
    pub fn backing_count(&self) -> usize {
        self.backings.len()
    }

    /// All backing files, in the order in which they were added.
    pub fn backings(&self) -> impl ExactSizeIterator<Item = (BackingId, &Backing)> {
        self.backings.iter().enumerate().map(|(index, backing)| (BackingId(narrow(index)), backing))
    }

    /// Adds a node that no directory names yet. The first one is the root.
    pub fn add_node(&mut self, meta: Metadata, content: Content) -> Result<NodeId, TreeError> {
        let id = place(self.nodes.len())?;
        self.nodes.push(Node { meta, content });
        Ok(NodeId(id))
    }

    /// An empty directory, to be the content of one node.
    pub fn add_directory(&mut self) -> Result<Content, TreeError> {
        let id = place(self.directories.len())?;
        self.directories.push(Vec::new());
        Ok(Content::Directory(DirectoryId(id)))
    }

    /// A backing file for one or more nodes.
    pub fn add_backing(&mut self, payload: &[u8], digest: Option<Digest>) -> Result<BackingId, TreeError> {
        if payload.len() > TARGET_MAX {
            return Err(TreeError::TargetTooLong(payload.len()));
        }
        let payload = self.add_bytes(payload)?;
        self.add_backing_at(payload, digest)
    }

    /// A backing file whose payload is text that the tree has already.
    pub fn add_backing_at(&mut self, payload: Span, digest: Option<Digest>) -> Result<BackingId, TreeError> {
        let id = place(self.backings.len())?;
        self.backings.push(Backing { payload, digest });
        Ok(BackingId(id))
    }

    /// A symlink target, 1 to [`TARGET_MAX`] bytes.
    pub fn add_symlink(&mut self, target: &[u8]) -> Result<Content, TreeError> {
        match target.len() {
            0 => Err(TreeError::EmptyTarget),
            len if len > TARGET_MAX => Err(TreeError::TargetTooLong(len)),
            _ => Ok(Content::Symlink(self.add_bytes(target)?)),
        }
    }

    /// Content that the tree holds itself, up to [`INLINE_MAX`] bytes; none is an empty file.
    pub fn add_inline(&mut self, content: &[u8]) -> Result<Content, TreeError> {
        match content.len() {
            0 => Ok(Content::Empty),
            len if len > INLINE_MAX => Err(TreeError::InlineTooLarge(len)),
            _ => Ok(Content::Inline(self.add_bytes(content)?)),
        }
    }

    /// A name for [`Tree::insert`]: 1 to [`NAME_MAX`] bytes, neither `.` nor `..`, without `/` and NUL.
    pub fn add_name(&mut self, name: &[u8]) -> Result<Span, TreeError> {
        match name.len() {
            0 => Err(TreeError::EmptyName),
            len if len > NAME_MAX => Err(TreeError::NameTooLong(len)),
            _ if name == b"." || name == b".." || name.iter().any(|byte| matches!(byte, 0 | b'/')) => {
                Err(TreeError::ForbiddenName(name.to_vec()))
            }
            _ => self.add_bytes(name),
        }
    }

    /// Makes another node of a node that has its names already.
    pub fn replace(&mut self, node: NodeId, meta: Metadata, content: Content) {
        self.nodes[node.index()] = Node { meta, content };
    }

    /// Puts a name into a directory. Duplicates are found by [`Tree::sort`].
    pub fn insert(&mut self, parent: NodeId, name: Span, node: NodeId, role: Role) -> Result<(), TreeError> {
        let Content::Directory(directory) = self[parent].content else {
            return Err(TreeError::ParentNotDirectory);
        };
        self.directories[directory.0 as usize].push(Entry { name, node, role });
        Ok(())
    }

    /// Brings each directory into bytewise order; an error names a directory with a name twice.
    pub fn sort(&mut self) -> Result<(), (DirectoryId, TreeError)> {
        let arena = &self.arena;
        for (id, entries) in (0..).map(DirectoryId).zip(&mut self.directories) {
            if entries.is_sorted_by(|a, b| slice(arena, a.name) < slice(arena, b.name)) {
                continue;
            }
            entries.sort_by(|a, b| slice(arena, a.name).cmp(slice(arena, b.name)));
            if let Some(pair) =
                entries.windows(2).find(|pair| slice(arena, pair[0].name) == slice(arena, pair[1].name))
            {
                return Err((id, TreeError::DuplicateName(slice(arena, pair[0].name).to_vec())));
            }
        }
        Ok(())
    }

    /// Text for [`Tree::add_backing_at`].
    pub fn add_bytes(&mut self, bytes: &[u8]) -> Result<Span, TreeError> {
        let start = place(self.arena.len())?;
        place(self.arena.len() + bytes.len())?;
        self.arena.extend_from_slice(bytes);
        Ok(Span { start, len: place(bytes.len())? })
    }
}

impl Default for Tree {
    fn default() -> Self {
        Self::new()
    }
}

impl Index<NodeId> for Tree {
    type Output = Node;

    fn index(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }
}

impl Index<BackingId> for Tree {
    type Output = Backing;

    fn index(&self, id: BackingId) -> &Backing {
        &self.backings[id.0 as usize]
    }
}

impl Index<XattrId> for Tree {
    type Output = Xattr;

    fn index(&self, id: XattrId) -> &Xattr {
        &self.xattrs[id.0 as usize]
    }
}

impl Index<Span> for Tree {
    type Output = [u8];

    fn index(&self, span: Span) -> &[u8] {
        slice(&self.arena, span)
    }
}

impl NodeId {
    /// Position in [`Tree::nodes`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl DirectoryId {
    /// Position among the directories.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl BackingId {
    /// Position among the backing files.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl Span {
    /// Length in bytes.
    pub fn len(self) -> usize {
        self.len as usize
    }

    /// Whether it has no bytes.
    pub fn is_empty(self) -> bool {
        self.len == 0
    }
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tree")
            .field("nodes", &self.nodes.len())
            .field("backings", &self.backings.len())
            .field("arena_bytes", &self.arena.len())
            .finish_non_exhaustive()
    }
}

pub(super) fn slice(arena: &[u8], span: Span) -> &[u8] {
    &arena[span.start as usize..][..span.len as usize]
}

/// An index of something that [`place`] let in.
#[expect(clippy::cast_possible_truncation, reason = "nothing is stored whose place has more than 32 bits")]
pub(super) fn narrow(index: usize) -> u32 {
    index as u32
}

pub(super) fn place(index: usize) -> Result<u32, TreeError> {
    u32::try_from(index).map_err(|_| TreeError::TooLarge)
}

//! The plan: the place of everything in an image, before its first byte is written. README.md, "Layout".

use std::ops::Range;

use super::directory::Target;
use super::error::{PlanError, PlanErrorKind};
use super::format::{
    BLOCK_SIZE, EROFS_FT_SYMLINK, EROFS_SUPER_OFFSET, InodeCompact, InodeExtended, SLOT_SIZE, SuperBlock,
};
use super::inode::{self, Extent, Stat};
use super::order::{self, Directory, Order, Source};
use super::overlay;
use super::sets::{OverlayRole, SetId, Sets};
use super::xattrs::{InodeXattrs, Xattrs};
use crate::tree::{Content, Mtime, NodeId, Tree};

/// Which image versions may be written. The least possible one is chosen: 1 only if the tree has whiteouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// At least this version.
    pub min: u32,
    /// At most this version; `min` if it is less than that.
    pub max: u32,
}

impl Default for Versions {
    /// What libostree asks for.
    fn default() -> Self {
        Self { min: 0, max: 1 }
    }
}

/// Newest image version.
pub(super) const VERSION_MAX: u32 = 1;
/// First byte of the inode area.
const INODES_START: u64 = (EROFS_SUPER_OFFSET + size_of::<SuperBlock>()) as u64;

/// The place of everything in an image. It holds for the tree it was made from.
pub struct Plan {
    pub(super) version: u32,
    pub(super) min_mtime: Mtime,
    pub(super) inodes: Vec<InodePlace>,
    /// Position of each node's inode.
    places: Vec<u32>,
    /// Position of each root whiteout's inode.
    root_whiteouts: Vec<u32>,
    pub(super) directories: Vec<Directory>,
    pub(super) xattrs: Xattrs,
    /// End of the inode area, start of the shared xattr table.
    pub(super) inodes_end: u64,
    /// Start of the data blocks.
    pub(super) data_start: u64,
    pub(super) data_blocks: u32,
}

/// The place of one inode.
#[derive(Debug, Clone, Copy)]
pub(super) struct InodePlace {
    pub(super) node: NodeId,
    pub(super) set: SetId,
    pub(super) nid: u32,
    /// First block of its content, if it has blocks.
    pub(super) block: u32,
    pub(super) blocks: u32,
    pub(super) tail: u16,
    pub(super) source: Source,
    pub(super) extended: bool,
}
const _: () = assert!(size_of::<InodePlace>() == 24);

impl InodePlace {
    pub(super) fn content(&self, tree: &Tree) -> Content {
        match self.source {
            Source::Node => tree[self.node].content,
            Source::RootWhiteout => Content::Special,
        }
    }

    /// Where in the image its record begins.
    pub(super) fn start(&self) -> u64 {
        u64::from(self.nid) * SLOT_SIZE
    }

    /// `EROFS_FT_*`.
    pub(super) fn file_type(&self, tree: &Tree) -> u8 {
        inode::file_type(match self.source {
            Source::Node => overlay::stored_mode(&tree[self.node].meta),
            Source::RootWhiteout => overlay::ROOT_WHITEOUT_MODE,
        })
    }
}

/// Places every part of the image of a tree.
///
/// The tree must be sorted ([`Tree::sort`]). The error names the path of the node that can't be stored.
pub fn plan(tree: &Tree, versions: Versions) -> Result<Plan, PlanError> {
    let whole = |reason| PlanError { path: None, reason };
    let order = order::order(tree)?;
    let version = choose_version(versions, order.has_whiteouts).map_err(whole)?;
    let (sets, xattrs) = join_sets(tree, &order, version).map_err(whole)?;
    let mut plan = Plan {
        version,
        min_mtime: order.min_mtime,
        inodes: Vec::with_capacity(order.inodes.len()),
        places: order.places,
        root_whiteouts: order.root_whiteouts,
        directories: order.directories,
        xattrs,
        inodes_end: INODES_START,
        data_start: 0,
        data_blocks: 0,
    };
    for ((node, source), set) in order.inodes.into_iter().zip(sets) {
        plan.append(tree, node, source, set)
            .map_err(|reason| PlanError { path: tree.path_of(node), reason })?;
    }
    plan.finish().map_err(whole)?;
    Ok(plan)
}

pub(super) fn choose_version(versions: Versions, has_whiteouts: bool) -> Result<u32, PlanErrorKind> {
    let wanted = [versions.min, versions.max].into_iter().find(|version| *version > VERSION_MAX);
    match wanted {
        Some(unknown) => Err(PlanErrorKind::Version(unknown)),
        None if has_whiteouts => Ok(versions.min.max(versions.max)),
        None => Ok(versions.min),
    }
}

/// The final xattr set of each inode in order, and what they share.
fn join_sets(tree: &Tree, order: &Order, version: u32) -> Result<(Vec<SetId>, Xattrs), PlanErrorKind> {
    let mut sets = Sets::new(tree, version)?;
    let mut joined = Vec::with_capacity(order.inodes.len());
    for &(node, source) in &order.inodes {
        let has_whiteouts = match tree[node].content {
            Content::Directory(id) => order.directories[id.index()].has_whiteouts,
            _ => false,
        };
        let role = match source {
            Source::RootWhiteout => OverlayRole::RootWhiteout,
            Source::Node => OverlayRole::of(tree, node, has_whiteouts),
        };
        joined.push(sets.join(tree[node].meta.xattrs, role, inode::backing(tree[node].content))?);
    }
    Ok((joined, Xattrs::new(sets)?))
}

impl Plan {
    /// Bytes of the image.
    pub fn image_size(&self) -> u64 {
        self.data_start + u64::from(self.data_blocks) * BLOCK_SIZE
    }

    /// Number of inodes, the whiteouts that the format puts into the root included.
    pub fn inodes(&self) -> usize {
        self.inodes.len()
    }

    /// The version chosen.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// These inodes, each with its place.
    pub(super) fn numbered(&self, range: Range<usize>) -> impl Iterator<Item = (u32, &InodePlace)> {
        let first =
            u32::try_from(range.start).expect("invariant: a plan has no more inodes than 32 bits number");
        (first..).zip(&self.inodes[range])
    }

    /// The inode of what a name in the directory at `place` names.
    pub(super) fn target(&self, place: u32, directory: &Directory, target: Target) -> &InodePlace {
        let place = match target {
            Target::Itself => place,
            Target::Parent => directory.parent,
            Target::RootWhiteout(number) => self.root_whiteouts[usize::from(number)],
            Target::Entry(entry) => self.places[entry.node.index()],
        };
        &self.inodes[place as usize]
    }

    /// Places the next inode behind the last one; its blocks are counted from 0 until [`Plan::finish`].
    fn append(&mut self, tree: &Tree, node: NodeId, source: Source, set: SetId) -> Result<(), PlanErrorKind> {
        let stat = Stat::new(tree, node, source, &self.directories);
        let (extent, backing) = match source {
            Source::Node => (Extent::new(tree, node), inode::backing(tree[node].content)),
            Source::RootWhiteout => (Extent { blocks: 0, tail: 0 }, None),
        };
        let extended = stat.needs_extended(extent, self.min_mtime);
        let size = if extended { size_of::<InodeExtended>() } else { size_of::<InodeCompact>() };
        let head = size as u64 + self.xattrs.area_size(tree, InodeXattrs { set, backing });
        let start = self.inodes_end.next_multiple_of(SLOT_SIZE);
        let (start, extent) = if stat.file_type() == EROFS_FT_SYMLINK {
            place_symlink(start, head, extent)
        } else {
            place_inode(start, head, extent)
        };
        self.inodes.push(InodePlace {
            node,
            set,
            nid: narrow(start / SLOT_SIZE)?,
            block: self.data_blocks,
            blocks: extent.blocks,
            tail: u16::try_from(extent.tail).map_err(|_| PlanErrorKind::ImageTooLarge)?,
            source,
            extended,
        });
        self.data_blocks = self.data_blocks.checked_add(extent.blocks).ok_or(PlanErrorKind::ImageTooLarge)?;
        self.inodes_end = start + head + extent.tail;
        Ok(())
    }

    /// Places what follows the inodes.
    fn finish(&mut self) -> Result<(), PlanErrorKind> {
        self.inodes_end = self.inodes_end.next_multiple_of(SLOT_SIZE);
        let table_end = self.inodes_end + self.xattrs.table_size;
        narrow((self.inodes_end % BLOCK_SIZE + self.xattrs.table_size) / 4)?;
        self.data_start = table_end.next_multiple_of(BLOCK_SIZE);
        let first = narrow(self.data_start / BLOCK_SIZE)?;
        first.checked_add(self.data_blocks).ok_or(PlanErrorKind::ImageTooLarge)?;
        self.inodes.iter_mut().for_each(|inode| inode.block += first);
        Ok(())
    }
}

/// A symlink's inode, xattrs and target lie in one block, or else the target has its own block.
fn place_symlink(start: u64, head: u64, extent: Extent) -> (u64, Extent) {
    let total = head + extent.tail;
    let crosses = start / BLOCK_SIZE != (start + total - 1) / BLOCK_SIZE;
    let start = if crosses { start.next_multiple_of(BLOCK_SIZE) } else { start };
    (start, if total >= BLOCK_SIZE { extent.tail_as_block() } else { extent })
}

/// Any other inode's tail lies in one block: move on until it does, or else give it a block.
fn place_inode(start: u64, head: u64, extent: Extent) -> (u64, Extent) {
    let left_at = |start: u64| BLOCK_SIZE - (start + head) % BLOCK_SIZE;
    let left = left_at(start);
    if left >= extent.tail {
        return (start, extent);
    }
    let moved = start + left.next_multiple_of(SLOT_SIZE);
    if left_at(moved) >= extent.tail {
        (moved, extent)
    } else {
        (start.next_multiple_of(BLOCK_SIZE), extent.tail_as_block())
    }
}

fn narrow(number: u64) -> Result<u32, PlanErrorKind> {
    u32::try_from(number).map_err(|_| PlanErrorKind::ImageTooLarge)
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plan")
            .field("version", &self.version)
            .field("inodes", &self.inodes.len())
            .field("image_size", &self.image_size())
            .finish_non_exhaustive()
    }
}

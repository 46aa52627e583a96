//! What one inode says of its node: metadata as stored, and how its content is laid out. README.md, "Inodes".

use super::directory::{Names, Packing};
use super::format::{
    BLOCK_BITS, BLOCK_SIZE, EROFS_FT_BLKDEV, EROFS_FT_CHRDEV, EROFS_FT_DIR, EROFS_FT_FIFO, EROFS_FT_REG_FILE,
    EROFS_FT_SOCK, EROFS_FT_SYMLINK, EROFS_INODE_CHUNK_BASED, EROFS_INODE_FLAT_INLINE,
    EROFS_INODE_FLAT_PLAIN,
};
use super::order::{Directory, Source};
use super::overlay::{self, ROOT_WHITEOUT_MODE};
use crate::tree::{BackingId, Content, Metadata, Mtime, NodeId, Tree, mode};

/// A tail of more bytes gets a block of its own.
const TAIL_MAX: u64 = BLOCK_SIZE / 2;
/// log2 of the largest chunk: `EROFS_CHUNK_FORMAT_BLKBITS_MASK` + 12.
const CHUNK_BITS_MAX: u32 = 31 + BLOCK_BITS as u32;

/// An inode's metadata as stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stat {
    pub(super) mode: u32,
    pub(super) nlink: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) rdev: u32,
    /// The size that decides whether a compact inode will do: 0 for directories, whose size is that of their extent.
    pub(super) size: u64,
    pub(super) mtime: Mtime,
}

/// Full blocks of content, and bytes behind the inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) blocks: u32,
    pub(super) tail: u64,
}

impl Stat {
    /// The metadata of a node's inode.
    pub(super) fn new(tree: &Tree, node: NodeId, source: Source, directories: &[Directory]) -> Self {
        let meta = &tree[node].meta;
        let Metadata { nlink, uid, gid, rdev, size, mtime, .. } = *meta;
        let stored = Self { mode: overlay::stored_mode(meta), nlink, uid, gid, rdev, size, mtime };
        if source == Source::RootWhiteout {
            return Self { mode: ROOT_WHITEOUT_MODE, nlink: 1, rdev: 0, size: 0, ..stored };
        }
        match tree[node].content {
            Content::Directory(id) => Self { nlink: directories[id.index()].nlink, size: 0, ..stored },
            Content::Symlink(target) => Self { size: tree[target].len() as u64, ..stored },
            Content::Special if overlay::is_whiteout(meta) => Self { size: 0, ..stored },
            _ => stored,
        }
    }

    /// Whether a compact inode, whose time is the image's least one, can't say all this.
    pub(super) fn needs_extended(&self, extent: Extent, min_mtime: Mtime) -> bool {
        let size = if self.file_type() == EROFS_FT_DIR { extent.size() } else { self.size };
        self.mtime != min_mtime
            || [self.nlink, self.uid, self.gid].iter().any(|number| *number > u32::from(u16::MAX))
            || size > u64::from(u32::MAX)
    }

    /// `EROFS_FT_*`.
    pub(super) fn file_type(&self) -> u8 {
        file_type(self.mode)
    }

    /// `i_size`.
    pub(super) fn stored_size(&self, extent: Extent) -> u64 {
        match self.file_type() {
            EROFS_FT_DIR => extent.size(),
            EROFS_FT_REG_FILE | EROFS_FT_SYMLINK => self.size,
            _ => 0,
        }
    }

    /// `i_u`. `block` is the first of the inode's blocks if it has any.
    pub(super) fn stored_union(&self, extent: Extent, block: u32, layout: u16) -> u32 {
        let block = if extent.blocks > 0 { block } else { 0 };
        match self.file_type() {
            EROFS_FT_CHRDEV | EROFS_FT_BLKDEV => self.rdev,
            _ if layout == EROFS_INODE_CHUNK_BASED => {
                block & 0xffff_0000 | (chunk_bits(self.size) - u32::from(BLOCK_BITS))
            }
            _ => block,
        }
    }
}

/// `EROFS_FT_*` of a mode.
pub(super) fn file_type(st_mode: u32) -> u8 {
    match st_mode & mode::S_IFMT {
        mode::S_IFDIR => EROFS_FT_DIR,
        mode::S_IFCHR => EROFS_FT_CHRDEV,
        mode::S_IFBLK => EROFS_FT_BLKDEV,
        mode::S_IFIFO => EROFS_FT_FIFO,
        mode::S_IFSOCK => EROFS_FT_SOCK,
        mode::S_IFLNK => EROFS_FT_SYMLINK,
        _ => EROFS_FT_REG_FILE,
    }
}

impl Extent {
    const NONE: Self = Self { blocks: 0, tail: 0 };

    /// How a node's content would be laid out if its tail fitted behind its inode.
    pub(super) fn new(tree: &Tree, node: NodeId) -> Self {
        match tree[node].content {
            Content::Directory(id) => {
                let mut packing = Packing::default();
                for (name, _) in Names::new(tree, id, node == Tree::ROOT) {
                    packing.add(name.len());
                }
                Self { blocks: packing.closed, tail: packing.used as u64 }.without_long_tail()
            }
            Content::Inline(content) => {
                let size = tree[content].len();
                let blocks = u32::from(size as u64 >= BLOCK_SIZE);
                Self { blocks, tail: size as u64 - u64::from(blocks) * BLOCK_SIZE }.without_long_tail()
            }
            Content::External(_) => Self { blocks: 0, tail: 4 * chunk_count(tree[node].meta.size) },
            Content::Symlink(target) => Self { blocks: 0, tail: tree[target].len() as u64 },
            Content::Empty | Content::Special => Self::NONE,
        }
    }

    fn without_long_tail(self) -> Self {
        if self.tail > TAIL_MAX { self.tail_as_block() } else { self }
    }

    /// The same content with its tail in a block.
    pub(super) fn tail_as_block(self) -> Self {
        Self { blocks: self.blocks + 1, tail: 0 }
    }

    /// Bytes of blocks and tail.
    fn size(self) -> u64 {
        u64::from(self.blocks) * BLOCK_SIZE + self.tail
    }
}

/// `EROFS_INODE_*`: the data layout of an inode.
pub(super) fn data_layout(content: Content, extent: Extent) -> u16 {
    match content {
        Content::External(_) => EROFS_INODE_CHUNK_BASED,
        _ if extent.tail > 0 => EROFS_INODE_FLAT_INLINE,
        _ => EROFS_INODE_FLAT_PLAIN,
    }
}

/// log2 of the chunk size of an external file: one chunk holds all of it, if a chunk can.
fn chunk_bits(size: u64) -> u32 {
    let bits = u64::BITS - size.saturating_sub(1).leading_zeros();
    bits.clamp(u32::from(BLOCK_BITS), CHUNK_BITS_MAX)
}

fn chunk_count(size: u64) -> u64 {
    size.div_ceil(1 << chunk_bits(size))
}

/// The backing file of a node's inode.
pub(super) fn backing(content: Content) -> Option<BackingId> {
    match content {
        Content::External(backing) => Some(backing),
        _ => None,
    }
}

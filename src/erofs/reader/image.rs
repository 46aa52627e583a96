//! An image's header and superblock, and where its inodes and shared xattrs lie.

use zerocopy::FromBytes;
use zerocopy::little_endian::U32;

use super::error::{ImageError, ReadErrorKind, Result};
use super::inode::Inode;
use crate::erofs::format::{
    BLOCK_BITS, BLOCK_SIZE, ComposefsHeader, EROFS_SUPER_MAGIC_V1, EROFS_SUPER_OFFSET, LCFS_EROFS_MAGIC,
    LCFS_EROFS_VERSION, SLOT_LEN, SLOT_SIZE, SuperBlock,
};
use crate::erofs::layout::VERSION_MAX;
use crate::tree::Mtime;

/// The version that an image was written with.
pub fn version(image: &[u8]) -> std::result::Result<u32, ImageError> {
    header(image).map(|header| header.composefs_version.get()).map_err(ImageError::whole)
}

/// The bytes of an image whose superblock is one that composefs writers make.
#[derive(Clone, Copy)]
pub(super) struct Image<'i> {
    pub(super) bytes: &'i [u8],
    areas: Areas,
}

/// What the superblock of an image says of its areas.
#[derive(Debug, Clone, Copy)]
pub(super) struct Areas {
    /// Length of the image.
    len: usize,
    /// Start of the metadata area.
    meta: u64,
    /// Start of the shared xattrs' blocks.
    shared: u64,
    /// Time of compact inodes.
    pub(super) build_time: Mtime,
    root_nid: u64,
}

/// What inodes and shared xattrs may have for themselves. They don't overlap in an honest image, so one where they come
/// to more than its length is refused before the same bytes are read again and again.
pub(super) struct Budget {
    left: u64,
}

impl<'i> Image<'i> {
    pub(super) fn new(bytes: &'i [u8]) -> Result<Self> {
        Ok(Self { bytes, areas: Areas::new(bytes, bytes.len())? })
    }

    /// How many inode slots it has room for.
    pub(super) fn slots(&self) -> usize {
        self.areas.slots()
    }

    /// The root's slot.
    pub(super) fn root(&self) -> Result<usize> {
        self.areas.root()
    }

    /// The slot of a nid, counted from the start of the image.
    pub(super) fn slot(&self, nid: u64) -> Result<usize> {
        self.areas.slot(nid)
    }

    /// The inode in a slot.
    pub(super) fn inode(&self, slot: usize) -> Result<Inode> {
        let start = slot.checked_mul(SLOT_LEN).ok_or(ReadErrorKind::Outside("inode"))?;
        let bytes = self.bytes.get(start..).ok_or(ReadErrorKind::Outside("inode"))?;
        Inode::read(bytes, start, self.bytes.len(), self.areas.build_time)
    }

    /// The bytes of the image from a shared xattr on.
    pub(super) fn shared_xattr(&self, id: u32) -> Result<&'i [u8]> {
        self.bytes.get(self.areas.shared_xattr(id)?..).ok_or(ReadErrorKind::Outside("shared xattr"))
    }

    /// What its inodes and shared xattrs may take.
    pub(super) fn budget(&self) -> Budget {
        Budget::of(self.bytes.len())
    }
}

impl Areas {
    /// Reads header and superblock, which are in the first bytes of an image of this length.
    pub(super) fn new(first: &[u8], len: usize) -> Result<Self> {
        header(first)?;
        let superblock = first.get(EROFS_SUPER_OFFSET..).unwrap_or_default();
        let (superblock, _) =
            SuperBlock::ref_from_prefix(superblock).map_err(|_| ReadErrorKind::NotComposefs)?;
        if superblock.magic.get() != EROFS_SUPER_MAGIC_V1 {
            return Err(ReadErrorKind::NotComposefs);
        }
        if superblock.blkszbits != BLOCK_BITS || superblock.dirblkbits != 0 {
            return Err(ReadErrorKind::Unsupported("block size"));
        }
        if superblock.feature_incompat.get() != 0 {
            return Err(ReadErrorKind::Unsupported("feature"));
        }
        Ok(Self {
            len,
            meta: u64::from(superblock.meta_blkaddr.get()) * BLOCK_SIZE,
            shared: u64::from(superblock.xattr_blkaddr.get()) * BLOCK_SIZE,
            build_time: Mtime { sec: superblock.build_time.get(), nsec: superblock.build_time_nsec.get() },
            root_nid: u64::from(superblock.root_nid.get()),
        })
    }

    /// How many inode slots it has room for.
    pub(super) fn slots(&self) -> usize {
        self.len / SLOT_LEN
    }

    /// The root's slot.
    pub(super) fn root(&self) -> Result<usize> {
        self.slot(self.root_nid)
    }

    /// The slot of a nid, counted from the start of the image.
    pub(super) fn slot(&self, nid: u64) -> Result<usize> {
        let slot = nid.checked_add(self.meta / SLOT_SIZE).and_then(|slot| usize::try_from(slot).ok());
        slot.filter(|slot| *slot < self.slots()).ok_or(ReadErrorKind::Outside("inode"))
    }

    /// Where a shared xattr begins.
    pub(super) fn shared_xattr(&self, id: u32) -> Result<usize> {
        let offset = self.shared + u64::from(id) * size_of::<U32>() as u64;
        let offset = usize::try_from(offset).ok().filter(|offset| *offset <= self.len);
        offset.ok_or(ReadErrorKind::Outside("shared xattr"))
    }
}

impl Budget {
    pub(super) fn of(len: usize) -> Self {
        Self { left: len as u64 }
    }

    /// Counts bytes that an inode or a shared xattr has for itself.
    pub(super) fn take(&mut self, len: u64) -> Result<()> {
        self.left = self.left.checked_sub(len).ok_or(ReadErrorKind::Overlap)?;
        Ok(())
    }
}

/// The header of a composefs image.
pub(super) fn header(image: &[u8]) -> Result<&ComposefsHeader> {
    let (header, _) = ComposefsHeader::ref_from_prefix(image).map_err(|_| ReadErrorKind::NotComposefs)?;
    if header.magic.get() != LCFS_EROFS_MAGIC {
        return Err(ReadErrorKind::NotComposefs);
    }
    if header.version.get() != LCFS_EROFS_VERSION || header.composefs_version.get() > VERSION_MAX {
        return Err(ReadErrorKind::Unsupported("version"));
    }
    Ok(header)
}

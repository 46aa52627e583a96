//! One inode's record, checked against the length of the image.

use zerocopy::FromBytes;

use super::error::{ReadErrorKind, Result};
use crate::erofs::format::{
    BLOCK_LEN, BLOCK_SIZE, EROFS_I_ALL, EROFS_I_DATALAYOUT_BIT, EROFS_I_VERSION_BIT, EROFS_INODE_CHUNK_BASED,
    EROFS_INODE_FLAT_INLINE, EROFS_INODE_FLAT_PLAIN, InodeCompact, InodeExtended, XattrIbodyHeader,
};
use crate::erofs::overlay;
use crate::tree::{Metadata, Mtime, XattrsId, mode};

/// An inode and where its parts are. All ranges lie in the image.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inode {
    meta: Metadata,
    layout: u16,
    /// Start of its xattr area.
    pub(super) xattrs: usize,
    /// Bytes of its xattr area.
    pub(super) xattrs_len: usize,
    /// Offset and length of the content that lies in blocks.
    pub(super) blocks: (usize, usize),
    /// Length of the content that lies behind the xattr area.
    pub(super) tail_len: usize,
    record_len: usize,
}

/// The fields of either record.
struct Record {
    icount: u16,
    mode: u16,
    size: u64,
    union: u32,
    uid: u32,
    gid: u32,
    nlink: u32,
    mtime: Mtime,
    len: usize,
}

impl Inode {
    /// Reads the inode at `start` of an image of so many bytes. `bytes` are those from there on, or as many of them as
    /// the longest record has.
    pub(super) fn read(bytes: &[u8], start: usize, image_len: usize, build_time: Mtime) -> Result<Self> {
        let format = match bytes {
            [low, high, ..] => u16::from_le_bytes([*low, *high]),
            _ => return Err(ReadErrorKind::Outside("inode")),
        };
        if format & !EROFS_I_ALL != 0 {
            return Err(ReadErrorKind::Unsupported("kind of inode"));
        }
        let record = Record::read(bytes, (format >> EROFS_I_VERSION_BIT) & 1 != 0, build_time)
            .ok_or(ReadErrorKind::Outside("inode"))?;
        let xattrs_len = match record.icount.checked_sub(1) {
            None => 0,
            Some(entries) => size_of::<XattrIbodyHeader>() + 4 * usize::from(entries),
        };
        let xattrs = start + record.len;
        if image_len - start < record.len + xattrs_len {
            return Err(ReadErrorKind::Outside("xattr area"));
        }
        let inode = Self {
            meta: record.meta(),
            layout: format >> EROFS_I_DATALAYOUT_BIT,
            xattrs,
            xattrs_len,
            blocks: (0, 0),
            tail_len: 0,
            record_len: record.len,
        };
        inode.with_content(image_len, record.union)
    }

    /// Finds the content.
    fn with_content(self, image_len: usize, union: u32) -> Result<Self> {
        let has_content =
            matches!(self.meta.mode & mode::S_IFMT, mode::S_IFREG | mode::S_IFDIR | mode::S_IFLNK);
        if !has_content || self.is_external() {
            return Ok(self);
        }
        let size = usize::try_from(self.meta.size).ok().filter(|size| *size <= image_len);
        let size = size.ok_or(ReadErrorKind::Outside("content"))?;
        let tail_len = match self.layout {
            EROFS_INODE_FLAT_PLAIN => 0,
            EROFS_INODE_FLAT_INLINE => size % BLOCK_LEN,
            _ => return Err(ReadErrorKind::Unsupported("data layout")),
        };
        let blocks_len = size - tail_len;
        let start = usize::try_from(u64::from(union) * BLOCK_SIZE).unwrap_or(usize::MAX);
        if blocks_len > 0 && start.checked_add(blocks_len).is_none_or(|end| end > image_len) {
            return Err(ReadErrorKind::Outside("content"));
        }
        if image_len - self.tail() < tail_len {
            return Err(ReadErrorKind::Outside("content"));
        }
        Ok(Self { blocks: if blocks_len > 0 { (start, blocks_len) } else { (0, 0) }, tail_len, ..self })
    }

    /// Start of the content behind the xattr area.
    pub(super) fn tail(&self) -> usize {
        self.xattrs + self.xattrs_len
    }

    pub(super) fn is_directory(&self) -> bool {
        self.meta.mode & mode::S_IFMT == mode::S_IFDIR
    }

    /// A regular file whose content lies in a backing file.
    pub(super) fn is_external(&self) -> bool {
        self.meta.mode & mode::S_IFMT == mode::S_IFREG && self.layout == EROFS_INODE_CHUNK_BASED
    }

    /// A real whiteout.
    pub(super) fn is_whiteout(&self) -> bool {
        overlay::is_whiteout(&self.meta)
    }

    pub(super) fn meta(&self, xattrs: XattrsId) -> Metadata {
        Metadata { xattrs, ..self.meta }
    }

    /// Bytes of the image that are this inode's own.
    pub(super) fn taken(&self) -> u64 {
        [self.record_len, self.xattrs_len, self.blocks.1, self.tail_len].iter().map(|len| *len as u64).sum()
    }
}

impl Record {
    fn read(bytes: &[u8], is_extended: bool, build_time: Mtime) -> Option<Self> {
        if is_extended {
            let (record, _) = InodeExtended::ref_from_prefix(bytes).ok()?;
            return Some(Self {
                icount: record.i_xattr_icount.get(),
                mode: record.i_mode.get(),
                size: record.i_size.get(),
                union: record.i_u.get(),
                uid: record.i_uid.get(),
                gid: record.i_gid.get(),
                nlink: record.i_nlink.get(),
                mtime: Mtime { sec: record.i_mtime.get(), nsec: record.i_mtime_nsec.get() },
                len: size_of::<InodeExtended>(),
            });
        }
        let (record, _) = InodeCompact::ref_from_prefix(bytes).ok()?;
        Some(Self {
            icount: record.i_xattr_icount.get(),
            mode: record.i_mode.get(),
            size: u64::from(record.i_size.get()),
            union: record.i_u.get(),
            uid: u32::from(record.i_uid.get()),
            gid: u32::from(record.i_gid.get()),
            nlink: u32::from(record.i_nlink.get()),
            mtime: build_time,
            len: size_of::<InodeCompact>(),
        })
    }

    fn meta(&self) -> Metadata {
        let st_mode = u32::from(self.mode);
        let is_device = matches!(st_mode & mode::S_IFMT, mode::S_IFCHR | mode::S_IFBLK);
        Metadata {
            mode: st_mode,
            nlink: self.nlink,
            uid: self.uid,
            gid: self.gid,
            rdev: if is_device { self.union } else { 0 },
            size: self.size,
            mtime: self.mtime,
            xattrs: XattrsId::NONE,
        }
    }
}

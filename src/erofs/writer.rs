//! A piece of a plan's bytes. Nothing is decided here. README.md, "Emission".

use std::io;
use std::ops::Range;

use zerocopy::IntoBytes;
use zerocopy::little_endian::{I64, U16, U32, U64};

use super::directory::{Names, Packing, Target};
use super::format::{
    BLOCK_BITS, BLOCK_LEN, BLOCK_SIZE, ComposefsHeader, Dirent, EROFS_FEATURE_COMPAT_MTIME,
    EROFS_FEATURE_COMPAT_XATTR_FILTER, EROFS_I_DATALAYOUT_BIT, EROFS_I_VERSION_BIT, EROFS_NULL_ADDR,
    EROFS_SUPER_MAGIC_V1, EROFS_SUPER_OFFSET, InodeCompact, InodeExtended, LCFS_EROFS_FLAGS_HAS_ACL,
    LCFS_EROFS_MAGIC, LCFS_EROFS_VERSION, SuperBlock, XattrIbodyHeader,
};
use super::inode::{self, Extent, Stat};
use super::layout::{InodePlace, Plan};
use super::pieces::{Part, Piece};
use super::xattrs::InodeXattrs;
use crate::tree::{Content, DirectoryId, Tree};

/// Makes pieces of an image.
pub(super) struct Emitter<'a> {
    tree: &'a Tree,
    plan: &'a Plan,
    out: Buffer,
    /// The names of one directory block.
    names: Vec<(&'a [u8], Target)>,
}

/// Which share of an inode's content.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Share {
    Blocks,
    Tail,
}

impl<'a> Emitter<'a> {
    pub(super) fn new(tree: &'a Tree, plan: &'a Plan) -> Self {
        Self { tree, plan, out: Buffer::default(), names: Vec::new() }
    }

    /// The bytes of a piece, in place of what is in `bytes`.
    pub(super) fn piece(&mut self, piece: &Piece, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        self.out = Buffer { bytes, start: piece.start };
        self.out.bytes.clear();
        match &piece.part {
            Part::Headers => self.headers()?,
            Part::Inodes(range) => self.inodes(range.clone())?,
            Part::SharedXattrs => self.shared_xattrs(),
            Part::Blocks(range) => self.blocks(range.clone())?,
        }
        self.out.pad_to(piece.end)?;
        Ok(std::mem::take(&mut self.out.bytes))
    }

    fn headers(&mut self) -> io::Result<()> {
        let plan = self.plan;
        let header = ComposefsHeader {
            magic: U32::new(LCFS_EROFS_MAGIC),
            version: U32::new(LCFS_EROFS_VERSION),
            flags: U32::new(if plan.xattrs.has_acl { LCFS_EROFS_FLAGS_HAS_ACL } else { 0 }),
            composefs_version: U32::new(plan.version),
            unused: [U32::ZERO; 4],
        };
        let superblock = SuperBlock {
            magic: U32::new(EROFS_SUPER_MAGIC_V1),
            checksum: U32::ZERO,
            feature_compat: U32::new(EROFS_FEATURE_COMPAT_MTIME | EROFS_FEATURE_COMPAT_XATTR_FILTER),
            blkszbits: BLOCK_BITS,
            sb_extslots: 0,
            root_nid: U16::new(low16(u64::from(plan.inodes[0].nid))),
            inos: U64::new(plan.inodes.len() as u64),
            build_time: I64::new(plan.min_mtime.sec),
            build_time_nsec: U32::new(plan.min_mtime.nsec),
            blocks: U32::new(low32(plan.image_size() / BLOCK_SIZE)),
            meta_blkaddr: U32::ZERO,
            xattr_blkaddr: U32::new(low32(plan.inodes_end / BLOCK_SIZE)),
            uuid: [0; 16],
            volume_name: [0; 16],
            feature_incompat: U32::ZERO,
            available_compr_algs: U16::ZERO,
            extra_devices: U16::ZERO,
            devt_slotoff: U16::ZERO,
            dirblkbits: 0,
            xattr_prefix_count: 0,
            xattr_prefix_start: U32::ZERO,
            packed_nid: U64::ZERO,
            xattr_filter_reserved: 0,
            reserved2: [0; 23],
        };
        self.out.bytes.extend_from_slice(header.as_bytes());
        self.out.pad_to(EROFS_SUPER_OFFSET as u64)?;
        self.out.bytes.extend_from_slice(superblock.as_bytes());
        Ok(())
    }

    fn inodes(&mut self, range: Range<usize>) -> io::Result<()> {
        let table = place_in_block(self.plan.inodes_end);
        for (place, inode) in self.plan.numbered(range) {
            self.out.pad_to(inode.start())?;
            self.inode(place, inode, table);
            if inode.tail > 0 {
                self.content(place, inode, Share::Tail)?;
            }
        }
        Ok(())
    }

    /// The inode and its xattr area. The record comes first, but says how long the area is.
    fn inode(&mut self, place: u32, inode: &InodePlace, table: u32) {
        let content = inode.content(self.tree);
        let extent = Extent { blocks: inode.blocks, tail: u64::from(inode.tail) };
        let layout = inode::data_layout(content, extent);
        let stat = Stat::new(self.tree, inode.node, inode.source, &self.plan.directories);
        let out = &mut self.out.bytes;
        let start = out.len();
        let record_size = if inode.extended { size_of::<InodeExtended>() } else { size_of::<InodeCompact>() };
        out.resize(start + record_size, 0);
        let of = InodeXattrs { set: inode.set, backing: inode::backing(content) };
        self.plan.xattrs.write_area(self.tree, of, table, out);
        let fields = Fields {
            format: (layout << EROFS_I_DATALAYOUT_BIT) | (u16::from(inode.extended) << EROFS_I_VERSION_BIT),
            icount: icount(out.len() - start - record_size),
            size: stat.stored_size(extent),
            union: stat.stored_union(extent, inode.block, layout),
            ino: place,
        };
        let record = &mut out[start..][..record_size];
        if inode.extended {
            record.copy_from_slice(extended(&stat, &fields).as_bytes());
        } else {
            record.copy_from_slice(compact(&stat, &fields).as_bytes());
        }
    }

    fn shared_xattrs(&mut self) {
        for number in 0..self.plan.xattrs.table_len() {
            self.plan.xattrs.write_shared(self.tree, number, &mut self.out.bytes);
        }
    }

    fn blocks(&mut self, range: Range<usize>) -> io::Result<()> {
        for (place, inode) in self.plan.numbered(range) {
            if inode.blocks > 0 {
                self.out.pad_to(u64::from(inode.block) * BLOCK_SIZE)?;
                self.content(place, inode, Share::Blocks)?;
            }
        }
        Ok(())
    }

    /// One share of an inode's content, without the zeros behind it.
    fn content(&mut self, place: u32, inode: &InodePlace, share: Share) -> io::Result<()> {
        let all = match inode.content(self.tree) {
            Content::Directory(id) => return self.directory(place, id, share),
            Content::External(_) => {
                let size = match share {
                    Share::Blocks => usize::from(inode.blocks > 0) * BLOCK_LEN,
                    Share::Tail => usize::from(inode.tail),
                };
                for _ in 0..size / size_of::<U32>() {
                    self.out.bytes.extend_from_slice(U32::new(EROFS_NULL_ADDR).as_bytes());
                }
                return Ok(());
            }
            Content::Inline(content) => &self.tree[content],
            Content::Symlink(target) => &self.tree[target],
            Content::Empty | Content::Special => return Ok(()),
        };
        let (blocks, tail) = all.split_at(all.len() - usize::from(inode.tail));
        self.out.bytes.extend_from_slice(if share == Share::Blocks { blocks } else { tail });
        Ok(())
    }

    fn directory(&mut self, place: u32, id: DirectoryId, share: Share) -> io::Result<()> {
        let has_tail = self.plan.inodes[place as usize].tail > 0;
        let mut packing = Packing::default();
        for (name, target) in Names::new(self.tree, id, place == 0) {
            if packing.add(name.len()) {
                if share == Share::Blocks {
                    self.directory_block(place, id);
                    self.out.pad_to_block()?;
                }
                self.names.clear();
            }
            self.names.push((name, target));
        }
        if has_tail == (share == Share::Tail) {
            self.directory_block(place, id);
        }
        self.names.clear();
        Ok(())
    }

    /// The names gathered: records, then names.
    fn directory_block(&mut self, place: u32, id: DirectoryId) {
        let directory = &self.plan.directories[id.index()];
        let mut nameoff = self.names.len() * size_of::<Dirent>();
        for (name, target) in &self.names {
            let inode = self.plan.target(place, directory, *target);
            let record = Dirent {
                nid: U64::new(u64::from(inode.nid)),
                nameoff: U16::new(low16(nameoff as u64)),
                file_type: inode.file_type(self.tree),
                reserved: 0,
            };
            self.out.bytes.extend_from_slice(record.as_bytes());
            nameoff += name.len();
        }
        self.names.iter().for_each(|(name, _)| self.out.bytes.extend_from_slice(name));
    }
}

/// What an inode record says beside the metadata.
struct Fields {
    format: u16,
    icount: u16,
    size: u64,
    union: u32,
    ino: u32,
}

fn extended(stat: &Stat, fields: &Fields) -> InodeExtended {
    InodeExtended {
        i_format: U16::new(fields.format),
        i_xattr_icount: U16::new(fields.icount),
        i_mode: U16::new(low16(u64::from(stat.mode))),
        i_reserved: U16::ZERO,
        i_size: U64::new(fields.size),
        i_u: U32::new(fields.union),
        i_ino: U32::new(fields.ino),
        i_uid: U32::new(stat.uid),
        i_gid: U32::new(stat.gid),
        i_mtime: I64::new(stat.mtime.sec),
        i_mtime_nsec: U32::new(stat.mtime.nsec),
        i_nlink: U32::new(stat.nlink),
        i_reserved2: [0; 16],
    }
}

fn compact(stat: &Stat, fields: &Fields) -> InodeCompact {
    InodeCompact {
        i_format: U16::new(fields.format),
        i_xattr_icount: U16::new(fields.icount),
        i_mode: U16::new(low16(u64::from(stat.mode))),
        i_nlink: U16::new(low16(u64::from(stat.nlink))),
        i_size: U32::new(low32(fields.size)),
        i_reserved: U32::ZERO,
        i_u: U32::new(fields.union),
        i_ino: U32::new(fields.ino),
        i_uid: U16::new(low16(u64::from(stat.uid))),
        i_gid: U16::new(low16(u64::from(stat.gid))),
        i_reserved2: U32::ZERO,
    }
}

/// `i_xattr_icount` of an xattr area: units of 4 bytes behind its header, and one for the header.
fn icount(area: usize) -> u16 {
    match area.checked_sub(size_of::<XattrIbodyHeader>()) {
        None => 0,
        Some(entries) => low16(entries as u64 / 4 + 1),
    }
}

/// Place of an offset in its block, in units of 4 bytes.
fn place_in_block(offset: u64) -> u32 {
    low32(offset % BLOCK_SIZE / 4)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the plan keeps what is cut here within 16 bits; modes keep the \
    low 16 bits by definition of the format"
)]
fn low16(number: u64) -> u16 {
    number as u16
}

#[expect(clippy::cast_possible_truncation, reason = "the plan keeps what is cut here within 32 bits")]
fn low32(number: u64) -> u32 {
    number as u32
}

/// A piece of an image that grows.
#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    /// Where in the image it begins.
    start: u64,
}

impl Buffer {
    fn position(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// Zeros up to an offset of the image.
    fn pad_to(&mut self, offset: u64) -> io::Result<()> {
        let zeros = offset.checked_sub(self.position()).and_then(|zeros| usize::try_from(zeros).ok());
        let Some(zeros) = zeros else {
            return Err(io::Error::other(format!("the plan has two things at offset {offset}: wrong tree?")));
        };
        self.bytes.resize(self.bytes.len() + zeros, 0);
        Ok(())
    }

    fn pad_to_block(&mut self) -> io::Result<()> {
        self.pad_to(self.position().next_multiple_of(BLOCK_SIZE))
    }
}

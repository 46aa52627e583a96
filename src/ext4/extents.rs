//! A file's extents, read from its extent tree. The tree may come from an enemy: logical blocks only grow, no node is empty,
//! and no block is read twice, so that the work is bounded by the image.

use zerocopy::FromBytes;

use super::checksum::crc32c;
use super::disk::Disk;
use super::error::{Error, Result};
use super::format::{
    BLOCK, BLOCK_LEN, ENTRY, EXT_INIT_MAX_LEN, EXT4_EXT_MAGIC, EXT4_MAX_EXTENT_DEPTH, ExtentHeader,
    ExtentRecord, IndexRecord,
};
use super::inode::Inode;
use super::superblock::Geometry;

/// Blocks of a file that lie side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// First block in the file.
    pub(super) logical: u32,
    /// How many.
    pub(super) len: u32,
    /// First block in the file system.
    pub(super) physical: u64,
    /// Whether they read as zeros, whatever they hold.
    pub(super) unwritten: bool,
}

impl Extent {
    /// The block behind the last one, in the file.
    pub(super) fn end(&self) -> u64 {
        u64::from(self.logical) + u64::from(self.len)
    }
}

/// The extents of an inode, in the order of the file.
pub(super) fn read(disk: &Disk<'_>, geometry: &Geometry, inode: &Inode) -> Result<Vec<Extent>> {
    inode.require_extents()?;
    let mut walk = Walk { disk, geometry, inode, extents: Vec::new(), next: 0 };
    let header = walk.header(inode.i_block(), None)?;
    walk.node(inode.i_block(), header)?;
    Ok(walk.extents)
}

/// The header of a node and whether it makes sense. The root may be empty.
pub(super) fn header(node: &[u8], inode: u32) -> Result<ExtentHeader> {
    let damaged = || Error::damaged(format_args!("inode {inode} has an extent tree that makes no sense"));
    let (header, rest) = ExtentHeader::read_from_prefix(node).map_err(|_| damaged())?;
    let room = rest.len() / ENTRY;
    let fits = usize::from(header.eh_max.get()) <= room && header.eh_entries <= header.eh_max;
    if header.eh_magic.get() != EXT4_EXT_MAGIC || !fits || header.eh_depth.get() > EXT4_MAX_EXTENT_DEPTH {
        return Err(damaged());
    }
    Ok(header)
}

/// The entries behind a node's header.
pub(super) fn entries<T: FromBytes>(node: &[u8], header: &ExtentHeader) -> Vec<T> {
    let entries = node[ENTRY..].chunks_exact(ENTRY).take(header.eh_entries.get().into());
    entries.filter_map(|entry| T::read_from_bytes(entry).ok()).collect()
}

/// The block that an entry of an index points at.
pub(super) fn child_of(entry: &IndexRecord) -> u64 {
    u64::from(entry.ei_leaf_lo.get()) | u64::from(entry.ei_leaf_hi.get()) << 32
}

/// The checksum of a node in a block of its own, and where it lies.
pub(super) fn node_checksum(node: &[u8; BLOCK_LEN], max: u16, inode_seed: u32) -> (usize, u32) {
    // At the end of the entries that there is room for; a block has four bytes left behind 340 of them.
    let at = (ENTRY + usize::from(max) * ENTRY).min(BLOCK_LEN - size_of::<u32>());
    (at, crc32c(inode_seed, &node[..at]))
}

struct Walk<'a> {
    disk: &'a Disk<'a>,
    geometry: &'a Geometry,
    inode: &'a Inode,
    extents: Vec<Extent>,
    /// The first logical block that may come next.
    next: u64,
}

impl Walk<'_> {
    fn damaged(&self, what: &str) -> Error {
        Error::damaged(format_args!("inode {} has {what}", self.inode.number()))
    }

    /// A node's header; below the root, it must be of the level that its parent says.
    fn header(&self, node: &[u8], depth: Option<u16>) -> Result<ExtentHeader> {
        let header = header(node, self.inode.number())?;
        match depth {
            Some(depth) if header.eh_depth.get() != depth || header.eh_entries.get() == 0 => {
                Err(self.damaged("an extent tree that makes no sense"))
            }
            _ => Ok(header),
        }
    }

    /// Recursion ends at [`EXT4_MAX_EXTENT_DEPTH`].
    fn node(&mut self, node: &[u8], header: ExtentHeader) -> Result<()> {
        if header.eh_depth.get() == 0 {
            return entries::<ExtentRecord>(node, &header).iter().try_for_each(|entry| self.extent(entry));
        }
        for entry in entries::<IndexRecord>(node, &header) {
            let block = child_of(&entry);
            if !self.geometry.has_block(block) {
                return Err(self.damaged("an extent tree that leads out of the file system"));
            }
            let before = self.next;
            let child = self.disk.block(block)?;
            let header = self.header(&child, Some(header.eh_depth.get() - 1))?;
            self.check(&child, &header)?;
            self.node(&child, header)?;
            if self.next == before {
                return Err(self.damaged("an empty node in its extent tree"));
            }
        }
        Ok(())
    }

    fn check(&self, node: &[u8; BLOCK_LEN], header: &ExtentHeader) -> Result<()> {
        let Some(seed) = self.geometry.checksums else { return Ok(()) };
        let (at, checksum) = node_checksum(node, header.eh_max.get(), self.inode.seed(seed));
        match node[at..].first_chunk() {
            Some(stored) if u32::from_le_bytes(*stored) == checksum => Ok(()),
            _ => Err(self.damaged("an extent tree with a wrong checksum")),
        }
    }

    fn extent(&mut self, entry: &ExtentRecord) -> Result<()> {
        let len = entry.ee_len.get();
        let unwritten = len > EXT_INIT_MAX_LEN;
        let len = u32::from(if unwritten { len - EXT_INIT_MAX_LEN } else { len });
        let physical = u64::from(entry.ee_start_lo.get()) | u64::from(entry.ee_start_hi.get()) << 32;
        let extent = Extent { logical: entry.ee_block.get(), len, physical, unwritten };
        if len == 0 || u64::from(extent.logical) < self.next {
            return Err(self.damaged("extents that overlap"));
        }
        if !self.geometry.has_block(physical) || physical + u64::from(len) > self.geometry.blocks {
            return Err(self.damaged("an extent that lies outside of the file system"));
        }
        self.next = extent.end();
        self.extents.push(extent);
        Ok(())
    }
}

/// Fills a buffer of whole blocks with a file's content from this block on. What isn't mapped reads as zeros.
pub(super) fn read_blocks(disk: &Disk<'_>, extents: &[Extent], from: u64, buffer: &mut [u8]) -> Result<()> {
    let end = from + buffer.len() as u64 / BLOCK;
    let mut at = from;
    let first = extents.partition_point(|extent| extent.end() <= from);
    for extent in &extents[first..] {
        let (start, stop) = (u64::from(extent.logical).max(at), extent.end().min(end));
        if start >= stop {
            break;
        }
        let place = |block: u64| usize::try_from((block - from) * BLOCK).unwrap_or(usize::MAX);
        buffer[place(at)..place(start)].fill(0);
        let target = &mut buffer[place(start)..place(stop)];
        if extent.unwritten {
            target.fill(0);
        } else {
            disk.read((extent.physical + (start - u64::from(extent.logical))) * BLOCK, target)?;
        }
        at = stop;
    }
    let rest = usize::try_from((at - from) * BLOCK).unwrap_or(usize::MAX);
    buffer[rest..].fill(0);
    Ok(())
}

//! The group descriptors: where the bitmaps and the inode tables lie, and how much is free.

use zerocopy::{FromZeros as _, IntoBytes as _};

use super::checksum::{crc32c, high, low};
use super::disk::Disk;
use super::error::{Error, Result};
use super::format::{BLOCK, BLOCK_LEN, DESCRIPTOR_MAX, EXT4_BG_BLOCK_UNINIT, GroupDescriptor, join};
use super::superblock::Geometry;

/// Offset of `bg_checksum`, which its own checksum takes for zeros.
const CHECKSUM_AT: usize = 0x1e;
/// The group descriptors lie behind the superblock's block.
const TABLE: u64 = BLOCK;

/// All group descriptors.
#[derive(Debug, Clone)]
pub(super) struct Groups {
    descriptors: Vec<GroupDescriptor>,
}

impl Groups {
    /// Reads and checks all of them.
    pub(super) fn read(disk: &Disk<'_>, geometry: &Geometry) -> Result<Self> {
        let mut descriptors = Vec::new();
        let mut bytes = vec![0; BLOCK_LEN];
        let in_block = BLOCK_LEN / geometry.descriptor_len;
        for group in 0..geometry.groups {
            let at = group as usize % in_block;
            if at == 0 {
                disk.read(TABLE + descriptors.len() as u64 * geometry.descriptor_len as u64, &mut bytes)?;
            }
            let raw = &bytes[at * geometry.descriptor_len..][..geometry.descriptor_len];
            descriptors.push(check(group, raw, geometry)?);
        }
        Ok(Self { descriptors })
    }

    /// First block of a group's inode table.
    pub(super) fn inode_table(&self, group: u32) -> u64 {
        let descriptor = &self.descriptors[group as usize];
        join(descriptor.bg_inode_table_lo, descriptor.bg_inode_table_hi)
    }

    /// Block of a group's block bitmap.
    pub(super) fn block_bitmap(&self, group: u32) -> u64 {
        let descriptor = &self.descriptors[group as usize];
        join(descriptor.bg_block_bitmap_lo, descriptor.bg_block_bitmap_hi)
    }

    /// Whether a group's block bitmap was never written.
    pub(super) fn is_uninit(&self, group: u32) -> bool {
        self.descriptors[group as usize].bg_flags.get() & EXT4_BG_BLOCK_UNINIT != 0
    }

    /// A group's free blocks.
    pub(super) fn free_blocks(&self, group: u32) -> u32 {
        let descriptor = &self.descriptors[group as usize];
        u32::from(descriptor.bg_free_blocks_count_lo.get())
            | u32::from(descriptor.bg_free_blocks_count_hi.get()) << 16
    }

    /// Where metadata lie: copies of the superblock and of the group descriptors, bitmaps, inode tables; first block and
    /// number of blocks of each, sorted.
    pub(super) fn metadata(&self, geometry: &Geometry) -> Vec<(u64, u64)> {
        let mut ranges = Vec::new();
        for (group, descriptor) in (0..geometry.groups).zip(&self.descriptors) {
            let (start, _) = geometry.group_range(group);
            if geometry.has_superblock(group) {
                ranges.push((start, 1 + geometry.descriptor_blocks()));
            }
            ranges.push((self.block_bitmap(group), 1));
            ranges.push((join(descriptor.bg_inode_bitmap_lo, descriptor.bg_inode_bitmap_hi), 1));
            ranges.push((self.inode_table(group), geometry.inode_table_blocks()));
        }
        ranges.sort_unstable();
        ranges
    }

    /// Checks a block bitmap's checksum.
    pub(super) fn check_bitmap(&self, group: u32, bitmap: &[u8], geometry: &Geometry) -> Result<()> {
        let Some(checksum) = bitmap_checksum(bitmap, geometry) else { return Ok(()) };
        let descriptor = &self.descriptors[group as usize];
        let is_long = geometry.descriptor_len == DESCRIPTOR_MAX;
        let same = descriptor.bg_block_bitmap_csum_lo.get() == low(checksum)
            && (!is_long || descriptor.bg_block_bitmap_csum_hi.get() == high(checksum));
        if same {
            Ok(())
        } else {
            Err(Error::damaged(format_args!("the block bitmap of group {group} has a wrong checksum")))
        }
    }

    /// Takes note of a group's bitmap in which so many blocks are free, and writes both.
    pub(super) fn write_bitmap(
        &mut self,
        (disk, geometry): (&Disk<'_>, &Geometry),
        group: u32,
        (bitmap, free): (&[u8; BLOCK_LEN], u32),
    ) -> Result<()> {
        let block = self.block_bitmap(group);
        let [a, b, c, d] = free.to_le_bytes();
        let descriptor = &mut self.descriptors[group as usize];
        descriptor.bg_free_blocks_count_lo = [a, b].into();
        descriptor.bg_free_blocks_count_hi = [c, d].into();
        descriptor.bg_flags = (descriptor.bg_flags.get() & !EXT4_BG_BLOCK_UNINIT).into();
        if let Some(checksum) = bitmap_checksum(bitmap, geometry) {
            descriptor.bg_block_bitmap_csum_lo = low(checksum).into();
            descriptor.bg_block_bitmap_csum_hi = high(checksum).into();
        }
        let raw = &descriptor.as_bytes()[..geometry.descriptor_len];
        if let Some(checksum) = checksum_of(group, raw, geometry) {
            descriptor.bg_checksum = low(checksum).into();
        }
        disk.write(block * BLOCK, bitmap)?;
        let at = TABLE + u64::from(group) * geometry.descriptor_len as u64;
        disk.write(at, &descriptor.as_bytes()[..geometry.descriptor_len])
    }
}

/// Understands a descriptor: what it points at lies in the file system.
fn check(group: u32, raw: &[u8], geometry: &Geometry) -> Result<GroupDescriptor> {
    let mut descriptor = GroupDescriptor::new_zeroed();
    descriptor.as_mut_bytes()[..raw.len()].copy_from_slice(raw);
    if let Some(checksum) = checksum_of(group, raw, geometry) {
        if descriptor.bg_checksum.get() != low(checksum) {
            return Err(Error::damaged(format_args!("the descriptor of group {group} has a wrong checksum")));
        }
    }
    let inodes = geometry.inode_table_blocks();
    let places = [
        (join(descriptor.bg_block_bitmap_lo, descriptor.bg_block_bitmap_hi), 1),
        (join(descriptor.bg_inode_bitmap_lo, descriptor.bg_inode_bitmap_hi), 1),
        (join(descriptor.bg_inode_table_lo, descriptor.bg_inode_table_hi), inodes),
    ];
    for (start, len) in places {
        if !geometry.has_block(start) || start.checked_add(len).is_none_or(|end| end > geometry.blocks) {
            return Err(Error::damaged(format_args!(
                "group {group} has metadata at block {start}, outside of it"
            )));
        }
    }
    Ok(descriptor)
}

fn checksum_of(group: u32, raw: &[u8], geometry: &Geometry) -> Option<u32> {
    let seed = crc32c(geometry.checksums?, &group.to_le_bytes());
    let before = crc32c(crc32c(seed, &raw[..CHECKSUM_AT]), &[0; 2]);
    Some(crc32c(before, &raw[CHECKSUM_AT + 2..]))
}

fn bitmap_checksum(bitmap: &[u8], geometry: &Geometry) -> Option<u32> {
    let used = usize::try_from(geometry.blocks_per_group / 8).ok()?;
    Some(crc32c(geometry.checksums?, &bitmap[..used]))
}

//! The superblock: what kind of file system it is, and how large everything is.

use zerocopy::{FromBytes, IntoBytes as _};

use super::checksum::{START, crc32c};
use super::disk::Disk;
use super::error::{Error, Result};
use super::features;
use super::format::{
    BLOCK, COMPAT_RESIZE_INODE, COMPAT_SPARSE_SUPER2, DESCRIPTOR_MAX, DESCRIPTOR_MIN, EXT4_CRC32C_CHKSUM,
    EXT4_ERROR_FS, EXT4_SUPER_MAGIC, EXT4_VALID_FS, INCOMPAT_64BIT, INCOMPAT_CSUM_SEED, INODE_MIN,
    RO_COMPAT_METADATA_CSUM, RO_COMPAT_SPARSE_SUPER, RO_COMPAT_VERITY, SUPER_LEN, SUPER_OFFSET, SuperBlock,
    join,
};

/// The most groups: 128 TiB, in groups of the usual size.
const GROUPS_MAX: u32 = 1 << 20;

/// A superblock that was checked, and what follows from it.
#[derive(Debug, Clone)]
pub(super) struct Geometry {
    record: SuperBlock,
    /// Blocks of the file system.
    pub(super) blocks: u64,
    /// Blocks of a group.
    pub(super) blocks_per_group: u64,
    /// Inodes of a group.
    pub(super) inodes_per_group: u32,
    /// Inodes of the file system.
    pub(super) inodes: u32,
    /// Bytes of an inode.
    pub(super) inode_len: usize,
    /// Bytes of a group descriptor.
    pub(super) descriptor_len: usize,
    /// Number of groups.
    pub(super) groups: u32,
    /// Seed of the checksums, if metadata have any.
    pub(super) checksums: Option<u32>,
}

impl Geometry {
    /// Reads and checks the superblock of a file system that is to be looked at only.
    pub(super) fn read(disk: &Disk<'_>) -> Result<Self> {
        let mut bytes = [0; SUPER_LEN];
        if disk.length() < SUPER_OFFSET + SUPER_LEN as u64 {
            return Err(Error::NotExt4);
        }
        disk.read(SUPER_OFFSET, &mut bytes)?;
        let geometry = Self::parse(&bytes)?;
        if geometry.blocks.checked_mul(BLOCK).is_none_or(|bytes| bytes > disk.length()) {
            return Err(Error::damaged(format_args!(
                "it has {} blocks of {BLOCK} bytes, the image only {} bytes",
                geometry.blocks,
                disk.length()
            )));
        }
        Ok(geometry)
    }

    /// Understands a superblock.
    pub(super) fn parse(bytes: &[u8; SUPER_LEN]) -> Result<Self> {
        let record = SuperBlock::read_from_bytes(bytes).map_err(|_| Error::NotExt4)?;
        if record.s_magic.get() != EXT4_SUPER_MAGIC {
            return Err(Error::NotExt4);
        }
        if record.s_log_block_size.get() != BLOCK.trailing_zeros() - 10 {
            let what = match record.s_log_block_size.get() {
                log @ 0..=6 => format!("blocks of {} bytes, expected {BLOCK}", 1024_u32 << log),
                _ => format!("blocks of an impossible size, expected {BLOCK} bytes"),
            };
            return Err(Error::Unfit { what, way_out: "make the image with `mke2fs -b 4096`" });
        }
        features::check(&record)?;
        let checksums = Self::checksum_seed(&record)?;
        Self::with_sizes(record, checksums)
    }

    /// Checks the superblock's own checksum, and gives the seed of the others.
    fn checksum_seed(record: &SuperBlock) -> Result<Option<u32>> {
        if record.s_feature_ro_compat.get() & RO_COMPAT_METADATA_CSUM == 0 {
            return Ok(None);
        }
        if record.s_checksum_type != EXT4_CRC32C_CHKSUM {
            return Err(Error::damaged(format_args!(
                "checksums of kind {}, expected crc32c",
                record.s_checksum_type
            )));
        }
        if record.s_checksum.get() != checksum_of(record) {
            return Err(Error::damaged("the checksum of the superblock is wrong"));
        }
        let has_seed = record.s_feature_incompat.get() & INCOMPAT_CSUM_SEED != 0;
        Ok(Some(if has_seed { record.s_checksum_seed.get() } else { crc32c(START, &record.s_uuid) }))
    }

    fn with_sizes(record: SuperBlock, checksums: Option<u32>) -> Result<Self> {
        let is_64bit = record.s_feature_incompat.get() & INCOMPAT_64BIT != 0;
        let high = if is_64bit { record.s_blocks_count_hi } else { 0.into() };
        let blocks = join(record.s_blocks_count_lo, high);
        let blocks_per_group = u64::from(record.s_blocks_per_group.get());
        let inodes_per_group = record.s_inodes_per_group.get();
        let descriptor_len = if is_64bit { usize::from(record.s_desc_size.get()) } else { DESCRIPTOR_MIN };
        let inode_len =
            if record.s_rev_level.get() == 0 { INODE_MIN } else { record.s_inode_size.get().into() };
        let groups = blocks.div_ceil(blocks_per_group.max(1));
        let odd = if record.s_first_data_block.get() != 0 {
            "the first data block"
        } else if blocks_per_group == 0 || blocks_per_group > BLOCK * 8 || blocks_per_group % 8 != 0 {
            "the number of blocks of a group"
        } else if inodes_per_group == 0 || u64::from(inodes_per_group) > BLOCK * 8 {
            "the number of inodes of a group"
        } else if u64::from(record.s_inodes_count.get()) != groups * u64::from(inodes_per_group) {
            "the number of inodes"
        } else if !inode_len.is_power_of_two() || !(INODE_MIN..=4096).contains(&inode_len) {
            "the size of an inode"
        } else if ![DESCRIPTOR_MIN, DESCRIPTOR_MAX].contains(&descriptor_len) {
            "the size of a group descriptor"
        } else {
            let groups = u32::try_from(groups).ok().filter(|groups| *groups <= GROUPS_MAX);
            let groups = groups.ok_or_else(|| Error::damaged("it has more groups than are possible"))?;
            let inodes = record.s_inodes_count.get();
            return Ok(Self {
                record,
                blocks,
                blocks_per_group,
                inodes_per_group,
                inodes,
                inode_len,
                descriptor_len,
                groups,
                checksums,
            });
        };
        Err(Error::damaged(format_args!("{odd} makes no sense")))
    }

    /// Refuses to change a file system that somebody left in the middle of something.
    pub(super) fn require_clean(&self) -> Result<()> {
        let state = self.record.s_state.get();
        if state & EXT4_ERROR_FS != 0 {
            return Err(Error::Unclean("the kernel found an error in it"));
        }
        if state & EXT4_VALID_FS == 0 {
            return Err(Error::Unclean("it was not unmounted, or a run of this program was interrupted"));
        }
        if self.record.s_last_orphan.get() != 0 {
            return Err(Error::Unclean("it has files that were deleted while they were open"));
        }
        Ok(())
    }

    /// Whether it is marked clean.
    pub(super) fn is_clean(&self) -> bool {
        self.require_clean().is_ok()
    }

    /// First block of a group, and how many it has.
    pub(super) fn group_range(&self, group: u32) -> (u64, u64) {
        let start = u64::from(group) * self.blocks_per_group;
        (start, self.blocks_per_group.min(self.blocks.saturating_sub(start)))
    }

    /// Whether a block number is one of the file system's, and not the first one.
    pub(super) fn has_block(&self, block: u64) -> bool {
        block > 0 && block < self.blocks
    }

    /// Free blocks, as the superblock counts them.
    pub(super) fn free_blocks(&self) -> u64 {
        join(self.record.s_free_blocks_count_lo, self.free_high())
    }

    fn free_high(&self) -> zerocopy::little_endian::U32 {
        if self.is_64bit() { self.record.s_free_blocks_count_hi } else { 0.into() }
    }

    fn is_64bit(&self) -> bool {
        self.record.s_feature_incompat.get() & INCOMPAT_64BIT != 0
    }

    /// Blocks of the group descriptors, and those that are kept behind them for growing.
    pub(super) fn descriptor_blocks(&self) -> u64 {
        let bytes = u64::from(self.groups) * self.descriptor_len as u64;
        let grows = self.record.s_feature_compat.get() & COMPAT_RESIZE_INODE != 0;
        let reserved = if grows { u64::from(self.record.s_reserved_gdt_blocks.get()) } else { 0 };
        bytes.div_ceil(BLOCK) + reserved
    }

    /// Blocks of a group's inode table.
    pub(super) fn inode_table_blocks(&self) -> u64 {
        (u64::from(self.inodes_per_group) * self.inode_len as u64).div_ceil(BLOCK)
    }

    /// Whether a group has a copy of the superblock and of the group descriptors (`ext4_bg_has_super`).
    pub(super) fn has_superblock(&self, group: u32) -> bool {
        if self.record.s_feature_compat.get() & COMPAT_SPARSE_SUPER2 != 0 {
            return group == 0 || self.record.s_backup_bgs.iter().any(|backup| backup.get() == group);
        }
        let is_sparse = self.record.s_feature_ro_compat.get() & RO_COMPAT_SPARSE_SUPER != 0;
        group <= 1 || !is_sparse || [3, 5, 7].into_iter().any(|base| is_power(group, base))
    }

    /// The superblock with another state.
    pub(super) fn marked_clean(mut self, clean: bool) -> Self {
        let state = self.record.s_state.get();
        self.record.s_state = if clean { state | EXT4_VALID_FS } else { state & !EXT4_VALID_FS }.into();
        self
    }

    /// The superblock when so many blocks more are in use, with fs-verity.
    pub(super) fn with_verity(mut self, blocks: u64) -> Self {
        let free = self.free_blocks().saturating_sub(blocks).to_le_bytes();
        let [a, b, c, d, e, f, g, h] = free;
        self.record.s_free_blocks_count_lo = [a, b, c, d].into();
        if self.is_64bit() {
            self.record.s_free_blocks_count_hi = [e, f, g, h].into();
        }
        let features = self.record.s_feature_ro_compat.get() | RO_COMPAT_VERITY;
        self.record.s_feature_ro_compat = features.into();
        self
    }

    /// Whether files can have fs-verity.
    pub(super) fn has_verity(&self) -> bool {
        self.record.s_feature_ro_compat.get() & RO_COMPAT_VERITY != 0
    }

    /// Writes the superblock.
    pub(super) fn write(&self, disk: &Disk<'_>) -> Result<()> {
        let mut record = self.record;
        if self.checksums.is_some() {
            record.s_checksum = checksum_of(&record).into();
        }
        disk.write(SUPER_OFFSET, record.as_bytes())
    }
}

/// The checksum of everything before the checksum.
fn checksum_of(record: &SuperBlock) -> u32 {
    crc32c(START, &record.as_bytes()[..SUPER_LEN - size_of::<u32>()])
}

fn is_power(of: u32, base: u32) -> bool {
    let mut power = base;
    while power < of {
        power = power.saturating_mul(base);
    }
    power == of
}

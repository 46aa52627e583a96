//! One inode: what it says of its file, and its checksum.

use zerocopy::FromBytes as _;

use super::checksum::{crc32c, high, low};
use super::disk::Disk;
use super::error::{Error, Result};
use super::format::{
    BLOCK, EXT4_ENCRYPT_FL, EXT4_EXTENTS_FL, EXT4_HUGE_FILE_FL, EXT4_INLINE_DATA_FL, EXT4_VERITY_FL,
    EXTRA_WITH_CHECKSUM, I_CHECKSUM_HI, INODE_MIN, InodeRecord, join,
};
use super::groups::Groups;
use super::superblock::Geometry;

/// Offset of `i_checksum_lo`.
const CHECKSUM_LO: usize = 0x7c;

/// What an inode is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileType {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A device, a fifo or a socket.
    Other,
}

/// An inode whose checksum was right.
#[derive(Debug, Clone)]
pub struct Inode {
    number: u32,
    record: InodeRecord,
    /// What it has behind the record.
    rest: Vec<u8>,
    /// Where it lies.
    offset: u64,
    /// Where its checksum's upper half is among `rest`, if it has one.
    has_checksum_hi: bool,
}

impl Inode {
    /// Reads an inode.
    pub(super) fn read(disk: &Disk<'_>, geometry: &Geometry, groups: &Groups, number: u32) -> Result<Self> {
        if number == 0 || number > geometry.inodes {
            return Err(Error::damaged(format_args!("there is no inode {number}")));
        }
        let (group, index) =
            ((number - 1) / geometry.inodes_per_group, (number - 1) % geometry.inodes_per_group);
        let offset = groups.inode_table(group) * BLOCK + u64::from(index) * geometry.inode_len as u64;
        let mut bytes = vec![0; geometry.inode_len];
        disk.read(offset, &mut bytes)?;
        let inode = Self::parse(number, &bytes, offset)?;
        if let Some(seed) = geometry.checksums {
            if inode.checksum(seed) != inode.stored_checksum() {
                return Err(Error::damaged(format_args!("inode {number} has a wrong checksum")));
            }
        }
        Ok(inode)
    }

    fn parse(number: u32, bytes: &[u8], offset: u64) -> Result<Self> {
        let (record, rest) = InodeRecord::read_from_prefix(bytes)
            .map_err(|_| Error::damaged(format_args!("inode {number} is cut short")))?;
        let extra = rest.first_chunk().map_or(0, |extra| u16::from_le_bytes(*extra));
        let has_checksum_hi = rest.len() >= I_CHECKSUM_HI + 2 - INODE_MIN && extra >= EXTRA_WITH_CHECKSUM;
        Ok(Self { number, record, rest: rest.to_vec(), offset, has_checksum_hi })
    }

    /// Its number.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// What it is of.
    pub fn kind(&self) -> FileType {
        match self.record.i_mode.get() & 0xf000 {
            0x8000 => FileType::File,
            0x4000 => FileType::Directory,
            0xa000 => FileType::Symlink,
            _ => FileType::Other,
        }
    }

    /// Bytes of its content.
    pub fn size(&self) -> u64 {
        join(self.record.i_size_lo, self.record.i_size_high)
    }

    /// Whether fs-verity is on.
    pub fn has_verity(&self) -> bool {
        self.has(EXT4_VERITY_FL)
    }

    /// The root of its extent tree, or a short symlink's target.
    pub(super) fn i_block(&self) -> &[u8; 60] {
        &self.record.i_block
    }

    /// Refuses an inode whose content isn't mapped by extents.
    pub(super) fn require_extents(&self) -> Result<()> {
        let refuse = |what, way_out| Err(Error::File { inode: self.number, what, way_out });
        if self.has(EXT4_ENCRYPT_FL) {
            return refuse("is encrypted", "make the image without the feature `encrypt`");
        }
        if self.has(EXT4_INLINE_DATA_FL) {
            return refuse("holds its content itself", "make the image without the feature `inline_data`");
        }
        if !self.has(EXT4_EXTENTS_FL) {
            return refuse(
                "is mapped block by block, as in ext2 and ext3, and fs-verity needs extents",
                "make the image with `mke2fs -t ext4`",
            );
        }
        Ok(())
    }

    /// The seed of the checksums of its extent tree's blocks.
    pub(super) fn seed(&self, seed: u32) -> u32 {
        crc32c(crc32c(seed, &self.number.to_le_bytes()), &self.record.i_generation.get().to_le_bytes())
    }

    /// Switches fs-verity on, with this root of the extent tree, and so many blocks more and fewer.
    pub(super) fn enable_verity(&mut self, root: [u8; 60], more: u64, fewer: u64) -> Result<()> {
        let unit = if self.has(EXT4_HUGE_FILE_FL) { 1 } else { BLOCK / 512 };
        let high_half = u32::from(self.record.i_blocks_high.get()).into();
        let count = (join(self.record.i_blocks_lo, high_half) + more * unit).saturating_sub(fewer * unit);
        let [a, b, c, d, e, f, 0, 0] = count.to_le_bytes() else {
            return Err(Error::damaged(format_args!(
                "inode {} has more blocks than are possible",
                self.number
            )));
        };
        self.record.i_blocks_lo = [a, b, c, d].into();
        self.record.i_blocks_high = [e, f].into();
        self.record.i_block = root;
        self.record.i_flags = (self.record.i_flags.get() | EXT4_VERITY_FL).into();
        Ok(())
    }

    /// Writes it to its place.
    pub(super) fn write(&mut self, disk: &Disk<'_>, geometry: &Geometry) -> Result<()> {
        if let Some(seed) = geometry.checksums {
            let checksum = self.checksum(seed);
            self.record.i_checksum_lo = low(checksum).into();
            if self.has_checksum_hi {
                self.rest[I_CHECKSUM_HI - INODE_MIN..][..2].copy_from_slice(&high(checksum).to_le_bytes());
            }
        }
        disk.write(self.offset, &self.bytes())
    }

    fn has(&self, flag: u32) -> bool {
        self.record.i_flags.get() & flag != 0
    }

    fn bytes(&self) -> Vec<u8> {
        [zerocopy::IntoBytes::as_bytes(&self.record), self.rest.as_slice()].concat()
    }

    /// What its checksum has to be, as far as there is room for it.
    fn checksum(&self, seed: u32) -> u32 {
        let mut bytes = self.bytes();
        bytes[CHECKSUM_LO..CHECKSUM_LO + 2].fill(0);
        if self.has_checksum_hi {
            bytes[I_CHECKSUM_HI..I_CHECKSUM_HI + 2].fill(0);
        }
        let checksum = crc32c(self.seed(seed), &bytes);
        if self.has_checksum_hi { checksum } else { low(checksum).into() }
    }

    fn stored_checksum(&self) -> u32 {
        let lo = u32::from(self.record.i_checksum_lo.get());
        if !self.has_checksum_hi {
            return lo;
        }
        let at = I_CHECKSUM_HI - INODE_MIN;
        lo | u32::from(u16::from_le_bytes([self.rest[at], self.rest[at + 1]])) << 16
    }
}

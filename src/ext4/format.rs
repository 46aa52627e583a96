//! The records of ext4, byte for byte, under the kernel's names (`fs/ext4/ext4.h`, `ext4_extents.h`). Nothing but shapes and
//! numbers.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of a block: the only size that fs-verity's digests of OSTree work with.
pub(super) const BLOCK: u64 = 4096;
/// The same, as a length in memory.
pub(super) const BLOCK_LEN: usize = 4096;

/// Offset of the superblock.
pub(super) const SUPER_OFFSET: u64 = 1024;
/// Bytes of the superblock.
pub(super) const SUPER_LEN: usize = 1024;

/// `struct ext4_super_block`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct SuperBlock {
    pub(super) s_inodes_count: U32,
    pub(super) s_blocks_count_lo: U32,
    pub(super) s_r_blocks_count_lo: U32,
    pub(super) s_free_blocks_count_lo: U32,

    pub(super) s_free_inodes_count: U32,
    pub(super) s_first_data_block: U32,
    pub(super) s_log_block_size: U32,
    pub(super) s_log_cluster_size: U32,

    pub(super) s_blocks_per_group: U32,
    pub(super) s_clusters_per_group: U32,
    pub(super) s_inodes_per_group: U32,
    pub(super) s_mtime: U32,

    pub(super) s_wtime: U32,
    pub(super) s_mnt_count: U16,
    pub(super) s_max_mnt_count: U16,
    pub(super) s_magic: U16,
    pub(super) s_state: U16,
    pub(super) s_errors: U16,
    pub(super) s_minor_rev_level: U16,

    pub(super) s_lastcheck: U32,
    pub(super) s_checkinterval: U32,
    pub(super) s_creator_os: U32,
    pub(super) s_rev_level: U32,

    pub(super) s_def_resuid: U16,
    pub(super) s_def_resgid: U16,
    pub(super) s_first_ino: U32,
    pub(super) s_inode_size: U16,
    pub(super) s_block_group_nr: U16,
    pub(super) s_feature_compat: U32,

    pub(super) s_feature_incompat: U32,
    pub(super) s_feature_ro_compat: U32,
    pub(super) s_uuid: [u8; 16],
    pub(super) s_names: [u8; 84], // volume name, last mount point, compression
    pub(super) s_prealloc: [u8; 2],
    pub(super) s_reserved_gdt_blocks: U16,

    pub(super) s_journal_uuid: [u8; 16],

    pub(super) s_journal_inum: U32,
    pub(super) s_journal_dev: U32,
    pub(super) s_last_orphan: U32,
    pub(super) s_hash_seed: [u8; 16],
    pub(super) s_def_hash_version: [u8; 2],
    pub(super) s_desc_size: U16,

    pub(super) s_mount_opts: [u8; 80], // default options, first metadata group, creation time, journal backup

    pub(super) s_blocks_count_hi: U32,
    pub(super) s_r_blocks_count_hi: U32,
    pub(super) s_free_blocks_count_hi: U32,
    pub(super) s_extra_isize: [u8; 4],

    pub(super) s_flags: U32,
    pub(super) s_mmp: [u8; 16], // RAID stride, multi mount protection, stripe width
    pub(super) s_log_groups_per_flex: u8,
    pub(super) s_checksum_type: u8,
    pub(super) s_reserved: [u8; 214], // counters, error records, mount options, quota inodes
    pub(super) s_backup_bgs: [U32; 2],
    pub(super) s_encryption: [u8; 28], // algorithms, salt, lost+found, project quota
    pub(super) s_checksum_seed: U32,
    pub(super) s_rest: [u8; 392],
    pub(super) s_checksum: U32,
}
const _: () = assert!(size_of::<SuperBlock>() == SUPER_LEN);
const _: () = assert!(std::mem::offset_of!(SuperBlock, s_feature_ro_compat) == 0x64);
const _: () = assert!(std::mem::offset_of!(SuperBlock, s_last_orphan) == 0xe8);
const _: () = assert!(std::mem::offset_of!(SuperBlock, s_blocks_count_hi) == 0x150);
const _: () = assert!(std::mem::offset_of!(SuperBlock, s_checksum_type) == 0x175);
const _: () = assert!(std::mem::offset_of!(SuperBlock, s_backup_bgs) == 0x24c);
const _: () = assert!(std::mem::offset_of!(SuperBlock, s_checksum_seed) == 0x270);

/// `s_magic`.
pub(super) const EXT4_SUPER_MAGIC: u16 = 0xef53;
/// `s_checksum_type`: crc32c.
pub(super) const EXT4_CRC32C_CHKSUM: u8 = 1;
/// `s_state`: unmounted in order.
pub(super) const EXT4_VALID_FS: u16 = 1;
/// `s_state`: the kernel found an error.
pub(super) const EXT4_ERROR_FS: u16 = 2;

/// `s_feature_compat`: the blocks behind the group descriptors are reserved, so that the file system can grow.
pub(super) const COMPAT_RESIZE_INODE: u32 = 0x10;
/// `s_feature_compat`: two copies of the superblock, in the groups that `s_backup_bgs` names.
pub(super) const COMPAT_SPARSE_SUPER2: u32 = 0x200;
/// `s_feature_incompat`: 64-byte group descriptors and block numbers of 48 bits.
pub(super) const INCOMPAT_64BIT: u32 = 0x80;
/// `s_feature_incompat`: the checksums' seed is in the superblock.
pub(super) const INCOMPAT_CSUM_SEED: u32 = 0x2000;
/// `s_feature_ro_compat`: copies of the superblock in groups 0, 1 and the powers of 3, 5 and 7 only.
pub(super) const RO_COMPAT_SPARSE_SUPER: u32 = 0x1;
/// `s_feature_ro_compat`: all metadata have checksums.
pub(super) const RO_COMPAT_METADATA_CSUM: u32 = 0x400;
/// `s_feature_ro_compat`: some file may have fs-verity.
pub(super) const RO_COMPAT_VERITY: u32 = 0x8000;

/// `struct ext4_group_desc`; the second half is there if `s_desc_size` says so.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct GroupDescriptor {
    pub(super) bg_block_bitmap_lo: U32,
    pub(super) bg_inode_bitmap_lo: U32,
    pub(super) bg_inode_table_lo: U32,
    pub(super) bg_free_blocks_count_lo: U16,
    pub(super) bg_free_inodes_count_lo: U16,

    pub(super) bg_used_dirs_count_lo: U16,
    pub(super) bg_flags: U16,
    pub(super) bg_exclude_bitmap_lo: U32,
    pub(super) bg_block_bitmap_csum_lo: U16,
    pub(super) bg_inode_bitmap_csum_lo: U16,
    pub(super) bg_itable_unused_lo: U16,
    pub(super) bg_checksum: U16,

    pub(super) bg_block_bitmap_hi: U32,
    pub(super) bg_inode_bitmap_hi: U32,
    pub(super) bg_inode_table_hi: U32,
    pub(super) bg_free_blocks_count_hi: U16,
    pub(super) bg_free_inodes_count_hi: U16,

    pub(super) bg_used_dirs_count_hi: U16,
    pub(super) bg_itable_unused_hi: U16,
    pub(super) bg_exclude_bitmap_hi: U32,
    pub(super) bg_block_bitmap_csum_hi: U16,
    pub(super) bg_inode_bitmap_csum_hi: U16,
    pub(super) bg_reserved: U32,
}
/// Bytes of a group descriptor in a file system with [`INCOMPAT_64BIT`].
pub(super) const DESCRIPTOR_MAX: usize = 64;
/// Bytes of a group descriptor without it.
pub(super) const DESCRIPTOR_MIN: usize = 32;
const _: () = assert!(size_of::<GroupDescriptor>() == DESCRIPTOR_MAX);

/// `bg_flags`: the block bitmap was never written; only metadata are in the group.
pub(super) const EXT4_BG_BLOCK_UNINIT: u16 = 2;

/// The first 128 bytes of `struct ext4_inode`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct InodeRecord {
    pub(super) i_mode: U16,
    pub(super) i_uid: U16,
    pub(super) i_size_lo: U32,
    pub(super) i_atime: U32,
    pub(super) i_ctime: U32,

    pub(super) i_mtime: U32,
    pub(super) i_dtime: U32,
    pub(super) i_gid: U16,
    pub(super) i_links_count: U16,
    pub(super) i_blocks_lo: U32,

    pub(super) i_flags: U32,
    pub(super) osd1: U32,
    pub(super) i_block: [u8; 60],
    pub(super) i_generation: U32,
    pub(super) i_file_acl_lo: U32,
    pub(super) i_size_high: U32,

    pub(super) i_obso_faddr: U32,
    pub(super) i_blocks_high: U16,
    pub(super) i_file_acl_high: U16,
    pub(super) i_uid_high: U16,
    pub(super) i_gid_high: U16,
    pub(super) i_checksum_lo: U16,
    pub(super) i_reserved: U16,
}
/// Bytes of the smallest inode; in a larger one, `i_extra_isize` follows.
pub(super) const INODE_MIN: usize = 128;
const _: () = assert!(size_of::<InodeRecord>() == INODE_MIN);
/// Offset of `i_checksum_hi`, there if `i_extra_isize` is at least [`EXTRA_WITH_CHECKSUM`].
pub(super) const I_CHECKSUM_HI: usize = 0x82;
/// See [`I_CHECKSUM_HI`].
pub(super) const EXTRA_WITH_CHECKSUM: u16 = 4;

/// `i_flags`: the content is encrypted.
pub(super) const EXT4_ENCRYPT_FL: u32 = 0x800;
/// `i_flags`: `i_blocks` counts blocks instead of 512 bytes.
pub(super) const EXT4_HUGE_FILE_FL: u32 = 0x4_0000;
/// `i_flags`: `i_block` is an extent tree.
pub(super) const EXT4_EXTENTS_FL: u32 = 0x8_0000;
/// `i_flags`: fs-verity is on.
pub(super) const EXT4_VERITY_FL: u32 = 0x10_0000;
/// `i_flags`: the content is in the inode.
pub(super) const EXT4_INLINE_DATA_FL: u32 = 0x1000_0000;

/// `struct ext4_extent_header`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct ExtentHeader {
    pub(super) eh_magic: U16,
    pub(super) eh_entries: U16,
    pub(super) eh_max: U16,
    pub(super) eh_depth: U16,
    pub(super) eh_generation: U32,
}
/// `eh_magic`.
pub(super) const EXT4_EXT_MAGIC: u16 = 0xf30a;
/// Bytes of the header and of each entry behind it.
pub(super) const ENTRY: usize = 12;
const _: () = assert!(size_of::<ExtentHeader>() == ENTRY);

/// `struct ext4_extent`: an entry of a leaf.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct ExtentRecord {
    pub(super) ee_block: U32,
    pub(super) ee_len: U16,
    pub(super) ee_start_hi: U16,
    pub(super) ee_start_lo: U32,
}
const _: () = assert!(size_of::<ExtentRecord>() == ENTRY);
/// The most blocks of an extent; in `ee_len`, more than this says that they are unwritten and read as zeros.
pub(super) const EXT_INIT_MAX_LEN: u16 = 0x8000;

/// `struct ext4_extent_idx`: an entry of a node that isn't a leaf.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct IndexRecord {
    pub(super) ei_block: U32,
    pub(super) ei_leaf_lo: U32,
    pub(super) ei_leaf_hi: U16,
    pub(super) ei_unused: U16,
}
const _: () = assert!(size_of::<IndexRecord>() == ENTRY);
/// The most levels below the root of an extent tree (`EXT4_MAX_EXTENT_DEPTH`).
pub(super) const EXT4_MAX_EXTENT_DEPTH: u16 = 5;

/// The head of `struct ext4_dir_entry_2`; the name follows.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct DirectoryEntry {
    pub(super) inode: U32,
    pub(super) rec_len: U16,
    pub(super) name_len: u8,
    pub(super) file_type: u8,
}
const _: () = assert!(size_of::<DirectoryEntry>() == 8);

/// Inode number of the root directory.
pub(super) const EXT4_ROOT_INO: u32 = 2;

/// What the metadata of fs-verity begin at behind the data: a multiple of this (`ext4_verity_metadata_pos`).
pub(super) const METADATA_ALIGNMENT: u64 = 65536;

/// A number that a record holds in halves.
pub(super) fn join(lo: U32, hi: U32) -> u64 {
    u64::from(lo.get()) | u64::from(hi.get()) << 32
}

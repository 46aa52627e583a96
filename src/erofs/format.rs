//! The records of an image, byte for byte, under the kernel's names: `fs/erofs/erofs_fs.h` of Linux, and
//! `libcomposefs/lcfs-erofs.h` of composefs for the header before the superblock. Nothing but shapes and numbers.

use zerocopy::little_endian::{I64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of a block, as an offset in the file.
pub const BLOCK_SIZE: u64 = 4096;
/// Bytes of a block, as a length in memory.
pub const BLOCK_LEN: usize = 4096;
/// `blkszbits` of the superblock: log2 of [`BLOCK_SIZE`].
pub const BLOCK_BITS: u8 = 12;
/// Bytes of an inode slot. A nid counts slots from the start of the metadata area.
pub const SLOT_SIZE: u64 = 32;
/// Bytes of an inode slot, as a length in memory.
pub const SLOT_LEN: usize = 32;

/// `struct lcfs_erofs_header_s`, lcfs-erofs.h: the first bytes of the file.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ComposefsHeader {
    /// [`LCFS_EROFS_MAGIC`].
    pub magic: U32,
    /// [`LCFS_EROFS_VERSION`].
    pub version: U32,
    /// [`LCFS_EROFS_FLAGS_HAS_ACL`] or 0.
    pub flags: U32,
    /// 0 or 1.
    pub composefs_version: U32,

    /// Zeros.
    pub unused: [U32; 4],
}
const _: () = assert!(size_of::<ComposefsHeader>() == 32);

/// Magic of [`ComposefsHeader`].
pub const LCFS_EROFS_MAGIC: u32 = 0xd078_629a;
/// Version of [`ComposefsHeader`] itself.
pub const LCFS_EROFS_VERSION: u32 = 1;
/// Some inode has a POSIX ACL.
pub const LCFS_EROFS_FLAGS_HAS_ACL: u32 = 1;

/// Offset of the superblock in the file.
pub const EROFS_SUPER_OFFSET: usize = 1024;

/// `struct erofs_super_block`, erofs_fs.h.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct SuperBlock {
    /// [`EROFS_SUPER_MAGIC_V1`].
    pub magic: U32,
    /// CRC32C, or 0 without the feature.
    pub checksum: U32,
    /// Features that a reader may ignore.
    pub feature_compat: U32,
    /// log2 of the block size.
    pub blkszbits: u8,
    /// Further superblock slots.
    pub sb_extslots: u8,
    /// nid of the root directory.
    pub root_nid: U16,

    /// Number of inodes.
    pub inos: U64,
    /// Seconds that compact inodes have as their time stamp (`__le64`, taken as signed).
    pub build_time: I64,

    /// Nanoseconds of `build_time`.
    pub build_time_nsec: U32,
    /// Number of blocks.
    pub blocks: U32,
    /// First block of the metadata area.
    pub meta_blkaddr: U32,
    /// First block of the shared xattr area.
    pub xattr_blkaddr: U32,

    /// 128-bit uuid.
    pub uuid: [u8; 16],

    /// Name of the volume.
    pub volume_name: [u8; 16],

    /// Features that a reader must know.
    pub feature_incompat: U32,
    /// Compression algorithms.
    pub available_compr_algs: U16,
    /// Number of further devices.
    pub extra_devices: U16,
    /// First device slot.
    pub devt_slotoff: U16,
    /// log2 of directory block size less `blkszbits`.
    pub dirblkbits: u8,
    /// Number of long xattr name prefixes.
    pub xattr_prefix_count: u8,
    /// Start of the long xattr name prefixes.
    pub xattr_prefix_start: U32,

    /// nid of the packed inode.
    pub packed_nid: U64,
    /// Reserved for the xattr name filter.
    pub xattr_filter_reserved: u8,
    /// Zeros.
    pub reserved2: [u8; 23],
}
const _: () = assert!(size_of::<SuperBlock>() == 128);

/// Magic of [`SuperBlock`].
pub const EROFS_SUPER_MAGIC_V1: u32 = 0xE0F5_E1E2;
/// `build_time` is the least time stamp.
pub const EROFS_FEATURE_COMPAT_MTIME: u32 = 2;
/// [`XattrIbodyHeader::h_name_filter`] is in use.
pub const EROFS_FEATURE_COMPAT_XATTR_FILTER: u32 = 4;

/// Bit 0 of `i_format`: 0 for a compact inode, 1 for an extended one.
pub const EROFS_I_VERSION_BIT: u16 = 0;
/// Bits 1 to 3 of `i_format`: the data layout.
pub const EROFS_I_DATALAYOUT_BIT: u16 = 1;
/// All bits of `i_format` that have a meaning here.
pub const EROFS_I_ALL: u16 = 0xf;

/// `EROFS_INODE_FLAT_PLAIN`: all content in blocks.
pub const EROFS_INODE_FLAT_PLAIN: u16 = 0;
/// `EROFS_INODE_FLAT_INLINE`: blocks, then a tail behind the inode.
pub const EROFS_INODE_FLAT_INLINE: u16 = 2;
/// `EROFS_INODE_CHUNK_BASED`: a table of chunk addresses behind the inode.
pub const EROFS_INODE_CHUNK_BASED: u16 = 4;

/// `struct erofs_inode_compact`, erofs_fs.h.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct InodeCompact {
    /// Version and data layout.
    pub i_format: U16,
    /// 0, or 1 + (bytes of the xattr area - 12) / 4.
    pub i_xattr_icount: U16,
    /// `st_mode`.
    pub i_mode: U16,
    /// Link count.
    pub i_nlink: U16,
    /// Bytes of content.
    pub i_size: U32,
    /// Zeros.
    pub i_reserved: U32,

    /// First block, device number or chunk format.
    pub i_u: U32,
    /// Inode number for 32-bit `stat`.
    pub i_ino: U32,
    /// Owner.
    pub i_uid: U16,
    /// Group.
    pub i_gid: U16,
    /// Zeros.
    pub i_reserved2: U32,
}
const _: () = assert!(size_of::<InodeCompact>() == 32);

/// `struct erofs_inode_extended`, erofs_fs.h.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct InodeExtended {
    /// Version and data layout.
    pub i_format: U16,
    /// 0, or 1 + (bytes of the xattr area - 12) / 4.
    pub i_xattr_icount: U16,
    /// `st_mode`.
    pub i_mode: U16,
    /// Zeros.
    pub i_reserved: U16,
    /// Bytes of content.
    pub i_size: U64,

    /// First block, device number or chunk format.
    pub i_u: U32,
    /// Inode number for 32-bit `stat`.
    pub i_ino: U32,
    /// Owner.
    pub i_uid: U32,
    /// Group.
    pub i_gid: U32,

    /// Seconds of the time stamp (`__le64`, taken as signed).
    pub i_mtime: I64,
    /// Nanoseconds of the time stamp.
    pub i_mtime_nsec: U32,
    /// Link count.
    pub i_nlink: U32,

    /// Zeros.
    pub i_reserved2: [u8; 16],
}
const _: () = assert!(size_of::<InodeExtended>() == 64);

/// Address of a chunk that lies in no device (`EROFS_NULL_ADDR`).
pub const EROFS_NULL_ADDR: u32 = 0xffff_ffff;

/// `struct erofs_xattr_ibody_header`, erofs_fs.h: the start of an inode's xattr area. Shared ids follow, 4 bytes each.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct XattrIbodyHeader {
    /// Bit set: no xattr of this inode has a name with that hash.
    pub h_name_filter: U32,
    /// Number of shared ids.
    pub h_shared_count: u8,
    /// Zeros.
    pub h_reserved2: [u8; 7],
}
const _: () = assert!(size_of::<XattrIbodyHeader>() == 12);

/// `struct erofs_xattr_entry`, erofs_fs.h. The name without its prefix and the value follow, then zeros up to 4 bytes.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct XattrEntry {
    /// Bytes of the name without its prefix.
    pub e_name_len: u8,
    /// `EROFS_XATTR_INDEX_*`: the prefix.
    pub e_name_index: u8,
    /// Bytes of the value.
    pub e_value_size: U16,
}
const _: () = assert!(size_of::<XattrEntry>() == 4);

/// `EROFS_XATTR_FILTER_SEED`; the prefix index is added to it.
pub const EROFS_XATTR_FILTER_SEED: u32 = 0x25BB_E08F;
/// `EROFS_XATTR_FILTER_DEFAULT`: no name at all.
pub const EROFS_XATTR_FILTER_DEFAULT: u32 = 0xffff_ffff;

/// `EROFS_XATTR_INDEX_*` and the prefixes that they stand for, in the order in which the writer tries them.
/// What begins with none of them has index 0 and keeps its full name.
pub const XATTR_PREFIXES: [(u8, &[u8]); 5] = [
    (1, b"user."),
    (2, b"system.posix_acl_access"),
    (3, b"system.posix_acl_default"),
    (4, b"trusted."),
    (6, b"security."),
];
/// `EROFS_XATTR_INDEX_LUSTRE`: readers know it, the writer never uses it.
pub const XATTR_PREFIX_LUSTRE: (u8, &[u8]) = (5, b"lustre.");

/// `struct erofs_dirent`, erofs_fs.h. All records of a block come first, then their names without NUL.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Dirent {
    /// nid of what the name names.
    pub nid: U64,
    /// Offset of the name in this block.
    pub nameoff: U16,
    /// `EROFS_FT_*`.
    pub file_type: u8,
    /// Zero.
    pub reserved: u8,
}
const _: () = assert!(size_of::<Dirent>() == 12);

/// `EROFS_FT_REG_FILE`.
pub const EROFS_FT_REG_FILE: u8 = 1;
/// `EROFS_FT_DIR`.
pub const EROFS_FT_DIR: u8 = 2;
/// `EROFS_FT_CHRDEV`.
pub const EROFS_FT_CHRDEV: u8 = 3;
/// `EROFS_FT_BLKDEV`.
pub const EROFS_FT_BLKDEV: u8 = 4;
/// `EROFS_FT_FIFO`.
pub const EROFS_FT_FIFO: u8 = 5;
/// `EROFS_FT_SOCK`.
pub const EROFS_FT_SOCK: u8 = 6;
/// `EROFS_FT_SYMLINK`.
pub const EROFS_FT_SYMLINK: u8 = 7;

/// Version of the overlayfs metacopy xattr (`struct ovl_metacopy`, fs/overlayfs/overlayfs.h).
pub const OVL_METACOPY_VERSION: u8 = 0;
/// `FS_VERITY_HASH_ALG_SHA256`, linux/fsverity.h.
pub const FS_VERITY_HASH_ALG_SHA256: u8 = 1;

/// `struct ovl_metacopy` with a SHA-256 digest.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct OvlMetacopy {
    /// [`OVL_METACOPY_VERSION`].
    pub version: u8,
    /// Bytes of this record.
    pub len: u8,
    /// Zero.
    pub flags: u8,
    /// [`FS_VERITY_HASH_ALG_SHA256`].
    pub digest_algo: u8,
    /// fs-verity digest of the content.
    pub digest: [u8; 32],
}
const _: () = assert!(size_of::<OvlMetacopy>() == 36);

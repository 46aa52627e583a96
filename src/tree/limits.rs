//! What fits into a tree.

/// Longest name of a directory entry, in bytes.
pub const NAME_MAX: usize = 255;
/// Longest symlink target or payload, in bytes (`PATH_MAX` less the NUL).
pub const TARGET_MAX: usize = 4095;
/// Largest content that a node holds itself, in bytes (`LCFS_BUILD_INLINE_FILE_SIZE_LIMIT`).
pub const INLINE_MAX: usize = 5000;
/// Largest file that lies in a backing file, in bytes: 1024 chunks of 2^43.
pub const FILE_SIZE_MAX: u64 = 1 << 53;
/// Longest xattr name and largest xattr value, in bytes.
pub const XATTR_NAME_MAX: usize = 255;
/// Largest xattr value, in bytes.
pub const XATTR_VALUE_MAX: usize = 65535;
/// What the xattrs of one node may sum up to: Σ(7 + name + value) + 12 (`LCFS_INODE_EXTERNAL_XATTR_MAX`).
pub const XATTR_BUDGET: usize = 32767;

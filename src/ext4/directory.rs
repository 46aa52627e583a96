//! Directories, read from their first block to their last, which finds every name in hashed ones, too.

use zerocopy::FromBytes as _;

use super::error::{Error, Result};
use super::format::{BLOCK, BLOCK_LEN, DirectoryEntry};

/// The most bytes of a directory: a million names of objects.
pub(super) const DIRECTORY_MAX: u64 = 64 << 20;

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamedInode {
    /// The name.
    pub name: Vec<u8>,
    /// The inode that it is of.
    pub inode: u32,
}

/// The names in one block of a directory, without `.` and `..`.
pub(super) fn entries(block: &[u8; BLOCK_LEN], directory: u32, found: &mut Vec<NamedInode>) -> Result<()> {
    let damaged = || Error::damaged(format_args!("the directory of inode {directory} makes no sense"));
    let mut rest = &block[..];
    while !rest.is_empty() {
        let (entry, behind) = DirectoryEntry::read_from_prefix(rest).map_err(|_| damaged())?;
        let len = usize::from(entry.rec_len.get());
        let name_len = usize::from(entry.name_len);
        if len < size_of::<DirectoryEntry>() + name_len || len > rest.len() || len % 4 != 0 {
            return Err(damaged());
        }
        // Blocks of a hashed directory's index and checksums are entries without an inode.
        let name = &behind[..name_len];
        if entry.inode.get() != 0 && !name.is_empty() && name != b"." && name != b".." {
            if name.contains(&b'/') || name.contains(&0) {
                return Err(damaged());
            }
            found.push(NamedInode { name: name.to_vec(), inode: entry.inode.get() });
        }
        rest = &rest[len..];
    }
    Ok(())
}

/// How many blocks a directory of this size has.
pub(super) fn blocks_of(size: u64, directory: u32) -> Result<u64> {
    if size > DIRECTORY_MAX || size % BLOCK != 0 {
        return Err(Error::damaged(format_args!("the directory of inode {directory} has {size} bytes")));
    }
    Ok(size / BLOCK)
}

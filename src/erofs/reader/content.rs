//! Bytes of directories, inline files and symlink targets.

use zerocopy::FromBytes;

use super::error::{ReadErrorKind, Result};
use super::inode::Inode;
use crate::erofs::format::{BLOCK_LEN, Dirent};

/// The blocks of a directory, its tail last.
pub(super) fn blocks<'i>(image: &'i [u8], inode: &Inode) -> impl Iterator<Item = &'i [u8]> + use<'i> {
    let (start, len) = inode.blocks;
    let blocks = image[start..][..len].chunks(BLOCK_LEN);
    let tail = &image[inode.tail()..][..inode.tail_len];
    blocks.chain(Some(tail).filter(|tail| !tail.is_empty()))
}

/// All content of an inode, in `buffer` if it is in two pieces. It has at most `max` bytes.
pub(super) fn whole<'i: 'b, 'b>(
    image: &'i [u8],
    inode: &Inode,
    max: usize,
    buffer: &'b mut Vec<u8>,
) -> Result<&'b [u8]> {
    let (start, len) = inode.blocks;
    let (blocks, tail) = (&image[start..][..len], &image[inode.tail()..][..inode.tail_len]);
    let size = blocks.len() + tail.len();
    if size > max {
        return Err(ReadErrorKind::Size(size as u64));
    }
    if blocks.is_empty() {
        return Ok(tail);
    }
    if tail.is_empty() {
        return Ok(blocks);
    }
    buffer.clear();
    buffer.extend_from_slice(blocks);
    buffer.extend_from_slice(tail);
    Ok(buffer)
}

/// The names of a directory block, each with its nid.
pub(super) fn entries(block: &[u8]) -> Result<impl Iterator<Item = Result<(&[u8], u64)>>> {
    let (first, _) = Dirent::ref_from_prefix(block).map_err(|_| ReadErrorKind::DirectoryBlock)?;
    let names = usize::from(first.nameoff.get());
    if names == 0 || names % size_of::<Dirent>() != 0 || names > block.len() {
        return Err(ReadErrorKind::DirectoryBlock);
    }
    let records = <[Dirent]>::ref_from_bytes(&block[..names]).map_err(|_| ReadErrorKind::DirectoryBlock)?;
    Ok(records.iter().enumerate().map(move |(index, record)| {
        let start = usize::from(record.nameoff.get());
        let next = records.get(index + 1).map(|next| usize::from(next.nameoff.get()));
        let name = block.get(start..next.unwrap_or(block.len())).filter(|_| start >= names);
        let name = name.ok_or(ReadErrorKind::DirectoryBlock)?;
        // Only the last name of a block is followed by zeros.
        let end = if next.is_none() { name.iter().position(|byte| *byte == 0) } else { None };
        Ok((&name[..end.unwrap_or(name.len())], record.nid.get()))
    }))
}

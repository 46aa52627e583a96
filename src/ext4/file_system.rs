//! An open file system: directories, and content of files.

use std::fs::File;

use super::directory::{self, NamedInode};
use super::disk::Disk;
use super::error::{Error, Result};
use super::extents::{self, Extent};
use super::format::{BLOCK_LEN, EXT4_ROOT_INO};
use super::groups::Groups;
use super::inode::{FileType, Inode};
use super::superblock::Geometry;

/// An ext4 file system in a part of a file.
#[derive(Debug)]
pub struct FileSystem<'f> {
    pub(super) disk: Disk<'f>,
    pub(super) geometry: Geometry,
    pub(super) groups: Groups,
}

/// Inode number of the root directory.
pub const ROOT: u32 = EXT4_ROOT_INO;
/// How much of a file is copied in one go.
const COPY: usize = 1 << 20;
/// The most bytes of a symlink's target.
const TARGET_MAX: u64 = 4095;

impl<'f> FileSystem<'f> {
    /// Opens the file system in `length` bytes of a file, from `offset` on. Only superblock and group descriptors are read.
    pub fn open(file: &'f File, offset: u64, length: u64) -> Result<Self> {
        let disk = Disk::new(file, offset, length);
        let geometry = Geometry::read(&disk)?;
        let groups = Groups::read(&disk, &geometry)?;
        Ok(Self { disk, geometry, groups })
    }

    /// The inode of this number.
    pub fn inode(&self, number: u32) -> Result<Inode> {
        Inode::read(&self.disk, &self.geometry, &self.groups, number)
    }

    /// The names in a directory, sorted.
    pub fn entries(&self, directory: &Inode) -> Result<Vec<NamedInode>> {
        let extents = self.extents(directory)?;
        let blocks = directory::blocks_of(directory.size(), directory.number())?;
        let mut found = Vec::new();
        for extent in extents.iter().filter(|extent| !extent.unwritten) {
            for at in 0..u64::from(extent.len) {
                if u64::from(extent.logical) + at < blocks {
                    let block = self.disk.block(extent.physical + at)?;
                    directory::entries(&block, directory.number(), &mut found)?;
                }
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// The inode at a path below the root, if there is one. No symbolic link is followed.
    pub fn lookup(&self, path: &[u8]) -> Result<Option<Inode>> {
        self.lookup_from(ROOT, path)
    }

    /// The same, below a directory.
    pub fn lookup_from(&self, directory: u32, path: &[u8]) -> Result<Option<Inode>> {
        let mut inode = self.inode(directory)?;
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".") {
            if inode.kind() != FileType::Directory {
                return Ok(None);
            }
            let entries = self.entries(&inode)?;
            let Some(entry) = entries.iter().find(|entry| entry.name == name) else { return Ok(None) };
            inode = self.inode(entry.inode)?;
        }
        Ok(Some(inode))
    }

    /// The content of a regular file that has at most so many bytes.
    pub fn read(&self, inode: &Inode, max: u64) -> Result<Vec<u8>> {
        let size = inode.size();
        if size > max {
            return Err(Error::File {
                inode: inode.number(),
                what: "is larger than is possible for what it is",
                way_out: "look at it with `debugfs`",
            });
        }
        let extents = self.extents(inode)?;
        let len =
            usize::try_from(size).map_err(|_| Error::damaged("a file that is too large for this machine"))?;
        let mut content = vec![0; len.next_multiple_of(BLOCK_LEN)];
        extents::read_blocks(&self.disk, &extents, 0, &mut content)?;
        content.truncate(len);
        Ok(content)
    }

    /// Copies the content of a regular file, piece by piece.
    pub fn copy(&self, inode: &Inode, to: &mut dyn std::io::Write) -> Result<()> {
        let extents = self.extents(inode)?;
        let (mut left, mut at) = (inode.size(), 0);
        let mut buffer = vec![0; COPY];
        while left > 0 {
            let len = usize::try_from(left).unwrap_or(COPY).min(COPY);
            let blocks = &mut buffer[..len.next_multiple_of(BLOCK_LEN)];
            extents::read_blocks(&self.disk, &extents, at, blocks)?;
            to.write_all(&blocks[..len])
                .map_err(|error| Error::Io("copying a file out of the image", error))?;
            left -= len as u64;
            at += (blocks.len() / BLOCK_LEN) as u64;
        }
        Ok(())
    }

    /// Where a symbolic link leads.
    pub fn target(&self, inode: &Inode) -> Result<Vec<u8>> {
        let size = usize::try_from(inode.size()).unwrap_or(usize::MAX);
        match inode.i_block().get(..size) {
            Some(target) if size < inode.i_block().len() => Ok(target.to_vec()),
            _ => self.read(inode, TARGET_MAX),
        }
    }

    /// Whether it was left as a file system is left by an orderly unmount.
    pub fn is_clean(&self) -> bool {
        self.geometry.is_clean()
    }

    /// Whether the feature `verity` is on.
    pub fn has_verity(&self) -> bool {
        self.geometry.has_verity()
    }

    pub(super) fn extents(&self, inode: &Inode) -> Result<Vec<Extent>> {
        extents::read(&self.disk, &self.geometry, inode)
    }
}

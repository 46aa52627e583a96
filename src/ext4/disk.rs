//! The bytes of the file system: a part of a file, read and written at offsets, never outside of that part.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::error::{Error, Result};
use super::format::{BLOCK, BLOCK_LEN};

/// A part of a file, or of a disk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Disk<'f> {
    file: &'f File,
    offset: u64,
    length: u64,
}

impl<'f> Disk<'f> {
    /// `length` bytes from `offset` on.
    pub(super) fn new(file: &'f File, offset: u64, length: u64) -> Self {
        Self { file, offset, length }
    }

    /// How many bytes it has.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Fills the buffer from this offset on.
    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let at = self.place(offset, buffer.len())?;
        self.file.read_exact_at(buffer, at).map_err(|error| Error::Io("reading the image", error))
    }

    /// Writes these bytes at this offset.
    pub(super) fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let at = self.place(offset, bytes.len())?;
        self.file.write_all_at(bytes, at).map_err(|error| Error::Io("writing the image", error))
    }

    /// One block.
    pub(super) fn block(&self, block: u64) -> Result<[u8; BLOCK_LEN]> {
        let mut bytes = [0; BLOCK_LEN];
        self.read(block.saturating_mul(BLOCK), &mut bytes)?;
        Ok(bytes)
    }

    /// Returns when all that was written is on the disk below.
    pub(super) fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|error| Error::Io("writing the image to the disk", error))
    }

    /// The place in the file, if all of it is in this part.
    fn place(&self, offset: u64, len: usize) -> Result<u64> {
        let end = offset.checked_add(len as u64).filter(|end| *end <= self.length);
        end.and_then(|_| self.offset.checked_add(offset)).ok_or_else(|| {
            let message = format!("byte {offset} lies outside of its {} bytes", self.length);
            Error::Io("going through the image", io::Error::new(io::ErrorKind::UnexpectedEof, message))
        })
    }
}

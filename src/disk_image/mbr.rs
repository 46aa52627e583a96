//! Partition tables without GUIDs. They are recognised, so that their partitions can be named with the offsets that help.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::extent::Extent;

/// One of the four partitions that an MBR can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MbrPartition {
    /// From 1 on.
    pub number: usize,
    /// Its type: 0x83 is Linux.
    pub kind: u8,
    /// Its first byte, if a sector has 512.
    pub offset: u64,
}

/// The partitions of an MBR; nothing if there is none.
pub(super) fn partitions(image: &File, whole: Extent) -> io::Result<Option<Vec<MbrPartition>>> {
    let mut sector = [0; SECTOR];
    if whole.len < sector.len() as u64 {
        return Ok(None);
    }
    image.read_exact_at(&mut sector, whole.offset)?;
    if sector[SECTOR - 2..] != *b"\x55\xaa" {
        return Ok(None);
    }
    let entries = sector[ENTRIES..SECTOR - 2].chunks_exact(16).zip(1..);
    let partitions = entries.map(|(entry, number)| MbrPartition {
        number,
        kind: entry[4],
        offset: u64::from(u32::from_le_bytes([entry[8], entry[9], entry[10], entry[11]])) * SECTOR as u64,
    });
    Ok(Some(partitions.filter(|partition| partition.kind != 0).collect()))
}

const SECTOR: usize = 512;
const ENTRIES: usize = 446;

impl fmt::Display for MbrPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "partition {} of type {:#04x} at byte {}", self.number, self.kind, self.offset)
    }
}

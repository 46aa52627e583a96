//! What an image file is, and where in it the file system lies that is meant: the whole file, a partition of a GPT disk, or
//! what begins at an offset. Anything else is refused by its name, with the way out.
//!
//! The file may come from anywhere: nothing here panics, and nothing is read or kept that grows with what it says of itself.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};

use anyhow::Result;

mod choose; // which partition is meant
mod content; // what begins at a place: ext4, or one of the formats that are known by name
mod error; // why an image can't be worked on
mod extent; // a piece of an image, and its name
mod gpt; // partition tables with GUIDs
mod mbr; // what came before them
#[cfg(test)]
mod tests;

pub use content::Format;
pub use error::{Seen, Unsuitable};
pub use extent::{Extent, PartitionName};
pub use gpt::GptDamage;
pub use mbr::MbrPartition;

use content::Content;
use gpt::Table;

/// Where in an image the user says the file system lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// The file is the file system, or one partition of it holds what is asked for.
    Find,
    /// The partition with this number, or with this label.
    Partition(String),
    /// At this byte.
    Offset(u64),
}

/// Where the file system lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// Its place in the file.
    pub extent: Extent,
    /// Its partition, if there are any.
    pub partition: Option<PartitionName>,
    /// The first partition table is damaged, and the one at the end of the disk was read.
    pub from_backup: bool,
}

/// Finds the ext4 file system that is meant. Of several partitions, that is the one of which `holds` says that it holds what
/// is looked for. It is asked about ext4 only.
pub fn locate(
    image: &File,
    choice: &Choice,
    mut holds: impl FnMut(Extent) -> Result<bool>,
) -> Result<Located> {
    let whole = Extent { offset: 0, len: length(image)? };
    if whole.len == 0 {
        return Err(Unsuitable::Empty.into());
    }
    if let Choice::Offset(offset) = choice {
        return at(image, whole, *offset);
    }
    let Some(table) = partition_table(image, whole)? else {
        return unpartitioned(image, whole, choice);
    };
    let partition = match choice {
        Choice::Partition(name) => choose::named(image, &table, name)?,
        _ => choose::holding(image, &table, &mut holds)?,
    };
    Ok(Located {
        extent: partition.extent,
        partition: Some(partition.name()),
        from_backup: table.from_backup,
    })
}

/// The length of a file or a disk, whose metadata has none.
fn length(image: &File) -> io::Result<u64> {
    let mut image = image;
    image.seek(SeekFrom::End(0))
}

/// A table at the beginning comes before anything else. One at the end counts only where nothing else begins: a disk that
/// was made a file system keeps the old table there.
fn partition_table(image: &File, whole: Extent) -> Result<Option<Table>> {
    let damaged = match gpt::primary(image, whole.len)? {
        Some(Ok(table)) => return Ok(Some(table)),
        Some(Err(damage)) => Some(damage),
        None => None,
    };
    if content::of(image, whole)? != Content::Unknown {
        return Ok(None);
    }
    match (gpt::backup(image, whole.len)?, damaged) {
        (Some(Ok(table)), _) => Ok(Some(table)),
        (_, Some(damage)) | (Some(Err(damage)), None) => Err(Unsuitable::Table(damage).into()),
        (None, None) => Ok(None),
    }
}

fn unpartitioned(image: &File, whole: Extent, choice: &Choice) -> Result<Located> {
    match content::of(image, whole)? {
        Content::Ext4 if *choice == Choice::Find => Ok(whole.into()),
        Content::Ext4 => Err(Unsuitable::NoTable.into()),
        Content::Foreign(format) => Err(Unsuitable::Foreign("it".to_owned(), format).into()),
        Content::Unknown => Err(match mbr::partitions(image, whole)? {
            Some(partitions) => Unsuitable::Mbr(partitions),
            None => Unsuitable::Unknown("it".to_owned()),
        }
        .into()),
    }
}

fn at(image: &File, whole: Extent, offset: u64) -> Result<Located> {
    let len = whole.len.checked_sub(offset).filter(|len| *len > 0);
    let len = len.ok_or(Unsuitable::PastTheEnd(offset, whole.len))?;
    let extent = Extent { offset, len };
    choose::require_ext4(image, extent, || format!("what begins at byte {offset}"))?;
    Ok(extent.into())
}

impl From<Extent> for Located {
    fn from(extent: Extent) -> Self {
        Self { extent, partition: None, from_backup: false }
    }
}

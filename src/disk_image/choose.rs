//! Which partition of a disk is meant.

use std::fs::File;

use anyhow::Result;

use super::content::{self, Content};
use super::error::{Seen, Unsuitable};
use super::extent::{Extent, PartitionName};
use super::gpt::{Partition, Table};

/// The partition with this number, or else with this label.
pub(super) fn named<'a>(image: &File, table: &'a Table, name: &str) -> Result<&'a Partition> {
    let by_number = table.partitions.iter().filter(|partition| name.parse() == Ok(partition.number));
    let by_label = table.partitions.iter().filter(|partition| partition.label == name);
    let (mut found, labelled): (Vec<_>, Vec<_>) = (by_number.collect(), by_label.collect());
    if found.is_empty() {
        found = labelled;
    }
    match found.as_slice() {
        [one] => {
            require_ext4(image, one.extent, || one.name().to_string())?;
            Ok(one)
        }
        [] => Err(Unsuitable::NoSuchPartition(name.to_owned(), names(&table.partitions)).into()),
        several => Err(Unsuitable::Ambiguous(name.to_owned(), names(several.iter().copied())).into()),
    }
}

/// The only partition that holds what is looked for.
pub(super) fn holding<'a>(
    image: &File,
    table: &'a Table,
    holds: &mut impl FnMut(Extent) -> Result<bool>,
) -> Result<&'a Partition> {
    let (mut fitting, mut seen, mut unreadable) = (Vec::new(), Vec::new(), None);
    for partition in &table.partitions {
        let content = content::of(image, partition.extent)?;
        if content == Content::Ext4 {
            match holds(partition.extent) {
                Ok(true) => fitting.push(partition),
                Ok(false) => {}
                Err(error) => unreadable = unreadable.or(Some(error.context(partition.name()))),
            }
        }
        seen.push(Seen { partition: partition.name(), content });
    }
    match (fitting.as_slice(), unreadable) {
        ([one], _) => Ok(one),
        ([], Some(error)) => Err(error),
        ([], None) => Err(Unsuitable::NoneFits(seen).into()),
        (several, _) => Err(Unsuitable::SeveralFit(names(several.iter().copied())).into()),
    }
}

fn names<'a>(partitions: impl IntoIterator<Item = &'a Partition>) -> Vec<PartitionName> {
    partitions.into_iter().map(Partition::name).collect()
}

/// Refuses what isn't ext4. `subject` is the sentence's.
pub(super) fn require_ext4(image: &File, extent: Extent, subject: impl FnOnce() -> String) -> Result<()> {
    match content::of(image, extent)? {
        Content::Ext4 => Ok(()),
        Content::Foreign(format) => Err(Unsuitable::Foreign(subject(), format).into()),
        Content::Unknown => Err(Unsuitable::Unknown(subject()).into()),
    }
}

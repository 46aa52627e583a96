//! Why an image can't be worked on: each a sentence that says what to do.

use std::fmt;

use super::content::{Content, Format};
use super::extent::PartitionName;
use super::gpt::GptDamage;
use super::mbr::MbrPartition;

/// A no, before anything was written.
#[derive(Debug, PartialEq, Eq)]
pub enum Unsuitable {
    /// The file has no byte.
    Empty,
    /// What is named first is of another format, which is known by its name.
    Foreign(String, &'static Format),
    /// What is named is nothing that is known.
    Unknown(String),
    /// A partition was asked for, and the file is a file system.
    NoTable,
    /// A disk with partitions in the old way only.
    Mbr(Vec<MbrPartition>),
    /// Its partition table isn't to be trusted.
    Table(GptDamage),
    /// No partition has the number or label that was asked for. Those that are there.
    NoSuchPartition(String, Vec<PartitionName>),
    /// Several partitions have the label that was asked for.
    Ambiguous(String, Vec<PartitionName>),
    /// No partition holds what is looked for.
    NoneFits(Vec<Seen>),
    /// Several partitions hold what is looked for.
    SeveralFit(Vec<PartitionName>),
    /// The file system is said to begin behind the last byte of the file, which is so long.
    PastTheEnd(u64, u64),
}

/// What a partition was found to be.
#[derive(Debug, PartialEq, Eq)]
pub struct Seen {
    pub(super) partition: PartitionName,
    pub(super) content: Content,
}

impl fmt::Display for Unsuitable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str(
                "it is empty: give it the file system first, with `mke2fs -d` or what else makes the image",
            ),
            Self::Foreign(subject, format) => write!(f, "{subject} is {}: {}", format.name, format.way_out),
            Self::Unknown(subject) => write!(
                f,
                "{subject} is neither ext4 nor a disk with a partition table: give the offset of the file system with `--offset=BYTES`"
            ),
            Self::NoTable => {
                f.write_str("it is one ext4 file system without partitions: leave `--partition` away")
            }
            Self::Mbr(partitions) => mbr(f, partitions),
            Self::Table(damage) => write!(
                f,
                "its partition table (GPT) is damaged: {damage}; see what `sfdisk --verify` says, and make the image again"
            ),
            Self::NoSuchPartition(name, there) => {
                write!(f, "it has no partition '{name}'; there are: {}", list(there))
            }
            Self::Ambiguous(name, there) => write!(
                f,
                "several partitions are called '{name}': {}; choose one by its number, with `--partition=N`",
                list(there)
            ),
            Self::NoneFits(seen) => none_fits(f, seen),
            Self::SeveralFit(there) => write!(
                f,
                "several partitions hold ostree/repo: {}; choose one with `--partition=N`",
                list(there)
            ),
            Self::PastTheEnd(offset, len) => {
                write!(
                    f,
                    "byte {offset} isn't in it, it has {len} bytes: `sfdisk --json` says where its partitions begin"
                )
            }
        }
    }
}

fn mbr(f: &mut fmt::Formatter<'_>, partitions: &[MbrPartition]) -> fmt::Result {
    f.write_str("it has an MBR, no GPT, and ")?;
    if partitions.is_empty() {
        return f.write_str("no partition: give the offset of the file system with `--offset=BYTES`");
    }
    let named: Vec<_> = partitions.iter().map(ToString::to_string).collect();
    write!(
        f,
        "{}: give the offset of the one that is meant with `--offset=BYTES`, or make the disk with a GPT",
        named.join(", ")
    )
}

/// What each partition is, and the way out for the first that could have been meant.
fn none_fits(f: &mut fmt::Formatter<'_>, seen: &[Seen]) -> fmt::Result {
    if seen.is_empty() {
        return f.write_str("its partition table (GPT) has no partitions: fill it first");
    }
    let described: Vec<_> = seen.iter().map(ToString::to_string).collect();
    write!(f, "no partition is ext4 with ostree/repo in it: {}", described.join(", "))?;
    let meant = seen.iter().find_map(|seen| match seen.content {
        Content::Foreign(format) if format.may_be_root => Some((&seen.partition, format)),
        _ => None,
    });
    match meant {
        Some((partition, format)) => write!(f, "; for {partition}: {}", format.way_out),
        None => f.write_str("; if the system lies deeper, say where with `--partition` and `--sysroot`"),
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let content = match self.content {
            Content::Ext4 => "ext4 without ostree/repo",
            Content::Foreign(format) => format.name,
            Content::Unknown => "nothing that is known",
        };
        write!(f, "{} is {content}", self.partition)
    }
}

fn list(partitions: &[PartitionName]) -> String {
    partitions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl std::error::Error for Unsuitable {}

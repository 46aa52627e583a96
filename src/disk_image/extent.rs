//! A piece of an image file, and the name that a disk gives it.

use std::fmt;

/// A piece of an image file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Its first byte.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u64,
}

/// What a partition is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionName {
    /// From 1 on, as sfdisk and Linux count.
    pub number: usize,
    /// Empty if it has none.
    pub label: String,
}

impl fmt::Display for PartitionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.label.as_str() {
            "" => write!(f, "partition {}", self.number),
            label => write!(f, "partition {} '{label}'", self.number),
        }
    }
}

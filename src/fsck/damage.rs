//! What was found.

use std::collections::BTreeMap;

use crate::repo::{Checksum, Fault};

/// All of it.
#[derive(Debug)]
pub struct Report {
    /// What is wrong with images, by what has them.
    pub images: Vec<(String, String)>,
    /// Damaged objects.
    pub damage: Vec<Damage>,
    /// What was counted.
    pub summary: Summary,
}

/// An object that isn't what it must be.
#[derive(Debug)]
pub struct Damage {
    /// Which one.
    pub object: Checksum,
    /// What is wrong with it.
    pub fault: Fault,
    /// Where it is missed: paths by deployment or commit.
    pub paths: BTreeMap<String, Vec<Vec<u8>>>,
    /// Whether it was replaced; why not, if that was tried. None if it wasn't.
    pub repair: Option<Result<(), String>>,
}

/// What was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Objects that were checked.
    pub objects: usize,
    /// Objects that an image expects to have fs-verity, and that have none.
    pub without_verity: usize,
    /// Objects that were replaced.
    pub repaired: usize,
}

impl Report {
    /// Whether something is wrong that wasn't mended.
    pub fn is_damaged(&self) -> bool {
        !self.images.is_empty()
            || self.summary.without_verity > 0
            || self.damage.iter().any(|damage| damage.repair != Some(Ok(())))
    }
}

//! Which files are wanted, with the words of `find`.

use std::fmt;

use super::item::{Item, Kind};
use crate::glob;

/// Wants a file if all that is given holds for it.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    kinds: Vec<Kind>,
    name: Option<Vec<u8>>,
    path: Option<Vec<u8>>,
}

/// A type that `find` doesn't know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterError(String);

impl Filter {
    /// Types are letters of `find -type`; name and path are patterns.
    pub fn new(types: &[char], name: Option<Vec<u8>>, path: Option<Vec<u8>>) -> Result<Self, FilterError> {
        let kind = |letter: &char| {
            let kind = Kind::ALL.into_iter().find(|kind| kind.find_letter() == *letter);
            kind.ok_or_else(|| FilterError(letter.to_string()))
        };
        Ok(Self { kinds: types.iter().map(kind).collect::<Result<_, _>>()?, name, path })
    }

    /// Whether a file is wanted.
    pub fn wants(&self, path: &[u8], item: &Item) -> bool {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let is_like =
            |pattern: &Option<Vec<u8>>, text| pattern.as_ref().is_none_or(|like| glob::matches(like, text));
        (self.kinds.is_empty() || self.kinds.contains(&item.kind()))
            && is_like(&self.name, if name.is_empty() { b"/" } else { name })
            && is_like(&self.path, path)
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no type of file: f, d, l, c, b, p and s are", self.0)
    }
}

impl std::error::Error for FilterError {}

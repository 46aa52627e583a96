//! Which of the keys in `trusted.d` count.

use alloc::borrow::ToOwned as _;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::files::{KeyFile, PolicyFiles};
use crate::vkey::{KeyId, Vkey, VkeyError};

/// A key file that was found and doesn't count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedKey {
    /// The file.
    pub path: String,
    /// Why its key doesn't count.
    pub reason: SkippedKeyReason,
}

/// Why the key in a file doesn't count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SkippedKeyReason {
    /// It could not be understood, or is of an unknown type.
    NotUsable(VkeyError),
    /// The file's name does not end in `.vkey`.
    Name,
    /// It could not be read.
    NotReadable(String),
    /// Its public bytes are in `revoked.d`.
    Revoked(KeyId),
}

/// The keys, sorted out.
#[derive(Debug)]
pub(super) struct Keys {
    /// Those that count.
    pub(super) trusted: Vec<Vkey>,
    /// Those that never count, under each name that either directory gives them.
    pub(super) revoked: Vec<Vkey>,
    /// The files that give no key to either.
    pub(super) skipped: Vec<SkippedKey>,
}

impl Keys {
    /// A broken file in `trusted.d` costs its own key only. A broken file in `revoked.d` is an error: to pass over it
    /// would be to trust the key that it revokes.
    pub(super) fn sort_out(files: &PolicyFiles) -> Result<Self, SkippedKey> {
        let mut keys = Self { trusted: Vec::new(), revoked: Vec::new(), skipped: Vec::new() };
        for file in &files.revoked {
            match read_key(file) {
                Ok(key) => keys.revoked.push(key),
                Err(reason) if may_be_skipped(&reason) => keys.skip(&file.path, reason),
                Err(reason) => return Err(SkippedKey { path: file.path.clone(), reason }),
            }
        }
        for file in &files.trusted {
            match read_key(file) {
                Ok(key) => keys.trust(&file.path, key),
                Err(reason) => keys.skip(&file.path, reason),
            }
        }
        Ok(keys)
    }

    fn trust(&mut self, path: &str, key: Vkey) {
        if self.revoked.iter().any(|revoked| revoked.public_bytes() == key.public_bytes()) {
            self.skip(path, SkippedKeyReason::Revoked(key.id().clone()));
            self.revoked.push(key);
        } else if !self.trusted.contains(&key) {
            self.trusted.push(key);
        }
    }

    fn skip(&mut self, path: &str, reason: SkippedKeyReason) {
        self.skipped.push(SkippedKey { path: path.to_owned(), reason });
    }

    /// How many different public keys count.
    pub(super) fn distinct(&self) -> usize {
        let is_new = |(place, key): &(usize, &Vkey)| {
            self.trusted[..*place].iter().all(|other| other.public_bytes() != key.public_bytes())
        };
        self.trusted.iter().enumerate().filter(is_new).count()
    }
}

fn read_key(file: &KeyFile) -> Result<Vkey, SkippedKeyReason> {
    if !file.is_named_vkey() {
        return Err(SkippedKeyReason::Name);
    }
    match &file.content {
        Ok(content) => Vkey::parse(content).map_err(SkippedKeyReason::NotUsable),
        Err(error) => Err(SkippedKeyReason::NotReadable(error.clone())),
    }
}

/// A key of unknown type can't count anyway; a file that isn't named `.vkey` is a readme or an editor's backup.
fn may_be_skipped(reason: &SkippedKeyReason) -> bool {
    matches!(reason, SkippedKeyReason::Name | SkippedKeyReason::NotUsable(VkeyError::UnknownType(_)))
}

impl fmt::Display for SkippedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.reason)
    }
}

impl fmt::Display for SkippedKeyReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUsable(error) => write!(f, "{error}"),
            Self::Name => write!(f, "its name does not end in .vkey"),
            Self::NotReadable(error) => write!(f, "{error}"),
            Self::Revoked(key) => write!(f, "{key} is revoked"),
        }
    }
}

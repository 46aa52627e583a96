//! Which of the keys in `trusted.d` count.

use std::path::Path;

use crate::policy::{KeyFile, PolicyFiles, SkippedKey, SkippedKeyReason};
use crate::refusal::Refusal;
use crate::vkey::{Vkey, VkeyError};

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
    /// A broken file in `trusted.d` costs its own key only. A broken file in `revoked.d` is a refusal: to pass over it
    /// would be to trust the key that it revokes.
    pub(super) fn sort_out(files: &PolicyFiles) -> Result<Self, Refusal> {
        let mut keys = Self { trusted: Vec::new(), revoked: Vec::new(), skipped: Vec::new() };
        for file in &files.revoked {
            match read_key(file) {
                Ok(key) => keys.revoked.push(key),
                Err(reason) if may_be_skipped(&reason) => keys.skip(&file.path, reason),
                Err(reason) => {
                    let file = SkippedKey { path: file.path.clone(), reason };
                    return Err(Refusal::RevocationNotUnderstood { file });
                }
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

    fn trust(&mut self, path: &Path, key: Vkey) {
        if self.revoked.iter().any(|revoked| revoked.public_bytes() == key.public_bytes()) {
            self.skip(path, SkippedKeyReason::Revoked(key.id().clone()));
            self.revoked.push(key);
        } else if !self.trusted.contains(&key) {
            self.trusted.push(key);
        }
    }

    fn skip(&mut self, path: &Path, reason: SkippedKeyReason) {
        self.skipped.push(SkippedKey { path: path.to_owned(), reason });
    }

    /// How many different public keys count.
    pub(super) fn distinct(&self) -> usize {
        let mut public: Vec<&[u8; 32]> = self.trusted.iter().map(Vkey::public_bytes).collect();
        public.sort_unstable();
        public.dedup();
        public.len()
    }
}

fn read_key(file: &KeyFile) -> Result<Vkey, SkippedKeyReason> {
    if file.path.extension().is_none_or(|extension| extension != "vkey") {
        return Err(SkippedKeyReason::Name);
    }
    match &file.content {
        Ok(content) => Vkey::parse(content).map_err(SkippedKeyReason::NotUsable),
        Err(error) => Err(SkippedKeyReason::NotReadable(error.to_string())),
    }
}

/// A key of unknown type can't count anyway; a file that isn't named `.vkey` is a readme or an editor's backup.
fn may_be_skipped(reason: &SkippedKeyReason) -> bool {
    matches!(reason, SkippedKeyReason::Name | SkippedKeyReason::NotUsable(VkeyError::UnknownType(_)))
}

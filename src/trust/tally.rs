//! Which trusted keys signed a message, each counted once, and why the other signatures don't count.

use alloc::borrow::ToOwned as _;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use crate::check::{Report, SkippedReason, SkippedSignature};
use crate::note::NoteSignature;
use crate::policy::{Kind, SealedPolicy};
use crate::refusal::Refusal;
use crate::vkey::{KeyId, Vkey};

/// The count of trusted keys that signed a message.
pub(crate) struct Tally<'a> {
    policy: &'a SealedPolicy,
    counted: Vec<&'a Vkey>,
    skipped: Vec<SkippedSignature>,
}

impl<'a> Tally<'a> {
    pub(crate) fn new(policy: &'a SealedPolicy) -> Self {
        Self { policy, counted: Vec::new(), skipped: Vec::new() }
    }

    /// A signature of a note, which names its key. One that names a trusted key must be that key's.
    pub(crate) fn add_named(&mut self, message: &[u8], signature: &NoteSignature<'_>) -> Result<(), Refusal> {
        let name = signature.name.to_owned();
        let Some((hash, bytes)) = &signature.body else {
            self.skip(None, Some(name), SkippedReason::Malformed);
            return Ok(());
        };
        let id = KeyId { name, hash: *hash };
        let named = |key: &&Vkey| *key.id() == id;
        let mut candidates = self.policy.trusted.iter().filter(named).peekable();
        if candidates.peek().is_some() {
            match candidates.find(|key| key.signed(message, bytes)) {
                Some(key) => self.count(key),
                None => return Err(Refusal::TrustedSignatureBroken { key: id }),
            }
        } else if self.policy.revoked.iter().any(|key| *key.id() == id) {
            self.skip(Some(id), None, SkippedReason::Revoked);
        } else {
            self.skip(Some(id), None, SkippedReason::UnknownKey);
        }
        Ok(())
    }

    /// A signature of a commit, which names no key: every key is tried.
    pub(crate) fn add_nameless(&mut self, message: &[u8], signature: &[u8]) {
        let signed = |key: &&Vkey| key.signed(message, signature);
        if signature.len() != 64 {
            self.skip(None, None, SkippedReason::Malformed);
        } else if let Some(key) = self.policy.trusted.iter().find(signed) {
            self.count(key);
        } else if let Some(key) = self.policy.revoked.iter().find(signed) {
            self.skip(Some(key.id().clone()), None, SkippedReason::Revoked);
        } else {
            self.skip(None, None, SkippedReason::UnknownKey);
        }
    }

    /// Counts a key once, whatever its names are.
    fn count(&mut self, key: &'a Vkey) {
        if self.counted.iter().any(|counted| counted.public_bytes() == key.public_bytes()) {
            self.skip(Some(key.id().clone()), None, SkippedReason::Repeated);
        } else {
            self.counted.push(key);
        }
    }

    fn skip(&mut self, key: Option<KeyId>, name: Option<String>, reason: SkippedReason) {
        let name = key.as_ref().map(KeyId::to_string).or(name);
        self.skipped.push(SkippedSignature { key: name, reason });
    }

    pub(crate) fn close(self, kind: Kind, report: &mut Report) -> Result<(), Refusal> {
        report.counted = self.counted.iter().map(|key| key.id().clone()).collect();
        report.skipped = self.skipped;
        if self.counted.len() >= self.policy.threshold {
            return Ok(());
        }
        Err(Refusal::NotEnoughKeys {
            kind,
            threshold: self.policy.threshold,
            counted: report.counted.clone(),
            skipped: report.skipped.clone(),
            trusted: self.policy.trusted.iter().map(|key| key.id().clone()).collect(),
        })
    }
}

//! Which trusted keys signed a message, each counted once, and why the other signatures don't count.

use alloc::borrow::ToOwned as _;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;

use crate::evidence::EvidenceKind;
use crate::note::{NoteSignature, SIGNATURES_MAX};
use crate::policy::SealedPolicy;
use crate::text::{shortened, write_list};
use crate::vkey::{KeyId, Vkey};

/// The trusted keys that signed, as many as the policy wants at least.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signers {
    pub(crate) counted: Vec<KeyId>,
    pub(crate) skipped: Vec<SkippedSignature>,
}

/// A signature that was there and did not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedSignature {
    /// The key, as far as the signature names it or is known to be its: `NAME+HASH`, or only a name.
    pub key: Option<String>,
    /// Why it did not count.
    pub reason: SkippedReason,
}

/// Why a signature did not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkippedReason {
    /// No trusted key has this name and hash, or made this signature.
    UnknownKey,
    /// The key is revoked.
    Revoked,
    /// The same public key has been counted already.
    Repeated,
    /// It can't be a signature of a known type.
    Malformed,
}

/// Why the signatures of a note or a commit don't suffice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignatureError {
    /// A signature that names a trusted key was not made by it, or not over this text.
    Broken {
        /// The key.
        key: KeyId,
    },
    /// Not enough trusted keys signed.
    TooFew {
        /// What was looked at.
        kind: EvidenceKind,
        /// How many must sign.
        threshold: usize,
        /// Those that did.
        counted: Vec<KeyId>,
        /// The signatures that don't count.
        skipped: Vec<SkippedSignature>,
        /// The keys that were tried.
        trusted: Vec<KeyId>,
    },
    /// This many signatures on a commit, more than anyone looks at ([`SIGNATURES_MAX`]).
    TooMany(usize),
}

/// The trusted keys that signed a note's text. A signature names its key; one that names a trusted key must be that key's.
pub(crate) fn count_note(
    text: &str,
    signatures: &[NoteSignature<'_>],
    policy: &SealedPolicy,
) -> Result<Signers, SignatureError> {
    let mut tally = Tally::new(policy);
    signatures.iter().try_for_each(|signature| tally.add_named(text.as_bytes(), signature))?;
    tally.close(EvidenceKind::Note)
}

/// The trusted keys that signed a commit object. Its signatures name no key, so that every key is tried.
pub(crate) fn count_commit(
    object: &[u8],
    signatures: &[&[u8]],
    policy: &SealedPolicy,
) -> Result<Signers, SignatureError> {
    if signatures.len() > SIGNATURES_MAX {
        return Err(SignatureError::TooMany(signatures.len()));
    }
    let mut tally = Tally::new(policy);
    signatures.iter().for_each(|signature| tally.add_nameless(object, signature));
    tally.close(EvidenceKind::Commit)
}

struct Tally<'a> {
    policy: &'a SealedPolicy,
    counted: Vec<&'a Vkey>,
    skipped: Vec<SkippedSignature>,
}

impl<'a> Tally<'a> {
    fn new(policy: &'a SealedPolicy) -> Self {
        Self { policy, counted: Vec::new(), skipped: Vec::new() }
    }

    fn add_named(&mut self, message: &[u8], signature: &NoteSignature<'_>) -> Result<(), SignatureError> {
        let name = signature.name.to_owned();
        let Some((hash, bytes)) = &signature.body else {
            self.skip(Some(name), SkippedReason::Malformed);
            return Ok(());
        };
        let id = KeyId { name, hash: *hash };
        let named = |key: &&Vkey| *key.id() == id;
        let mut candidates = self.policy.trusted().iter().filter(named).peekable();
        if candidates.peek().is_some() {
            match candidates.find(|key| key.signed(message, bytes)) {
                Some(key) => self.count(key),
                None => return Err(SignatureError::Broken { key: id }),
            }
        } else if self.policy.revoked().iter().any(|key| *key.id() == id) {
            self.skip(Some(id.to_string()), SkippedReason::Revoked);
        } else {
            self.skip(Some(id.to_string()), SkippedReason::UnknownKey);
        }
        Ok(())
    }

    fn add_nameless(&mut self, message: &[u8], signature: &[u8]) {
        let signed = |key: &&Vkey| key.signed(message, signature);
        if signature.len() != 64 {
            self.skip(None, SkippedReason::Malformed);
        } else if let Some(key) = self.policy.trusted().iter().find(signed) {
            self.count(key);
        } else if let Some(key) = self.policy.revoked().iter().find(signed) {
            self.skip(Some(key.id().to_string()), SkippedReason::Revoked);
        } else {
            self.skip(None, SkippedReason::UnknownKey);
        }
    }

    /// Counts a key once, whatever its names are.
    fn count(&mut self, key: &'a Vkey) {
        if self.counted.iter().any(|counted| counted.public_bytes() == key.public_bytes()) {
            self.skip(Some(key.id().to_string()), SkippedReason::Repeated);
        } else {
            self.counted.push(key);
        }
    }

    fn skip(&mut self, key: Option<String>, reason: SkippedReason) {
        self.skipped.push(SkippedSignature { key, reason });
    }

    fn close(self, kind: EvidenceKind) -> Result<Signers, SignatureError> {
        let threshold = self.policy.threshold();
        let enough = self.counted.len() >= threshold;
        let counted = self.counted.iter().map(|key| key.id().clone()).collect();
        let skipped = self.skipped;
        if enough {
            return Ok(Signers { counted, skipped });
        }
        let trusted = self.policy.trusted().iter().map(|key| key.id().clone()).collect();
        Err(SignatureError::TooFew { kind, threshold, counted, skipped, trusted })
    }
}

impl SignatureError {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Broken { .. } => "signatures/broken",
            Self::TooFew { .. } => "signatures/too-few",
            Self::TooMany(_) => "signatures/too-many",
        }
    }
}

impl fmt::Display for SignatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken { key } => write!(
                f,
                "the note has a signature of {key} that this trusted key did not make over this text; sign again, or \
                 fetch the note again"
            ),
            Self::TooMany(count) => {
                write!(f, "the commit has {count} signatures, at most {SIGNATURES_MAX} are possible")
            }
            Self::TooFew { kind, threshold, counted, skipped, trusted } => {
                write!(f, "{} of {threshold} trusted keys signed the {kind}", counted.len())?;
                write_list(f, " (counted: ", counted, ")")?;
                write_list(f, " (skipped: ", skipped, ")")?;
                write_list(f, "; tried: ", trusted, "")?;
                write!(f, "; sign with a trusted key, or trust the key in the initramfs")
            }
        }
    }
}

impl core::error::Error for SignatureError {}

impl fmt::Display for SkippedSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "{}: {}", shortened(key), self.reason),
            None => write!(f, "a signature: {}", self.reason),
        }
    }
}

impl fmt::Display for SkippedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownKey => "no trusted key",
            Self::Revoked => "revoked",
            Self::Repeated => "counted already",
            Self::Malformed => "malformed or of unknown type",
        })
    }
}

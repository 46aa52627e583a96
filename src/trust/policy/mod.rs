//! What the initramfs demands of an image: `policy.conf`, `trusted.d/*.vkey` and `revoked.d/*.vkey`. README.md, "Policy".

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::names::Product;
use crate::refusal::Refusal;
use crate::vkey::Vkey;

use conf::{Conf, Mode};
use keys::Keys;

pub use conf::ConfError;
pub use files::{FILE_MAX, FILES_MAX, KeyFile, PolicyFiles};
pub use keys::{SkippedKey, SkippedKeyReason};

mod conf; // policy.conf
mod files; // the directory's files, as bytes
mod keys; // which keys count

/// What is asked of the root: an image that trusted keys vouch for, or nothing. There is no third way and no switch
/// between the two but `mode` in `policy.conf`.
#[derive(Debug, Clone)]
pub enum Policy {
    /// `mode = sealed`.
    Sealed(SealedPolicy),
    /// `mode = unsealed`.
    Unsealed(Unsealed),
}

/// A kind of evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A signed note.
    Note,
    /// A signed commit that holds the image's digest.
    Commit,
}

/// The demands of a sealed system. Only a policy file that was read whole and understood whole makes one.
#[derive(Debug, Clone)]
pub struct SealedPolicy {
    pub(crate) path: String,
    pub(crate) product: Option<Product>,
    pub(crate) accept: Vec<Kind>,
    pub(crate) threshold: usize,
    pub(crate) minimum_index: u64,
    pub(crate) trusted: Vec<Vkey>,
    pub(crate) revoked: Vec<Vkey>,
    pub(crate) skipped: Vec<SkippedKey>,
}

/// Leave to mount without a check. Only a policy file that says `mode = unsealed` gives it.
#[derive(Debug, Clone)]
pub struct Unsealed {
    path: String,
}

impl Policy {
    /// The policy that these files make up.
    pub fn parse(files: &PolicyFiles) -> Result<Self, Refusal> {
        let path = &files.path;
        let conf = Conf::parse(&files.conf).map_err(|(line, error)| Refusal::PolicyMalformed {
            path: path.clone(),
            line,
            error,
        })?;
        if conf.mode == Mode::Unsealed {
            return Ok(Self::Unsealed(Unsealed { path: path.clone() }));
        }
        let keys = Keys::sort_out(files)?;
        let (threshold, usable) = (conf.threshold, keys.distinct());
        if threshold > usable {
            return Err(Refusal::TooFewKeys { path: path.clone(), threshold, usable, skipped: keys.skipped });
        }
        Ok(Self::Sealed(SealedPolicy {
            path: path.clone(),
            product: conf.product,
            accept: conf.accept,
            threshold,
            minimum_index: conf.minimum_index,
            trusted: keys.trusted,
            revoked: keys.revoked,
            skipped: keys.skipped,
        }))
    }
}

impl SealedPolicy {
    /// The policy file.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The only product that is accepted; any, if there is none.
    pub fn product(&self) -> Option<&Product> {
        self.product.as_ref()
    }

    /// Whether evidence of this kind counts.
    pub fn accepts(&self, kind: Kind) -> bool {
        self.accept.contains(&kind)
    }

    /// How many different trusted keys must have signed, at least 1.
    pub fn threshold(&self) -> usize {
        self.threshold
    }

    /// The lowest index that is accepted.
    pub fn minimum_index(&self) -> u64 {
        self.minimum_index
    }

    /// The keys that count, none of them revoked. One public key may be here under several names.
    pub fn trusted(&self) -> &[Vkey] {
        &self.trusted
    }

    /// The keys that never count.
    pub fn revoked(&self) -> &[Vkey] {
        &self.revoked
    }

    /// The key files that don't count, each with the reason, for the journal.
    pub fn skipped(&self) -> &[SkippedKey] {
        &self.skipped
    }
}

impl Unsealed {
    /// The policy file that says so.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::Commit => "commit",
        })
    }
}

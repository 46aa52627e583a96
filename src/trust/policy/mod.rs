//! What the initramfs demands of an image: `policy.conf`, `trusted.d/*.vkey` and `revoked.d/*.vkey`. The text is INI: a
//! section `[seal]`, a line for each demand, and nothing that isn't known.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::evidence::EvidenceKind;
use crate::names::Product;
use crate::text::write_list;
use crate::vkey::Vkey;

use conf::{Conf, Mode};
use keys::Keys;

pub use conf::{ConfError, OnRefusal};
pub use files::{FILE_MAX, FILES_MAX, KeyFile, PolicyFiles};
pub use keys::{SkippedKey, SkippedKeyReason};
pub use measure::{Measure, Need, PCR_MAX, PCR_MIN};

mod conf; // policy.conf
mod files; // the directory's files, as bytes
mod keys; // which keys count
mod measure; // what goes into the TPM

/// What is asked of the root: an image that trusted keys vouch for, or nothing. There is no third way and no switch
/// between the two but `mode` in `policy.conf`.
#[derive(Debug, Clone)]
pub enum Policy {
    /// `mode = sealed`.
    Sealed(SealedPolicy),
    /// `mode = unsealed`.
    Unsealed(Unsealed),
}

/// The demands of a sealed system. Only a policy file that was read whole and understood whole makes one.
#[derive(Debug, Clone)]
pub struct SealedPolicy {
    path: String,
    product: Option<Product>,
    accept: Vec<EvidenceKind>,
    threshold: usize,
    minimum_index: u64,
    trusted: Vec<Vkey>,
    revoked: Vec<Vkey>,
    skipped: Vec<SkippedKey>,
    on_refusal: OnRefusal,
    measure: Option<Measure>,
}

/// Why a policy can't be gone by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyError {
    /// `policy.conf` is not understood.
    Malformed {
        /// The file.
        path: String,
        /// The line, from 1; 0 if it is about no line.
        line: usize,
        /// What is wrong there.
        error: ConfError,
    },
    /// A directory of keys has more files than [`FILES_MAX`].
    TooManyFiles {
        /// One of its files.
        path: String,
    },
    /// A file in `revoked.d` is not understood, so that the key which it revokes can't be told.
    RevocationNotUnderstood {
        /// The file.
        file: SkippedKey,
    },
    /// The policy asks for more keys than it has.
    TooFewKeys {
        /// The policy file.
        path: String,
        /// How many keys must sign.
        threshold: usize,
        /// How many different keys are there.
        usable: usize,
        /// The key files that don't count.
        skipped: Vec<SkippedKey>,
    },
}

/// Permission to mount without a check. Only a policy file that says `mode = unsealed` gives it.
#[derive(Debug, Clone)]
pub struct Unsealed {
    path: String,
    on_refusal: OnRefusal,
    measure: Option<Measure>,
}

impl Policy {
    /// The policy that these files make up.
    pub fn parse(files: &PolicyFiles) -> Result<Self, PolicyError> {
        let path = &files.path;
        let conf = Conf::parse(&files.conf).map_err(|(line, error)| PolicyError::Malformed {
            path: path.clone(),
            line,
            error,
        })?;
        for keys in [&files.trusted, &files.revoked] {
            if let Some(file) = keys.get(FILES_MAX) {
                return Err(PolicyError::TooManyFiles { path: file.path.clone() });
            }
        }
        if conf.mode == Mode::Unsealed {
            let (on_refusal, measure) = (conf.on_refusal, conf.measure);
            return Ok(Self::Unsealed(Unsealed { path: path.clone(), on_refusal, measure }));
        }
        let keys = Keys::sort_out(files).map_err(|file| PolicyError::RevocationNotUnderstood { file })?;
        let (threshold, usable) = (conf.threshold, keys.distinct());
        if threshold > usable {
            return Err(PolicyError::TooFewKeys {
                path: path.clone(),
                threshold,
                usable,
                skipped: keys.skipped,
            });
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
            on_refusal: conf.on_refusal,
            measure: conf.measure,
        }))
    }

    /// What becomes of the machine when there is no root.
    pub fn on_refusal(&self) -> OnRefusal {
        match self {
            Self::Sealed(policy) => policy.on_refusal(),
            Self::Unsealed(policy) => policy.on_refusal,
        }
    }

    /// What is measured into the TPM, if anything is.
    pub fn measure(&self) -> Option<Measure> {
        match self {
            Self::Sealed(policy) => policy.measure(),
            Self::Unsealed(policy) => policy.measure(),
        }
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
    pub fn accepts(&self, kind: EvidenceKind) -> bool {
        self.accept.contains(&kind)
    }

    /// The kinds of evidence that count, in the policy's order.
    pub fn accepted(&self) -> &[EvidenceKind] {
        &self.accept
    }

    /// How many different trusted keys must have signed, at least 1.
    pub fn threshold(&self) -> usize {
        self.threshold
    }

    /// The lowest index that is accepted.
    pub fn minimum_index(&self) -> u64 {
        self.minimum_index
    }

    /// What becomes of the machine when there is no root.
    pub fn on_refusal(&self) -> OnRefusal {
        self.on_refusal
    }

    /// What is measured into the TPM, if anything is.
    pub fn measure(&self) -> Option<Measure> {
        self.measure
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

    /// What is measured into the TPM, if anything is.
    pub fn measure(&self) -> Option<Measure> {
        self.measure
    }
}

impl PolicyError {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "policy/malformed",
            Self::TooManyFiles { .. } => "policy/too-many-files",
            Self::RevocationNotUnderstood { .. } => "policy/revocation-not-understood",
            Self::TooFewKeys { .. } => "policy/too-few-keys",
        }
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed { path, line: 0, error } => {
                write!(f, "the policy {path} is not understood: {error}")
            }
            Self::Malformed { path, line, error } => {
                write!(f, "the policy {path} is not understood in line {line}: {error}")
            }
            Self::TooManyFiles { path } => write!(
                f,
                "{path} is one file more than the {FILES_MAX} that may lie beside it; remove those that are no longer needed"
            ),
            Self::RevocationNotUnderstood { file } => {
                write!(f, "a revoked key can't be told: {file}; put the key's .vkey file there")
            }
            Self::TooFewKeys { path, threshold, usable, skipped } => {
                let keys =
                    if *threshold == 1 { "a signature of one key" } else { "signatures of several keys" };
                write!(
                    f,
                    "the policy {path} wants {keys} (threshold {threshold}) and has {usable} that count"
                )?;
                write_list(f, "; not counted: ", skipped, "")?;
                write!(f, "; put more .vkey files into trusted.d beside it")
            }
        }
    }
}

impl core::error::Error for PolicyError {}

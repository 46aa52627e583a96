//! Measuring: what this boot comes to is extended into a PCR of the TPM, so that what was sealed to the PCR as it was before
//! opens neither in the running system nor after a refusal.

use std::fmt;
use std::path::{Path, PathBuf};

use ostree_seal_trust::digest::Digest;
use ostree_seal_trust::policy::{Measure, Need};

use error::TpmError;
use log::Log;

use crate::check::policy;

pub mod codec; // the command and its answer, as bytes
mod device; // one write, one read
pub mod error; // why something could not be measured
mod log; // systemd's file of measurements

/// What a boot comes to. Its text is what is measured: a PCR is extended with the text's hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The image of this digest passed the check, and is about to be mounted.
    Image(Digest),
    /// The policy says that nothing is checked.
    Unsealed,
    /// There will be no root.
    Refused,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(digest) => write!(f, "ostree-seal:image:{digest}"),
            Self::Unsealed => f.write_str("ostree-seal:unsealed"),
            Self::Refused => f.write_str("ostree-seal:refused"),
        }
    }
}

/// What became of a measurement that the policy asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Measured {
    /// The PCR was extended, and the log has it.
    Logged {
        /// The PCR.
        pcr: u8,
        /// What was measured.
        text: String,
    },
    /// The PCR was extended, and the log could not be written, for this reason.
    NotLogged {
        /// The PCR.
        pcr: u8,
        /// What was measured.
        text: String,
        /// What the kernel said.
        reason: String,
    },
    /// It could not be measured, and the policy says `tpm = optional`.
    Skipped(TpmError),
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Logged { pcr, text } => write!(f, "{text} into PCR {pcr}"),
            Self::NotLogged { pcr, text, reason } => {
                write!(f, "{text} into PCR {pcr}, but not logged: {reason}")
            }
            Self::Skipped(error) => write!(f, "nothing: {error}"),
        }
    }
}

/// Where a TPM is looked for, and its log.
#[derive(Debug)]
pub struct Tpm {
    root: PathBuf,
}

impl Tpm {
    /// The TPM of a root directory, which is `/` in the initramfs.
    pub fn below(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Measures, if the policy asks for it. An error is a refusal.
    pub fn measure(&self, measure: Option<Measure>, event: Event) -> Result<Option<Measured>, TpmError> {
        let Some(Measure { pcr, need }) = measure else { return Ok(None) };
        match (self.extend(pcr, event), need) {
            (Ok(measured), _) => Ok(Some(measured)),
            (Err(error), Need::Optional) => Ok(Some(Measured::Skipped(error))),
            (Err(error), Need::Required) => Err(error),
        }
    }

    /// The log's lock is held while the TPM is at work, so that its records are in the TPM's order.
    fn extend(&self, pcr: u8, event: Event) -> Result<Measured, TpmError> {
        let device = device::open(&self.root)?;
        let log = Log::begin(&self.root);
        let text = event.to_string();
        let answer = device::exchange(device, &codec::pcr_event(pcr, &text), device::ANSWER_WITHIN)?;
        let digests = codec::pcr_event_answer(&answer)?;
        let logged = log.map_err(std::io::Error::from).and_then(|log| log.end(pcr, &text, &digests));
        Ok(match logged {
            Ok(()) => Measured::Logged { pcr, text },
            Err(error) => Measured::NotLogged { pcr, text, reason: error.to_string() },
        })
    }
}

/// After a refusal, before anything else: closes what was sealed to the policy's PCR. Where the policy can't be gone by, it
/// names no PCR.
pub fn close(root: &Path) -> Option<TpmError> {
    let measure = policy::load(&root.join(policy::DIRECTORY)).ok()?.measure()?;
    Tpm::below(root).extend(measure.pcr, Event::Refused).err()
}

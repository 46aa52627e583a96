//! `[tpm]`: what of a boot is measured into the TPM.

use core::fmt;

use crate::note::parse_index;

/// Into which PCR the image's digest is measured, and whether it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measure {
    /// The PCR, from [`PCR_MIN`] to [`PCR_MAX`].
    pub pcr: u8,
    /// Whether nothing boots without.
    pub need: Need,
}

/// The PCRs that an operating system may use and nobody can reset: those below are the firmware's, the ones above belong to
/// debuggers, applications and dynamic launch.
pub const PCR_MIN: u8 = 8;
/// The last of them.
pub const PCR_MAX: u8 = 15;

/// What becomes of a boot that can't be measured: `tpm`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Need {
    /// It is refused.
    #[default]
    Required,
    /// It goes on.
    Optional,
}

/// `measure`.
pub(super) fn parse_pcr(text: &str) -> Option<u8> {
    let pcr = u8::try_from(parse_index(text)?).ok()?;
    (PCR_MIN..=PCR_MAX).contains(&pcr).then_some(pcr)
}

/// `tpm`.
pub(super) fn parse_need(text: &str) -> Option<Need> {
    match text {
        "required" => Some(Need::Required),
        "optional" => Some(Need::Optional),
        _ => None,
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let need = match self.need {
            Need::Required => "required",
            Need::Optional => "optional",
        };
        write!(f, "PCR {}, {need}", self.pcr)
    }
}

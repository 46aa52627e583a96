//! Why something could not be measured.

use std::fmt;

use rustix::io::Errno;

/// Why something could not be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TpmError {
    /// There is no device of a TPM 2.0.
    Missing,
    /// The device can't be used; what the kernel said.
    Unusable(Errno),
    /// The TPM did not answer in time.
    Late,
    /// The TPM's answer is none.
    NotUnderstood,
    /// The TPM answered with this error, `TPM_RC`.
    SaidNo(u32),
    /// The TPM has no bank of PCRs, so that nothing was measured.
    NoBank,
}

impl TpmError {
    /// Every word that [`TpmError::name`] has.
    pub const NAMES: [&str; 6] =
        ["tpm/missing", "tpm/unusable", "tpm/late", "tpm/not-understood", "tpm/said-no", "tpm/no-bank"];

    /// A word for programs, `ABOUT/WHAT`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Missing => "tpm/missing",
            Self::Unusable(_) => "tpm/unusable",
            Self::Late => "tpm/late",
            Self::NotUnderstood => "tpm/not-understood",
            Self::SaidNo(_) => "tpm/said-no",
            Self::NoBank => "tpm/no-bank",
        }
    }
}

impl fmt::Display for TpmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the policy wants a measurement, and ")?;
        match self {
            Self::Missing => f.write_str(
                "there is no TPM 2.0 (neither /dev/tpmrm0 nor /dev/tpm0); switch it on in the firmware, or add its \
                 kernel module to the initramfs",
            ),
            Self::Unusable(errno) => write!(f, "the TPM can't be used: {errno}; power the machine off and on"),
            Self::Late => f.write_str("the TPM does not answer; power the machine off and on"),
            Self::NotUnderstood => {
                f.write_str("the TPM's answer is not understood; power the machine off and on")
            }
            Self::SaidNo(code) => {
                write!(f, "the TPM says no with error {code:#x}; look at the TPM's settings in the firmware")
            }
            Self::NoBank => {
                f.write_str("the TPM has no bank of PCRs; switch SHA-256 on in the firmware's settings")
            }
        }
    }
}

impl std::error::Error for TpmError {}

//! Every reason to say no, each one sentence: where, what was expected, what was found, what to do next.

use std::fmt;
use std::path::PathBuf;

use crate::policy::Kind;
use crate::verity::MeasureError;

/// Why an image is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// There is no policy.
    PolicyMissing {
        /// Where it should be.
        path: PathBuf,
    },
    /// The kernel has no fs-verity digest of the image.
    NotMeasured {
        /// The image.
        path: PathBuf,
        /// What the kernel said.
        error: MeasureError,
    },
    /// Nothing that the policy accepts speaks for the image.
    NoEvidence {
        /// The kinds that the policy accepts.
        accepted: Vec<Kind>,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PolicyMissing { path } => write!(f, "there is no policy at {}", path.display()),
            Self::NotMeasured { path, error } => write!(f, "{}: {error}", path.display()),
            Self::NoEvidence { .. } => write!(f, "nothing that the policy accepts speaks for the image"),
        }
    }
}

impl std::error::Error for Refusal {}

//! Why there is no verified image: the check said no, or could not be asked.

use std::fmt;
use std::path::PathBuf;

use ostree_seal_trust::policy::PolicyError;
use ostree_seal_trust::refusal::Refusal;

use super::verity::MeasureError;
use crate::read::ReadError;

/// Why there is no policy, or no verified image. Each is a no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckError {
    /// There is no policy.
    PolicyMissing {
        /// Where it should be.
        path: PathBuf,
    },
    /// The policy or its directory of keys can't be read.
    PolicyUnreadable {
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        error: ReadError,
    },
    /// The kernel has no fs-verity digest of the image.
    NotMeasured {
        /// The image.
        path: PathBuf,
        /// What the kernel said.
        error: MeasureError,
    },
    /// A file with evidence is there and can't be read.
    EvidenceUnreadable {
        /// The file, relative to the deployment or to the repository's objects.
        name: String,
        /// Why not.
        error: ReadError,
    },
    /// The check was asked, and said no.
    Refused(Refusal),
}

impl CheckError {
    /// The words of [`CheckError::name`] that aren't [`Refusal::NAMES`].
    pub const NAMES: [&str; 4] =
        ["policy/missing", "policy/unreadable", "image/not-measured", "evidence/unreadable"];

    /// A word for programs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::PolicyMissing { .. } => "policy/missing",
            Self::PolicyUnreadable { .. } => "policy/unreadable",
            Self::NotMeasured { .. } => "image/not-measured",
            Self::EvidenceUnreadable { .. } => "evidence/unreadable",
            Self::Refused(refusal) => refusal.name(),
        }
    }
}

impl From<PolicyError> for CheckError {
    fn from(error: PolicyError) -> Self {
        Self::Refused(error.into())
    }
}

impl From<Refusal> for CheckError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PolicyMissing { path } => {
                let path = path.display();
                write!(f, "there is no policy at {path}; install one and rebuild the initramfs")
            }
            Self::PolicyUnreadable { path, error } => {
                write!(f, "the policy's {} can't be read: {error}", path.display())
            }
            Self::NotMeasured { path, error } => {
                write!(f, "the digest of {} can't be measured: {error}; ", path.display())?;
                write!(f, "run ostree-seal deploy on a file system with fs-verity")
            }
            Self::EvidenceUnreadable { name, error } => write!(f, "{name} can't be read: {error}"),
            Self::Refused(refusal) => refusal.fmt(f),
        }
    }
}

impl std::error::Error for CheckError {}

//! The answer no.

use ostree_seal_root::error::BootError;
use ostree_seal_root::refusal::Refusal;

/// A check said no. Any error with this in its chain ends the program with exit code 3.
#[derive(Debug)]
pub struct Refused(pub String);

/// Whether an error is a check's no, rather than something that could not be done.
pub fn is_refusal(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.is::<Refused>()
            || cause.is::<Refusal>()
            || cause.downcast_ref::<BootError>().is_some_and(BootError::is_refusal)
    })
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

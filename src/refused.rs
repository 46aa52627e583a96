//! The answer no.

use ostree_seal_root::check::error::CheckError;
use ostree_seal_root::check::verity::MeasureError;
use ostree_seal_root::error::BootError;
use ostree_seal_root::read::ReadError;
use ostree_seal_trust::refusal::Refusal;
use rustix::io::Errno;

use crate::disk_image::Unsuitable;
use crate::repo::DamagedObject;

/// A check said no. Any error with this in its chain ends the program with exit code 3.
#[derive(Debug)]
pub struct Refused(pub String);

/// Whether an error is a check's no, rather than something that could not be done.
pub fn is_refusal(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.is::<Refused>()
            || cause.is::<Refusal>()
            || cause.is::<CheckError>()
            || cause.is::<DamagedObject>()
            || cause.is::<Unsuitable>()
            || cause.downcast_ref::<BootError>().is_some_and(BootError::is_refusal)
    })
}

/// Whether a no comes from a file that the kernel could not read or measure: another time the answer may be another.
pub fn is_of_machine(error: &anyhow::Error) -> bool {
    let mut errors = error.chain().filter_map(|cause| match cause.downcast_ref::<BootError>() {
        Some(BootError::Check(_, error) | BootError::Unchecked(error)) => Some(&**error),
        _ => cause.downcast_ref::<CheckError>(),
    });
    errors.any(|error| {
        matches!(
            error,
            CheckError::EvidenceUnreadable { error: ReadError::Os(_), .. }
                | CheckError::NotMeasured { error: MeasureError::Os(_), .. }
                | CheckError::PolicyUnreadable {
                    error: ReadError::Os(Errno::IO | Errno::NOMEM | Errno::MFILE),
                    ..
                }
        )
    })
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;
    use ostree_seal_root::check::error::CheckError;
    use ostree_seal_root::check::verity::MeasureError;
    use ostree_seal_root::error::BootError;
    use ostree_seal_root::read::ReadError;
    use ostree_seal_trust::refusal::Refusal;
    use ostree_seal_trust::signatures::SignatureError;
    use rustix::io::Errno;

    use super::{is_of_machine, is_refusal};

    #[test]
    fn a_failing_disk_is_told_from_what_was_not_signed() {
        let unreadable = |error| CheckError::EvidenceUnreadable { name: ".ostree.seal".to_owned(), error };
        let not_measured = |error| CheckError::NotMeasured { path: "image".into(), error };
        let policy = |error| CheckError::PolicyUnreadable { path: "policy.conf".into(), error };
        let check = |error: CheckError| anyhow::Error::new(BootError::check("image", error));
        for error in [
            anyhow::Error::new(unreadable(ReadError::Os(Errno::IO))),
            Err::<(), _>(unreadable(ReadError::Os(Errno::MFILE))).context("sealing").unwrap_err(),
            check(unreadable(ReadError::Os(Errno::IO))),
            anyhow::Error::new(BootError::unchecked(not_measured(MeasureError::Os(Errno::IO)))),
            anyhow::Error::new(policy(ReadError::Os(Errno::IO))),
        ] {
            assert!(is_refusal(&error) && is_of_machine(&error), "{error:#}");
        }
        for error in [
            anyhow::Error::new(unreadable(ReadError::TooLarge(1))),
            check(Refusal::from(SignatureError::TooMany(1)).into()),
            anyhow::Error::new(BootError::unchecked(not_measured(MeasureError::NotEnabled))),
            anyhow::Error::new(policy(ReadError::Os(Errno::LOOP))),
            anyhow::Error::new(policy(ReadError::NotAFile)),
        ] {
            assert!(is_refusal(&error) && !is_of_machine(&error), "{error:#}");
        }
    }
}

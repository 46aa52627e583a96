//! The values in a sentence that says no, apart, for programs that read the journal: `OSTREE_SEAL_FILE`,
//! `OSTREE_SEAL_EXPECTED`, `OSTREE_SEAL_FOUND` and `OSTREE_SEAL_KEYS`.

use std::fmt::Display;

use ostree_seal_trust::claim::ClaimError;
use ostree_seal_trust::commit::CommitError;
use ostree_seal_trust::policy::PolicyError;
use ostree_seal_trust::refusal::Refusal;
use ostree_seal_trust::signatures::SignatureError;

use crate::check::error::CheckError;
use crate::error::BootError;
use crate::find::cmdline::CmdlineError;
use crate::find::deployment::DeploymentError;

/// The values of one sentence, as far as it has them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields {
    /// The file that it is about.
    pub file: Option<String>,
    /// What was expected.
    pub expected: Option<String>,
    /// What was found instead.
    pub found: Option<String>,
    /// The keys that were tried, separated by blanks.
    pub keys: Option<String>,
}

impl Fields {
    fn of_file(file: impl Display) -> Self {
        Self { file: Some(file.to_string()), ..Self::default() }
    }

    fn of(expected: impl Display, found: impl Display) -> Self {
        Self { expected: Some(expected.to_string()), found: Some(found.to_string()), ..Self::default() }
    }

    fn with_file(self, file: impl Display) -> Self {
        Self { file: Some(self.file.unwrap_or_else(|| file.to_string())), ..self }
    }

    fn with_found(self, found: impl Display) -> Self {
        Self { found: Some(found.to_string()), ..self }
    }

    /// The fields that there are, under their names in the journal.
    pub fn named(&self) -> Vec<(&'static str, &str)> {
        let all = [
            ("OSTREE_SEAL_FILE", &self.file),
            ("OSTREE_SEAL_EXPECTED", &self.expected),
            ("OSTREE_SEAL_FOUND", &self.found),
            ("OSTREE_SEAL_KEYS", &self.keys),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))).collect()
    }
}

impl From<&BootError> for Fields {
    fn from(error: &BootError) -> Self {
        match error {
            BootError::Cmdline(error) => error.into(),
            BootError::Deployment(error) => error.into(),
            BootError::Unchecked(error) => error.as_ref().into(),
            BootError::Check(path, error) => Self::from(error.as_ref()).with_file(format!("/{path}")),
            BootError::Unreadable(path) | BootError::NotAnImage(path) => Self::of_file(format!("/{path}")),
            BootError::NotEnforced(options) => Self::of("verity=require", options),
            BootError::Layout(error) => Self::of_file(error.path.display()).with_found(&error.problem),
            BootError::Kernel(_) | BootError::Tpm(_) | BootError::Step { .. } => Self::default(),
        }
    }
}

impl From<&CmdlineError> for Fields {
    fn from(error: &CmdlineError) -> Self {
        let file = "/proc/cmdline";
        match error {
            CmdlineError::NoTarget => Self::of("ostree=", "nothing"),
            CmdlineError::Twice(name) => Self::of(format!("{name}= once"), "more than one"),
            CmdlineError::NotAPath(value) => Self::of("a path below the physical root", value),
            CmdlineError::Slot(value) => Self::of("_a or _b", value),
        }
        .with_file(file)
    }
}

impl From<&DeploymentError> for Fields {
    fn from(error: &DeploymentError) -> Self {
        let slash = |path: &String| format!("/{path}");
        match error {
            DeploymentError::Missing(path)
            | DeploymentError::Escapes(path)
            | DeploymentError::Outside(path)
            | DeploymentError::NoFile(path)
            | DeploymentError::NoVerityInKernel(path) => Self::of_file(slash(path)),
            DeploymentError::NotADeployment { target, found } => {
                let found = found.as_ref().map_or_else(|| "a path that is not UTF-8".to_owned(), slash);
                Self::of("ostree/deploy/OS/deploy/CHECKSUM.SERIAL", found).with_file(slash(target))
            }
            DeploymentError::NotRegular { path, found } => {
                Self::of("a regular file", found).with_file(slash(path))
            }
            DeploymentError::Os(path, errno) => Self::of_file(slash(path)).with_found(errno),
        }
    }
}

impl From<&CheckError> for Fields {
    fn from(error: &CheckError) -> Self {
        match error {
            CheckError::PolicyMissing { path } => Self::of_file(path.display()).with_found("nothing"),
            CheckError::PolicyUnreadable { path, error } => Self::of_file(path.display()).with_found(error),
            CheckError::NotMeasured { path, error } => Self::of_file(path.display()).with_found(error),
            CheckError::EvidenceUnreadable { name, error } => Self::of_file(name).with_found(error),
            CheckError::Refused(refusal) => refusal.into(),
        }
    }
}

impl From<&Refusal> for Fields {
    fn from(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Policy(error) => error.into(),
            Refusal::NoEvidence { accepted } => Self::of(listed(accepted, ", "), "nothing"),
            Refusal::Commit(error) => error.into(),
            Refusal::Signatures(error) => error.into(),
            Refusal::Claim(error) => error.into(),
            Refusal::Note(_) => Self::default(),
        }
    }
}

impl From<&PolicyError> for Fields {
    fn from(error: &PolicyError) -> Self {
        match error {
            PolicyError::Malformed { path, error, .. } => Self::of_file(path).with_found(error),
            PolicyError::TooManyFiles { path } => Self::of_file(path),
            PolicyError::RevocationNotUnderstood { file } => {
                Self::of_file(&file.path).with_found(&file.reason)
            }
            PolicyError::TooFewKeys { path, threshold, usable, .. } => {
                Self::of(threshold, usable).with_file(path)
            }
        }
    }
}

impl From<&CommitError> for Fields {
    fn from(error: &CommitError) -> Self {
        match error {
            CommitError::NotItsName { name, found } => Self::of(name, found),
            CommitError::Malformed { .. }
            | CommitError::DetachedMalformed { .. }
            | CommitError::ParentMissing { .. }
            | CommitError::WithoutDigest { .. }
            | CommitError::ProductMalformed { .. } => Self::default(),
        }
    }
}

impl From<&SignatureError> for Fields {
    fn from(error: &SignatureError) -> Self {
        match error {
            SignatureError::Broken { key } => Self { keys: Some(key.to_string()), ..Self::default() },
            SignatureError::TooFew { threshold, counted, trusted, .. } => {
                Self { keys: Some(listed(trusted, " ")), ..Self::of(threshold, counted.len()) }
            }
            SignatureError::TooMany(_) => Self::default(),
        }
    }
}

impl From<&ClaimError> for Fields {
    fn from(error: &ClaimError) -> Self {
        match error {
            ClaimError::OtherProduct { expected, found } => Self::of(expected, or_none(found.as_ref())),
            ClaimError::IndexTooLow { minimum, found } => Self::of(minimum, or_none(found.as_ref())),
            ClaimError::OtherCommit { note, subject } => Self::of(subject, note),
            ClaimError::OtherDigest { expected, found } => Self::of(expected, found),
        }
    }
}

fn listed<T: Display>(items: &[T], separator: &str) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(separator)
}

fn or_none<T: Display>(value: Option<&T>) -> String {
    value.map_or_else(|| "none".to_owned(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use ostree_seal_trust::claim::ClaimError;
    use ostree_seal_trust::digest::Digest;
    use ostree_seal_trust::evidence::EvidenceKind;
    use ostree_seal_trust::refusal::Refusal;
    use ostree_seal_trust::signatures::SignatureError;
    use ostree_seal_trust::vkey::KeyId;

    use super::Fields;
    use crate::error::BootError;

    #[test]
    fn another_image_has_its_file_and_both_digests() {
        let refusal = ClaimError::OtherDigest { expected: Digest([1; 32]), found: Digest([2; 32]) };
        let error = BootError::check("a/.ostree.cfs", Refusal::from(refusal));
        let fields = Fields::from(&error);
        let expected = [
            ("OSTREE_SEAL_FILE", "/a/.ostree.cfs"),
            ("OSTREE_SEAL_EXPECTED", &*"01".repeat(32)),
            ("OSTREE_SEAL_FOUND", &*"02".repeat(32)),
        ];
        assert_eq!(fields.named(), expected);
    }

    #[test]
    fn too_few_signatures_name_the_keys_that_were_tried() {
        let key = |name: &str| KeyId { name: name.to_owned(), hash: [0; 4] };
        let error = BootError::check(
            "i",
            Refusal::Signatures(SignatureError::TooFew {
                kind: EvidenceKind::Note,
                threshold: 2,
                counted: vec![key("a")],
                skipped: vec![],
                trusted: vec![key("a"), key("b")],
            }),
        );
        let fields = Fields::from(&error);
        assert_eq!(fields.keys.as_deref(), Some("a+00000000 b+00000000"));
        assert_eq!((fields.expected.as_deref(), fields.found.as_deref()), (Some("2"), Some("1")));
    }
}

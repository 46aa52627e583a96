//! Every reason to say no, each one sentence: where, what was expected, what was found, what to do next. Who prints it puts
//! the image's path before it.

use alloc::vec::Vec;
use core::fmt;

use crate::claim::ClaimError;
use crate::commit::CommitError;
use crate::evidence::EvidenceKind;
use crate::note::NoteError;
use crate::policy::PolicyError;
use crate::signatures::SignatureError;
use crate::text::write_list;

/// Why an image is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The policy can't be gone by.
    Policy(PolicyError),
    /// There is no evidence of a kind that the policy accepts.
    NoEvidence {
        /// The kinds that the policy accepts.
        accepted: Vec<EvidenceKind>,
    },
    /// The note is not one.
    Note(NoteError),
    /// The commit is no evidence.
    Commit(CommitError),
    /// The signatures don't suffice.
    Signatures(SignatureError),
    /// What was signed is for something else.
    Claim(ClaimError),
}

impl Refusal {
    /// Every word that [`Refusal::name`] has.
    pub const NAMES: [&str; 19] = [
        "policy/malformed",
        "policy/too-many-files",
        "policy/revocation-not-understood",
        "policy/too-few-keys",
        "evidence/none",
        "note/malformed",
        "commit/not-its-name",
        "commit/malformed",
        "commit/detached-malformed",
        "commit/parent-missing",
        "commit/without-digest",
        "commit/product-malformed",
        "signatures/broken",
        "signatures/too-few",
        "signatures/too-many",
        "claim/other-product",
        "claim/index-too-low",
        "claim/other-commit",
        "claim/other-digest",
    ];

    /// A word for programs, `ABOUT/WHAT`. It stays as it is when the sentence changes.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Policy(error) => error.name(),
            Self::NoEvidence { .. } => "evidence/none",
            Self::Note(_) => "note/malformed",
            Self::Commit(error) => error.name(),
            Self::Signatures(error) => error.name(),
            Self::Claim(error) => error.name(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy(error) => error.fmt(f),
            Self::NoEvidence { accepted } => {
                write_list(f, "no accepted signature covers the image; the policy accepts: ", accepted, "")?;
                write!(f, "; sign the image, then run ostree-seal deploy")
            }
            Self::Note(error) => write!(f, "the note is not understood: {error}; fetch it again"),
            Self::Commit(error) => error.fmt(f),
            Self::Signatures(error) => error.fmt(f),
            Self::Claim(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for Refusal {}

impl From<PolicyError> for Refusal {
    fn from(error: PolicyError) -> Self {
        Self::Policy(error)
    }
}

impl From<NoteError> for Refusal {
    fn from(error: NoteError) -> Self {
        Self::Note(error)
    }
}

impl From<CommitError> for Refusal {
    fn from(error: CommitError) -> Self {
        Self::Commit(error)
    }
}

impl From<SignatureError> for Refusal {
    fn from(error: SignatureError) -> Self {
        Self::Signatures(error)
    }
}

impl From<ClaimError> for Refusal {
    fn from(error: ClaimError) -> Self {
        Self::Claim(error)
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::Refusal;

    /// Every file that has a `fn name` for a part of a refusal.
    const SOURCES: [&str; 5] = [
        include_str!("policy/mod.rs"),
        include_str!("refusal.rs"),
        include_str!("commit.rs"),
        include_str!("signatures.rs"),
        include_str!("claim.rs"),
    ];

    #[test]
    fn the_list_has_every_word_once() {
        let mut words = Vec::new();
        for source in SOURCES {
            let body = source.split("fn name(&self)").nth(1).unwrap().split("\n    }\n").next().unwrap();
            words.extend(body.split('"').skip(1).step_by(2));
        }
        words.sort_unstable();
        let mut list = Refusal::NAMES;
        list.sort_unstable();
        assert_eq!(words, list);
    }
}

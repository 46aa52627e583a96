//! Every reason to say no, each one sentence: where, what was expected, what was found, what to do next. Who prints
//! it puts the image's path before it.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::check::SkippedSignature;
use crate::digest::Digest;
use crate::gvariant::GVariantError;
use crate::names::{CommitId, Product};
use crate::note::{NoteError, SIGNATURES_MAX};
use crate::policy::{ConfError, Kind, SkippedKey};
use crate::vkey::KeyId;

/// Why an image is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The policy is not understood.
    PolicyMalformed {
        /// The file.
        path: String,
        /// The line, from 1; 0 if it is about no line.
        line: usize,
        /// What is wrong there.
        error: ConfError,
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
    /// No evidence of a kind that the policy accepts.
    NoEvidence {
        /// The kinds that the policy accepts.
        accepted: Vec<Kind>,
    },
    /// The note is not one.
    NoteMalformed(NoteError),
    /// A signature that names a trusted key was not made by it, or not over this text.
    TrustedSignatureBroken {
        /// The key.
        key: KeyId,
    },
    /// Not enough trusted keys signed.
    NotEnoughKeys {
        /// What was looked at.
        kind: Kind,
        /// How many must sign.
        threshold: usize,
        /// Those that did.
        counted: Vec<KeyId>,
        /// The signatures that don't count.
        skipped: Vec<SkippedSignature>,
        /// The keys that were tried.
        trusted: Vec<KeyId>,
    },
    /// More signatures than anyone looks at.
    TooManySignatures(usize),
    /// The note is for another commit.
    OtherCommit {
        /// The commit that the note names.
        note: CommitId,
        /// The deployment's commit.
        subject: CommitId,
    },
    /// A commit object's bytes don't have the checksum that is its name.
    CommitNotItsName {
        /// The name.
        name: CommitId,
        /// The checksum of the bytes.
        found: CommitId,
    },
    /// A commit object is not understood.
    CommitMalformed {
        /// The commit.
        commit: CommitId,
        /// What is wrong.
        error: GVariantError,
    },
    /// A commit's detached metadata is not understood.
    DetachedMalformed {
        /// The commit.
        commit: CommitId,
        /// What is wrong.
        error: GVariantError,
    },
    /// The commit came out of a container without signatures, and the commit that was in it isn't there.
    ParentMissing {
        /// The deployment's commit.
        commit: CommitId,
        /// Its parent.
        parent: Option<CommitId>,
    },
    /// The signed commit has no digest of an image.
    CommitWithoutDigest {
        /// The commit.
        commit: CommitId,
    },
    /// The signed commit's product can't be one.
    CommitProductMalformed {
        /// The commit.
        commit: CommitId,
        /// What it says, shortened.
        found: String,
    },
    /// The image is meant for another product.
    OtherProduct {
        /// What the policy wants.
        expected: Product,
        /// What was signed; a commit may say nothing.
        found: Option<Product>,
    },
    /// The image is older than the policy allows.
    IndexTooLow {
        /// What the policy wants.
        minimum: u64,
        /// What was signed; a commit may say nothing.
        found: Option<u64>,
    },
    /// The image is not the one that was signed.
    OtherDigest {
        /// What was signed.
        expected: Digest,
        /// The image's digest.
        found: Digest,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PolicyMalformed { .. } | Self::RevocationNotUnderstood { .. } | Self::TooFewKeys { .. } => {
                self.about_policy(f)
            }
            Self::CommitNotItsName { .. }
            | Self::CommitMalformed { .. }
            | Self::DetachedMalformed { .. }
            | Self::ParentMissing { .. }
            | Self::CommitWithoutDigest { .. }
            | Self::CommitProductMalformed { .. } => self.about_commit(f),
            Self::NotEnoughKeys { .. } | Self::TrustedSignatureBroken { .. } | Self::TooManySignatures(_) => {
                self.about_signatures(f)
            }
            _ => self.about_image(f),
        }
    }
}

impl Refusal {
    fn about_policy(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PolicyMalformed { path, line: 0, error } => {
                write!(f, "the policy {} is not understood: {error}", path)
            }
            Self::PolicyMalformed { path, line, error } => {
                write!(f, "the policy {} is not understood in line {line}: {error}", path)
            }
            Self::RevocationNotUnderstood { file } => {
                write!(f, "a revoked key can't be told: {file}; put the key's .vkey file there")
            }
            Self::TooFewKeys { path, threshold, usable, skipped } => {
                write!(f, "the policy {path} wants signatures of {threshold} keys and has {usable}")?;
                write_list(f, " (skipped: ", skipped, ")")?;
                write!(f, "; put more .vkey files into trusted.d beside it")
            }
            _ => Ok(()),
        }
    }

    fn about_commit(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommitNotItsName { name, found } => {
                write!(f, "the object of commit {name} has checksum {found}; pull the commit again")
            }
            Self::CommitMalformed { commit, error } => {
                write!(f, "the object of commit {commit} is not understood: {error}")
            }
            Self::DetachedMalformed { commit, error } => {
                write!(
                    f,
                    "the detached metadata of commit {commit} is not understood: {error}; pull it again"
                )
            }
            Self::ParentMissing { commit, parent: Some(parent) } => {
                write!(
                    f,
                    "commit {commit} came from a container, and the signed commit in it, {parent}, is not in "
                )?;
                write!(f, "the repository; pull the container again")
            }
            Self::ParentMissing { commit, parent: None } => {
                write!(
                    f,
                    "commit {commit} came from a container without an OSTree commit, so nothing is signed; "
                )?;
                write!(f, "use a note")
            }
            Self::CommitWithoutDigest { commit } => {
                write!(f, "the signed commit {commit} has no {}; ", crate::commit::KEY_DIGEST)?;
                write!(f, "sign with --embed, or use a note")
            }
            Self::CommitProductMalformed { commit, found } => {
                write!(f, "the signed commit {commit} has the product \"{found}\", which can't be one")
            }
            _ => Ok(()),
        }
    }

    fn about_signatures(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TrustedSignatureBroken { key } => {
                write!(
                    f,
                    "the note has a signature of {key} that this trusted key did not make over this text; "
                )?;
                write!(f, "sign again, or fetch the note again")
            }
            Self::TooManySignatures(count) => {
                write!(f, "the commit has {count} signatures, at most {SIGNATURES_MAX} are possible")
            }
            Self::NotEnoughKeys { kind, threshold, counted, skipped, trusted } => {
                write!(f, "{} of {threshold} trusted keys signed the {kind}", counted.len())?;
                write_list(f, " (counted: ", counted, ")")?;
                write_list(f, " (skipped: ", skipped, ")")?;
                write_list(f, "; tried: ", trusted, "")?;
                write!(f, "; sign with a trusted key, or trust the key in the initramfs")
            }
            _ => Ok(()),
        }
    }

    fn about_image(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoEvidence { accepted } => {
                write_list(f, "no accepted signature covers the image; the policy accepts: ", accepted, "")?;
                write!(f, "; sign the image, then run ostree-seal deploy")
            }
            Self::NoteMalformed(error) => write!(f, "the note is not understood: {error}; fetch it again"),
            Self::OtherCommit { note, subject } => {
                write!(f, "the note is for commit {note}, and the deployment is of commit {subject}; ")?;
                write!(f, "fetch the note of this commit")
            }
            Self::OtherProduct { expected, found } => {
                write!(f, "the policy wants product {expected}, the signature is for ")?;
                write_or_none(f, found.as_ref())
            }
            Self::IndexTooLow { minimum, found } => {
                write!(f, "the policy wants an index of {minimum} or more, the signature is for ")?;
                write_or_none(f, found.as_ref())?;
                write!(f, "; boot a newer release")
            }
            Self::OtherDigest { expected, found } => {
                write!(f, "the signed digest is {expected}, the image's is {found}; ")?;
                write!(
                    f,
                    "make the image again with ostree-seal deploy, or fetch the note that belongs to it"
                )
            }
            _ => Ok(()),
        }
    }
}

fn write_list<T: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    before: &str,
    list: &[T],
    after: &str,
) -> fmt::Result {
    let Some((first, rest)) = list.split_first() else { return Ok(()) };
    write!(f, "{before}{first}")?;
    rest.iter().try_for_each(|item| write!(f, ", {item}"))?;
    f.write_str(after)
}

fn write_or_none<T: fmt::Display>(f: &mut fmt::Formatter<'_>, value: Option<&T>) -> fmt::Result {
    match value {
        Some(value) => write!(f, "{value}"),
        None => write!(f, "none"),
    }
}

impl core::error::Error for Refusal {}

//! A commit object and its detached metadata, as far as they say something of an image.

use alloc::borrow::ToOwned as _;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use sha2::{Digest as _, Sha256};

use crate::digest::Digest;
use crate::gvariant::{Dictionary, GVariantError, Tuple, text};
use crate::names::{CommitId, Product};
use crate::text::shortened;

/// Commit metadata: the image's fs-verity digest, `ay` of 32 bytes, as libostree writes it.
pub const KEY_DIGEST: &str = "ostree.composefs.digest.v0";

/// Commit metadata: what the image is meant for, `s`.
pub const KEY_PRODUCT: &str = "ostree-seal.product";

/// Commit metadata: the release's place in the order of releases, `t`.
pub const KEY_INDEX: &str = "ostree-seal.index";

/// Detached metadata: Ed25519 signatures over the commit object's bytes, `aay` of 64 bytes each.
pub const KEY_SIGNATURES: &str = "ostree.sign.ed25519";

/// Detached metadata: signed notes, `as`.
pub const KEY_NOTES: &str = "ostree-seal.note";

/// Commit metadata that bootc's imports have: the container's configuration.
const KEY_CONTAINER: &str = "ostree.container.image-config";

/// What a commit object says.
#[derive(Debug, Clone)]
pub struct SignedCommit<'a> {
    metadata: Dictionary<'a>,
    parent: Option<CommitId>,
    dirtree: [u8; 32],
    dirmeta: [u8; 32],
}

/// Why a commit is no evidence, whoever signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitError {
    /// A commit object's bytes don't have the checksum that is its name.
    NotItsName {
        /// The name.
        name: CommitId,
        /// The checksum of the bytes.
        found: CommitId,
    },
    /// A commit object is not understood.
    Malformed {
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
    /// A commit that came from a container, and the commit that was in the container isn't there.
    ParentMissing {
        /// The commit.
        commit: CommitId,
        /// The commit that it names as its parent.
        parent: Option<CommitId>,
    },
    /// A signed commit that says nothing about an image.
    WithoutDigest {
        /// The commit.
        commit: CommitId,
    },
    /// A signed commit's product can't be one.
    ProductMalformed {
        /// The commit.
        commit: CommitId,
        /// What is there, shortened.
        found: String,
    },
}

impl<'a> SignedCommit<'a> {
    /// Reads a commit object, `(a{sv}aya(say)sstayay)`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, GVariantError> {
        let mut members = Tuple::new(bytes);
        let metadata = members.framed(8)?;
        let parent = match members.framed(1)? {
            [] => None,
            parent => Some(CommitId(sized("parent", parent)?)),
        };
        let _related = members.framed(1)?;
        // Nothing here needs these three, but bytes without them are no commit.
        let _subject = text(members.framed(1)?)?;
        let _body = text(members.framed(1)?)?;
        let _timestamp = members.be_u64()?;
        let dirtree = sized("tree", members.framed(1)?)?;
        let dirmeta = sized("meta", members.last(1)?)?;
        Ok(Self { metadata: Dictionary::parse(metadata)?, parent, dirtree, dirmeta })
    }

    /// Reads a commit object after its bytes have been found to be those that its name stands for.
    pub(crate) fn named(id: CommitId, bytes: &'a [u8]) -> Result<Self, CommitError> {
        let found = self::id(bytes);
        if found != id {
            return Err(CommitError::NotItsName { name: id, found });
        }
        Self::parse(bytes).map_err(|error| CommitError::Malformed { commit: id, error })
    }

    /// The commit that this one follows.
    pub fn parent(&self) -> Option<CommitId> {
        self.parent
    }

    /// The checksum of the root directory's dirtree object.
    pub fn dirtree(&self) -> [u8; 32] {
        self.dirtree
    }

    /// The checksum of the root directory's dirmeta object.
    pub fn dirmeta(&self) -> [u8; 32] {
        self.dirmeta
    }

    /// The image's fs-verity digest. A value of another type or size is an error and never "no digest".
    pub fn digest(&self) -> Result<Option<Digest>, GVariantError> {
        let Some(value) = self.metadata.get(KEY_DIGEST)? else { return Ok(None) };
        sized(KEY_DIGEST, value.bytes()?).map(|bytes| Some(Digest(bytes)))
    }

    /// What the image is meant for, as written.
    pub fn product(&self) -> Result<Option<&'a str>, GVariantError> {
        self.metadata.get(KEY_PRODUCT)?.map(|value| value.text()).transpose()
    }

    /// The release's place in the order of releases.
    pub fn index(&self) -> Result<Option<u64>, GVariantError> {
        self.metadata.get(KEY_INDEX)?.map(|value| value.u64()).transpose()
    }

    /// Whether bootc (or rpm-ostree) made this commit from a container image. Its parent is what was in the image.
    pub fn is_container_import(&self) -> Result<bool, GVariantError> {
        self.metadata.get(KEY_CONTAINER).map(|value| value.is_some())
    }

    /// Digest, product and index, as the commit of this name has them. Nothing in them counts before the signatures do.
    pub(crate) fn promise(
        &self,
        id: CommitId,
    ) -> Result<(Digest, Option<Product>, Option<u64>), CommitError> {
        let malformed = |error| CommitError::Malformed { commit: id, error };
        let digest = self.digest().map_err(malformed)?;
        let product = match self.product().map_err(malformed)? {
            None => None,
            Some(text) => Some(
                text.parse()
                    .map_err(|_| CommitError::ProductMalformed { commit: id, found: shortened(text) })?,
            ),
        };
        let index = self.index().map_err(malformed)?;
        Ok((digest.ok_or(CommitError::WithoutDigest { commit: id })?, product, index))
    }
}

/// The id of a commit object: the SHA-256 of its bytes.
pub fn id(bytes: &[u8]) -> CommitId {
    CommitId(Sha256::digest(bytes).into())
}

/// The Ed25519 signatures in detached metadata, each of any length: it is for the check to skip what can't be one.
pub fn signatures(detached: &[u8]) -> Result<Vec<&[u8]>, GVariantError> {
    match Dictionary::parse(detached)?.get(KEY_SIGNATURES)? {
        Some(signatures) => signatures.byte_arrays(),
        None => Ok(Vec::new()),
    }
}

fn sized<const N: usize>(key: &str, bytes: &[u8]) -> Result<[u8; N], GVariantError> {
    let wrong = |_| GVariantError::Size { key: key.to_owned(), expected: N, found: bytes.len() };
    bytes.try_into().map_err(wrong)
}

impl CommitError {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::NotItsName { .. } => "commit/not-its-name",
            Self::Malformed { .. } => "commit/malformed",
            Self::DetachedMalformed { .. } => "commit/detached-malformed",
            Self::ParentMissing { .. } => "commit/parent-missing",
            Self::WithoutDigest { .. } => "commit/without-digest",
            Self::ProductMalformed { .. } => "commit/product-malformed",
        }
    }
}

impl fmt::Display for CommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotItsName { name, found } => {
                write!(f, "the object of commit {name} has checksum {found}; pull the commit again")
            }
            Self::Malformed { commit, error } => {
                write!(f, "the object of commit {commit} is not understood: {error}")
            }
            Self::DetachedMalformed { commit, error } => write!(
                f,
                "the detached metadata of commit {commit} is not understood: {error}; pull it again"
            ),
            Self::ParentMissing { commit, parent: Some(parent) } => write!(
                f,
                "commit {commit} came from a container, and the signed commit in it, {parent}, is not in the repository; \
                 pull the container again"
            ),
            Self::ParentMissing { commit, parent: None } => write!(
                f,
                "commit {commit} came from a container without an OSTree commit, so nothing is signed; use a note"
            ),
            Self::WithoutDigest { commit } => {
                write!(f, "the signed commit {commit} has no {KEY_DIGEST}; sign with --embed, or use a note")
            }
            Self::ProductMalformed { commit, found } => {
                write!(f, "the signed commit {commit} has the product \"{found}\", which can't be one")
            }
        }
    }
}

impl core::error::Error for CommitError {}

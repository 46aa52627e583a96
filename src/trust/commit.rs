//! A commit object and its detached metadata, as far as they say something of an image. README.md, "Signed commit".

use alloc::borrow::ToOwned as _;
use alloc::vec::Vec;

use sha2::{Digest as _, Sha256};

use crate::digest::Digest;
use crate::gvariant::{Dictionary, GVariantError, Member, text, tuple};
use crate::names::CommitId;

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
pub struct Commit<'a> {
    metadata: Dictionary<'a>,
    parent: Option<CommitId>,
}

impl<'a> Commit<'a> {
    /// Reads a commit object, `(a{sv}aya(say)sstayay)`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, GVariantError> {
        let any = Member::Any(1);
        let members = [Member::Any(8), any, any, any, any, Member::Eight, any, any];
        let [metadata, parent, _, subject, body, _, tree, meta] = tuple(bytes, members)?;
        // Nothing here needs these four, but bytes without them are no commit.
        for bytes in [subject, body] {
            text(bytes)?;
        }
        for (name, bytes) in [("tree", tree), ("meta", meta)] {
            sized::<32>(name, bytes)?;
        }
        let parent = match parent {
            [] => None,
            parent => Some(CommitId(sized("parent", parent)?)),
        };
        Ok(Self { metadata: Dictionary::parse(metadata)?, parent })
    }

    /// The commit that this one follows.
    pub fn parent(&self) -> Option<CommitId> {
        self.parent
    }

    /// The image's fs-verity digest.
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

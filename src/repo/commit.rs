//! A commit object: where its tree begins and which image it promises. `(a{sv}aya(say)sstayay)`, GVariant.

use ostree_seal_trust::digest::Digest;

use super::checksum::Checksum;
use super::dirtree::checksum;
use super::gvariant::{Array, FormatError, Tuple, text};

/// Metadata key of the digest of the image that libostree makes of the commit.
const DIGEST_KEY: &str = "ostree.composefs.digest.v0";

/// What conversion needs to know of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The commit's own checksum.
    pub checksum: Checksum,
    /// The root directory's dirtree object.
    pub dirtree: Checksum,
    /// The root directory's dirmeta object.
    pub dirmeta: Checksum,
    /// What the commit says of its image, if it does: `ostree.composefs.digest.v0`.
    pub image_digest: Option<Digest>,
}

impl Commit {
    /// Reads a commit object.
    pub(super) fn parse(name: Checksum, bytes: &[u8]) -> Result<Self, FormatError> {
        let mut tuple = Tuple::new(bytes);
        let metadata = tuple.framed(8)?;
        let _parent = tuple.framed(1)?;
        let _related = tuple.framed(1)?;
        text(tuple.framed(1)?)?; // subject
        text(tuple.framed(1)?)?; // body
        let _timestamp: [u8; 8] = tuple.fixed()?;
        let dirtree = checksum(tuple.framed(1)?)?;
        let dirmeta = checksum(tuple.last(1)?)?;
        Ok(Self { checksum: name, dirtree, dirmeta, image_digest: image_digest(metadata)? })
    }
}

/// The promised digest in the commit's `a{sv}`. One of another type or size is an error and never "no promise".
fn image_digest(metadata: &[u8]) -> Result<Option<Digest>, FormatError> {
    let mut found = None;
    for entry in Array::new(metadata, 8)? {
        let mut entry = Tuple::new(entry?);
        let key = text(entry.framed(1)?)?;
        let variant = entry.last(8)?;
        if key != DIGEST_KEY {
            continue;
        }
        let value = variant.strip_suffix(b"\0ay").ok_or(FormatError::ImageDigest)?;
        let digest = Digest(value.try_into().map_err(|_| FormatError::ImageDigest)?);
        if found.replace(digest).is_some() {
            return Err(FormatError::ImageDigest);
        }
    }
    Ok(found)
}

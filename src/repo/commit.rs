//! A commit object: where its tree begins and which image it promises.

use ostree_seal_trust::commit;
use ostree_seal_trust::digest::Digest;
use ostree_seal_trust::gvariant::GVariantError;

use super::checksum::Checksum;

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
    pub(super) fn parse(name: Checksum, bytes: &[u8]) -> Result<Self, GVariantError> {
        let commit = commit::SignedCommit::parse(bytes)?;
        let [dirtree, dirmeta] = [commit.dirtree(), commit.dirmeta()].map(Checksum);
        Ok(Self { checksum: name, dirtree, dirmeta, image_digest: commit.digest()? })
    }
}

//! What a file in an archive holds, as far as it matters.

use crate::merkle;
use ostree_seal_trust::digest::Digest;

/// The most bytes of a file whose content is kept.
const CONTENT_MAX: u64 = 1 << 20;

/// What a regular file holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Content {
    pub(super) size: u64,
    /// The bytes, if they matter and are at most [`CONTENT_MAX`].
    pub(super) bytes: Option<Vec<u8>>,
    /// Their fs-verity digest, if they matter.
    pub(super) digest: Option<Digest>,
}

impl Content {
    /// A content that comes in pieces.
    pub(super) fn writer(size: u64, keep: bool) -> ContentWriter {
        let bytes = (keep && size <= CONTENT_MAX).then(Vec::new);
        ContentWriter { content: Self { size, bytes, digest: None }, hasher: keep.then(merkle::Hasher::new) }
    }
}

pub(super) struct ContentWriter {
    content: Content,
    hasher: Option<merkle::Hasher>,
}

impl ContentWriter {
    pub(super) fn add(&mut self, piece: &[u8]) {
        if let Some(bytes) = &mut self.content.bytes {
            bytes.extend_from_slice(piece);
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(piece);
        }
    }

    pub(super) fn finish(self) -> Content {
        Content { digest: self.hasher.map(merkle::Hasher::finish), ..self.content }
    }
}

//! The pipeline: commit -> tree -> plan -> bytes and their digest. What `convert`, `digest`, `sign`, `verify` and
//! `deploy` have in common.

use std::io::Write;

use anyhow::Context as _;
use ostree_seal_trust::digest::Digest;

use crate::erofs::{self, Versions};
use crate::merkle::Hasher;
use crate::refused::Refused;
use crate::repo::{Commit, Load, Source, Work};

/// What came out of a conversion, beside the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Converted {
    /// Inodes in the image, those that only hide the object directories included.
    pub inodes: u64,
    /// Length of the image.
    pub bytes: u64,
    /// Different file objects in the commit.
    pub objects: u64,
    /// What was read.
    pub work: Work,
}

/// Writes the image of a commit to `out`.
pub fn convert(
    source: &Source,
    commit: &Commit,
    load: Load<'_>,
    out: &mut impl Write,
) -> anyhow::Result<Converted> {
    let threads = load.threads;
    source.load_with(commit, load, |loaded| {
        let plan = erofs::plan(&loaded.tree, Versions::default()).context("planning the image")?;
        erofs::emit(&loaded.tree, &plan, threads, out).context("writing the image")?;
        Ok(Converted {
            inodes: plan.inodes() as u64,
            bytes: plan.image_size(),
            objects: loaded.objects,
            work: loaded.work,
        })
    })
}

/// The digest of a commit's image, without the image.
pub fn digest(source: &Source, commit: &Commit, load: Load<'_>) -> anyhow::Result<(Digest, Converted)> {
    let mut hasher = Hasher::new();
    let converted = convert(source, commit, load, &mut hasher)?;
    Ok((hasher.finish(), converted))
}

/// Compares an image's digest with what its commit promises, if it does.
pub fn check_promise(commit: &Commit, digest: Digest) -> Result<(), Refused> {
    match commit.image_digest {
        Some(promised) if promised != digest => Err(Refused(format!(
            "commit {} promises an image with the digest {promised} (ostree.composefs.digest.v0), but its image \
             has the digest {digest}: the objects in the repository are not those that were committed, or another \
             kind of image was promised; `ostree fsck` tells which",
            commit.checksum
        ))),
        _ => Ok(()),
    }
}

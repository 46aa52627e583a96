//! The image of a deployment's commit: made in the deployment's own directory and compared with the signed digest
//! before it has a name.

use std::num::NonZeroUsize;
use std::path::Path;

use anyhow::{Context, Result, bail};
use ostree_seal_root::digest::Digest;

use super::place::{Placed, Verity};
use crate::erofs::{self, Versions};
use crate::output::{ImageVerity, NewImage};
use crate::source::{Commit, Load, NoCache, Source};
use crate::tree::Tree;

/// The tree that the image is made of. Objects with fs-verity are measured, others are read and hashed.
pub fn load(source: &Source, commit: &Commit, threads: NonZeroUsize) -> Result<Tree> {
    let load = Load { threads, cache: &mut NoCache, progress: &mut () };
    Ok(source.load(commit, load)?.tree)
}

/// Writes the image of a tree to `path`, if it has the digest that is expected of it. The inner error is the digest
/// that it has instead; then nothing was written.
pub fn write(tree: &Tree, path: &Path, expected: Digest, verity: Verity) -> Result<Result<Placed, Digest>> {
    let mut image = NewImage::create(path)?;
    let plan = erofs::plan(tree, Versions::default()).context("converting the commit")?;
    erofs::emit(tree, &plan, &mut image).with_context(|| format!("writing {}", path.display()))?;
    let sealed = image.seal()?;
    let written = sealed.written();
    if written.digest != expected {
        return Ok(Err(written.digest));
    }
    if verity == Verity::Now && written.verity == ImageVerity::Unsupported {
        bail!(
            "{} can't have fs-verity, although the repository can: are they on one file system?",
            path.display()
        );
    }
    sealed.publish()?;
    Ok(Ok(Placed::Written))
}

//! The image of a deployment's commit: made in the deployment's own directory and compared with the signed digest
//! before it has a name.

use std::io::Read;
use std::num::NonZeroUsize;
use std::path::Path;

use anyhow::{Context, Result, bail};
use fn_error_context::context;
use ostree_seal_root::digest::Digest;
use ostree_seal_root::verity;

use super::place::{self, Placed, Verity};
use crate::erofs::{self, Versions};
use crate::output::{ImageVerity, NewImage};
use crate::tree::Tree;

/// A deployment's image, if the kernel enforces this digest on it.
#[context("reading the image in {}", deployment.display())]
pub fn read_enforced(deployment: &Path, expected: Digest) -> Result<Option<Vec<u8>>> {
    let Some(mut image) = place::open_image(deployment)? else { return Ok(None) };
    if verity::measure(&image) != Ok(expected) {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    image.read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Writes the image of a tree to `path`, if it has the digest that is expected of it. The inner error is the digest
/// that it has instead; then nothing was written.
pub fn write(
    tree: &Tree,
    path: &Path,
    expected: Digest,
    verity: Verity,
    threads: NonZeroUsize,
) -> Result<Result<Placed, Digest>> {
    let mut image = NewImage::create(path)?;
    let plan = erofs::plan(tree, Versions::default()).context("converting the commit")?;
    erofs::emit(tree, &plan, threads, &mut image).with_context(|| format!("writing {}", path.display()))?;
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

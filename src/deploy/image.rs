//! The image of a deployment's commit: made in the deployment's own directory and compared with the signed digest
//! before it has a name.

use std::io::Read;
use std::num::NonZeroUsize;
use std::path::Path;

use anyhow::{Context, Result, bail};
use fn_error_context::context;
use ostree_seal_root::check::verity;
use ostree_seal_root::find::deployment::IMAGE_NAME;
use ostree_seal_trust::digest::Digest;

use super::place::{self, Verity};
use crate::erofs::{self, Versions};
use crate::output::{ImageVerity, NewImage};
use crate::tree::Tree;

/// A deployment's image, if the kernel enforces on it a digest that is `wanted`, and what it is wanted for. One whose
/// bytes the kernel doesn't give out, since they are not those that were measured, counts as absent.
#[context("reading the image in {}", deployment.display())]
pub fn read_enforced<T>(
    deployment: &Path,
    wanted: impl Fn(Digest) -> Option<T>,
) -> Result<Option<(Vec<u8>, T)>> {
    let Some(mut image) = place::open_image(deployment)? else { return Ok(None) };
    let Some(value) = verity::measure(&image).ok().and_then(wanted) else { return Ok(None) };
    let mut bytes = Vec::new();
    match image.read_to_end(&mut bytes) {
        Ok(_) => Ok(Some((bytes, value))),
        Err(error) if place::is_io_damage(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Writes the image of a tree into a deployment's directory, if it has a digest that is `wanted`; what it is wanted for. The
/// inner error is the digest that it has instead; then nothing was written.
pub fn write<T>(
    tree: &Tree,
    deployment: &Path,
    wanted: impl Fn(Digest) -> Option<T>,
    verity: Verity,
    threads: NonZeroUsize,
) -> Result<Result<T, Digest>> {
    let path = deployment.join(IMAGE_NAME);
    let mut image = NewImage::create(&path)?;
    let plan = erofs::plan(tree, Versions::default()).context("converting the commit")?;
    erofs::emit(tree, &plan, threads, &mut image).with_context(|| format!("writing {}", path.display()))?;
    let sealed = image.seal()?;
    let written = sealed.written();
    let Some(value) = wanted(written.digest) else { return Ok(Err(written.digest)) };
    if verity == Verity::Now && written.verity == ImageVerity::Unsupported {
        bail!(
            "{} can't have fs-verity, although the repository can: are they on one file system?",
            path.display()
        );
    }
    sealed.publish()?;
    Ok(Ok(value))
}

//! The image of a deployment's commit: made in the deployment's own directory and compared with what was signed before
//! it has a name.

use std::io::Read;
use std::num::NonZeroUsize;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use fn_error_context::context;
use ostree_seal_root::check::verity;
use ostree_seal_root::find::deployment::IMAGE_NAME;

use super::approved::{Approval, Approved};
use super::directory::{self, Placed};
use super::request::{Request, VerityTiming};
use crate::erofs::{self, Versions};
use crate::output::{ImageVerity, NewImage, SealedImage};
use crate::sysroot::{Deployment, SysrootLock};
use crate::tree::Tree;

/// An image in its place, and what was signed for it.
#[derive(Debug)]
pub struct PlacedImage<'a> {
    /// What was signed for an image of this digest.
    pub approval: &'a Approval,
    /// What became of the file.
    pub placed: Placed,
}

/// A deployment's image, if the kernel enforces on it a digest that was signed, and what was signed. One whose bytes the
/// kernel doesn't give out, since they are not those that were measured, counts as absent.
#[context("reading the image in {}", deployment.display())]
pub fn read_enforced<'a>(
    deployment: &Path,
    approved: &'a Approved,
) -> Result<Option<(Vec<u8>, &'a Approval)>> {
    let Some(mut image) = directory::open_image(deployment)? else { return Ok(None) };
    let approval = verity::measure(&image).ok().and_then(|digest| approved.of(digest));
    let Some(approval) = approval else { return Ok(None) };
    let mut bytes = Vec::new();
    match image.read_to_end(&mut bytes) {
        Ok(_) => Ok(Some((bytes, approval))),
        Err(error) if directory::is_io_damage(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Puts the image of a tree in its place, if it is one that was signed: else that is the error, and nothing was changed.
pub fn ensure<'a>(
    lock: &SysrootLock<'_>,
    deployment: &Deployment,
    request: &Request<'_>,
    tree: &Tree,
    approved: &'a Approved,
) -> Result<PlacedImage<'a>> {
    directory::change(lock, deployment, |directory| {
        if let Some(approval) = directory.image_digest()?.and_then(|digest| approved.of(digest)) {
            directory.keep_image(approval.digest(), request.verity)?;
            return Ok(PlacedImage { approval, placed: Placed::Kept });
        }
        let path = deployment.directory.join(IMAGE_NAME);
        let image = write(tree, &path, request.threads)?;
        let written = image.written();
        let approval = approved.require(written.digest)?;
        ensure!(
            request.verity == VerityTiming::Deferred || written.verity == ImageVerity::Enabled,
            "{} can't have fs-verity, although the repository can: are they on one file system?",
            path.display()
        );
        image.publish()?;
        Ok(PlacedImage { approval, placed: Placed::Written })
    })
}

/// Writes the image of a tree, which has no name yet.
fn write(tree: &Tree, path: &Path, threads: NonZeroUsize) -> Result<SealedImage> {
    let mut image = NewImage::create(path)?;
    let plan = erofs::plan(tree, Versions::default()).context("converting the commit")?;
    erofs::emit(tree, &plan, threads, &mut image).with_context(|| format!("writing {}", path.display()))?;
    image.seal()
}

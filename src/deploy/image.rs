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
use crate::cache::{Cache, FILE_NAME, Scope};
use crate::erofs::{self, Versions};
use crate::output::{ImageVerity, NewImage};
use crate::source::{Checksum, Commit, Load, Loaded, ObjectCache, ObjectInfo, Source};
use crate::tree::Tree;

/// Whether what earlier conversions learned of objects is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UseCache {
    /// The repository's own cache, written as far as the repository can be written.
    Repository,
    /// Nothing is taken for known, and nothing kept.
    Nothing,
}

/// What is known of objects. It is no part of the trust in an image: that has the digest that was signed, or is refused,
/// and each of its objects is measured by the kernel afterwards. What was wrong with it costs a second conversion.
#[derive(Debug)]
pub struct Known(Option<Cache>);

impl Known {
    /// Opens the repository's cache.
    pub fn open(repository: &Path, source: &Source, choice: UseCache) -> Self {
        let path = repository.join(FILE_NAME);
        let open = || Cache::open(path, Scope::Repository, source.view());
        Self((choice == UseCache::Repository).then(open))
    }

    /// Whether something was taken for known.
    pub fn was_used(&self) -> bool {
        self.0.as_ref().is_some_and(|cache| cache.hits() > 0)
    }

    /// Keeps what was learned.
    pub fn keep(self, source: &Source) {
        // A cache that can't be written costs time at the next update, and nothing now.
        drop(self.0.map(|cache| cache.save(|object| source.has_file(object))));
    }

    /// Removes the cache of a repository: it holds something that isn't so.
    pub fn forget(repository: &Path) {
        // One that can't be removed is found out again.
        drop(std::fs::remove_file(repository.join(FILE_NAME)));
    }
}

impl ObjectCache for Known {
    fn find(&self, object: &Checksum) -> Option<u32> {
        self.0.as_ref()?.find(object)
    }

    fn info(&self, number: u32) -> Option<ObjectInfo> {
        self.0.as_ref()?.info(number)
    }

    fn add(&self, object: &Checksum, info: &ObjectInfo) {
        if let Some(cache) = &self.0 {
            cache.add(object, info);
        }
    }
}

/// The tree that the image is made of. Objects that aren't known are measured, or read and hashed if they have no
/// fs-verity.
pub fn load(source: &Source, commit: &Commit, threads: NonZeroUsize, known: &Known) -> Result<Loaded> {
    source.load(commit, Load { threads, cache: known, progress: &mut () })
}

/// The tree of a deployment's image, if the kernel enforces this digest on it.
#[context("reading the image in {}", deployment.display())]
pub fn read_enforced(deployment: &Path, expected: Digest) -> Result<Option<Tree>> {
    let Some(mut image) = place::open_image(deployment)? else { return Ok(None) };
    if verity::measure(&image) != Ok(expected) {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    image.read_to_end(&mut bytes)?;
    Ok(Some(erofs::read(&bytes)?))
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

//! The arguments of every command that looks into an image, a commit or a deployment.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::look::{CommitView, ImageView, View};
use crate::repo::Source;
use crate::sysroot::Sysroot;

/// The image of a deployment, beside its directory's files.
const IMAGE: &str = ".ostree.cfs";

/// What to look into.
#[derive(Debug, Args)]
pub(super) struct WhatArgs {
    /// Look into a commit of this repository: WHAT is a ref, REMOTE:REF or a commit id
    #[arg(long, value_name = "DIR", conflicts_with = "sysroot")]
    repo: Option<PathBuf>,

    /// Look into a deployment of this system: WHAT is its index, as `ostree-seal status` shows it
    #[arg(long, value_name = "DIR")]
    sysroot: Option<PathBuf>,

    /// An image; with --repo a commit, with --sysroot a deployment
    what: OsString,
}

impl WhatArgs {
    /// Opens it; the contents of an image's files are in these directories.
    pub(super) fn open(&self, objects: &[PathBuf]) -> Result<Box<dyn View>> {
        if let Some(repo) = &self.repo {
            return commit(repo, &self.text()?);
        }
        match &self.sysroot {
            Some(sysroot) => match deployed(sysroot, &self.text()?)? {
                Deployed::Image(image, repository) => {
                    Ok(Box::new(ImageView::open(&image, &[repository.join("objects")])?))
                }
                Deployed::Commit(repository, rev) => commit(&repository, &rev),
            },
            None => Ok(Box::new(ImageView::open(Path::new(&self.what), objects)?)),
        }
    }

    fn text(&self) -> Result<String> {
        let text = self.what.to_str().with_context(|| format!("{:?} is no name", self.what))?;
        Ok(text.to_owned())
    }
}

fn commit(repo: &Path, rev: &str) -> Result<Box<dyn View>> {
    let source = Source::open(repo)?;
    let commit = source.commit(rev)?;
    Ok(Box::new(CommitView::new(source, commit)))
}

/// What a deployment is: its image, which is what boots, or its commit, as long as it has none.
pub(super) enum Deployed {
    /// The image, and the repository with the contents of its files.
    Image(PathBuf, PathBuf),
    /// The commit in its repository.
    Commit(PathBuf, String),
}

/// Finds a deployment by its index.
pub(super) fn deployed(sysroot: &Path, index: &str) -> Result<Deployed> {
    let sysroot = Sysroot::open(sysroot, false)?;
    let index: usize = index
        .parse()
        .with_context(|| format!("{index:?} is no index of a deployment; `ostree-seal status` shows them"))?;
    let mut deployments = sysroot.deployments()?;
    ensure!(
        index < deployments.len(),
        "there is no deployment {index}, but {} of them; `ostree-seal status --sysroot={}` shows them",
        deployments.len(),
        sysroot.path().display()
    );
    let deployment = deployments.swap_remove(index);
    let (image, repository) = (deployment.directory.join(IMAGE), sysroot.repository());
    Ok(if image.exists() {
        Deployed::Image(image, repository)
    } else {
        Deployed::Commit(repository, deployment.commit)
    })
}

/// A path as its bytes.
pub(super) fn bytes_of(path: &OsStr) -> &[u8] {
    path.as_bytes()
}

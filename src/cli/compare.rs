//! What `diff` and `explain` compare.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;

use super::cache::CacheArgs;
use super::commit::all_threads;
use super::print;
use super::progress::ObjectBar;
use super::what::{Deployed, deployed};
use crate::look::{self, Diff, Side, Traits};
use crate::repo::{Commit, Source};

/// Which two.
#[derive(Debug, Args)]
pub(super) struct CompareArgs {
    /// The repository of commits: an OSTree repository of any mode
    #[arg(long, value_name = "DIR")]
    repo: Option<PathBuf>,

    /// The system of deployments
    #[arg(long, value_name = "DIR", default_value = "/")]
    sysroot: PathBuf,

    #[command(flatten)]
    cache: CacheArgs,

    /// The old side: an image, a dump, a directory, commit:REF or deployment:INDEX
    #[arg(value_name = "A")]
    old: OsString,

    /// The new side
    #[arg(value_name = "B")]
    new: OsString,
}

/// One of the two, as it was named.
enum Named {
    File(PathBuf),
    Directory(PathBuf),
    Commit(PathBuf, String),
}

/// Both, compared.
pub(super) struct Compared {
    pub(super) diff: Diff,
    pub(super) old: Traits,
    pub(super) new: Traits,
}

impl CompareArgs {
    pub(super) fn compare(&self) -> Result<Compared> {
        let (old, new) = (self.named(&self.old)?, self.named(&self.new)?);
        let (old, new) = match (&old, &new) {
            (Named::Commit(repo, old), Named::Commit(other, new)) if repo == other => {
                let source = Source::open(repo)?;
                look::commits(&source, &source.commit(old)?, &source.commit(new)?)?
            }
            (Named::Commit(..), _) | (_, Named::Commit(..)) => (self.side(&old)?, self.side(&new)?),
            // Both are read at the same time.
            _ => std::thread::scope(|scope| {
                let other = scope.spawn(|| plain_side(&new));
                let old = plain_side(&old)?;
                let new = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
                anyhow::Ok((old, new))
            })?,
        };
        let diff = look::diff(&old, &new);
        Ok(Compared { diff, old: old.traits, new: new.traits })
    }

    fn named(&self, what: &OsString) -> Result<Named> {
        let text = what.to_str().unwrap_or_default();
        if let Some(rev) = text.strip_prefix("commit:") {
            let repo = self.repo.clone().context("--repo=DIR says in which repository the commit is")?;
            return Ok(Named::Commit(repo, rev.to_owned()));
        }
        if let Some(index) = text.strip_prefix("deployment:") {
            return Ok(match deployed(&self.sysroot, index)? {
                Deployed::Image(image, _) => Named::File(image),
                Deployed::Commit(repository, rev) => Named::Commit(repository, rev),
            });
        }
        let path = PathBuf::from(what);
        let metadata = path.metadata().with_context(|| {
            format!(
                "looking for {}; a commit is named commit:REF, a deployment deployment:INDEX",
                path.display()
            )
        })?;
        Ok(if metadata.is_dir() { Named::Directory(path) } else { Named::File(path) })
    }

    fn side(&self, named: &Named) -> Result<Side> {
        let Named::Commit(repo, rev) = named else { return plain_side(named) };
        let source = Source::open(repo)?;
        let commit: Commit = source.commit(rev)?;
        let cache = self.cache.open(repo, &source);
        let side = Side::commit(&source, &commit, all_threads(), &cache, &mut ObjectBar::new())?;
        cache.save(&source);
        Ok(side)
    }
}

/// Ends as diff(1) does: 0 same, 1 different, 2 trouble.
pub(super) fn as_diff(differs: Result<bool>) -> ExitCode {
    match differs {
        Ok(differs) => ExitCode::from(u8::from(differs)),
        Err(error) => {
            print::error(&error);
            ExitCode::from(2)
        }
    }
}

fn plain_side(named: &Named) -> Result<Side> {
    match named {
        Named::File(path) => Side::file(path),
        Named::Directory(path) => Side::directory(path),
        Named::Commit(..) => anyhow::bail!("invariant: a commit has a repository"),
    }
}

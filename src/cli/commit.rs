//! The arguments of every command that reads a commit.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::thread;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use crate::repo::{Check, Commit, Source};

/// Which commit, and how to read it.
#[derive(Debug, Args)]
pub(super) struct CommitArgs {
    /// The OSTree repository, of any mode
    #[arg(long, value_name = "DIR")]
    repo: PathBuf,

    /// Threads that read and hash; the image is the same for any number [default: all processors]
    #[arg(long, value_name = "N", display_order = 100)]
    threads: Option<NonZeroUsize>,

    /// Trust the contents: don't compare those that are read with the checksums that name them
    #[arg(long, display_order = 103)]
    no_fsck: bool,

    /// A ref, REMOTE:REF, or a commit id, which may be abbreviated
    #[arg(value_name = "REF", value_parser = NonEmptyStringValueParser::new())]
    rev: String,
}

impl CommitArgs {
    /// Opens the repository and finds the commit.
    pub(super) fn open(&self) -> anyhow::Result<(Source, Commit)> {
        let source = Source::open(&self.repo)?;
        let commit = source.commit(&self.rev)?;
        Ok((source, commit))
    }

    /// The repository.
    pub(super) fn repo(&self) -> &Path {
        &self.repo
    }

    /// The commit as it was named.
    pub(super) fn rev(&self) -> &str {
        &self.rev
    }

    /// Which contents are compared with their checksums, unless the user trusts them.
    pub(super) fn check(&self, usually: Check) -> Check {
        if self.no_fsck { Check::None } else { usually }
    }

    /// How many threads to use.
    pub(super) fn threads(&self) -> NonZeroUsize {
        self.threads.unwrap_or_else(all_threads)
    }
}

/// As many threads as there are processors.
pub(super) fn all_threads() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

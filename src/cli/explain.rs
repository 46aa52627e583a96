//! `ostree-seal explain`: why two digests differ.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::compare::{CompareArgs, Compared, as_diff};
use super::print;
use crate::look;

/// Say in a sentence why two images have different digests
///
/// It is the first cause of what `diff` shows in full: which property differs everywhere, which paths were added, whether
/// hard links were kept on one side, or whether it is the same tree in another format version.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes, as those of diff(1): 0 the same files, 1 different, 2 trouble.")]
pub(super) struct ExplainArgs {
    #[command(flatten)]
    compare: CompareArgs,
}

pub(super) fn run(args: &ExplainArgs) -> ExitCode {
    as_diff(differ(args))
}

fn differ(args: &ExplainArgs) -> Result<bool> {
    let Compared { diff, old, new } = args.compare.compare()?;
    print::line(&look::explain(&diff, old, new))?;
    Ok(!diff.changes.is_empty())
}

//! `ostree-seal digest`: the digest of a commit's image, without the image.

use clap::Args;
use serde::Serialize;

use super::cache::CacheArgs;
use super::commit::CommitArgs;
use super::print;
use super::progress::ObjectBar;
use crate::convert;
use crate::repo::{Check, Load};

/// Print the fs-verity digest of a commit's image
///
/// It is the digest that `convert` prints, but there is no image.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 done, 1 could not, 2 usage, 3 refused: the commit promises another
digest (ostree.composefs.digest.v0), or an object that was read is damaged.")]
pub(super) struct DigestArgs {
    #[command(flatten)]
    commit: CommitArgs,

    #[command(flatten)]
    cache: CacheArgs,

    /// Print a JSON object with the digest and where it comes from, instead of the digest alone
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    /// fs-verity digest of the image.
    digest: String,
    commit: String,
    /// The digest that the commit promises, if it does.
    promised_digest: Option<String>,
    image_bytes: u64,
}

pub(super) fn run(args: &DigestArgs) -> anyhow::Result<()> {
    let (source, commit) = args.commit.open()?;
    let cache = args.cache.open(args.commit.repo(), &source);
    let load = Load {
        threads: args.commit.threads(),
        cache: &cache,
        check: args.commit.check(Check::Read),
        progress: &mut ObjectBar::new(),
    };
    let (digest, converted) = convert::digest(&source, &commit, load)?;
    convert::check_promise(&commit, digest)?;
    cache.save(&source);
    if !args.json {
        return print::line(&digest);
    }
    print::json(&Report {
        digest: digest.to_string(),
        commit: commit.checksum.to_string(),
        promised_digest: commit.image_digest.map(|digest| digest.to_string()),
        image_bytes: converted.bytes,
    })
}

//! `ostree-seal convert`: write the image of a commit.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde::Serialize;

use super::cache::{CacheArgs, UsedCache};
use super::commit::CommitArgs;
use super::print;
use super::progress::ObjectBar;
use crate::convert;
use crate::look::{self, Side};
use crate::output::{ImageVerity, NewImage};
use crate::repo::{Check, Commit, Load, Source};

/// Write the composefs image of a commit
///
/// The image is byte for byte what libostree makes of the commit. File contents stay in the repository: the image points
/// at its objects and holds their fs-verity digests. Prints the image's own fs-verity digest.
///
/// A content that is read is compared with its checksum, as `ostree fsck` does it; one that the cache or the kernel knows isn't
/// read.
///
/// Nothing half-written ever has the name IMAGE. Where the file system has fs-verity, it is enabled on the image.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 done, 1 could not, 2 usage, 3 refused: the commit promises another
digest (ostree.composefs.digest.v0), or an object that was read is damaged; then
there is no image.")]
pub(super) struct ConvertArgs {
    #[command(flatten)]
    commit: CommitArgs,

    #[command(flatten)]
    cache: CacheArgs,

    /// Print a JSON object with the digest and what was done, instead of the digest alone
    #[arg(long)]
    json: bool,

    /// Where to write the image; an older one is replaced
    image: PathBuf,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    /// fs-verity digest of the image.
    digest: String,
    commit: String,
    /// The digest that the commit promises, if it does.
    promised_digest: Option<String>,
    repo_mode: &'static str,
    /// Whether the repository has the files that the image points at.
    mountable: bool,
    /// `enabled` or `unsupported`.
    image_verity: &'static str,
    image_bytes: u64,
    inodes: u64,
    /// Different file objects.
    objects: u64,
    /// Objects that the cache knew.
    known_objects: u64,
    /// Bytes of content that were hashed, and objects whose digest the kernel had.
    hashed_bytes: u64,
    measured_objects: u64,
    threads: usize,
    seconds: f64,
}

pub(super) fn run(args: &ConvertArgs) -> anyhow::Result<()> {
    let started = Instant::now();
    let (source, commit) = args.commit.open()?;
    let mut image = NewImage::create(&args.image)?;
    let cache = args.cache.open(args.commit.repo(), &source);
    let load = Load {
        threads: args.commit.threads(),
        cache: &cache,
        check: args.commit.check(Check::Read),
        progress: &mut ObjectBar::new(),
    };
    let converted = convert::convert(&source, &commit, load, &mut image)?;
    let image = image.seal()?;
    if let Err(refused) = convert::check_promise(&commit, image.written().digest) {
        if let Some(cause) = cause(args, &source, &commit, &cache) {
            print::say(format_args!("the image that was promised is {}: {cause}", args.image.display()));
        }
        return Err(refused.into());
    }
    let written = image.publish()?;
    let known_objects = cache.save(&source);
    if !args.json {
        return print::line(&written.digest);
    }
    print::json(&Report {
        digest: written.digest.to_string(),
        commit: commit.checksum.to_string(),
        promised_digest: commit.image_digest.map(|digest| digest.to_string()),
        repo_mode: source.mode().name(),
        mountable: source.mode().can_back_a_mount(),
        image_verity: match written.verity {
            ImageVerity::Enabled => "enabled",
            ImageVerity::Unsupported => "unsupported",
        },
        image_bytes: written.bytes,
        inodes: converted.inodes,
        objects: converted.objects,
        known_objects,
        hashed_bytes: converted.work.hashed,
        measured_objects: converted.work.measured,
        threads: args.commit.threads().get(),
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// Why the image isn't the one that was promised, if that is the one that was to be replaced.
fn cause(args: &ConvertArgs, source: &Source, commit: &Commit, cache: &UsedCache) -> Option<String> {
    let old = Side::file(&args.image).ok().filter(|old| old.traits.digest == commit.image_digest)?;
    let new = Side::commit(source, commit, args.commit.threads(), cache, &mut ()).ok()?;
    Some(look::explain(&look::diff(&old, &new), old.traits, new.traits))
}

//! `ostree-seal mkimage`: write the image that a dump describes.

use std::fs::File;
use std::io::{self, BufReader, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use clap::Args;
use fn_error_context::context;
use serde::Serialize;

use super::commit::all_threads;
use super::print;
use crate::dump;
use crate::erofs::{self, Plan, Versions};
use crate::output::{self, ImageVerity};
use crate::tree::Tree;

/// Write the composefs image that a dump describes
///
/// The dump is composefs-dump(5) text: what `ostree-seal dump` and `composefs-info dump` print. The image is byte for
/// byte what `mkcomposefs --from-file` makes of it. Prints the image's fs-verity digest.
///
/// Nothing half-written ever has the name IMAGE. Where the file system has fs-verity, it is enabled on the image.
#[derive(Debug, Args)]
pub(super) struct MkImageArgs {
    /// File to read the dump from, or - for stdin
    #[arg(long, value_name = "FILE")]
    from_dump: PathBuf,

    /// Least format version, 0 or 1 [default: 0]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1))]
    min_version: Option<u32>,

    /// Greatest format version, 0 or 1 [default: 1 without --min-version, else 0]
    ///
    /// Version 1 is chosen if it is allowed and the dump has whiteouts.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1))]
    max_version: Option<u32>,

    /// Print a JSON object with the digest and what was done, instead of the digest alone
    #[arg(long)]
    json: bool,

    /// Where to write the image, an older one is replaced; or - for stdout, and then no digest is printed
    image: PathBuf,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    /// fs-verity digest of the image.
    digest: String,
    version: u32,
    /// `enabled` or `unsupported`.
    image_verity: &'static str,
    image_bytes: u64,
    inodes: usize,
    seconds: f64,
}

pub(super) fn run(args: &MkImageArgs) -> anyhow::Result<()> {
    let started = Instant::now();
    if args.image == Path::new("-") {
        return to_stdout(args);
    }
    let (plan, written) = output::write_image(&args.image, |out| {
        let (tree, plan) = plan(args)?;
        erofs::emit(&tree, &plan, all_threads(), out)
            .with_context(|| format!("writing {}", args.image.display()))?;
        Ok(plan)
    })?;
    if !args.json {
        return print::line(&written.digest);
    }
    print::json(&Report {
        digest: written.digest.to_string(),
        version: plan.version(),
        image_verity: match written.verity {
            ImageVerity::Enabled => "enabled",
            ImageVerity::Unsupported => "unsupported",
        },
        image_bytes: written.bytes,
        inodes: plan.inodes(),
        seconds: started.elapsed().as_secs_f64(),
    })
}

fn to_stdout(args: &MkImageArgs) -> anyhow::Result<()> {
    ensure!(!args.json, "the image and --json can't both go to stdout: give IMAGE another name than -");
    ensure!(
        !io::stdout().is_terminal(),
        "an image is no text: redirect stdout, or give IMAGE another name than -"
    );
    let (tree, plan) = plan(args)?;
    print::to_stdout(|mut out| erofs::emit(&tree, &plan, all_threads(), &mut out))
}

fn plan(args: &MkImageArgs) -> anyhow::Result<(Tree, Plan)> {
    let tree = parse(&args.from_dump)?;
    let plan =
        erofs::plan(&tree, versions(args.min_version, args.max_version)).context("planning the image")?;
    Ok((tree, plan))
}

#[context("reading the dump {}", path.display())]
fn parse(path: &Path) -> anyhow::Result<Tree> {
    if path == Path::new("-") {
        return Ok(dump::parse(io::stdin().lock())?);
    }
    Ok(dump::parse(BufReader::with_capacity(256 * 1024, File::open(path)?))?)
}

/// mkcomposefs's rule: the versions that libostree asks for, but if one is given, the other is 0.
fn versions(min: Option<u32>, max: Option<u32>) -> Versions {
    match (min, max) {
        (None, None) => Versions::default(),
        (min, max) => Versions { min: min.unwrap_or(0), max: max.unwrap_or(0) },
    }
}

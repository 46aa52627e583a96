//! `ostree-seal dump`: print what is in an image.

use std::path::{Path, PathBuf};

use clap::Args;
use fn_error_context::context;

use super::{input, print};
use crate::dump;
use crate::erofs;
use crate::tree::Tree;

/// Print what is in a composefs image, as text
///
/// One line a name, in the composefs-dump(5) format of `composefs-info dump`. `ostree-seal mkimage` makes the same image
/// of it again, with --min-version and --max-version of the image. The image need not be trusted.
#[derive(Debug, Args)]
pub(super) struct DumpArgs {
    /// The image, or - for stdin
    image: PathBuf,
}

pub(super) fn run(args: &DumpArgs) -> anyhow::Result<()> {
    let tree = read(&args.image)?;
    print::to_stdout(|mut out| dump::print(&tree, &mut out))
}

#[context("reading the image {}", path.display())]
fn read(path: &Path) -> anyhow::Result<Tree> {
    let image = input::read_or_stdin(path, input::IMAGE_MAX)?;
    Ok(erofs::read(&image)?)
}

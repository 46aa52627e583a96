//! `ostree-seal cat`: the content of a file, after it was checked.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Args;

use super::print;
use super::what::{WhatArgs, bytes_of};
use crate::look::{self, Kind};
use crate::shown::text_of;

/// Print a file of an image, a commit or a deployment, after checking it
///
/// The content is compared with the fs-verity digest that the image has for it, or with the checksum that the commit has.
/// It is read twice: first as a whole to be compared, then again to be printed, and then each block must be what was
/// compared. So nothing of a damaged file is printed, the memory is a hundredth of the file, and a large file takes twice
/// the reading.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 done, 1 could not, 2 usage, 3 refused: a content is not what it must
be; nothing of it was printed.")]
pub(super) struct CatArgs {
    #[command(flatten)]
    what: WhatArgs,

    /// Where the contents of an image's files are: `objects` of the repository. May be repeated
    #[arg(long, value_name = "DIR")]
    objects: Vec<PathBuf>,

    /// The files; symlinks are followed
    #[arg(required = true)]
    path: Vec<OsString>,
}

pub(super) fn run(args: &CatArgs) -> Result<()> {
    let mut view = args.what.open(&args.objects)?;
    for path in &args.path {
        let found = look::find(&mut *view, bytes_of(path), true)?;
        let shown = text_of(&found.path);
        ensure!(
            found.item.kind() == Kind::File,
            "{shown} is a {}, which has no content",
            found.item.kind().name()
        );
        let mut copied = Ok(());
        print::to_stdout(|out| match look::copy(&*view, &found, out) {
            Ok(written) => written,
            Err(error) => {
                copied = Err(error);
                Ok(())
            }
        })?;
        copied?;
    }
    Ok(())
}

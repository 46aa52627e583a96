//! `ostree-seal ls`: the files of an image, a commit or a deployment.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use anyhow::Result;
use clap::Args;

use super::file::{self, FileReport};
use super::print::{self, Line};
use super::what::{WhatArgs, bytes_of};
use crate::look::{self, Filter, Item, Kind, View};

/// List the files of an image, a commit or a deployment
///
/// Nothing is mounted, and nothing takes root. One line a file: mode, owner, group, size (of a device its numbers), path.
/// Of an image only those blocks are read that are needed; it need not be trusted, and isn't checked as a whole: that is
/// what `verify` does.
///
/// For a deployment, it is the image that boots; its commit, as long as it has none.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 done, 1 could not, 2 usage.")]
pub(super) struct LsArgs {
    #[command(flatten)]
    what: WhatArgs,

    /// The directory whose files are listed, or one file; symlinks on the way are followed
    #[arg(default_value = "/")]
    path: OsString,

    /// List all below it, too
    #[arg(short = 'R', long)]
    recursive: bool,

    /// List the directory itself
    #[arg(short = 'd', long, conflicts_with = "recursive")]
    directory: bool,

    /// Only files of these types: f, d, l, c, b, p, s, as in `find`
    #[arg(long = "type", value_name = "TYPES", value_delimiter = ',')]
    types: Vec<char>,

    /// Only files whose name is like this: *, ?, [a-z]
    #[arg(long, value_name = "PATTERN")]
    name: Option<OsString>,

    /// Only files whose whole path is like this; * takes slashes, too
    #[arg(long = "path", value_name = "PATTERN")]
    path_like: Option<OsString>,

    /// Print paths alone, as they are, with a NUL behind each
    #[arg(short = '0', long)]
    null: bool,

    /// Print a JSON object a line
    #[arg(long, conflicts_with = "null")]
    json: bool,
}

pub(super) fn run(args: &LsArgs) -> Result<()> {
    let filter = filter(args)?;
    let mut view = args.what.open(&[])?;
    let mut files = Vec::new();
    list(args, &mut *view, &mut |path, item| {
        if filter.wants(path, item) {
            files.push((path.to_vec(), item.clone()));
        }
        Ok(())
    })?;
    if args.null {
        let text: Vec<u8> =
            files.into_iter().flat_map(|(path, _)| [path.as_slice(), &[0]].concat()).collect();
        return print::to_stdout(|out| out.write_all(&text));
    }
    if args.json {
        return print::json_lines(files.iter().map(|(path, item)| FileReport::new(path, item)));
    }
    print::page(&lines(&files))
}

fn filter(args: &LsArgs) -> Result<Filter> {
    let pattern = |text: &Option<OsString>| text.clone().map(OsString::into_vec);
    Ok(Filter::new(&args.types, pattern(&args.name), pattern(&args.path_like))?)
}

fn list(args: &LsArgs, view: &mut dyn View, visit: &mut dyn FnMut(&[u8], &Item) -> Result<()>) -> Result<()> {
    // As `ls` does it with -l: a symlink is shown, one with a slash behind it is followed.
    let found = look::find(view, bytes_of(&args.path), false)?;
    if args.recursive {
        return look::walk(view, found, visit);
    }
    if args.directory || found.item.kind() != Kind::Directory {
        return visit(&found.path, &found.item);
    }
    let parent = if found.path == b"/" { &[] } else { found.path.as_slice() };
    for (name, item) in view.entries(&found.item)? {
        visit(&[parent, b"/", name.as_slice()].concat(), &item)?;
    }
    Ok(())
}

/// Columns as wide as the widest that they hold.
fn lines(files: &[(Vec<u8>, Item)]) -> Vec<Line> {
    let size = |item: &Item| {
        if file::is_device(item) {
            let [major, minor] = file::device(item.rdev);
            format!("{major}, {minor}")
        } else {
            item.size.to_string()
        }
    };
    let cells = |item: &Item| [item.uid.to_string(), item.gid.to_string(), size(item)];
    let mut widths = [0; 3];
    for (_, item) in files {
        for (width, cell) in widths.iter_mut().zip(cells(item)) {
            *width = (*width).max(cell.len());
        }
    }
    let line = |(path, item): &(Vec<u8>, Item)| {
        let ([uid, gid, size], [a, b, c]) = (cells(item), widths);
        let start = format!("{} {uid:>a$} {gid:>b$} {size:>c$} ", item.permissions());
        file::coloured(Line::new(start), path, item)
    };
    files.iter().map(line).collect()
}

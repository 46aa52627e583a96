//! `ostree-seal stat`: all that is known of a file.

use std::ffi::OsString;

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::file::{self, FileReport};
use super::print::{self, Line};
use super::what::{WhatArgs, bytes_of};
use crate::look::{self, FoundFile};
use crate::shown::text_of;
use crate::tree::Mtime;

/// Show all that an image, a commit or a deployment says of a file
///
/// As stat(1) shows it, with the xattrs, the object that holds the content, and its fs-verity digest. A commit has no times
/// and no link counts, and says no digests.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 done, 1 could not, 2 usage.")]
pub(super) struct StatArgs {
    #[command(flatten)]
    what: WhatArgs,

    /// The files; symlinks on the way are followed
    #[arg(default_value = "/")]
    path: Vec<OsString>,

    /// Show what a symlink leads to
    #[arg(short = 'L', long)]
    dereference: bool,

    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    file: FileReport,
    mtime_nsec: u32,
    xattrs: Vec<Xattr>,
}

#[derive(Debug, Serialize)]
struct Xattr {
    name: String,
    value_hex: String,
}

pub(super) fn run(args: &StatArgs) -> Result<()> {
    let mut view = args.what.open(&[])?;
    let mut found = Vec::new();
    for path in &args.path {
        found.push(look::find(&mut *view, bytes_of(path), args.dereference)?);
    }
    if args.json {
        return print::json_lines(found.iter().map(report));
    }
    print::page(&found.iter().flat_map(lines).collect::<Vec<_>>())
}

fn report(found: &FoundFile) -> Report {
    let FoundFile { path, item } = found;
    let xattr = |name: &[u8], value: &[u8]| Xattr { name: text_of(name), value_hex: file::hex(value) };
    Report {
        file: FileReport::new(path, item),
        mtime_nsec: item.mtime.nsec,
        xattrs: item.xattrs.iter().map(|pair| xattr(&pair.0, &pair.1)).collect(),
    }
}

fn lines(found: &FoundFile) -> Vec<Line> {
    let FoundFile { path, item } = found;
    let mut kind = item.kind().name().to_owned();
    if item.size == 0 && item.kind() == look::Kind::File {
        kind.insert_str("regular ".len(), "empty ");
    }
    let device = if file::is_device(item) {
        let [major, minor] = file::device(item.rdev);
        format!("   Device type: {major},{minor}")
    } else {
        String::new()
    };
    let links = item.nlink.map_or_else(String::new, |nlink| format!("   Links: {nlink}"));
    let mut lines = vec![
        file::coloured(Line::new("  File: "), path, item),
        Line::new(format!("  Size: {:<15} {kind}{device}", item.size)),
        Line::new(format!(
            "Access: ({:04o}/{})  Uid: {}   Gid: {}{links}",
            item.mode & 0o7777,
            item.permissions(),
            item.uid,
            item.gid
        )),
        Line::new(format!("Modify: {}", time(item.mtime))),
    ];
    let (object, digest) = file::object(item);
    lines.extend(object.map(|object| Line::new(format!("Object: {object}"))));
    lines.extend(digest.map(|digest| Line::new(format!("Digest: {digest}"))));
    for pair in &**item.xattrs {
        lines.push(Line::new(format!(" Xattr: {}={}", text_of(&pair.0), file::value(&pair.1))));
    }
    lines
}

/// A time in UTC, as stat(1) shows it.
fn time(at: Mtime) -> String {
    let (days, second) = (at.sec.div_euclid(86_400), at.sec.rem_euclid(86_400));
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{:09} +0000", at.nsec)
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar.
fn date(days: i64) -> (i128, i128, i128) {
    // Counted from 0000-03-01, so that the day that leap years add is the last of its year.
    let days = i128::from(days) + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day_of_month = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next, month, day_of_month)
}

#[cfg(test)]
mod tests {
    use super::time;
    use crate::tree::Mtime;

    #[test]
    fn times_are_those_of_date() {
        for (sec, text) in [
            (0, "1970-01-01 00:00:00"),
            (-1, "1969-12-31 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (1_709_251_199, "2024-02-29 23:59:59"),
            (4_107_542_400, "2100-03-01 00:00:00"),
            (-2_203_891_200, "1900-03-01 00:00:00"),
        ] {
            assert_eq!(time(Mtime { sec, nsec: 7 }), format!("{text}.000000007 +0000"));
        }
        // What an image may say.
        time(Mtime { sec: i64::MIN, nsec: u32::MAX });
        time(Mtime { sec: i64::MAX, nsec: 0 });
    }
}

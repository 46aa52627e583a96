//! `ostree-seal diff`: what differs between two images, commits, deployments, directories or dumps.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::compare::{CompareArgs, Compared, as_diff};
use super::file::value;
use super::print::{self, Line, Style};
use crate::look::{Change, ChangeKind, Diff, What};
use crate::shown::text_of;
use crate::tree::Mtime;

/// Show what differs between two images, commits, deployments or directories
///
/// A line each for what was added (A), removed (D), changed (M, with what changed) or renamed (R: the same content under a
/// new path), and a summary. Only that is compared which both sides keep: times and hard links not with a commit, times not
/// with its image. Of two commits, only those directories are read whose checksums differ.
///
/// The contents that an image names are not read. Those of a directory are, on its own file system only.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes, as those of diff(1): 0 the same, 1 different, 2 trouble.")]
pub(super) struct DiffArgs {
    #[command(flatten)]
    compare: CompareArgs,

    /// Print the summary alone: by kind and by top directory
    #[arg(long)]
    stat: bool,

    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<Vec<ChangeReport>>,
    summary: Summary,
}

#[derive(Debug, Serialize)]
struct ChangeReport {
    path: String,
    /// `added`, `removed`, `changed` or `renamed`.
    change: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    what: Vec<WhatReport>,
}

#[derive(Debug, Serialize)]
struct WhatReport {
    property: String,
    old: Option<String>,
    new: Option<String>,
}

#[derive(Debug, Default, Serialize)]
struct Summary {
    #[serde(flatten)]
    all: Counts,
    /// Objects that the new side has and the old one hasn't, and their bytes before compression.
    fetch_objects: usize,
    fetch_bytes: u64,
    directories: BTreeMap<String, Counts>,
}

#[derive(Debug, Default, Clone, Copy, Serialize)]
struct Counts {
    added: usize,
    removed: usize,
    changed: usize,
    renamed: usize,
}

pub(super) fn run(args: &DiffArgs) -> ExitCode {
    as_diff(differ(args))
}

fn differ(args: &DiffArgs) -> Result<bool> {
    let Compared { diff, .. } = args.compare.compare()?;
    let differs = !diff.changes.is_empty();
    if args.json {
        let changes = (!args.stat).then(|| diff.changes.iter().map(ChangeReport::new).collect());
        print::json(&Report { changes, summary: Summary::of(&diff) })?;
    } else if differs {
        let mut lines = Vec::new();
        if !args.stat {
            lines.extend(diff.changes.iter().map(line));
        }
        lines.extend(Summary::of(&diff).lines(args.stat));
        print::page(&lines)?;
    }
    Ok(differs)
}

fn line(change: &Change) -> Line {
    let path = text_of(&change.path);
    let what = || change.what.iter().map(shown).collect::<Vec<_>>().join("; ");
    match &change.kind {
        ChangeKind::Added => Line::default().then(Style::Good, format!("A    {path}")),
        ChangeKind::Removed => Line::default().then(Style::Bad, format!("D    {path}")),
        ChangeKind::Changed => {
            Line::default().then(Style::Warning, format!("M    {path}: ")).then(Style::Plain, what())
        }
        ChangeKind::Renamed(from) => {
            let line = Line::default().then(Style::Warning, format!("R    {} => {path}", text_of(from)));
            if change.what.is_empty() { line } else { line.then(Style::Plain, format!(": {}", what())) }
        }
    }
}

/// A property that differs, for people.
fn shown(what: &What) -> String {
    let WhatReport { property, old, new } = WhatReport::new(what);
    match (old, new) {
        (None, None) => property,
        (old, new) => {
            let [old, new] = [old, new].map(|value| value.unwrap_or_else(|| "none".to_owned()));
            format!("{property} {old} -> {new}")
        }
    }
}

impl ChangeReport {
    fn new(change: &Change) -> Self {
        let (kind, from) = match &change.kind {
            ChangeKind::Added => ("added", None),
            ChangeKind::Removed => ("removed", None),
            ChangeKind::Changed => ("changed", None),
            ChangeKind::Renamed(from) => ("renamed", Some(text_of(from))),
        };
        let what = change.what.iter().map(WhatReport::new).collect();
        Self { path: text_of(&change.path), change: kind, from, what }
    }
}

impl WhatReport {
    fn new(what: &What) -> Self {
        let (property, old, new) = match what {
            What::Type(old, new) => ("type", format!("{old:06o}"), format!("{new:06o}")),
            What::Mode(old, new) => ("mode", format!("{old:04o}"), format!("{new:04o}")),
            What::Owner(old, new) => {
                ("owner", format!("{}:{}", old.0, old.1), format!("{}:{}", new.0, new.1))
            }
            What::Size(old, new) => ("size", old.to_string(), new.to_string()),
            What::Target(old, new) => ("target", text_of(old), text_of(new)),
            What::Mtime(old, new) => ("time", seconds(*old), seconds(*new)),
            What::Device(old, new) => ("device", old.to_string(), new.to_string()),
            What::Links(old, new) => ("hard links", paths(old), paths(new)),
            What::Content(old, new) => {
                let [old, new] = [old, new].map(|digest| digest.map(|digest| digest.to_string()));
                return Self { property: "content".to_owned(), old, new };
            }
            What::Xattr(name, old, new) => {
                let [old, new] = [old, new].map(|bytes| bytes.as_deref().map(value));
                return Self { property: format!("xattr {}", text_of(name)), old, new };
            }
        };
        Self { property: property.to_owned(), old: Some(old), new: Some(new) }
    }
}

fn seconds(at: Mtime) -> String {
    format!("{}.{:09}", at.sec, at.nsec)
}

fn paths(paths: &[Vec<u8>]) -> String {
    if paths.is_empty() {
        return "none".to_owned();
    }
    paths.iter().map(|path| text_of(path)).collect::<Vec<_>>().join(", ")
}

impl Summary {
    fn of(diff: &Diff) -> Self {
        let mut summary = Self { fetch_objects: diff.objects, fetch_bytes: diff.fetch, ..Self::default() };
        for change in &diff.changes {
            summary.all.count(&change.kind);
            summary.directories.entry(top(&change.path)).or_default().count(&change.kind);
        }
        summary
    }

    fn lines(&self, with_directories: bool) -> Vec<Line> {
        let mut lines = Vec::new();
        if with_directories {
            lines
                .extend(self.directories.iter().map(|(name, counts)| Line::new(format!("{name}: {counts}"))));
        }
        let fetch = format!("; {} objects with {} bytes to fetch", self.fetch_objects, self.fetch_bytes);
        lines.push(Line::default().then(Style::Bold, self.all.to_string()).then(Style::Plain, fetch));
        lines
    }
}

/// `/usr/lib` of `/usr/lib/x/y`, `/etc` of `/etc/x`.
fn top(path: &[u8]) -> String {
    let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').skip(1).collect();
    let depth = if names.first() == Some(&b"usr".as_slice()) { 2 } else { 1 };
    let kept = names[..names.len().saturating_sub(1)].iter().take(depth);
    let top: Vec<u8> = kept.flat_map(|name| [b"/", *name].concat()).collect();
    if top.is_empty() { "/".to_owned() } else { text_of(&top) }
}

impl Counts {
    fn count(&mut self, kind: &ChangeKind) {
        *match kind {
            ChangeKind::Added => &mut self.added,
            ChangeKind::Removed => &mut self.removed,
            ChangeKind::Changed => &mut self.changed,
            ChangeKind::Renamed(_) => &mut self.renamed,
        } += 1;
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let counts = [
            (self.added, "added"),
            (self.removed, "removed"),
            (self.changed, "changed"),
            (self.renamed, "renamed"),
        ];
        let parts: Vec<String> = counts
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{count} {word}"))
            .collect();
        f.write_str(&parts.join(", "))
    }
}

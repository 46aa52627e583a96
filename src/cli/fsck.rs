//! `ostree-seal fsck`: what is damaged, by path.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, ensure};
use clap::Args;
use serde::Serialize;

use super::commit::all_threads;
use super::print::{self, Line, Style};
use super::progress::ObjectBar;
use crate::fsck::{self, CheckOptions, Damage, FsckTarget, Report};
use crate::repo::{LoadProgress as _, Source};
use crate::shown::text_of;
use crate::sysroot::Sysroot;

/// Check deployments or commits for damage, and name the paths that are
///
/// Of each deployment: the image against its note, and each object that it needs: it is there, has fs-verity, and the kernel's
/// digest of it is the image's. What the kernel has measured is what it compares with at each read, so that changed blocks
/// of a sealed file are found when they are read: --content reads everything, and compares each object with its OSTree
/// checksum, too. A deployment without an image is checked as its commit.
///
/// With --repo, the objects of commits: they are there and, with --content, are what was committed.
///
/// --repair replaces a damaged or missing object by that of another repository, whole: what is there stays until the new
/// one is compared with its checksum and on the disk. It replaces regular files, no images and no directories.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes, as those of fsck(8): 0 nothing is wrong, 1 something was and is repaired,
4 something is wrong, 8 could not check; but 2 usage.")]
pub(super) struct FsckArgs {
    /// The system whose deployments are checked
    #[arg(long, value_name = "DIR", default_value = "/", conflicts_with = "repo")]
    sysroot: PathBuf,

    /// Check commits of this repository instead
    #[arg(long, value_name = "DIR")]
    repo: Option<PathBuf>,

    /// Read all contents, and compare each object with its checksum
    #[arg(long)]
    content: bool,

    /// Replace what is damaged
    #[arg(long, requires = "from")]
    repair: bool,

    /// The repository that has it whole, of any mode
    #[arg(long, value_name = "REPO", requires = "repair")]
    from: Option<PathBuf>,

    /// Print a JSON object
    #[arg(long)]
    json: bool,

    /// Commits of the repository [default: all refs]
    #[arg(value_name = "REF", requires = "repo")]
    refs: Vec<String>,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Output {
    checked: Vec<String>,
    objects: usize,
    without_verity: usize,
    repaired: usize,
    images: Vec<ImageProblem>,
    damage: Vec<DamageReport>,
}

#[derive(Debug, Serialize)]
struct ImageProblem {
    of: String,
    problem: String,
}

#[derive(Debug, Serialize)]
struct DamageReport {
    object: String,
    fault: String,
    paths: Vec<PathOf>,
    repaired: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_repaired: Option<String>,
}

#[derive(Debug, Serialize)]
struct PathOf {
    of: String,
    path: String,
}

pub(super) fn run(args: &FsckArgs) -> ExitCode {
    match check(args) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            print::error(&error);
            ExitCode::from(8)
        }
    }
}

fn check(args: &FsckArgs) -> Result<u8> {
    let (source, subjects) = subjects(args)?;
    let from = args.from.as_deref().map(Source::open).transpose()?;
    let (bar, done) = (Mutex::new(ObjectBar::new()), AtomicU64::new(0));
    let progress = |all: usize| {
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        // The others go on meanwhile.
        if let (0, Ok(mut bar)) = (done % 64, bar.try_lock()) {
            bar.objects(done, all as u64);
        }
    };
    let how = CheckOptions {
        threads: all_threads(),
        content: args.content,
        from: from.as_ref(),
        progress: &progress,
    };
    let report = fsck::check(&source, &subjects, &how);
    drop(bar);
    if args.json {
        print::json(&Output::new(&subjects, &report))?;
    } else {
        print::page(&lines(&subjects, &report))?;
    }
    Ok(match (report.is_damaged(), report.summary.repaired) {
        (true, _) => 4,
        (false, 0) => 0,
        (false, _) => 1,
    })
}

fn subjects(args: &FsckArgs) -> Result<(Source, Vec<FsckTarget>)> {
    let mut subjects = Vec::new();
    if let Some(repo) = &args.repo {
        let source = Source::open(repo)?;
        let refs = if args.refs.is_empty() { source.refs()? } else { args.refs.clone() };
        ensure!(!refs.is_empty(), "{} has no refs; name a commit", repo.display());
        for name in refs {
            let commit = source.commit(&name)?;
            subjects.push(fsck::of_commit(&source, &format!("commit {name}"), &commit)?);
        }
        return Ok((source, subjects));
    }
    let sysroot = Sysroot::open(&args.sysroot, false)?;
    let source = Source::open(&sysroot.repository())?;
    for deployment in sysroot.deployments()? {
        let subject = match fsck::of_deployment(&deployment)? {
            Some(subject) => subject,
            None => {
                let commit = source.commit(&deployment.commit)?;
                fsck::of_commit(&source, &format!("deployment {}", deployment.index), &commit)?
            }
        };
        subjects.push(subject);
    }
    ensure!(!subjects.is_empty(), "{} has no deployments", args.sysroot.display());
    Ok((source, subjects))
}

fn lines(subjects: &[FsckTarget], report: &Report) -> Vec<Line> {
    let mut lines = Vec::new();
    for (of, problem) in &report.images {
        lines.push(Line::default().then(Style::Bad, of.clone()).then(Style::Plain, format!(": {problem}")));
    }
    for damage in &report.damage {
        lines.extend(damage_lines(damage));
    }
    let summary = &report.summary;
    if summary.without_verity > 0 {
        let what = format!(
            "{} objects have no fs-verity: `ostree-seal deploy` switches it on",
            summary.without_verity
        );
        lines.push(Line::default().then(Style::Warning, what));
    }
    let names: Vec<_> = subjects.iter().map(|subject| subject.name.as_str()).collect();
    let left = report.damage.len() - summary.repaired;
    let style = if report.is_damaged() { Style::Bad } else { Style::Good };
    let verdict = match (report.is_damaged(), summary.repaired) {
        (false, 0) => "nothing is wrong".to_owned(),
        (false, repaired) => format!("{repaired} objects were damaged and are repaired"),
        (true, repaired) => format!("{left} objects are damaged, {repaired} are repaired"),
    };
    let checked = format!("{}: {} objects: ", names.join(", "), summary.objects);
    lines.push(Line::new(checked).then(style, verdict));
    lines
}

fn damage_lines(damage: &Damage) -> Vec<Line> {
    let (style, what) = match &damage.repair {
        Some(Ok(())) => (Style::Good, "repaired".to_owned()),
        Some(Err(why)) => (Style::Bad, format!("not repaired: {why}")),
        None => (Style::Bad, "damaged".to_owned()),
    };
    let head = Line::default().then(style, what);
    let mut lines =
        vec![head.then(Style::Plain, format!(": object {}.file: {}", damage.object, damage.fault))];
    for (of, paths) in &damage.paths {
        lines.extend(paths.iter().map(|path| Line::new(format!("    {of}: {}", text_of(path)))));
    }
    lines
}

impl Output {
    fn new(subjects: &[FsckTarget], report: &Report) -> Self {
        let image =
            |(of, problem): &(String, String)| ImageProblem { of: of.clone(), problem: problem.clone() };
        Self {
            checked: subjects.iter().map(|subject| subject.name.clone()).collect(),
            objects: report.summary.objects,
            without_verity: report.summary.without_verity,
            repaired: report.summary.repaired,
            images: report.images.iter().map(image).collect(),
            damage: report.damage.iter().map(DamageReport::new).collect(),
        }
    }
}

impl DamageReport {
    fn new(damage: &Damage) -> Self {
        let paths = damage
            .paths
            .iter()
            .flat_map(|(of, paths)| paths.iter().map(|path| PathOf { of: of.clone(), path: text_of(path) }));
        Self {
            object: damage.object.to_string(),
            fault: damage.fault.to_string(),
            paths: paths.collect(),
            repaired: damage.repair == Some(Ok(())),
            not_repaired: damage.repair.clone().and_then(Result::err),
        }
    }
}

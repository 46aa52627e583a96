//! `ostree-seal verity`: fs-verity switched on inside a disk image, or looked at.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::print;
use crate::disk_image::{self, Choice, Located};
use crate::ext4::enable::EnablePlan;
use crate::ext4::examine::{ExamineOptions, Findings, Verity, examine};
use crate::ext4::{self, FileSystem};
use crate::glob::PathPattern;
use crate::offline::compare;
use crate::offline::targets::{self, Targets};
use crate::offline::verdict::{self, Judged};
use crate::refused::Refused;
use crate::status::Verdict;

/// Switch on fs-verity inside a disk image, without root, mount or a kernel that has it
///
/// The image is changed in place: the objects that each deployment's .ostree.cfs names, and that file itself, get the
/// fs-verity metadata that the kernel would write, so that the first boot is sealed. Each object's digest is compared with
/// the one in .ostree.cfs first; where one differs, nothing is written.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 done, 1 could not, 2 usage, 3 refused: a file isn't what the
image was made for; with --check also: something is left to do. Nothing was
written then.")]
pub(super) struct VerityArgs {
    /// The image: an ext4 file system, or a disk with a GPT
    image: PathBuf,

    /// The partition that holds the system, by its label or its number [default: the one with ostree/repo]
    #[arg(long, value_name = "LABEL|N", conflicts_with = "offset")]
    partition: Option<String>,

    /// Where the file system begins in the image
    #[arg(long, value_name = "BYTES")]
    offset: Option<u64>,

    /// Where the system lies in the file system: a directory with ostree/repo and ostree/deploy
    #[arg(long, value_name = "DIR-IN-IMAGE", default_value = "/")]
    sysroot: String,

    /// Files of the system that get fs-verity, too; `*` matches within a name, `**` whole directories
    #[arg(long, value_name = "GLOB")]
    also: Vec<String>,

    /// Change nothing: say which files have fs-verity, and whether it is the one that they should have
    #[arg(long)]
    check: bool,

    /// Print a JSON object
    #[arg(long)]
    json: bool,

    /// Threads that read and hash [default: all processors]
    #[arg(long, value_name = "N", display_order = 100)]
    threads: Option<NonZeroUsize>,
}

/// What was found, and done.
#[derive(Debug, Serialize)]
struct Report {
    /// Where the file system lies in the image.
    offset: u64,
    deployments: Vec<Deployment>,
    /// Files that need fs-verity.
    files: usize,
    /// Those that had it before.
    with_verity: usize,
    /// Those that got it.
    enabled: usize,
    /// How many bytes more are in use.
    bytes_written: u64,
}

#[derive(Debug, Default, Serialize)]
struct Deployment {
    /// Path below the system's root.
    path: String,
    /// With `--check`: as `ostree-seal status` has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    first_boot: Option<FirstBoot>,
}

/// What the first boot will make of a deployment.
#[derive(Debug, Serialize)]
struct FirstBoot {
    /// `sealed`, `refused`, `unsealed`, `foreign` or `unknown`.
    verdict: &'static str,
    reason: Option<String>,
    policy: Option<String>,
    /// Why the policy was read in the tree, or in the initramfs in the tree; nothing if it was read in the one that boots, or not
    /// at all.
    policy_from_tree: Option<String>,
    digest: Option<String>,
    product: Option<String>,
    seal_index: Option<u64>,
    keys: Vec<String>,
    objects: usize,
    objects_with_verity: usize,
}

impl FirstBoot {
    fn new(judged: &Judged) -> Self {
        let claim = match &judged.verdict {
            Verdict::Sealed(claim) => Some(claim),
            _ => None,
        };
        Self {
            verdict: judged.verdict.kind().word(),
            reason: judged.verdict.reason().map(str::to_owned),
            policy: judged.policy.clone(),
            policy_from_tree: judged.policy_from_tree.clone(),
            digest: claim.map(|claim| claim.digest.to_string()),
            product: claim.and_then(|claim| claim.product.as_ref()).map(ToString::to_string),
            seal_index: claim.and_then(|claim| claim.index),
            keys: claim.iter().flat_map(|claim| &claim.signers).map(ToString::to_string).collect(),
            objects: judged.objects.0,
            objects_with_verity: judged.objects.1,
        }
    }
}

pub(super) fn run(args: &VerityArgs) -> Result<()> {
    let also: Vec<PathPattern> = args.also.iter().map(|glob| pattern(glob)).collect::<Result<_>>()?;
    let mut options = OpenOptions::new();
    let file = options.read(true).write(!args.check).open(&args.image).with_context(|| shown(args))?;
    work(args, &file, &also).with_context(|| shown(args))
}

fn work(args: &VerityArgs, file: &File, also: &[PathPattern]) -> Result<()> {
    let choice = match (&args.partition, args.offset) {
        (Some(partition), _) => Choice::Partition(partition.clone()),
        (None, Some(offset)) => Choice::Offset(offset),
        (None, None) => Choice::Find,
    };
    let located = locate(args, file, &choice)?;
    if located.from_backup {
        print::say(
            "warning: the disk's first partition table is damaged, so the copy at its end was read; `sgdisk --verify` says more",
        );
    }
    let mut system = FileSystem::open(file, located.extent.offset, located.extent.len)?;
    let targets = targets::find(&system, &args.sysroot, also)?;
    let findings = measure(args, &system, &targets).map_err(|error| named(error, &targets))?;
    compare::require(&findings.files, &targets)?;
    let with_verity = findings.files.iter().filter(|file| file.verity == Verity::Right).count();
    let deployment = |path: &str| Deployment { path: path.to_owned(), first_boot: None };
    let mut report = Report {
        offset: located.extent.offset,
        deployments: targets.deployments.iter().map(|found| deployment(&found.path)).collect(),
        files: targets.files.len(),
        with_verity,
        enabled: 0,
        bytes_written: 0,
    };
    if args.check {
        let judged = verdict::judge(&system, &targets, &findings.files)?;
        for (deployment, judged) in report.deployments.iter_mut().zip(&judged) {
            deployment.first_boot = Some(FirstBoot::new(judged));
        }
        show(args, &report)?;
        return require_done(&system, &report);
    }
    let plan = EnablePlan::new(&mut system, findings).map_err(|error| named(error, &targets))?;
    (report.enabled, report.bytes_written) = (plan.files(), plan.bytes());
    plan.write()?;
    show(args, &report)
}

/// Finds the file system that holds the system. One that can't be read, such as a small `/boot` of its own with other blocks,
/// isn't the one, and is told of where none is.
fn locate(args: &VerityArgs, file: &File, choice: &Choice) -> Result<Located> {
    let mut unread = None;
    let located = disk_image::locate(file, choice, |extent| {
        let system = FileSystem::open(file, extent.offset, extent.len);
        match system
            .map_err(anyhow::Error::new)
            .and_then(|system| targets::has_repository(&system, &args.sysroot))
        {
            Ok(holds) => Ok(holds),
            Err(error) => {
                unread.get_or_insert(error);
                Ok(false)
            }
        }
    });
    match (located, unread) {
        (Err(error), Some(unread)) => Err(error.context(format!("{unread:#}"))),
        (located, _) => located,
    }
}

fn shown(args: &VerityArgs) -> String {
    args.image.display().to_string()
}

fn pattern(glob: &str) -> Result<PathPattern> {
    PathPattern::new(glob).with_context(|| format!("--also={glob} is not a pattern"))
}

/// The path instead of the number.
fn named(error: ext4::Error, targets: &Targets) -> anyhow::Error {
    let path = error.inode().and_then(|inode| targets.files.get(&inode)).map(|target| target.path.clone());
    let error = anyhow::Error::new(error);
    match path {
        Some(path) => error.context(path),
        None => error,
    }
}

fn measure(args: &VerityArgs, system: &FileSystem<'_>, targets: &Targets) -> Result<Findings, ext4::Error> {
    let inodes: Vec<u32> = targets.files.keys().copied().collect();
    let mut total = 0_u64;
    for inode in &inodes {
        total = total.saturating_add(system.inode(*inode)?.size());
    }
    let bar = bar(total);
    let threads =
        args.threads.unwrap_or_else(|| std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN));
    let findings = examine(system, &inodes, ExamineOptions { threads, progress: &|bytes| bar.inc(bytes) });
    bar.finish_and_clear();
    findings
}

/// A bar with rate and estimate, if stderr is a terminal.
fn bar(total: u64) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    // The template is fixed, so the fallback is never seen.
    let style = ProgressStyle::with_template(
        "{wide_bar} {binary_bytes}/{binary_total_bytes}, {binary_bytes_per_sec}, {eta} left",
    )
    .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(total).with_style(style)
}

/// What `--check` is asked for.
fn require_done(system: &FileSystem<'_>, report: &Report) -> Result<()> {
    if !system.is_clean() {
        let why = "the ext4 file system is not clean; make the image again, or run `e2fsck -fy` on it";
        return Err(Refused(why.to_owned()).into());
    }
    let without = report.files - report.with_verity;
    if without > 0 || !system.has_verity() {
        return Err(Refused(format!(
            "{without} of {} files have no fs-verity yet; run `ostree-seal verity` without --check",
            report.files
        ))
        .into());
    }
    let is_sealed =
        |found: &Deployment| found.first_boot.as_ref().is_some_and(|boot| boot.verdict == "sealed");
    match report.deployments.iter().find(|found| !is_sealed(found)) {
        None => Ok(()),
        Some(found) => {
            let why = found.first_boot.as_ref().and_then(|boot| boot.reason.as_deref()).unwrap_or_default();
            Err(Refused(format!("{} would not boot sealed: {why}", found.path)).into())
        }
    }
}

fn show(args: &VerityArgs, report: &Report) -> Result<()> {
    if args.json {
        return print::json(report);
    }
    for Deployment { path, first_boot } in &report.deployments {
        if let Some(boot) = first_boot {
            print::line(&sentence(path, boot))?;
        }
    }
    let Report { files, with_verity, enabled, bytes_written, .. } = report;
    print::line(&if args.check {
        format!(
            "{with_verity} of {files} files have fs-verity, with the tree and the digest that they should have"
        )
    } else {
        format!(
            "fs-verity enabled on {enabled} files, {with_verity} had it; {bytes_written} bytes more are in use"
        )
    })
}

fn sentence(path: &str, boot: &FirstBoot) -> String {
    let keys = boot.keys.join(" and ");
    let why = match (&boot.reason, boot.verdict) {
        (Some(reason), _) => format!(", {reason}"),
        (None, "sealed") => format!(" by {keys}"),
        (None, _) => String::new(),
    };
    let policy = boot.policy.as_ref().map(|policy| format!("; policy in {policy}")).unwrap_or_default();
    let tree = boot.policy_from_tree.as_ref();
    let tree = tree.map(|why| format!(", which is in the tree: {why}")).unwrap_or_default();
    let FirstBoot { verdict, objects, objects_with_verity, .. } = boot;
    format!("{path}: {verdict}{why}; {objects_with_verity} of {objects} objects have fs-verity{policy}{tree}")
}

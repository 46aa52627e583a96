//! `ostree-seal deploy`: make deployments bootable under their policy, or refuse them before the reboot.

use std::io::{self, IsTerminal};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::trust::ChangeReport;
use super::{input, print};
use crate::continuity::allowed::Allowed;
use crate::continuity::changes::TrustChange;
use crate::continuity::judge::Continuity;
use crate::continuity::running::{RUN, RunningSystem};
use crate::deploy::directory::Placed;
use crate::deploy::{
    self, Outcome, Progress, Request, Sealed, Step, VerityTiming, ahead, record, staged, verity,
};
use crate::initrd::policy::Origin;
use crate::refused;
use crate::repo::Checksum;
use crate::sysroot::{self, Deployment, Sysroot, SysrootLock, writable};

/// Make a deployment bootable under its policy, or refuse it before the reboot
///
/// Checks what was signed for the deployment's commit, enables fs-verity on its objects, puts image and note into the
/// deployment, and then asks the initramfs's own check with the policy and keys of that deployment. A deployment that
/// isn't meant to be sealed is left as it is. Killed at any point, the next run finishes the job.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 done, 1 could not, 2 usage, 3 refused: the deployment would not
boot. A staged deployment that is refused is withdrawn.")]
pub(super) struct DeployArgs {
    /// The system: a directory with ostree/repo and ostree/deploy
    #[arg(long, value_name = "DIR", default_value = "/")]
    sysroot: PathBuf,

    /// All deployments
    #[arg(long, conflicts_with_all = ["pending", "index", "note"])]
    all: bool,

    /// The deployment that is staged, or deployed ahead of the running one; done if there is none
    #[arg(long, conflicts_with = "index")]
    pending: bool,

    /// A note from elsewhere than the commit's detached metadata
    #[arg(long, value_name = "FILE")]
    note: Option<PathBuf>,

    /// Place image and note without fs-verity, for a build host that has none; `verity` on the disk image finishes the job, or `deploy` on the device
    #[arg(long)]
    defer_verity: bool,

    /// Compare each object's content with its checksum first
    #[arg(long)]
    fsck: bool,

    /// Let a staged deployment pass that boots without any check, although the running system is sealed
    #[arg(long, requires = "pending")]
    allow_unsealed: bool,

    /// Let this commit become the default although the keys of the running system don't vouch for it; until the reboot
    #[arg(long, requires = "pending", value_name = "COMMIT", value_parser = checksum)]
    allow_untrusted: Option<Checksum>,

    /// Let this commit become the default although it has a lower index than what runs; until the reboot
    #[arg(long, requires = "pending", value_name = "COMMIT", value_parser = checksum)]
    allow_downgrade: Option<Checksum>,

    /// Print a JSON array with one object a deployment
    #[arg(long)]
    json: bool,

    /// Threads that read and hash [default: all processors]
    #[arg(long, value_name = "N", display_order = 100)]
    threads: Option<NonZeroUsize>,

    /// Files whose fs-verity is enabled at the same time
    #[arg(long, value_name = "N", display_order = 100, default_value_t = verity::DEFAULT_QUEUE_DEPTH)]
    queue_depth: NonZeroUsize,

    /// Which deployment, as `ostree-seal status` counts them; 0 is what boots next
    #[arg(default_value_t = 0)]
    index: usize,
}

fn checksum(text: &str) -> Result<Checksum, &'static str> {
    Checksum::from_hex(text).ok_or("expected the 64 hex digits of a commit")
}

pub(super) fn run(args: &DeployArgs) -> Result<()> {
    let own_namespace = sysroot::booted_with_ostree() && rustix::process::geteuid().is_root();
    if own_namespace {
        writable::enter()?;
    }
    let note = args.note.as_ref().map(|path| {
        input::read(path, input::SMALL_MAX).with_context(|| format!("reading the note {}", path.display()))
    });
    let sysroot = Sysroot::open(&args.sysroot, own_namespace)?;
    let lock =
        sysroot.lock(|| print::say("waiting for another program that holds the lock of the sysroot"))?;
    let bar = Bar::new();
    let running = RunningSystem::of(&sysroot);
    let allowed = allow(args, &sysroot)?;
    let request = Request {
        note: note.transpose()?,
        verity: if args.defer_verity { VerityTiming::Deferred } else { VerityTiming::Now },
        fsck: args.fsck,
        threads: args
            .threads
            .unwrap_or_else(|| std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)),
        queue_depth: args.queue_depth,
        running: &running,
        allowed: &allowed,
        progress: &bar,
    };
    let (mut reports, mut errors) = (Vec::new(), Vec::new());
    for (place, deployment) in choose(args, &sysroot)?.iter().enumerate() {
        let allow_unsealed = args.allow_unsealed && place == 0;
        match seal(args, &lock, deployment, &request, allow_unsealed) {
            Ok(outcome) => reports.push(Report::new(deployment, &outcome, bar.take_changes())),
            Err(error) => errors.push(error),
        }
    }
    show(args, &reports)?;
    last_of(errors)
}

/// What an administrator lets through in this boot, now or in an earlier run. The journal hears of it.
fn allow(args: &DeployArgs, sysroot: &Sysroot) -> Result<Allowed> {
    let now = Allowed { untrusted: args.allow_untrusted, downgrade: args.allow_downgrade };
    if !sysroot.is_booted() {
        ensure!(
            now == Allowed::default(),
            "no system runs from {}, so there is nothing to be let through; leave the option out",
            sysroot.path().display()
        );
        return Ok(now);
    }
    now.remember(Path::new(RUN))?;
    for (commit, although) in [
        (now.untrusted, "the running system's keys need not vouch for it"),
        (now.downgrade, "its index may be lower than that of the running system"),
    ] {
        if let Some(commit) = commit {
            print::tell_journal(format_args!(
                "an administrator lets commit {commit} become the default until the reboot: {although}"
            ));
        }
    }
    Allowed::read(Path::new(RUN))
}

/// One error for all: a refusal if there is one, since it decides the exit code. The others are told here.
fn last_of(mut errors: Vec<anyhow::Error>) -> Result<()> {
    errors.sort_by_key(refused::is_refusal);
    let last = errors.pop();
    for error in errors {
        print::error(&error);
    }
    last.map_or(Ok(()), Err)
}

fn choose(args: &DeployArgs, sysroot: &Sysroot) -> Result<Vec<Deployment>> {
    if args.pending {
        return sysroot.pending();
    }
    let mut deployments = sysroot.deployments()?;
    if args.all {
        return Ok(deployments);
    }
    let count = deployments.len();
    if args.index >= count {
        bail!(
            "there is no deployment {} in {}, which has {count}; `ostree-seal status` lists them",
            args.index,
            sysroot.path().display()
        );
    }
    Ok(vec![deployments.swap_remove(args.index)])
}

fn seal(
    args: &DeployArgs,
    lock: &SysrootLock<'_>,
    deployment: &Deployment,
    request: &Request<'_>,
    allow_unsealed: bool,
) -> Result<Outcome> {
    if deployment.staged {
        staged::seal_staged(lock, deployment, request, allow_unsealed)
    } else if args.pending {
        ahead::seal_ahead(lock, deployment, request, allow_unsealed)
    } else {
        let outcome = deploy::seal(lock, deployment, request)?;
        // What boots next has passed: an update that didn't is no longer what anybody should hear of.
        if deployment.index == 0 && matches!(&outcome, Outcome::Sealed(sealed) if sealed.objects.is_some()) {
            record::forget_if_booted(lock, request.progress);
        }
        Ok(outcome)
    }
}

/// What became of one deployment.
#[derive(Debug, Serialize)]
struct Report {
    index: usize,
    stateroot: String,
    commit: String,
    serial: i32,
    version: Option<String>,
    outcome: OutcomeKind,
    /// What its policy changes against the one that runs; nothing if none runs.
    trust_changes: Vec<ChangeReport>,
    /// Why the policy was read in the tree; nothing if it was read in the initramfs, or if there is none.
    policy_from_tree: Option<String>,
    #[serde(flatten)]
    seal: Option<SealReport>,
}

/// What became of it: a word for programs.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "kebab-case")]
enum OutcomeKind {
    Sealed,
    Deferred,
    Unsealed,
    Foreign,
}

#[derive(Debug, Serialize)]
struct SealReport {
    /// Why the running system lets it come: `vouched`, `was-there`, `allowed` or `nobody-to-ask`.
    continuity: &'static str,
    /// What an administrator has let through.
    allowed: Option<String>,
    digest: String,
    product: Option<String>,
    seal_index: Option<u64>,
    evidence: Option<String>,
    keys: Vec<String>,
    /// Signatures that did not count, and why.
    skipped: Vec<String>,
    /// Where the policy was read.
    policy: String,
    /// `kept` or `written`.
    image: &'static str,
    note: Option<&'static str>,
    /// Objects that got fs-verity in this run, and those that had it.
    objects_enabled: Option<usize>,
    objects_before: Option<usize>,
}

impl Report {
    fn new(deployment: &Deployment, outcome: &Outcome, changes: Vec<TrustChange>) -> Self {
        let origin = match outcome {
            Outcome::Sealed(sealed) => Some(&sealed.origin),
            Outcome::Unsealed(origin) => Some(origin),
            Outcome::Foreign => None,
        };
        let policy_from_tree = origin.and_then(Origin::why_tree).map(str::to_owned);
        let (outcome, seal) = match outcome {
            Outcome::Sealed(sealed) if sealed.objects.is_none() => {
                (OutcomeKind::Deferred, Some(SealReport::new(sealed)))
            }
            Outcome::Sealed(sealed) => (OutcomeKind::Sealed, Some(SealReport::new(sealed))),
            Outcome::Unsealed(_) => (OutcomeKind::Unsealed, None),
            Outcome::Foreign => (OutcomeKind::Foreign, None),
        };
        Self {
            index: deployment.index,
            stateroot: deployment.stateroot.clone(),
            commit: deployment.commit.clone(),
            serial: deployment.serial,
            version: deployment.version.clone(),
            outcome,
            trust_changes: changes.iter().map(ChangeReport::from).collect(),
            policy_from_tree,
            seal,
        }
    }
}

impl SealReport {
    fn new(sealed: &Sealed) -> Self {
        let claim = &sealed.claim;
        Self {
            continuity: sealed.continuity.word(),
            allowed: match &sealed.continuity {
                Continuity::Allowed(objection) => Some(objection.to_string()),
                Continuity::NobodyToAsk | Continuity::WasThere | Continuity::Vouched(_) => None,
            },
            digest: claim.digest.to_string(),
            product: claim.product.as_ref().map(ToString::to_string),
            seal_index: claim.index,
            evidence: Some(claim.kind.to_string()),
            keys: claim.signers.iter().map(ToString::to_string).collect(),
            skipped: claim.skipped.iter().map(ToString::to_string).collect(),
            policy: sealed.origin.path().display().to_string(),
            image: word(sealed.image),
            note: sealed.note.map(word),
            objects_enabled: sealed.objects.map(|objects| objects.enabled()),
            objects_before: sealed.objects.map(|objects| objects.before()),
        }
    }
}

fn word(placed: Placed) -> &'static str {
    match placed {
        Placed::Kept => "kept",
        Placed::Written => "written",
    }
}

fn show(args: &DeployArgs, reports: &[Report]) -> Result<()> {
    if args.json {
        return print::json(&reports);
    }
    if reports.is_empty() && args.pending {
        print::say("there is no pending deployment: nothing to do");
    }
    for report in reports {
        print::line(&sentence(report))?;
    }
    Ok(())
}

fn sentence(report: &Report) -> String {
    let version = report.version.as_deref().map(|version| format!(" {version}")).unwrap_or_default();
    let head = format!("{} {}{version} {}", report.index, report.stateroot, &report.commit[..12]);
    let tree = report.policy_from_tree.as_ref();
    let tree = tree.map(|why| format!("; its policy was read in the tree: {why}")).unwrap_or_default();
    let Some(seal) = &report.seal else {
        return match report.outcome {
            OutcomeKind::Unsealed => {
                format!("{head}: left as it is, its policy says `mode = unsealed`{tree}")
            }
            OutcomeKind::Foreign | OutcomeKind::Sealed | OutcomeKind::Deferred => {
                format!("{head}: left as it is, it has no policy")
            }
        };
    };
    let index = seal.seal_index.map(|index| format!(" index {index},")).unwrap_or_default();
    let keys = seal.keys.join(" and ");
    let tree = match &seal.allowed {
        Some(objection) => format!("{tree}; LET THROUGH BY AN ADMINISTRATOR, although {objection}"),
        None => tree,
    };
    match (seal.objects_enabled, seal.objects_before) {
        (Some(enabled), Some(before)) => format!(
            "{head}: sealed,{index} signed by {keys}; image {}, fs-verity enabled on {enabled} objects, {before} had it{tree}",
            seal.image
        ),
        _ => format!(
            "{head}: deferred,{index} signed by {keys}; image {}; run `ostree-seal verity` on the disk image that is made of \
             this, or `ostree-seal deploy` where there is fs-verity{tree}",
            seal.image
        ),
    }
}

/// A bar with an estimate, if stderr is a terminal.
struct Bar {
    terminal: bool,
    bar: Mutex<Option<ProgressBar>>,
    changes: Mutex<Vec<TrustChange>>,
}

impl Bar {
    fn new() -> Self {
        Self { terminal: io::stderr().is_terminal(), bar: Mutex::new(None), changes: Mutex::new(Vec::new()) }
    }

    /// The changes of trust that were told last.
    fn take_changes(&self) -> Vec<TrustChange> {
        std::mem::take(&mut self.changes.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }

    fn with(&self, action: impl FnOnce(&mut Option<ProgressBar>)) {
        action(&mut self.bar.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
    }
}

impl Progress for Bar {
    fn begin(&self, step: Step, objects: usize) {
        if !self.terminal {
            return;
        }
        let doing = match step {
            Step::Fsck => "checking contents",
            Step::Enable => "enabling fs-verity",
            Step::Convert => "making the image",
            Step::Measure => "measuring objects",
        };
        // The template is fixed, so the fallback is never seen.
        let style = ProgressStyle::with_template(COUNTED).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::new(objects as u64).with_style(style).with_message(doing);
        self.with(|current| *current = Some(bar));
    }

    fn object(&self) {
        if self.terminal {
            self.with(|bar| bar.iter().for_each(|bar| bar.inc(1)));
        }
    }

    fn objects(&self, done: u64, known: u64) {
        if self.terminal {
            self.with(|bar| {
                bar.iter().for_each(|bar| {
                    bar.set_length(known);
                    bar.set_position(done);
                });
            });
        }
    }

    fn changes(&self, changes: Vec<TrustChange>) {
        for change in &changes {
            print::say(format_args!("trust: {change}"));
        }
        *self.changes.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = changes;
    }

    fn warn(&self, sentence: &str) {
        print::say(format_args!("warning: {sentence}"));
    }

    fn end(&self) {
        self.with(|bar| {
            if let Some(bar) = bar.take() {
                bar.finish_and_clear();
            }
        });
    }
}

const COUNTED: &str = "{msg} {wide_bar} {human_pos}/{human_len}, {eta} left";

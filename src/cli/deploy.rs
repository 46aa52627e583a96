//! `ostree-seal deploy`: make deployments bootable under their policy, or refuse them before the reboot.

use std::io::{self, IsTerminal};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Mutex;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::{input, print};
use crate::deploy::directory::Placed;
use crate::deploy::{self, Outcome, Progress, Request, Sealed, Step, Verity, record, staged, verity};
use crate::initrd::policy::Origin;
use crate::refused;
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

    /// Place image and note without fs-verity, for a build host that has none; `deploy` on the device finishes the job
    #[arg(long)]
    defer_verity: bool,

    /// Compare each object's content with its checksum first
    #[arg(long)]
    fsck: bool,

    /// Let a staged deployment pass that boots without any check, although the running system is sealed
    #[arg(long, requires = "pending")]
    allow_unsealed: bool,

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
    let request = Request {
        note: note.transpose()?,
        verity: if args.defer_verity { Verity::Deferred } else { Verity::Now },
        fsck: args.fsck,
        threads: args
            .threads
            .unwrap_or_else(|| std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)),
        queue_depth: args.queue_depth,
        progress: &bar,
    };
    let (mut reports, mut errors) = (Vec::new(), Vec::new());
    for deployment in choose(args, &sysroot)? {
        match seal(args, &lock, &deployment, &request) {
            Ok(outcome) => reports.push(Report::new(&deployment, &outcome)),
            Err(error) => errors.push(error),
        }
    }
    show(args, &reports)?;
    last_of(errors)
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
        return Ok(sysroot.pending()?.into_iter().collect());
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
) -> Result<Outcome> {
    if deployment.staged {
        staged::seal_staged(lock, deployment, request, args.allow_unsealed)
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
    fn new(deployment: &Deployment, outcome: &Outcome) -> Self {
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
            policy_from_tree,
            seal,
        }
    }
}

impl SealReport {
    fn new(sealed: &Sealed) -> Self {
        let claim = &sealed.claim;
        Self {
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
    match (seal.objects_enabled, seal.objects_before) {
        (Some(enabled), Some(before)) => format!(
            "{head}: sealed,{index} signed by {keys}; image {}, fs-verity enabled on {enabled} objects, {before} had it{tree}",
            seal.image
        ),
        _ => format!(
            "{head}: deferred,{index} signed by {keys}; image {}; run `ostree-seal deploy` where there is fs-verity{tree}",
            seal.image
        ),
    }
}

/// A bar with an estimate, if stderr is a terminal.
struct Bar {
    terminal: bool,
    bar: Mutex<Option<ProgressBar>>,
}

impl Bar {
    fn new() -> Self {
        Self { terminal: io::stderr().is_terminal(), bar: Mutex::new(None) }
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

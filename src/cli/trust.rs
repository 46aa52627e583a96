//! `ostree-seal trust`: what a system goes by, and what another one would change.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use ostree_seal_root::check::policy as files;
use ostree_seal_root::read::Mounted;
use ostree_seal_trust::evidence::EvidenceKind;
use ostree_seal_trust::policy::{Policy, SealedPolicy};
use serde::Serialize;

use super::compare::as_diff;
use super::print::{self, Line, Style};
use crate::continuity::changes::{self, Demands, Effect, TrustChange};
use crate::continuity::running::RunningSystem;
use crate::initrd::bootable::{self, Candidates};
use crate::initrd::policy::{self, Origin, Trust};
use crate::refused::{self, Refused};
use crate::sysroot::Sysroot;

/// Show which keys and which policy something goes by, or what another one changes
#[derive(Debug, Args)]
#[command(after_help = WHAT)]
pub(super) struct TrustArgs {
    #[command(subcommand)]
    command: TrustCommand,
}

#[derive(Debug, Subcommand)]
enum TrustCommand {
    Show(ShowArgs),
    Diff(DiffArgs),
}

/// Show a policy and its keys, as the initramfs understands them
#[derive(Debug, Args)]
#[command(after_help = format!("{WHAT}\n\nExit codes: 0 done, 1 could not, 2 usage, 3 refused: it can't be gone by."))]
struct ShowArgs {
    /// What goes by it
    #[arg(value_name = "WHAT")]
    what: String,

    #[command(flatten)]
    how: HowArgs,
}

/// Compare two policies with their keys, as diff does
#[derive(Debug, Args)]
#[command(after_help = format!(
    "{WHAT}\n\nExit codes as those of diff(1), and of no other command here: 0 the same,\n1 different, 2 trouble or usage."
))]
struct DiffArgs {
    /// What goes by the one
    #[arg(value_name = "A")]
    from: String,

    /// What goes by the other
    #[arg(value_name = "B")]
    to: String,

    #[command(flatten)]
    how: HowArgs,
}

#[derive(Debug, Args)]
struct HowArgs {
    /// The system whose deployments are counted
    #[arg(long, value_name = "DIR", default_value = "/")]
    sysroot: PathBuf,

    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

const WHAT: &str = "\
WHAT, A and B: a directory with policy.conf; a directory with a system's tree,
such as a deployment; an initramfs image; a unified kernel image; the number of
a deployment, as `ostree-seal status` counts them; or `running`.";

/// Runs it. The exit codes of `diff` are its own.
pub(super) fn run(args: &TrustArgs) -> ExitCode {
    match &args.command {
        TrustCommand::Show(args) => match show(args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                print::error(&error);
                ExitCode::from(if refused::is_refusal(&error) { 3 } else { 1 })
            }
        },
        TrustCommand::Diff(args) => as_diff(diff(args).map(|changes| !changes.is_empty())),
    }
}

/// One thing that goes by a policy.
struct Asked {
    trust: Option<Trust>,
    running: Option<RunningSystem>,
}

impl Asked {
    fn demands(&self) -> Result<Demands<'_>> {
        match (&self.trust, &self.running) {
            (Some(trust), _) => Ok(trust.into()),
            (None, Some(RunningSystem::Sealed(trust))) => Ok(Demands::Sealed(trust.policy())),
            (None, Some(RunningSystem::Unsealed)) => Ok(Demands::Unsealed),
            (None, Some(RunningSystem::Unknown(why))) => Err(Refused(why.clone()).into()),
            (None, Some(RunningSystem::NotHere) | None) => {
                anyhow::bail!("the running system was not booted by ostree-seal-root from this sysroot")
            }
        }
    }

    fn policy_file(&self) -> Option<String> {
        let origin = match &self.trust {
            Some(Trust::Sealed { origin, .. } | Trust::Unsealed(origin)) => origin,
            Some(Trust::Foreign) => return None,
            None => {
                let trust = self.running.as_ref().and_then(RunningSystem::trust);
                return trust.map(|trust| trust.policy().path().to_owned());
            }
        };
        Some(origin.path().display().to_string())
    }

    fn why_tree(&self) -> Option<&str> {
        match &self.trust {
            Some(Trust::Sealed { origin, .. } | Trust::Unsealed(origin)) => origin.why_tree(),
            Some(Trust::Foreign) | None => None,
        }
    }
}

fn subject(what: &str, how: &HowArgs) -> Result<Asked> {
    let of_trust = |trust| Asked { trust: Some(trust), running: None };
    if what == "running" {
        let sysroot = Sysroot::open(&how.sysroot, false)?;
        return Ok(Asked { trust: None, running: Some(RunningSystem::of(&sysroot)) });
    }
    if let Ok(index) = what.parse() {
        return deployment(index, &how.sysroot).map(of_trust);
    }
    let path = Path::new(what);
    let kind = std::fs::metadata(path).with_context(|| format!("looking at {what}"))?;
    if kind.is_dir() { directory(path) } else { image(path) }.map(of_trust)
}

fn deployment(index: usize, sysroot: &Path) -> Result<Trust> {
    let sysroot = Sysroot::open(sysroot, false)?;
    let mut deployments = sysroot.deployments()?.into_iter();
    let deployment = deployments.find(|deployment| deployment.index == index);
    let deployment = deployment.with_context(|| {
        format!(
            "there is no deployment {index} in {}; for a file of that name, `./{index}`",
            sysroot.path().display()
        )
    })?;
    the_one(&bootable::of(&sysroot, &deployment), &deployment.directory)
}

/// What is asked where only one initramfs can ask.
fn the_one(candidates: &Candidates, directory: &Path) -> Result<Trust> {
    match candidates.ambiguity() {
        None => policy::of_deployment(directory, candidates.first()),
        Some(ambiguity) => bail!("{ambiguity}; name one of these files instead"),
    }
}

fn directory(path: &Path) -> Result<Trust> {
    let conf = path.join("policy.conf");
    if conf.symlink_metadata().is_err() {
        return the_one(&bootable::in_tree(path), path);
    }
    let origin = Origin::Tree(conf, "it is a directory with a policy".to_owned());
    Ok(match Policy::parse(&files::read(&Mounted, path)?)? {
        Policy::Sealed(policy) => Trust::Sealed { policy: Box::new(policy), origin },
        Policy::Unsealed(_) => Trust::Unsealed(origin),
    })
}

/// A file that isn't a directory has no tree beside the initramfs.
fn image(path: &Path) -> Result<Trust> {
    match bootable::in_file(path)? {
        policy::Bootable::Unreadable(_, error) => Err(error),
        bootable => policy::of_deployment(path, &bootable),
    }
}

#[derive(Debug, Serialize)]
struct Shown {
    /// `sealed`, `unsealed` or `no policy`.
    mode: &'static str,
    /// Where it was read.
    policy: Option<String>,
    /// Why it was read in a tree, if it was.
    policy_from_tree: Option<String>,
    product: Option<String>,
    threshold: Option<usize>,
    minimum_index: Option<u64>,
    accept: Vec<String>,
    on_refusal: Option<String>,
    /// The PCR of the TPM that a boot is measured into, and whether it must be.
    measure: Option<String>,
    trusted: Vec<String>,
    revoked: Vec<String>,
    /// Key files that don't count, and why.
    skipped: Vec<String>,
}

impl Shown {
    fn new(subject: &Asked) -> Result<Self> {
        let demands = subject.demands()?;
        let sealed = match demands {
            Demands::Sealed(policy) => Some(policy),
            Demands::Unsealed | Demands::Nothing => None,
        };
        let texts = |list: fn(&SealedPolicy) -> Vec<String>| sealed.map(list).unwrap_or_default();
        Ok(Self {
            mode: demands.word(),
            policy: subject.policy_file(),
            policy_from_tree: subject.why_tree().map(str::to_owned),
            product: sealed.and_then(SealedPolicy::product).map(ToString::to_string),
            threshold: sealed.map(SealedPolicy::threshold),
            minimum_index: sealed.map(SealedPolicy::minimum_index),
            accept: texts(|policy| policy.accepted().iter().map(EvidenceKind::to_string).collect()),
            on_refusal: sealed.map(|policy| policy.on_refusal().to_string()),
            measure: sealed.and_then(SealedPolicy::measure).map(|measure| measure.to_string()),
            trusted: texts(|policy| policy.trusted().iter().map(ToString::to_string).collect()),
            revoked: texts(|policy| policy.revoked().iter().map(ToString::to_string).collect()),
            skipped: texts(|policy| policy.skipped().iter().map(ToString::to_string).collect()),
        })
    }
}

fn show(args: &ShowArgs) -> Result<()> {
    let shown = Shown::new(&subject(&args.what, &args.how)?)?;
    if args.how.json {
        return print::json(&shown);
    }
    let style = if shown.mode == "sealed" { Style::Good } else { Style::Warning };
    let mut lines = vec![Line::new("mode      ").then(style, shown.mode)];
    let mut say = |name: &str, value: &str| lines.push(Line::new(format!("{name:<9} {value}")));
    say("policy", shown.policy.as_deref().unwrap_or("none"));
    if let Some(threshold) = shown.threshold {
        say("product", shown.product.as_deref().unwrap_or("any"));
        say("threshold", &threshold.to_string());
        say("floor", &shown.minimum_index.unwrap_or(0).to_string());
        say("accept", &shown.accept.join(", "));
        say("refusal", shown.on_refusal.as_deref().unwrap_or("halt"));
        say("measure", shown.measure.as_deref().unwrap_or("nothing"));
    }
    let lists = [("trusted", &shown.trusted), ("revoked", &shown.revoked), ("skipped", &shown.skipped)];
    for (name, list) in lists {
        list.iter().for_each(|value| say(name, value));
    }
    print::page(&lines)
}

/// One change, for programs.
#[derive(Debug, Serialize)]
pub(super) struct ChangeReport {
    /// What changes, such as `key-added` or `threshold`.
    change: &'static str,
    from: Option<String>,
    to: Option<String>,
    /// `loosens`, `tightens` or `rotates`.
    effect: &'static str,
    sentence: String,
    #[serde(skip)]
    style: Style,
}

impl From<&TrustChange> for ChangeReport {
    fn from(change: &TrustChange) -> Self {
        let (from, to) = change.values();
        let effect = change.effect();
        Self {
            change: change.word(),
            from,
            to,
            effect: effect.word(),
            sentence: change.to_string(),
            style: match effect {
                Effect::Loosens => Style::Bad,
                Effect::Tightens | Effect::Rotates => Style::Plain,
            },
        }
    }
}

impl ChangeReport {
    /// One line for people.
    pub(super) fn line(&self, before: &str) -> Line {
        Line::new(before).then(self.style, self.sentence.as_str())
    }
}

#[derive(Debug, Serialize)]
struct Difference<'a> {
    same: bool,
    changes: &'a [ChangeReport],
}

fn diff(args: &DiffArgs) -> Result<Vec<ChangeReport>> {
    let (from, to) = (subject(&args.from, &args.how)?, subject(&args.to, &args.how)?);
    let changes = changes::between(from.demands()?, to.demands()?);
    let changes: Vec<ChangeReport> = changes.iter().map(ChangeReport::from).collect();
    if args.how.json {
        print::json(&Difference { same: changes.is_empty(), changes: &changes })?;
    } else {
        print::page(&changes.iter().map(|change| change.line("")).collect::<Vec<_>>())?;
    }
    Ok(changes)
}

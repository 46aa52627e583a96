//! `ostree-seal status`: what is sealed, by which key, and what the next boot will do.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::print::{self, Line, Style};
use super::trust::ChangeReport;
use crate::continuity::allowed::Allowed;
use crate::continuity::judge::Continuity;
use crate::continuity::running::RUN;
use crate::deploy::record::{self, Fate, Record};
use crate::initrd::policy::Origin;
use crate::status::{self, NextBoot, Status, Verdict, VerdictKind};
use crate::sysroot::Sysroot;
use crate::sysroot::running::{RootMount, Running};

/// Show which deployments are sealed, by which key, and what the next boot will do
///
/// Asks the initramfs's own check of each deployment, with the policy and keys of that deployment, and counts the objects
/// that have fs-verity. Changes nothing.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// The system: a directory with ostree/repo and ostree/deploy
    #[arg(long, value_name = "DIR", default_value = "/")]
    sysroot: PathBuf,

    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Output {
    /// What the initramfs said of the running system; nothing if it wasn't ours, or if another system is looked at.
    running: Option<Running>,
    /// What the next boot takes; programs see it by `boots_next`.
    #[serde(skip)]
    next_boot: NextBoot,
    deployments: Vec<StatusEntry>,
    /// Commits that an administrator lets become the default, until the reboot.
    allowed_untrusted: Option<String>,
    allowed_downgrade: Option<String>,
    /// The latest update, if it didn't pass.
    staged_failure: Option<Record>,
}

#[derive(Debug, Serialize)]
struct StatusEntry {
    index: usize,
    stateroot: String,
    commit: String,
    serial: i32,
    version: Option<String>,
    refspec: Option<String>,
    booted: bool,
    staged: bool,
    /// Whether it is staged and kept from becoming the default.
    held_back: bool,
    pinned: bool,
    /// Whether the next boot takes it, as things are.
    boots_next: bool,
    /// `sealed`, `refused`, `deferred`, `unsealed`, `foreign` or `unknown`.
    verdict: VerdictKind,
    reason: Option<String>,
    policy: Option<String>,
    /// That several initramfs images may boot it, one sentence.
    ambiguity: Option<String>,
    /// Why the policy was read in the tree; nothing if it was read in the initramfs, or not at all.
    policy_from_tree: Option<String>,
    /// What the policy changes against the one that runs.
    trust_changes: Vec<ChangeReport>,
    /// What the running system says of it: `vouched`, `was-there`, `allowed`, `nobody-to-ask`, or why it says no.
    continuity: Option<&'static str>,
    continuity_reason: Option<String>,
    digest: Option<String>,
    product: Option<String>,
    seal_index: Option<u64>,
    evidence: Option<String>,
    keys: Vec<String>,
    skipped: Vec<String>,
    objects: Option<usize>,
    objects_with_verity: Option<usize>,
}

pub(super) fn run(args: &StatusArgs) -> Result<()> {
    let sysroot = Sysroot::open(&args.sysroot, false)?;
    let all = status::all(&sysroot)?;
    let next_boot = status::next_boot(&all);
    let allowed = if sysroot.is_booted() { Allowed::read(Path::new(RUN))? } else { Allowed::default() };
    let output = Output {
        running: if sysroot.is_booted() { sysroot.running()? } else { None },
        next_boot,
        deployments: all.iter().map(|status| StatusEntry::new(status, next_boot)).collect(),
        allowed_untrusted: allowed.untrusted.map(|commit| commit.to_string()),
        allowed_downgrade: allowed.downgrade.map(|commit| commit.to_string()),
        staged_failure: if sysroot.is_booted() { staged_failure() } else { None },
    };
    if args.json { print::json(&output) } else { print::page(&page(&output)) }
}

/// A record that can't be read costs a line, not the command.
fn staged_failure() -> Option<Record> {
    record::last_record().unwrap_or_else(|error| {
        print::say(format_args!("warning: {error:#}; remove it"));
        None
    })
}

impl StatusEntry {
    fn new(status: &Status, next_boot: NextBoot) -> Self {
        let deployment = &status.deployment;
        let claim = match &status.verdict {
            Verdict::Sealed(claim) => Some(claim),
            _ => None,
        };
        Self {
            index: deployment.index,
            stateroot: deployment.stateroot.clone(),
            commit: deployment.commit.clone(),
            serial: deployment.serial,
            version: deployment.version.clone(),
            refspec: deployment.refspec.clone(),
            booted: deployment.booted,
            staged: deployment.staged,
            held_back: deployment.held_back.is_some(),
            pinned: deployment.pinned,
            boots_next: next_boot.index() == Some(deployment.index),
            verdict: status.verdict.kind(),
            reason: status.verdict.reason().map(str::to_owned),
            policy: status.origin.as_ref().map(|origin| origin.path().display().to_string()),
            policy_from_tree: status.origin.as_ref().and_then(Origin::why_tree).map(str::to_owned),
            trust_changes: status.changes.iter().map(ChangeReport::from).collect(),
            continuity: status.continuity.as_ref().map(|continuity| match continuity {
                Ok(continuity) => continuity.word(),
                Err(objection) => objection.word(),
            }),
            continuity_reason: status.continuity.as_ref().and_then(|continuity| match continuity {
                Err(objection) => Some(objection.to_string()),
                Ok(Continuity::Allowed(objection)) => Some(objection.to_string()),
                Ok(Continuity::NobodyToAsk | Continuity::WasThere | Continuity::Vouched(_)) => None,
            }),
            ambiguity: status.ambiguity.clone(),
            digest: claim.map(|claim| claim.digest.to_string()),
            product: claim.and_then(|claim| claim.product.as_ref()).map(ToString::to_string),
            seal_index: claim.and_then(|claim| claim.index),
            evidence: claim.map(|claim| claim.kind.to_string()),
            keys: claim.iter().flat_map(|claim| &claim.signers).map(ToString::to_string).collect(),
            skipped: claim.iter().flat_map(|claim| &claim.skipped).map(ToString::to_string).collect(),
            objects: status.coverage.map(|coverage| coverage.all()),
            objects_with_verity: status.coverage.map(|coverage| coverage.with_verity),
        }
    }
}

/// How a verdict looks.
fn style_of(verdict: VerdictKind) -> Style {
    match verdict {
        VerdictKind::Sealed => Style::Good,
        VerdictKind::Refused | VerdictKind::Unknown => Style::Bad,
        VerdictKind::Deferred | VerdictKind::Unsealed | VerdictKind::Foreign => Style::Warning,
    }
}

/// The running system was refused by nobody, or it wouldn't run.
fn style_of_running(running: &Running) -> Style {
    if running.is_sealed() { Style::Good } else { Style::Warning }
}

/// One screen for people.
fn page(output: &Output) -> Vec<Line> {
    let mut lines = Vec::new();
    if let Some(running) = &output.running {
        lines.extend(running_paragraph(running));
    }
    lines.push(next_boot(output));
    for entry in &output.deployments {
        lines.extend(paragraph(entry));
    }
    for (commit, what) in [
        (&output.allowed_untrusted, "although the running system doesn't vouch for it"),
        (&output.allowed_downgrade, "although its index is lower"),
    ] {
        if let Some(commit) = commit {
            let text =
                format!(": an administrator lets {commit} become the default until the reboot, {what}");
            lines.push(Line::default().then(Style::Warning, "allowed").then(Style::Plain, text));
        }
    }
    if let Some(record) = &output.staged_failure {
        let fate = match record.fate {
            Fate::Withdrawn => "withdrawn",
            Fate::HeldBack => "held back",
            Fate::Dropped => "held back until the reboot, and dropped",
            Fate::PutBehind => "put behind the running one",
            Fate::StaysAhead => "NOT LET THROUGH, AND STILL AHEAD OF THE RUNNING ONE",
        };
        let version = record.version.as_deref().unwrap_or_default();
        let what = format!(": {version} {}", short(&record.commit));
        lines.push(Line::default().then(Style::Bad, fate).then(Style::Plain, what));
        lines.push(Line::new(format!("    {}", record.reason)));
    }
    lines
}

/// What the initramfs said of the running system.
fn running_paragraph(running: &Running) -> Vec<Line> {
    let mut lines = vec![Line::new("running: ").then(style_of_running(running), running.mode.as_str())];
    if let Some(differs) = &running.differs {
        lines = vec![Line::new("running: ").then(Style::Bad, "not sealed by us")];
        lines.push(Line::new(format!("    {:<8} {differs}; what follows is of the root before it", "why")));
    }
    let mut say = |name: &str, value: String| lines.push(Line::new(format!("    {name:<8} {value}")));
    if let Some(digest) = &running.digest {
        say("image", digest.clone());
    }
    if let Some(commit) = &running.commit {
        say("commit", commit.clone());
    }
    if running.is_sealed() {
        let evidence = running.evidence.as_deref().unwrap_or("-");
        say("signed", format!("by {} ({evidence})", running.keys.join(", ")));
        let index = running.index.map_or_else(|| "none".to_owned(), |index| index.to_string());
        say("product", format!("{}, index {index}", running.product.as_deref().unwrap_or("any")));
    }
    say("policy", running.policy.clone());
    say("mount", mounted(&running.mount));
    if let Some(measured) = &running.measured {
        say("measured", measured.clone());
    }
    for skipped in &running.skipped {
        say("skipped", skipped.clone());
    }
    for argument in &running.ignored_arguments {
        say("ignored", format!("kernel argument {argument}"));
    }
    say("took", times(&running.microseconds));
    lines
}

fn mounted(mount: &RootMount) -> String {
    let root = mount.root.as_deref().unwrap_or("unknown");
    match (&mount.image, &mount.layers) {
        (Some(image), Some(layers)) => {
            let verity = mount.verity.as_deref().unwrap_or("off");
            format!("image by {image}, layers by {layers}, verity={verity}, root {root}")
        }
        _ => format!("no image, root {root}"),
    }
}

/// The time that each step took, in milliseconds, the longest first.
fn times(microseconds: &BTreeMap<String, u64>) -> String {
    let milliseconds = |micros: u64| format!("{}.{} ms", micros / 1000, micros % 1000 / 100);
    let mut steps: Vec<_> = microseconds.iter().filter(|(name, _)| *name != "total").collect();
    steps.sort_by_key(|(_, micros)| std::cmp::Reverse(**micros));
    let steps: Vec<String> =
        steps.into_iter().map(|(name, micros)| format!("{name} {}", milliseconds(*micros))).collect();
    let total =
        microseconds.get("total").map_or_else(|| "unknown".to_owned(), |micros| milliseconds(*micros));
    format!("{total} ({})", steps.join(", "))
}

fn next_boot(output: &Output) -> Line {
    let Some(entry) = output.deployments.iter().find(|entry| entry.boots_next) else {
        return Line::new("next boot: there is no deployment");
    };
    let does = match entry.verdict {
        VerdictKind::Sealed => "boots sealed",
        VerdictKind::Refused | VerdictKind::Deferred => "is refused by its initramfs",
        VerdictKind::Unknown => "can't be told",
        VerdictKind::Unsealed | VerdictKind::Foreign => "boots without any check",
    };
    let unless = match output.next_boot {
        NextBoot::Nothing | NextBoot::Takes(_) => "",
        NextBoot::UnlessSealed(_) => {
            "; the staged one only if `ostree-seal deploy --pending` lets it through, which the shutdown tries, too"
        }
        NextBoot::HeldBack(_) => {
            "; the staged one is held back, `ostree admin lock-finalization --unlock` lets it go"
        }
    };
    Line::new(format!("next boot: deployment {} {does} (", entry.index))
        .then(style_of(entry.verdict), entry.verdict.word())
        .then(Style::Plain, format!("){unless}"))
}

fn paragraph(entry: &StatusEntry) -> Vec<Line> {
    let marks = [
        (entry.booted, "booted"),
        (entry.staged, "staged"),
        (entry.held_back, "held back"),
        (entry.pinned, "pinned"),
    ];
    let marks: Vec<&str> = marks.into_iter().filter(|(on, _)| *on).map(|(_, mark)| mark).collect();
    let marks = if marks.is_empty() { String::new() } else { format!(" ({})", marks.join(", ")) };
    let version = entry.version.as_deref().unwrap_or("-");
    let mut lines = vec![
        Line::default()
            .then(Style::Bold, format!("{} {} {version}", entry.index, entry.stateroot))
            .then(Style::Plain, format!(" {}.{}{marks}: ", short(&entry.commit), entry.serial))
            .then(style_of(entry.verdict), entry.verdict.word()),
    ];
    let mut say = |name: &str, value: &str| lines.push(Line::new(format!("    {name:<8} {value}")));
    if let Some(reason) = &entry.reason {
        say("why", reason);
    }
    if let Some(ambiguity) = &entry.ambiguity {
        say("several", ambiguity);
    }
    if let (Some(policy), Some(why)) = (&entry.policy, &entry.policy_from_tree) {
        say("policy", &format!("{policy} was read in the tree: {why}"));
    }
    if let (Some(word), Some(reason)) = (entry.continuity, &entry.continuity_reason) {
        say("running", &format!("{word}: {reason}"));
    }
    if let Some(digest) = &entry.digest {
        let index = entry.seal_index.map_or_else(|| "none".to_owned(), |index| index.to_string());
        say("image", digest);
        say(
            "signed",
            &format!("by {} ({})", entry.keys.join(", "), entry.evidence.as_deref().unwrap_or("-")),
        );
        say("product", &format!("{}, index {index}", entry.product.as_deref().unwrap_or("any")));
    }
    for skipped in &entry.skipped {
        say("skipped", skipped);
    }
    if let (Some(all), Some(verified)) = (entry.objects, entry.objects_with_verity) {
        say("objects", &format!("{verified} of {all} have fs-verity"));
    }
    lines.extend(entry.trust_changes.iter().map(|change| change.line("    changes  ")));
    lines
}

fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}

//! The state of each deployment: what the next boot will make of it, and why. Nothing is changed, and no lock is taken.

use std::path::Path;

use anyhow::{Context, Result};
use ostree_seal_root::check::error::CheckError;
use ostree_seal_root::check::verity::MeasureError;
use ostree_seal_root::error::BootError;
use ostree_seal_root::read::read_limited;
use ostree_seal_trust::claim::Claim;
use ostree_seal_trust::policy::SealedPolicy;
use rustix::fs::{Mode, OFlags};
use serde::Serialize;

use crate::continuity::allowed::Allowed;
use crate::continuity::changes::{Demands, TrustChange, between};
use crate::continuity::judge::{Candidate, Continuity, Objection, Way, judge};
use crate::continuity::running::{RUN, RunningSystem};
use crate::deploy::verity::{Coverage, coverage, object};
use crate::deploy::{directory, preflight, staged};
use crate::initrd::bootable::{self, Candidates};
use crate::initrd::policy::{self, Bootable, Origin, Trust};
use crate::refused::is_refusal;
use crate::repo::Checksum;
use crate::sysroot::{Deployment, Holder, Sysroot, is_no_permission};

/// What the next boot would make of a deployment.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// A sealed system.
    Sealed(Box<Claim>),
    /// Nothing: the initramfs will refuse it, for this reason.
    Refused(String),
    /// Image and note are there, fs-verity isn't yet.
    Deferred,
    /// A system without any check, as its policy says.
    Unsealed,
    /// A system without any check: it has no policy.
    Foreign,
    /// It could not be found out, for this reason.
    Unknown(String),
}

/// A verdict without its reasons: a word for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "as in `Verdict`")]
pub enum VerdictKind {
    Sealed,
    Refused,
    Deferred,
    Unsealed,
    Foreign,
    Unknown,
}

impl VerdictKind {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Sealed => "sealed",
            Self::Refused => "refused",
            Self::Deferred => "deferred",
            Self::Unsealed => "unsealed",
            Self::Foreign => "foreign",
            Self::Unknown => "unknown",
        }
    }
}

/// The state of one deployment.
#[derive(Debug, Clone)]
pub struct Status {
    /// Which one.
    pub deployment: Deployment,
    /// What the next boot would make of it.
    pub verdict: Verdict,
    /// Where its policy was read.
    pub origin: Option<Origin>,
    /// What its policy changes against the one that runs, if it isn't the running one.
    pub changes: Vec<TrustChange>,
    /// What the running system says of it, if it is to come after it and would boot sealed.
    pub continuity: Option<Result<Continuity, Objection>>,
    /// That there are several initramfs images which may boot it, one sentence.
    pub ambiguity: Option<String>,
    /// How many of the objects that its image points at have fs-verity; `None` if it has no image that can be read.
    pub coverage: Option<Coverage>,
}

/// The state of all deployments, in boot order.
pub fn all(sysroot: &Sysroot) -> Result<Vec<Status>> {
    let running = RunningSystem::of(sysroot);
    let allowed = if sysroot.is_booted() { Allowed::read(Path::new(RUN))? } else { Allowed::default() };
    let one = |deployment| one(sysroot, deployment, &running, &allowed);
    Ok(sysroot.deployments()?.into_iter().map(one).collect())
}

/// Which deployment the next boot takes, by its index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextBoot {
    /// There is none.
    Nothing,
    /// This one.
    Takes(usize),
    /// This one, unless `ostree-seal deploy --pending` lets the staged one through, which the gate tries at shutdown.
    UnlessSealed(usize),
    /// This one, since somebody else holds the staged one back.
    HeldBack(usize),
}

/// Which deployment the next boot takes. One that is staged becomes the default only after it passed.
pub fn next_boot(all: &[Status]) -> NextBoot {
    let (first, fallback) = match all {
        [] => return NextBoot::Nothing,
        [first, fallback, ..] if first.deployment.staged => (first, fallback.deployment.index),
        [first, ..] => return NextBoot::Takes(first.deployment.index),
    };
    let passes = match first.verdict {
        Verdict::Sealed(_) => !matches!(first.continuity, Some(Err(_))),
        // What can't be read is an error there, too.
        Verdict::Unsealed | Verdict::Foreign => staged::may_be_unsealed(&first.deployment).unwrap_or(false),
        Verdict::Refused(_) | Verdict::Deferred | Verdict::Unknown(_) => false,
    };
    match first.deployment.held_back {
        Some(Holder::Others) => NextBoot::HeldBack(fallback),
        None if passes => NextBoot::Takes(first.deployment.index),
        Some(Holder::Us) | None => NextBoot::UnlessSealed(fallback),
    }
}

/// The state of one deployment, beside what runs.
fn one(sysroot: &Sysroot, deployment: Deployment, running: &RunningSystem, allowed: &Allowed) -> Status {
    let candidates = bootable::of(sysroot, &deployment);
    let mut status = of(sysroot, deployment, &candidates);
    if let (Some(runs), false) = (running.trust(), status.deployment.booted) {
        status.changes = changes(runs.policy(), &status.deployment, &candidates);
    }
    status.continuity = continuity(sysroot, &status, running, allowed);
    status
}

/// What the policies of all that may boot a deployment change, each change once.
fn changes(running: &SealedPolicy, deployment: &Deployment, candidates: &Candidates) -> Vec<TrustChange> {
    let mut changes = Vec::new();
    for candidate in candidates.iter() {
        let Ok(trust) = policy::of_deployment(&deployment.directory, candidate) else { continue };
        for change in between(Demands::Sealed(running), Demands::from(&trust)) {
            if !changes.contains(&change) {
                changes.push(change);
            }
        }
    }
    changes
}

/// What the running system says of the image and the evidence that are in their place. `deploy` asks about notes that aren't,
/// too.
fn continuity(
    sysroot: &Sysroot,
    status: &Status,
    running: &RunningSystem,
    allowed: &Allowed,
) -> Option<Result<Continuity, Objection>> {
    let deployment = &status.deployment;
    let (Verdict::Sealed(_), false) = (&status.verdict, deployment.booted) else { return None };
    let candidate = Candidate {
        commit: Checksum::from_hex(&deployment.commit)?,
        name: &deployment.name(),
        way: if deployment.staged { Way::Staged } else { Way::InOrder },
    };
    let target = sysroot.target(deployment)?;
    Some(judge(running, allowed, candidate, |policy| {
        preflight::check(sysroot.physical(), &target, policy).map(|image| vec![image.proof().clone()])
    }))
}

/// The state of a deployment whose initramfs was read. Where there are several, it is what the worst of them makes of it.
pub fn of(sysroot: &Sysroot, deployment: Deployment, candidates: &Candidates) -> Status {
    let judge = |candidate| (candidate, asked_by(sysroot, &deployment, candidate));
    let judged: Vec<(&Bootable, Judgement)> = candidates.iter().map(judge).collect();
    let ambiguity = candidates.ambiguity().map(|sentence| {
        let each = judged
            .iter()
            .map(|(candidate, (verdict, _))| format!("{}: {}", candidate.name(), verdict.kind().word()));
        format!("{sentence} ({})", each.collect::<Vec<_>>().join(", "))
    });
    let worst = judged.into_iter().map(|(_, judgement)| judgement).min_by_key(|(verdict, _)| verdict.worth());
    let (verdict, origin) = worst.unwrap_or((Verdict::Foreign, None));
    let coverage = objects_of(sysroot, &deployment.directory, verdict.image_max());
    let verdict = match verdict {
        Verdict::Sealed(claim) => enforceable(claim, &coverage, &sysroot.deploy_command(deployment.index)),
        verdict => verdict,
    };
    let coverage = coverage.ok().flatten();
    Status { deployment, verdict, origin, changes: Vec::new(), continuity: None, ambiguity, coverage }
}

/// What the next boot would make of a deployment, and where its policy was read.
type Judgement = (Verdict, Option<Origin>);

fn asked_by(sysroot: &Sysroot, deployment: &Deployment, bootable: &Bootable) -> Judgement {
    match policy::of_deployment(&deployment.directory, bootable) {
        Ok(Trust::Sealed { policy, origin }) => {
            let target = sysroot.target(deployment);
            let checked = target.map(|target| preflight::check(sysroot.physical(), &target, &policy));
            let verdict = match checked {
                None => Verdict::Unknown("the deployment lies outside its sysroot".to_owned()),
                Some(Ok(image)) => Verdict::Sealed(Box::new(image.claim().clone())),
                Some(Err(error)) if lacks_verity(&error) && directory::is_deferred(&deployment.directory) => {
                    Verdict::Deferred
                }
                Some(Err(error)) => no(&anyhow::Error::new(error)),
            };
            (verdict, Some(origin))
        }
        Ok(Trust::Unsealed(origin)) => (Verdict::Unsealed, Some(origin)),
        Ok(Trust::Foreign) => (Verdict::Foreign, None),
        Err(error) => (no(&error), None),
    }
}

/// The check measures the image and reads none of it. What it points at must be there, too.
fn enforceable(claim: Box<Claim>, coverage: &Result<Option<Coverage>>, deploy: &str) -> Verdict {
    match coverage {
        Ok(Some(Coverage { without, missing, .. })) if without + missing > 0 => Verdict::Refused(format!(
            "the image is good, but {without} of its objects have no fs-verity and {missing} don't exist, so they can't \
             be read; run `{deploy}`"
        )),
        Err(error) if !is_no_permission(error) => Verdict::Refused(format!(
            "the image has the digest that was signed, but not all of it can be used: {error:#}; run `{deploy}`"
        )),
        _ => Verdict::Sealed(claim),
    }
}

/// Whether the image's lack of fs-verity is what is wrong.
fn lacks_verity(error: &BootError) -> bool {
    let BootError::Unchecked(error) = error else { return false };
    let missing = [MeasureError::NotEnabled, MeasureError::Unsupported];
    matches!(&**error, CheckError::NotMeasured { error, .. } if missing.contains(error))
}

fn no(error: &anyhow::Error) -> Verdict {
    let reason = format!("{error:#}");
    if is_refusal(error) { Verdict::Refused(reason) } else { Verdict::Unknown(reason) }
}

/// Counts the objects that the deployment's image points at.
fn objects_of(sysroot: &Sysroot, deployment: &Path, max: usize) -> Result<Option<Coverage>> {
    let Some(image) = directory::open_image(deployment)? else { return Ok(None) };
    let bytes = read_limited(image.into(), max).context("reading the image")?;
    let list = object::of_image(&bytes)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(sysroot.repository().join("objects"), flags, Mode::empty())
        .context("opening the objects of the repository")?;
    Ok(Some(coverage(directory, &list)?))
}

impl NextBoot {
    /// The deployment's index, as things are.
    pub fn index(self) -> Option<usize> {
        match self {
            Self::Nothing => None,
            Self::Takes(index) | Self::UnlessSealed(index) | Self::HeldBack(index) => Some(index),
        }
    }
}

/// The most bytes of an image that anybody may have made. It takes a few times its length in memory to look into it.
const UNSIGNED_MAX: usize = 64 << 20;

impl Verdict {
    /// The most bytes of its image that are looked into.
    fn image_max(&self) -> usize {
        match self {
            Self::Sealed(_) => directory::IMAGE_MAX,
            _ => UNSIGNED_MAX,
        }
    }

    /// The verdict without its reasons.
    pub fn kind(&self) -> VerdictKind {
        match self {
            Self::Sealed(_) => VerdictKind::Sealed,
            Self::Refused(_) => VerdictKind::Refused,
            Self::Deferred => VerdictKind::Deferred,
            Self::Unsealed => VerdictKind::Unsealed,
            Self::Foreign => VerdictKind::Foreign,
            Self::Unknown(_) => VerdictKind::Unknown,
        }
    }

    /// How good it is that a deployment boots like this.
    pub(crate) fn worth(&self) -> u8 {
        match self {
            Self::Foreign => 0,
            Self::Unsealed => 1,
            Self::Unknown(_) => 2,
            Self::Refused(_) => 3,
            Self::Deferred => 4,
            Self::Sealed(_) => 5,
        }
    }

    /// Why it is not sealed, if there is more to say than the word.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Refused(reason) | Self::Unknown(reason) => Some(reason),
            Self::Deferred => Some("fs-verity is not enabled yet; run `ostree-seal deploy` on the device"),
            Self::Unsealed => Some("the policy says `mode = unsealed`"),
            Self::Foreign => Some("there is no policy in the deployment"),
            Self::Sealed(_) => None,
        }
    }
}

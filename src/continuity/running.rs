//! What the running system goes by: what its initramfs has left in `/run/ostree-seal`, which only root can write; or, from
//! one that was too old for that, what is in the initramfs that boots the running deployment.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use fn_error_context::context;
use ostree_seal_root::check::error::CheckError;
use ostree_seal_root::check::policy as files;
use ostree_seal_root::read::Mounted;
use ostree_seal_trust::policy::{Policy, SealedPolicy};

use crate::beneath::{Below, TEXT_MAX};
use crate::initrd::bootable;
use crate::initrd::policy::{Origin, Trust, of_deployment};
use crate::sysroot::Sysroot;
use crate::sysroot::running as state;

/// Where the boot program leaves all that it has to say.
pub const RUN: &str = "/run/ostree-seal";

/// What the running system goes by, as far as it concerns the deployments of one sysroot.
#[derive(Debug, Clone)]
pub enum RunningSystem {
    /// Another system's deployments are looked at, or this one was not booted by our program: nobody is asked.
    NotHere,
    /// It runs without a check, so that there is no trust to go on with.
    Unsealed,
    /// It is sealed, and this is its trust.
    Sealed(Box<RunningTrust>),
    /// It is sealed, and what it goes by can't be told, for this reason: it vouches for nothing.
    Unknown(String),
}

/// The trust of a running, sealed system.
#[derive(Debug, Clone)]
pub struct RunningTrust {
    policy: SealedPolicy,
    index: Option<u64>,
    there: BTreeSet<String>,
}

impl RunningSystem {
    /// What runs, if it was booted from this sysroot.
    pub fn of(sysroot: &Sysroot) -> Self {
        if sysroot.is_booted() { Self::read(Path::new(RUN), || of_initramfs(sysroot)) } else { Self::NotHere }
    }

    /// What was left in `run`; `initramfs` is asked for the policy where none was left.
    pub fn read(run: &Path, initramfs: impl FnOnce() -> Result<SealedPolicy>) -> Self {
        match read(run, initramfs) {
            Ok(running) => running,
            Err(error) => Self::Unknown(format!("{error:#}")),
        }
    }

    /// The trust, if there is one to go on with.
    pub fn trust(&self) -> Option<&RunningTrust> {
        match self {
            Self::Sealed(trust) => Some(trust),
            Self::NotHere | Self::Unsealed | Self::Unknown(_) => None,
        }
    }
}

impl RunningTrust {
    /// The policy with its keys.
    pub fn policy(&self) -> &SealedPolicy {
        &self.policy
    }

    /// The signed index of what runs; a signed commit may have none.
    pub fn index(&self) -> Option<u64> {
        self.index
    }

    /// Whether the deployment `STATEROOT/COMMIT.SERIAL` was there when this system was booted.
    pub fn was_there(&self, name: &str) -> bool {
        self.there.contains(name)
    }
}

fn read(run: &Path, initramfs: impl FnOnce() -> Result<SealedPolicy>) -> Result<RunningSystem> {
    let Some(state) = state::read(&run.join("state.json"))? else { return Ok(RunningSystem::NotHere) };
    match state.mode.as_str() {
        "sealed" => {}
        "unsealed" => return Ok(RunningSystem::Unsealed),
        mode => bail!("{}: the mode is \"{mode}\", expected sealed or unsealed", run.display()),
    }
    let policy = match left(&run.join("trust"))? {
        Some(policy) => policy,
        None => initramfs().context("the initramfs has left no trust in /run, so its own file counts")?,
    };
    let there = deployments(&run.join("deployments"))?;
    Ok(RunningSystem::Sealed(Box::new(RunningTrust { policy, index: state.index, there })))
}

/// What the boot program has left, if it has.
fn left(directory: &Path) -> Result<Option<SealedPolicy>> {
    let files = match files::read(&Mounted, directory) {
        Err(CheckError::PolicyMissing { .. }) => return Ok(None),
        files => files?,
    };
    match Policy::parse(&files)? {
        Policy::Sealed(policy) => Ok(Some(policy)),
        Policy::Unsealed(_) => bail!("the system runs sealed, and {} says unsealed", directory.display()),
    }
}

/// The lines of the list; none if there is none, so that every deployment is an update.
#[context("reading {}", path.display())]
fn deployments(path: &Path) -> Result<BTreeSet<String>> {
    let list = Below::new("/", path).read_if_there(TEXT_MAX)?.unwrap_or_default();
    Ok(String::from_utf8(list)?.lines().map(str::to_owned).collect())
}

/// The policy in the initramfs that boots the running deployment. The tree's own files don't count: nothing has checked
/// those in `/etc`.
fn of_initramfs(sysroot: &Sysroot) -> Result<SealedPolicy> {
    let deployments = sysroot.deployments()?;
    let booted = deployments.into_iter().find(|deployment| deployment.booted);
    let booted = booted.context("no deployment is the running one")?;
    let candidates = bootable::of(sysroot, &booted);
    if let Some(ambiguity) = candidates.ambiguity() {
        bail!("{ambiguity}, so nobody knows which did");
    }
    match of_deployment(&booted.directory, candidates.first())? {
        Trust::Sealed { policy, origin: Origin::Initramfs(_) } => Ok(*policy),
        Trust::Sealed { origin: Origin::Tree(path, why), .. } => {
            bail!("only {} could be read, which was not checked at boot: {why}", path.display())
        }
        Trust::Unsealed(origin) => bail!("{} says unsealed", origin.path().display()),
        Trust::Foreign => bail!("the running deployment has no policy"),
    }
}

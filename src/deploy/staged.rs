//! A staged deployment, which libostree makes the default at shutdown: it is held back while it is being sealed, let go
//! when it passed, and withdrawn when it was refused. Killed in between, it stays held back, and the running deployment
//! stays the default.

use std::path::Path;

use anyhow::Result;

use super::outcome::Outcome;
use super::record::{self, Fate, Record, write_whole};
use super::request::Request;
use super::seal::seal;
use crate::beneath::{Below, TEXT_MAX};
use crate::refused::{self, Refused};
use crate::sysroot::running::{Running, running};
use crate::sysroot::{Deployment, HeldBack, SysrootLock};

/// The staged deployment that the administrator let through although it will boot unsealed.
const ALLOWED: &str = "/run/ostree-seal/allowed-unsealed";

/// Seals a staged deployment. `allow_unsealed` lets one through that will boot unsealed although the running system is
/// sealed; that is remembered for the run at shutdown.
pub fn seal_staged(
    lock: &SysrootLock<'_>,
    deployment: &Deployment,
    request: &Request<'_>,
    allow_unsealed: bool,
) -> Result<Outcome> {
    let held = HeldBack::hold()?;
    if let Ok(Some(Running { differs: Some(reason), .. })) = lock.sysroot().running() {
        request.progress.warn(&format!("the running system is not sealed by us: {reason}"));
    }
    if allow_unsealed {
        allow(deployment)?;
    }
    let error = match seal_checked(lock, deployment, request) {
        Ok(outcome) => {
            record::forget(request.progress);
            held.release()?;
            return Ok(outcome);
        }
        Err(error) => error,
    };
    let refused = refused::is_refusal(&error) && !refused::is_of_machine(&error);
    let fate = if refused { Fate::Withdrawn } else { Fate::HeldBack };
    record::keep(&Record::of(deployment, fate, &error), request.progress);
    match fate {
        Fate::Withdrawn => {
            lock.withdraw(deployment)?;
            held.release()?;
            Err(error.context("the staged deployment is withdrawn and the running one stays the default"))
        }
        Fate::HeldBack | Fate::Dropped | Fate::PutBehind | Fate::StaysAhead => Err(error.context(
            "the staged deployment is held back and the running one stays the default until `ostree-seal deploy \
             --pending` succeeds",
        )),
    }
}

/// Remembers that this deployment may boot without any check, until the reboot.
pub(super) fn allow(deployment: &Deployment) -> Result<()> {
    write_whole(Path::new(ALLOWED), name_of(deployment).as_bytes())
}

/// Seals a deployment, and refuses one that would boot without any check although the running system is sealed.
pub(super) fn seal_checked(
    lock: &SysrootLock<'_>,
    deployment: &Deployment,
    request: &Request<'_>,
) -> Result<Outcome> {
    match seal(lock, deployment, request)? {
        Outcome::Unsealed(_) | Outcome::Foreign if !may_be_unsealed(deployment)? => Err(Refused(
            "the running system is sealed and this deployment would boot without any check; if that is meant, \
             `systemctl stop ostree-seal-deploy.path`, stage it again, and run `ostree-seal deploy --pending \
             --allow-unsealed` before the reboot"
                .to_owned(),
        )
        .into()),
        outcome => Ok(outcome),
    }
}

/// Whether a staged deployment may pass that will boot without any check.
pub fn may_be_unsealed(deployment: &Deployment) -> Result<bool> {
    let runs_sealed = running()?.is_some_and(|running| running.is_sealed());
    Ok(!runs_sealed || is_allowed(deployment)?)
}

fn name_of(deployment: &Deployment) -> String {
    format!("{}.{}", deployment.commit, deployment.serial)
}

fn is_allowed(deployment: &Deployment) -> Result<bool> {
    let allowed = Below::new("/", ALLOWED).read_if_there(TEXT_MAX)?;
    Ok(allowed.is_some_and(|allowed| allowed == name_of(deployment).as_bytes()))
}

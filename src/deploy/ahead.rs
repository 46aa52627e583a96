//! A deployment that was made the default at once, ahead of the running one: it is sealed where it stands. While a sealed
//! system runs, one that doesn't pass is put behind the running one, so that the next boot doesn't take it.

use anyhow::Result;

use super::outcome::Outcome;
use super::record::{self, Fate, Record};
use super::request::Request;
use super::seal::seal;
use super::staged::{allow, seal_checked};
use crate::continuity::running::RunningSystem;
use crate::sysroot::{Deployment, SysrootLock};

/// Seals a deployment that stands ahead of the running one. `allow_unsealed` leaves one there that will boot unsealed.
pub fn seal_ahead(
    lock: &SysrootLock<'_>,
    deployment: &Deployment,
    request: &Request<'_>,
    allow_unsealed: bool,
) -> Result<Outcome> {
    if allow_unsealed {
        allow(deployment)?;
    }
    let outcome = if is_rollback(deployment, request.running) {
        seal(lock, deployment, request)
    } else {
        seal_checked(lock, deployment, request)
    };
    match (outcome, request.running) {
        (Ok(outcome), _) => {
            // What boots next has passed: an update that didn't is no longer what anybody should hear of.
            if deployment.index == 0 {
                record::forget(request.progress);
            }
            Ok(outcome)
        }
        (Err(error), RunningSystem::Sealed(_) | RunningSystem::Unknown(_)) => {
            Err(put_behind(lock, deployment, request, error))
        }
        (Err(error), RunningSystem::NotHere | RunningSystem::Unsealed) => Err(error),
    }
}

/// One that was there when this system was booted: the operator has chosen it again, without a check if it never had one.
fn is_rollback(deployment: &Deployment, running: &RunningSystem) -> bool {
    running.trust().is_some_and(|trust| trust.was_there(&deployment.name()))
}

/// The error, with what became of the deployment. A damaged disk and a refusal come to the same: its initramfs would not boot
/// it, or it must not.
fn put_behind(
    lock: &SysrootLock<'_>,
    deployment: &Deployment,
    request: &Request<'_>,
    error: anyhow::Error,
) -> anyhow::Error {
    let moved = lock.put_behind_running(deployment);
    let fate = if moved.is_ok() { Fate::PutBehind } else { Fate::StaysAhead };
    record::keep(&Record::of(deployment, fate, &error), request.progress);
    match moved {
        Ok(()) => error.context("the deployment was put behind the running one, which is booted before it"),
        Err(failure) => error.context(format!(
            "THE NEXT BOOT MAY TAKE THIS DEPLOYMENT, since it could not be put behind the running one ({failure:#}); \
             `ostree admin set-default` with the running one's number, before any reboot"
        )),
    }
}

//! What stands between a system and its next sealed boot, or its next update: each finding is one sentence, with the
//! command that fixes it. Nothing is changed. What can't be seen is said to be unchecked, never to be fine.

use serde::Serialize;

use crate::initrd::bootable;
use crate::initrd::policy::Bootable;
use crate::status::{self, Status};
use crate::sysroot::{self, Deployment, Sysroot};

mod boot; // the initramfs and the policy of the next boot
mod disk; // the repository and its file system
mod kernel; // the kernel of the next boot
mod update; // what guards the next update

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// As it should be.
    Fine,
    /// Worth knowing; a sealed boot is possible nevertheless.
    Warning,
    /// In the way of a sealed boot or of a safe update.
    Problem,
    /// Not to be seen from here.
    NotChecked,
}

/// What was found out about one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at, a word for programs.
    pub check: &'static str,
    /// How it is.
    pub state: State,
    /// The same in one sentence.
    pub sentence: String,
    /// The command that fixes it, or finds it out.
    pub fix: Option<String>,
}

/// Every word that [`Finding::check`] can be; docs/troubleshooting.md explains each.
pub const CHECKS: [&str; 21] = [
    "kernel",
    "kernel-version",
    "kernel-fs-verity",
    "kernel-regression",
    "kernel-erofs",
    "kernel-overlay",
    "kernel-loop",
    "repository",
    "fs-verity",
    "objects",
    "space",
    "next-boot",
    "policy",
    "keys",
    "initramfs",
    "program",
    "program-started",
    "policy-current",
    "units",
    "staged",
    "running",
];

impl Finding {
    fn fine(check: &'static str, sentence: impl Into<String>) -> Self {
        debug_assert!(CHECKS.contains(&check), "{check} is not in the list");
        Self { check, state: State::Fine, sentence: sentence.into(), fix: None }
    }

    fn new(check: &'static str, state: State, sentence: impl Into<String>, fix: impl Into<String>) -> Self {
        debug_assert!(CHECKS.contains(&check), "{check} is not in the list");
        Self { check, state, sentence: sentence.into(), fix: Some(fix.into()) }
    }

    fn problem(check: &'static str, sentence: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(check, State::Problem, sentence, fix)
    }

    fn warning(check: &'static str, sentence: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(check, State::Warning, sentence, fix)
    }

    fn not_checked(check: &'static str, sentence: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(check, State::NotChecked, sentence, fix)
    }

    /// What an error means: a file that this user may not read says nothing of the system.
    fn of_error(check: &'static str, error: &anyhow::Error, fix: impl Into<String>) -> Self {
        let sentence = format!("{error:#}");
        if sysroot::is_no_permission(error) {
            Self::not_checked(check, sentence, "run `ostree-seal doctor` as root")
        } else {
            Self::problem(check, sentence, fix)
        }
    }
}

/// What all checks look at: the deployment that boots next.
struct Subject<'a> {
    sysroot: &'a Sysroot,
    next: &'a Deployment,
    bootable: &'a Bootable,
    status: &'a Status,
    kernel: Option<kernel::Kernel>,
}

/// Looks at everything, in the order in which it matters for the next boot.
pub fn examine(system: &Sysroot) -> anyhow::Result<Vec<Finding>> {
    let Some(next) = next_deployment(system)? else {
        let fix = system.admin_command("deploy", "REF");
        return Ok(vec![Finding::problem("next-boot", "there is no deployment to boot", fix)]);
    };
    let bootable = bootable::of(system, &next);
    let status = status::of(system, next.clone(), &bootable);
    let kernel = kernel::Kernel::of(&next.directory, system.is_booted());
    let subject = Subject { sysroot: system, next: &next, bootable: &bootable, status: &status, kernel };
    let mut findings = kernel::check(&subject);
    findings.extend(disk::check(&subject));
    findings.extend(boot::check(&subject));
    findings.extend(update::check(&subject));
    Ok(findings)
}

/// The deployment that boots next, as `status` has it. Only if one is staged is it not the first for sure.
fn next_deployment(system: &Sysroot) -> anyhow::Result<Option<Deployment>> {
    let mut deployments = system.deployments()?;
    if !deployments.first().is_some_and(|first| first.staged) {
        return Ok(deployments.into_iter().next());
    }
    let next = status::next_boot(&status::all(system)?).index();
    Ok(next.filter(|index| *index < deployments.len()).map(|index| deployments.swap_remove(index)))
}

impl Subject<'_> {
    /// The command that makes the initramfs again, where the image is built.
    fn make_initramfs(&self) -> String {
        let release = self.kernel.as_ref().map_or("KERNEL", |kernel| kernel.release.as_str());
        format!(
            "in the OS build: dracut --force --add ostree-seal /usr/lib/modules/{release}/initramfs.img {release}"
        )
    }
}

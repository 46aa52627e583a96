//! What was found out about one thing.

use serde::Serialize;

use crate::sysroot;

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
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
    pub state: Health,
    /// The same in one sentence.
    pub sentence: String,
    /// The command that fixes it, or finds it out.
    pub fix: Option<String>,
}

/// Every word that [`Finding::check`] can be; docs/troubleshooting.md explains each.
pub const CHECKS: [&str; 22] = [
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
    "shell",
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
    pub(super) fn fine(check: &'static str, sentence: impl Into<String>) -> Self {
        debug_assert!(CHECKS.contains(&check), "{check} is not in the list");
        Self { check, state: Health::Fine, sentence: sentence.into(), fix: None }
    }

    pub(super) fn new(
        check: &'static str,
        state: Health,
        sentence: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        debug_assert!(CHECKS.contains(&check), "{check} is not in the list");
        Self { check, state, sentence: sentence.into(), fix: Some(fix.into()) }
    }

    pub(super) fn problem(check: &'static str, sentence: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(check, Health::Problem, sentence, fix)
    }

    pub(super) fn warning(check: &'static str, sentence: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(check, Health::Warning, sentence, fix)
    }

    pub(super) fn not_checked(
        check: &'static str,
        sentence: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self::new(check, Health::NotChecked, sentence, fix)
    }

    /// What an error means: a file that this user may not read says nothing of the system.
    pub(super) fn of_error(check: &'static str, error: &anyhow::Error, fix: impl Into<String>) -> Self {
        let sentence = format!("{error:#}");
        if sysroot::is_no_permission(error) {
            Self::not_checked(check, sentence, "run `ostree-seal doctor` as root")
        } else {
            Self::problem(check, sentence, fix)
        }
    }
}

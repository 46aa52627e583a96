//! `ostree-seal doctor`: what stands in the way of the next sealed boot, and how to fix it.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use serde::Serialize;

use super::print::{self, Line, Style};
use crate::doctor::{self, Finding, Health};
use crate::refused::Refused;
use crate::sysroot::Sysroot;

/// Find what stands in the way of the next sealed boot, and say how to fix it
///
/// Looks at the kernel, the disk, the initramfs and the policy of the deployment that boots next, and at what guards
/// updates. Each finding is one sentence, with the command that fixes it. Changes nothing. What this user may not see is
/// named as not checked.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 all is well, warnings aside; 1 something could not be checked and
nothing else was found; 2 usage; 3 a problem was found.")]
pub(super) struct DoctorArgs {
    /// The system: a directory with ostree/repo and ostree/deploy
    #[arg(long, value_name = "DIR", default_value = "/")]
    sysroot: PathBuf,

    /// Print a JSON object with all findings
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Output<'a> {
    problems: usize,
    warnings: usize,
    not_checked: usize,
    findings: &'a [Finding],
}

pub(super) fn run(args: &DoctorArgs) -> Result<()> {
    let sysroot = Sysroot::open(&args.sysroot, false)?;
    let findings = doctor::examine(&sysroot)?;
    let count = |state| findings.iter().filter(|finding| finding.state == state).count();
    let output = Output {
        problems: count(Health::Problem),
        warnings: count(Health::Warning),
        not_checked: count(Health::NotChecked),
        findings: &findings,
    };
    if args.json {
        print::json(&output)?;
    } else {
        print::page(&page(&findings))?;
    }
    match (output.problems, output.not_checked) {
        (0, 0) => Ok(()),
        (0, unseen) => bail!("{unseen} of {} things could not be checked", findings.len()),
        (problems, _) => Err(Refused(format!("{problems} of {} things need fixing", findings.len())).into()),
    }
}

/// One screen for people.
fn page(findings: &[Finding]) -> Vec<Line> {
    findings.iter().flat_map(paragraph).collect()
}

fn paragraph(finding: &Finding) -> impl Iterator<Item = Line> {
    let (style, word) = match finding.state {
        Health::Fine => (Style::Good, "ok"),
        Health::Warning => (Style::Warning, "warning"),
        Health::Problem => (Style::Bad, "PROBLEM"),
        Health::NotChecked => (Style::Warning, "unseen"),
    };
    let first =
        Line::default().then(style, format!("{word:<8}")).then(Style::Plain, finding.sentence.as_str());
    let fix = |fix: &String| Line::new("        ").then(Style::Bold, format!("-> {fix}"));
    std::iter::once(first).chain(finding.fix.as_ref().map(fix))
}

//! One run of one program: time, processor time, peak memory.

use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use serde::{Deserialize, Serialize};

/// The first argument that makes this program the helper.
pub(crate) const HELPER: &str = "--measure-helper";

/// What a run took.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Run {
    /// Wall clock.
    pub(crate) seconds: f64,
    /// Processor time of all threads, user and system.
    pub(crate) processor_seconds: f64,
    /// Largest resident set of any of its processes, in bytes.
    pub(crate) peak_bytes: u64,
}

/// Runs a program to its end. A failure of it is an error.
///
/// Between this program and that one is a helper, since the kernel counts the memory of all children together.
pub(crate) fn run(command: &[OsString]) -> anyhow::Result<Run> {
    let helper = std::env::current_exe()?;
    let output = Command::new(helper)
        .arg(HELPER)
        .args(command)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("running the helper")?;
    ensure!(output.status.success(), "{command:?} ended with {}", output.status);
    serde_json::from_slice(&output.stdout).context("reading what the helper measured")
}

/// Runs a program and prints what it took.
pub(crate) fn helper(command: &[String]) -> anyhow::Result<()> {
    let (program, arguments) = command.split_first().context("a program")?;
    let started = Instant::now();
    let output = Command::new(program)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .with_context(|| format!("running {program}"))?;
    let seconds = started.elapsed().as_secs_f64();
    ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let microseconds = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    let run = Run {
        seconds,
        processor_seconds: std::time::Duration::from_micros(u64::try_from(microseconds)?).as_secs_f64(),
        peak_bytes: u64::try_from(usage.max_rss())? * 1024,
    };
    println!("{}", serde_json::to_string(&run)?);
    Ok(())
}

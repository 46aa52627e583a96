//! The results: a table for people, JSON for programs, a chart for docs/figures.md.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

use crate::measure::Run;
use crate::tools::Tools;
use crate::works::Row;

mod chart;

/// What the JSON file holds.
#[derive(Serialize)]
struct Report<'a> {
    machine: Machine,
    /// Programs and their versions.
    versions: Vec<String>,
    rows: Vec<Summary<'a>>,
}

#[derive(Serialize)]
struct Machine {
    processor: String,
    processors: usize,
    kernel: String,
}

/// A program at a work.
#[derive(Debug, Serialize)]
pub(super) struct Summary<'a> {
    pub(super) set: &'a str,
    pub(super) files: usize,
    pub(super) work: &'a str,
    pub(super) program: &'a str,
    /// Medians.
    pub(super) seconds: f64,
    pub(super) processor_seconds: f64,
    pub(super) peak_bytes: u64,
    /// How many times as long as the first program of this work.
    pub(super) ratio: f64,
    runs: &'a [Run],
}

/// Prints the table and writes `peers.json` and `peers.svg`.
pub(crate) fn write(rows: &[Row], tools: &Tools, directory: &Path) -> anyhow::Result<()> {
    let report = Report { machine: Machine::this()?, versions: tools.versions()?, rows: summaries(rows) };
    print_table(&report);
    fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
    let json = directory.join("peers.json");
    fs::write(&json, serde_json::to_string_pretty(&report)? + "\n")?;
    let svg = directory.join("peers.svg");
    let machine = &report.machine;
    let caption =
        format!("{}, {} processors, Linux {}", machine.processor, machine.processors, machine.kernel);
    fs::write(&svg, chart::draw(&report.rows, &caption))?;
    println!("\nalso written: {} and {}", json.display(), svg.display());
    Ok(())
}

fn summaries(rows: &[Row]) -> Vec<Summary<'_>> {
    let mut summaries: Vec<Summary<'_>> = Vec::with_capacity(rows.len());
    for row in rows.iter().filter(|row| !row.runs.is_empty()) {
        let seconds = median(row.runs.iter().map(|run| run.seconds));
        let first = summaries.iter().find(|first| (first.set, first.work) == (row.set, row.work));
        summaries.push(Summary {
            set: row.set,
            files: row.files,
            work: row.work,
            program: row.program,
            seconds,
            processor_seconds: median(row.runs.iter().map(|run| run.processor_seconds)),
            peak_bytes: row.runs.iter().map(|run| run.peak_bytes).max().unwrap_or_default(),
            ratio: first.map_or(1.0, |first| seconds / first.seconds),
            runs: &row.runs,
        });
    }
    summaries
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn print_table(report: &Report<'_>) {
    report.versions.iter().for_each(|version| println!("{version}"));
    let mut work = "";
    for row in &report.rows {
        if row.work != work {
            work = row.work;
            println!("\n{} files: {work}", row.files);
            println!("  {:<38} {:>9} {:>8} {:>11} {:>9}", "program", "median", "ratio", "processor", "peak");
        }
        let peak = row.peak_bytes / 1_000_000;
        let Summary { program, seconds, ratio, processor_seconds, .. } = row;
        println!("  {program:<38} {seconds:>7.3} s {ratio:>8.1} {processor_seconds:>9.3} s {peak:>6} MB");
    }
}

impl Machine {
    fn this() -> anyhow::Result<Self> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
        Ok(Self {
            processor: model.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.to_owned()),
            processors: std::thread::available_parallelism()?.get(),
            kernel: release.trim().to_owned(),
        })
    }
}

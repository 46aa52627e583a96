//! `make bench`: ours and what else is installed, side by side on the same commits. See `benches/README.md`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};

mod commits; // the commits that are measured
mod floor; // the limit: reading and hashing, and nothing else
mod measure; // one run of one program: time, processor time, peak memory
mod report; // table, JSON, chart
mod rng; // the same commits on every machine
mod tools; // what is installed
mod works; // what is compared with what

use commits::{Repo, SETS};
use tools::Tools;

/// How often each program runs on each commit.
const ROUNDS: usize = 5;

/// What the command line asks for.
struct Options {
    rounds: usize,
    /// Names of the commits; see [`SETS`].
    sets: Vec<String>,
    /// Where repositories and images are kept.
    directory: PathBuf,
    /// Where results are written.
    results: PathBuf,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let mut arguments: Vec<_> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if arguments.first().is_some_and(|argument| argument == measure::HELPER) {
        return measure::helper(&arguments.split_off(1));
    }
    if let [argument, work, repo] = arguments.as_slice() {
        if argument == floor::PROGRAM {
            return floor::run(work, repo.as_ref());
        }
    }
    let options = Options::parse(&arguments)?;
    let tools = Tools::find(&options.directory)?;
    let mut rows = Vec::new();
    for set in SETS.iter().filter(|set| options.sets.iter().any(|name| name == set.name)) {
        let repo = Repo::make(set, &options.directory)?;
        rows.extend(works::run(&repo, &tools, options.rounds)?);
    }
    report::write(&rows, &tools, &options.results)
}

impl Options {
    fn parse(arguments: &[String]) -> anyhow::Result<Self> {
        let mut options = Self {
            rounds: ROUNDS,
            sets: SETS.map(|set| set.name.to_owned()).into(),
            directory: cache_directory()?.join("bench"),
            results: PathBuf::from("target/bench"),
        };
        for argument in arguments {
            let (key, value) = argument.split_once('=').unwrap_or((argument, ""));
            match key {
                "--rounds" => options.rounds = value.parse().context("--rounds")?,
                "--sets" => options.sets = value.split(',').map(str::to_owned).collect(),
                "--directory" => options.directory = value.into(),
                "--results" => options.results = value.into(),
                _ => bail!(
                    "{argument:?}: expected --rounds=N, --sets=10k,130k,1m, --directory=DIR, --results=DIR"
                ),
            }
        }
        if let Some(name) = options.sets.iter().find(|name| SETS.iter().all(|set| set.name != **name)) {
            bail!("there is no set {name:?}");
        }
        Ok(options)
    }
}

/// The cache directory of the project: what is slow to make survives `make clean`.
fn cache_directory() -> anyhow::Result<PathBuf> {
    if let Some(directory) = std::env::var_os("OSTREE_SEAL_CACHE") {
        return Ok(directory.into());
    }
    let base = match std::env::var_os("XDG_CACHE_HOME") {
        Some(directory) => PathBuf::from(directory),
        None => PathBuf::from(std::env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?)
            .join(".cache"),
    };
    Ok(base.join("ostree-seal"))
}

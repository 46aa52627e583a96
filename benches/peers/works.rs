//! What is compared with what. In each round every program runs once, so that a slow minute of the machine hits all.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::commits::Repo;
use crate::floor;
use crate::measure::{self, Run};
use crate::tools::Tools;

/// A program's runs at one work.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) set: &'static str,
    pub(crate) files: usize,
    pub(crate) work: &'static str,
    pub(crate) program: &'static str,
    pub(crate) runs: Vec<Run>,
}

/// A program that does a work.
struct Contender {
    program: &'static str,
    command: Vec<OsString>,
    /// Brings files back into the state before the run.
    prepare: Box<dyn Fn() -> anyhow::Result<()>>,
}

/// Measures all works on one repository.
pub(crate) fn run(repo: &Repo, tools: &Tools, rounds: usize) -> anyhow::Result<Vec<Row>> {
    let place = Place::new(repo);
    place.prepare(tools)?;
    let works = [
        ("image, all objects read", all_read(&place, tools)),
        ("image, nothing new", nothing_new(&place, tools)),
        ("image, 1 % of the files new", one_percent_new(&place, tools)),
        ("dump to image", dump_to_image(&place, tools)),
        ("import", import(&place, tools)),
    ];
    let mut rows = Vec::new();
    for (work, contenders) in works {
        rows.extend(measure_work(repo, work, contenders, rounds)?);
    }
    place.compare()?;
    Ok(rows)
}

fn measure_work(
    repo: &Repo,
    work: &'static str,
    contenders: Vec<Contender>,
    rounds: usize,
) -> anyhow::Result<Vec<Row>> {
    let row = |contender: &Contender| Row {
        set: repo.set.name,
        files: repo.set.files,
        work,
        program: contender.program,
        runs: Vec::new(),
    };
    let mut rows: Vec<_> = contenders.iter().map(row).collect();
    for round in 0..rounds {
        for (contender, row) in contenders.iter().zip(&mut rows) {
            (contender.prepare)().with_context(|| format!("preparing {}", contender.program))?;
            // What earlier runs left to be written would be written during this one.
            rustix::fs::sync();
            floor::warm(&repo.path)?;
            let run = measure::run(&contender.command)?;
            eprintln!("{} {work}, round {round}: {} {:.3} s", row.set, row.program, run.seconds);
            row.runs.push(run);
        }
    }
    Ok(rows)
}

/// Paths of one repository's measurements. The oracle's root sees the set's directory as `/mnt`.
struct Place {
    directory: PathBuf,
    repo: PathBuf,
    work: PathBuf,
}

impl Place {
    fn new(repo: &Repo) -> Self {
        let directory = repo.path.parent().unwrap_or(Path::new("/")).to_owned();
        Self { directory, repo: repo.path.clone(), work: repo.work.clone() }
    }

    /// Makes what several works need: a cache that knows the commit `base`, and its dump.
    fn prepare(&self, tools: &Tools) -> anyhow::Result<()> {
        fs::remove_dir_all(&self.work)?;
        fs::create_dir_all(&self.work)?;
        let command = self.convert(tools, "base", "base.ours", &self.cache("base.cache"));
        command_output(&command)?;
        let dump = command_output(&tools.ours(&["dump".into(), self.work.join("base.ours").into()]))?;
        Ok(fs::write(self.work.join("base.dump"), dump)?)
    }

    fn cache(&self, name: &str) -> OsString {
        let mut option = OsString::from("--cache=");
        option.push(self.work.join(name));
        option
    }

    fn convert(&self, tools: &Tools, branch: &str, image: &str, cache: &OsString) -> Vec<OsString> {
        let mut repo = OsString::from("--repo=");
        repo.push(&self.repo);
        let image = self.work.join(image);
        tools.ours(&["convert".into(), repo, cache.clone(), branch.into(), image.into()])
    }

    /// `ostree checkout --composefs`, which doesn't replace an image.
    fn checkout(&self, tools: &Tools, option: &str, branch: &str, image: &'static str) -> Option<Contender> {
        let command = ["ostree", "checkout", "--repo=/mnt/repo", option, branch].map(OsString::from);
        let target = image.into();
        let command = tools.oracle(&self.directory, &[&command[..], &[target]].concat())?;
        let path = self.work.join(image);
        let program = match option {
            "--composefs" => "ostree checkout --composefs",
            _ => "ostree checkout --composefs-noverity",
        };
        Some(Contender { program, command, prepare: Box::new(move || remove_if_there(&path)) })
    }

    /// Speed counts only for the same result.
    fn compare(&self) -> anyhow::Result<()> {
        for (ours, theirs) in [
            ("base.ours", "base.ostree"),
            ("base.cached", "base.ostree"),
            ("update.ours", "update.ostree"),
            ("dump.ours", "dump.mkcomposefs"),
        ] {
            let (ours, theirs) = (self.work.join(ours), self.work.join(theirs));
            if theirs.exists() {
                ensure!(fs::read(&ours)? == fs::read(&theirs)?, "{ours:?} and {theirs:?} differ");
            }
        }
        Ok(())
    }
}

fn all_read(place: &Place, tools: &Tools) -> Vec<Contender> {
    let ours = place.convert(tools, "base", "base.ours", &"--no-cache".into());
    let image = place.work.join("base.ours");
    let mut contenders = vec![Contender {
        program: "ostree-seal convert",
        command: ours,
        prepare: Box::new(move || remove_if_there(&image)),
    }];
    contenders.extend(floor::WORKS.map(|work| Contender {
        program: work,
        command: floor::command(work, &place.repo),
        prepare: nothing(),
    }));
    contenders.extend(place.checkout(tools, "--composefs", "base", "base.ostree"));
    contenders
}

fn nothing_new(place: &Place, tools: &Tools) -> Vec<Contender> {
    let ours = place.convert(tools, "base", "base.cached", &place.cache("base.cache"));
    let image = place.work.join("base.cached");
    let mut contenders = vec![Contender {
        program: "ostree-seal convert",
        command: ours,
        prepare: Box::new(move || remove_if_there(&image)),
    }];
    contenders.extend(place.checkout(tools, "--composefs", "base", "base.ostree"));
    contenders.extend(place.checkout(tools, "--composefs-noverity", "base", "base.noverity"));
    contenders
}

fn one_percent_new(place: &Place, tools: &Tools) -> Vec<Contender> {
    let ours = place.convert(tools, "update", "update.ours", &place.cache("update.cache"));
    let (base, update) = (place.work.join("base.cache"), place.work.join("update.cache"));
    let image = place.work.join("update.ours");
    let prepare = Box::new(move || {
        remove_if_there(&image)?;
        fs::copy(&base, &update).map(drop).context("copying the cache")
    });
    let mut contenders = vec![Contender { program: "ostree-seal convert", command: ours, prepare }];
    contenders.extend(place.checkout(tools, "--composefs", "update", "update.ostree"));
    contenders
}

fn dump_to_image(place: &Place, tools: &Tools) -> Vec<Contender> {
    let mut dump = OsString::from("--from-dump=");
    dump.push(place.work.join("base.dump"));
    let ours = tools.ours(&["mkimage".into(), dump, place.work.join("dump.ours").into()]);
    let theirs = ["mkcomposefs", "--from-file", "/mnt/work/base.dump", "/mnt/work/dump.mkcomposefs"];
    let theirs = tools.oracle(&place.directory, &theirs.map(OsString::from));
    let mut contenders =
        vec![Contender { program: "ostree-seal mkimage", command: ours, prepare: nothing() }];
    contenders.extend(theirs.map(|command| Contender {
        program: "mkcomposefs --from-file",
        command,
        prepare: nothing(),
    }));
    contenders
}

/// composefs-rs copies the objects into a repository of its own, so that its work is ours and more.
fn import(place: &Place, tools: &Tools) -> Vec<Contender> {
    let Some(cfsctl) = &tools.cfsctl else { return Vec::new() };
    let ours = place.convert(tools, "base", "base.ours", &"--no-cache".into());
    let store = place.work.join("cfsctl");
    let cfsctl = OsString::from(cfsctl);
    let mut command = vec![cfsctl.clone(), "--insecure".into(), "--repo".into(), store.clone().into()];
    command.extend(["ostree".into(), "pull-local".into(), place.repo.clone().into(), "base".into()]);
    let (image, of_peer) = (place.work.join("base.ours"), store.clone());
    let prepare_ours = Box::new(move || {
        remove_if_there(&image)?;
        remove_directory_if_there(&of_peer)
    });
    let prepare = Box::new(move || {
        remove_directory_if_there(&store)?;
        let init = ["--insecure", "--repo"].map(OsString::from);
        let line = [&[cfsctl.clone()][..], &init, &[store.clone().into(), "init".into()]].concat();
        command_output(&line).map(drop)
    });
    vec![
        Contender { program: "ostree-seal convert", command: ours, prepare: prepare_ours },
        Contender { program: "cfsctl ostree pull-local", command, prepare },
    ]
}

fn nothing() -> Box<dyn Fn() -> anyhow::Result<()>> {
    Box::new(|| Ok(()))
}

fn remove_if_there(path: &Path) -> anyhow::Result<()> {
    if path.exists() {
        fs::remove_file(path).with_context(|| format!("removing {}", path.display()))?;
    }
    Ok(())
}

fn remove_directory_if_there(path: &Path) -> anyhow::Result<()> {
    if path.exists() {
        fs::remove_dir_all(path).with_context(|| format!("removing {}", path.display()))?;
    }
    Ok(())
}

fn command_output(command: &[OsString]) -> anyhow::Result<Vec<u8>> {
    let output = Command::new(&command[0])
        .args(&command[1..])
        .output()
        .with_context(|| format!("running {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}

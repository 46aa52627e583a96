//! What is installed: ours, and the programs that it's compared with.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

/// The programs.
#[derive(Debug)]
pub(crate) struct Tools {
    /// `ostree-seal`, as built for this run.
    ours: PathBuf,
    /// A root with Debian sid's ostree and composefs, if `make oracle` made it.
    oracle: Option<PathBuf>,
    /// composefs-rs's program, if it's installed.
    pub(crate) cfsctl: Option<PathBuf>,
}

impl Tools {
    /// Looks for all programs, and says which ones are missing.
    pub(crate) fn find(directory: &Path) -> anyhow::Result<Self> {
        let oracle = directory.parent().context("the directory's parent")?.join("oracle-sid");
        let oracle = oracle.join("usr/bin/mkcomposefs").exists().then_some(oracle);
        if oracle.is_none() {
            println!("SKIP ostree and mkcomposefs: make their root with `make oracle`");
        }
        let cfsctl = find_program("cfsctl");
        if cfsctl.is_none() {
            println!("SKIP cfsctl: install it with `cargo install composefs-ctl`");
        }
        Ok(Self { ours: env!("CARGO_BIN_EXE_ostree-seal").into(), oracle, cfsctl })
    }

    /// A command line of ours.
    pub(crate) fn ours(&self, arguments: &[OsString]) -> Vec<OsString> {
        std::iter::once(self.ours.clone().into()).chain(arguments.iter().cloned()).collect()
    }

    /// A command line in the oracle's root, which finds `place` as `/mnt` and starts in its
    /// `work`. Mounts and root are the process's own.
    pub(crate) fn oracle(&self, place: &Path, command: &[OsString]) -> Option<Vec<OsString>> {
        const SCRIPT: &str = "\
            mount --bind \"$1\" \"$0/mnt\" && mount --bind /proc \"$0/proc\" && \
            shift && exec unshare --root=\"$0\" --wd=/mnt/work \"$@\"";
        let mut line: Vec<OsString> = ["unshare", "--mount", "sh", "-c", SCRIPT].map(OsString::from).into();
        line.push(self.oracle.as_ref()?.into());
        line.push(place.into());
        line.extend(command.iter().cloned());
        Some(line)
    }

    /// The programs and their versions.
    pub(crate) fn versions(&self) -> anyhow::Result<Vec<String>> {
        let mut lines = vec![output(&self.ours(&["--version".into()]))?];
        if let Some(oracle) = &self.oracle {
            for package in ["ostree", "composefs"] {
                let query = ["dpkg-query", "--show", package].map(OsString::from);
                lines.push(output(&[&["chroot".into(), oracle.into()], &query[..]].concat())?);
            }
        }
        if let Some(program) = &self.cfsctl {
            lines.push(output(&[program.into(), "--version".into()])?);
        }
        Ok(lines)
    }
}

fn output(line: &[OsString]) -> anyhow::Result<String> {
    let output =
        Command::new(&line[0]).args(&line[1..]).output().with_context(|| format!("running {line:?}"))?;
    ensure!(output.status.success(), "{line:?} ended with {}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).trim().replace('\t', " "))
}

fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|path| path.is_file())
}

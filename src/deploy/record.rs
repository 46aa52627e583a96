//! The record of a staged deployment that didn't pass, for `status` and `doctor`.

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use fn_error_context::context;
use serde::{Deserialize, Serialize};

use super::request::Progress;
use crate::atomic;
use crate::beneath::{Below, TEXT_MAX};
use crate::sysroot::{Deployment, SysrootLock};

/// What became of the latest staged deployment of this boot that didn't pass; gone when another one passes.
const RECORD: &str = "/run/ostree-seal/staged.json";
/// The same, for who looks after the reboot. The gate decides at shutdown, so often this is the only one that anybody sees.
const KEPT: &str = "/var/lib/ostree-seal/staged.json";

/// What became of a staged deployment that didn't pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// Refused, and taken out of the boot order.
    Withdrawn,
    /// Still there; the machine was in the way, such as a full disk. It isn't booted before a later run succeeds.
    HeldBack,
    /// It was held back until the reboot, when libostree forgets what is staged.
    Dropped,
    /// It had been made the default at once, and stands behind the running one now.
    PutBehind,
    /// The same, and it could not be put behind: the next boot may take it.
    StaysAhead,
}

/// The record of a staged deployment that didn't pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What became of it.
    pub fate: Fate,
    /// Its commit.
    pub commit: String,
    /// Its version, if it has one.
    pub version: Option<String>,
    /// Why, one sentence.
    pub reason: String,
}

impl Record {
    /// What became of a deployment that didn't pass, for this reason.
    pub fn of(deployment: &Deployment, fate: Fate, reason: &anyhow::Error) -> Self {
        Self {
            fate,
            commit: deployment.commit.clone(),
            version: deployment.version.clone(),
            reason: format!("{reason:#}"),
        }
    }
}

/// The record of this boot, or else of an earlier one, if the latest staged deployment didn't pass.
pub fn last_record() -> Result<Option<Record>> {
    if let Some(record) = read_json(&Below::new("/", RECORD))? {
        return Ok(Some(record));
    }
    let mut record: Option<Record> = read_json(&Below::new("/", KEPT))?;
    if let Some(record) = record.iter_mut().find(|record| record.fate == Fate::HeldBack) {
        record.fate = Fate::Dropped;
    }
    Ok(record)
}

/// Writes the record down, for both who look for it. Perhaps the disk is what is in the way: the journal has the reason in any
/// case, and the withdrawal must go on.
pub fn keep(record: &Record, progress: &dyn Progress) {
    let text = serde_json::to_vec_pretty(record).expect("invariant: texts and a word are JSON");
    for (path, unknowing) in [(KEPT, "after the reboot `status`"), (RECORD, "`status`")] {
        if let Err(error) = write_whole(Path::new(path), &text) {
            progress.warn(&format!("{unknowing} will not know of this: {error:#}"));
        }
    }
}

/// Forgets the record, which is of the running system, and of no other that is sealed on it.
pub fn forget_if_booted(lock: &SysrootLock<'_>, progress: &dyn Progress) {
    if lock.sysroot().is_booted() {
        forget(progress);
    }
}

/// Forgets the record. One that stays keeps no update back: `status` shows it for too long.
pub fn forget(progress: &dyn Progress) {
    for path in [RECORD, KEPT] {
        if let Err(error) = remove(Path::new(path)) {
            progress.warn(&format!("the record of an earlier update stays: {error:#}; remove it by hand"));
        }
    }
}

#[context("removing {}", path.display())]
fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

fn read_json<T: serde::de::DeserializeOwned>(record: &Below) -> Result<Option<T>> {
    let bytes = record.read_if_there(TEXT_MAX)?;
    let json = bytes.map(|bytes| serde_json::from_slice(&bytes)).transpose();
    json.with_context(|| format!("{record} is no record of ours"))
}

#[context("writing {}", path.display())]
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let parent = path.parent().context("no parent")?;
    std::fs::create_dir_all(parent)?;
    Ok(atomic::replace(path, 0o644, |file| file.write_all(bytes))?)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::{Below, Fate, Record, read_json, remove, write_whole};

    fn read(path: &Path) -> Result<Option<Record>, String> {
        let record = Below::new(path.parent().unwrap(), path.file_name().unwrap());
        read_json(&record).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn a_record_that_is_none_is_an_error_and_never_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        assert_eq!(read(&path("nothing")), Ok(None));
        let record = Record { fate: Fate::HeldBack, commit: "c".into(), version: None, reason: "r".into() };
        write_whole(&path("good"), &serde_json::to_vec(&record).unwrap()).unwrap();
        assert_eq!(read(&path("good")), Ok(Some(record)));
        assert!(Command::new("mkfifo").arg(path("fifo")).status().unwrap().success());
        std::os::unix::fs::symlink("/etc/passwd", path("link")).unwrap();
        std::fs::write(path("bad"), "{").unwrap();
        std::fs::write(path("large"), vec![b' '; 5 << 20]).unwrap();
        for (name, reason) in [
            ("fifo", "not a regular file"),
            ("link", "symbolic link that leads nowhere"),
            ("bad", "no record of ours"),
            ("large", "more than the 4194304 bytes"),
        ] {
            let error = read(&path(name)).unwrap_err();
            assert!(error.contains(reason) && error.contains(name), "{error}");
        }
        // What can't be removed is an error, which `forget` warns of and goes on.
        std::fs::create_dir(path("directory")).unwrap();
        remove(&path("directory")).unwrap_err();
    }
}

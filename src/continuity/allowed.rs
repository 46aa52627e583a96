//! What an administrator lets through although the running system doesn't vouch for it: one deployment, by its commit. It
//! is remembered in `/run` for the run at shutdown, and gone with the boot.

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use fn_error_context::context;

use crate::atomic;
use crate::beneath::{Below, TEXT_MAX};
use crate::repo::Checksum;

/// What was let through in this boot, at most one commit of each kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowed {
    /// A commit that the running system's keys need not vouch for.
    pub untrusted: Option<Checksum>,
    /// A commit that may have a lower index than what runs.
    pub downgrade: Option<Checksum>,
}

const UNTRUSTED: &str = "allowed-untrusted";
const DOWNGRADE: &str = "allowed-downgrade";

impl Allowed {
    /// What is remembered in `run`.
    pub fn read(run: &Path) -> Result<Self> {
        Ok(Self { untrusted: read(&run.join(UNTRUSTED))?, downgrade: read(&run.join(DOWNGRADE))? })
    }

    /// Remembers these in `run`, each in the place of the one before it; what isn't given stays.
    pub fn remember(&self, run: &Path) -> Result<()> {
        for (name, commit) in [(UNTRUSTED, self.untrusted), (DOWNGRADE, self.downgrade)] {
            if let Some(commit) = commit {
                write(&run.join(name), &commit)?;
            }
        }
        Ok(())
    }
}

/// What isn't a commit's checksum allows nothing, and is said instead of passed over.
#[context("reading {}", path.display())]
fn read(path: &Path) -> Result<Option<Checksum>> {
    let Some(bytes) = Below::new("/", path).read_if_there(TEXT_MAX)? else { return Ok(None) };
    let commit = std::str::from_utf8(&bytes).ok().and_then(|text| Checksum::from_hex(text.trim_end()));
    Ok(Some(commit.context("it is no commit's checksum; remove it")?))
}

#[context("writing {}", path.display())]
fn write(path: &Path, commit: &Checksum) -> Result<()> {
    let parent = path.parent().context("no parent")?;
    std::fs::create_dir_all(parent)?;
    Ok(atomic::replace(path, 0o644, |file| writeln!(file, "{commit}"))?)
}

//! What later stages of the boot and everybody who logs in find in `/run` of this root.

use rustix::fs::{fstat, major, minor};

use super::booted::{BootedEntry, EntryValue, serialize};
use super::run_files::RunFiles;
use super::state::{BootState, STATE_FILE};
use crate::error::{BootError, Doing};
use crate::find::Found;
use crate::layout::prepare_root_conf::RootMode;

/// What everybody who logs in gets to read.
const UNSEALED: &str = "This system is UNSEALED: nothing checks that its files are the ones that were released (ostree seal status).\n";

/// Writes what later stages read. `booted` is what the root's maker has for `/run/ostree-booted`.
pub fn write(
    state: &mut BootState,
    booted: &mut Vec<BootedEntry>,
    found: &Found,
    files: &mut RunFiles,
) -> Result<(), BootError> {
    let stat = fstat(&found.deployment.dir).map_err(Doing::step("looking at the deployment"))?;
    booted.push(BootedEntry {
        key: "backing-root-device-inode",
        value: EntryValue::DeviceInode(stat.st_dev, stat.st_ino),
    });
    booted.push(BootedEntry::boolean("root.transient", state.root == RootMode::Transient));
    booted.push(BootedEntry::boolean("root.transient-ro", state.root == RootMode::TransientReadOnly));
    files.file("ostree-booted", &serialize(booted))?;
    if state.method.is_some() {
        files.directory("systemd", 0o755)?;
        let device = fstat(&found.physical).map_err(Doing::step("looking at the physical root"))?.st_dev;
        files.link("systemd/volatile-root", &format!("/dev/block/{}:{}", major(device), minor(device)))?;
    }
    if !state.sealed {
        files.directory("motd.d", 0o755)?;
        files.file("motd.d/ostree-seal", UNSEALED.as_bytes())?;
    }
    files.directory("ostree-seal", 0o755)?;
    state.steps.end("tell");
    files.file(STATE_FILE, state.to_json().as_bytes())
}

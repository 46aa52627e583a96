//! Which program sets up the root: the units of systemd in an initramfs, or the script of initramfs-tools.

use anyhow::{Result, ensure};

use super::rootfs::{Node, Rootfs};

/// The unit that starts ostree-seal-root.
const UNIT: &[u8] = b"ostree-seal-root.service";
const PREPARE_ROOT_UNIT: &[u8] = b"ostree-prepare-root.service";
/// What starts ostree-seal-root where initramfs-tools makes the initramfs.
const SCRIPT: &[u8] = b"scripts/local-bottom/ostree-seal";

/// Where systemd looks for units. A file in an earlier place takes the place of one of the same name in a later one.
const PLACES: [&str; 7] = [
    "etc/systemd/system.control/",
    "etc/systemd/system/",
    "etc/systemd/system.attached/",
    "run/systemd/system/",
    "usr/local/lib/systemd/system/",
    "usr/lib/systemd/system/",
    "lib/systemd/system/",
];

/// The most units of these names; there are a handful.
const UNITS_MAX: usize = 1024;

/// How the root is set up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Starts {
    /// ostree-seal-root is started.
    pub(super) program: bool,
    /// Its unit is switched off by this file.
    pub(super) masked: Option<String>,
    /// ostree-prepare-root is started.
    pub(super) prepare_root: bool,
}

/// A unit or what pulls one in: its path, and whether it is a link to `/dev/null` or an empty file, which is no unit.
struct Unit {
    path: String,
    is_nothing: bool,
}

impl Starts {
    pub(super) fn of(tree: &Rootfs) -> Result<Self> {
        let (ours, others) = (units(tree, UNIT)?, units(tree, PREPARE_ROOT_UNIT)?);
        let pulled_in = |unit: &Unit| {
            let above = unit.path.rsplit('/').nth(1).unwrap_or_default();
            above.ends_with(".requires") || above.ends_with(".wants")
        };
        let script = matches!(tree.at(SCRIPT), Some(Node::File(_) | Node::Link(_)));
        let masked = ours.iter().find(|unit| unit.is_nothing && in_place(unit).is_some());
        let masked = masked.map(|unit| unit.path.clone());
        let others = others.iter().filter(|unit| !pulled_in(unit) && in_place(unit).is_some());
        let effective = others.min_by_key(|unit| in_place(unit));
        Ok(Self {
            program: script || (masked.is_none() && ours.iter().any(pulled_in)),
            masked,
            prepare_root: effective.is_some_and(|unit| !unit.is_nothing),
        })
    }
}

/// The rank of the place that a unit is in.
fn in_place(unit: &Unit) -> Option<usize> {
    PLACES.iter().position(|place| unit.path.starts_with(place))
}

fn units(tree: &Rootfs, name: &[u8]) -> Result<Vec<Unit>> {
    let mut units = Vec::new();
    for found in tree.all().filter(|found| found.name == name) {
        let path = String::from_utf8_lossy(&found.path()).into_owned();
        let is_nothing = match found.node() {
            Node::File(file) => file.content.size == 0,
            Node::Link(target) => leads_to_null(&path, target),
            Node::Directory(_) | Node::Other(_) => continue,
        };
        units.push(Unit { path, is_nothing });
        ensure!(units.len() <= UNITS_MAX, "it has more than {UNITS_MAX} units named {}", name.escape_ascii());
    }
    Ok(units)
}

/// Whether a symlink at this path is one to `/dev/null`, however it is spelt.
fn leads_to_null(path: &str, target: &[u8]) -> bool {
    let target = String::from_utf8_lossy(target);
    let mut names: Vec<&str> = match target.starts_with('/') {
        true => Vec::new(),
        false => path.split('/').rev().skip(1).collect::<Vec<_>>().into_iter().rev().collect(),
    };
    for name in target.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    names == ["dev", "null"]
}

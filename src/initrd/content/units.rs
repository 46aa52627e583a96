//! Which program sets up the root: the units of systemd in an initramfs, or the script of initramfs-tools.

use anyhow::Result;

use super::rootfs::{Found, Node, Rootfs};

/// The unit that starts ostree-seal-root.
const UNIT: &str = "ostree-seal-root.service";
const PREPARE_ROOT_UNIT: &str = "ostree-prepare-root.service";
/// What starts ostree-seal-root where initramfs-tools makes the initramfs.
const SCRIPT: &str = "scripts/local-bottom/ostree-seal";

/// Where systemd looks for units, symlinks followed. A file in an earlier place takes the place of one of the same name in a
/// later one.
const PLACES: [&str; 7] = [
    "etc/systemd/system.control/",
    "etc/systemd/system/",
    "etc/systemd/system.attached/",
    "run/systemd/system/",
    "usr/local/lib/systemd/system/",
    "usr/lib/systemd/system/",
    "lib/systemd/system/",
];

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

/// What systemd makes of a unit file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// A unit.
    Some,
    /// What switches a unit off: a file without content, or a link to `/dev/null`, however it leads there.
    Mask,
    /// A link that leads nowhere, which takes the place of a unit as well.
    Dangling,
}

impl Starts {
    pub(super) fn of(tree: &Rootfs) -> Result<Self> {
        let script = matches!(tree.at(SCRIPT.as_bytes()), Some(Node::File(_) | Node::Link(_)));
        let mut look = Look { tree, steps: 0 };
        let (pulled_in, mask_of_pull) = look.pulls()?;
        let masked = look.mask()?.or(mask_of_pull);
        let prepare_root = look.effective(PREPARE_ROOT_UNIT)? == Some(Unit::Some);
        Ok(Self { program: script || (masked.is_none() && pulled_in), masked, prepare_root })
    }
}

/// Looks for units in a tree that a stranger made: all ways together have a limit.
struct Look<'a> {
    tree: &'a Rootfs,
    steps: usize,
}

impl<'a> Look<'a> {
    fn find(&mut self, path: &str) -> Result<Option<Found<'a>>> {
        self.tree.find(path.as_bytes(), &mut self.steps)
    }

    fn unit(&mut self, path: &str) -> Result<Option<Unit>> {
        Ok(self.find(path)?.and_then(|found| match found {
            Found::Node(Node::File(file)) if file.content.size > 0 => Some(Unit::Some),
            Found::Node(Node::File(_)) | Found::Null => Some(Unit::Mask),
            Found::Dangling => Some(Unit::Dangling),
            Found::Node(Node::Directory(_) | Node::Other(_) | Node::Link(_)) => None,
        }))
    }

    /// The unit of this name that counts.
    fn effective(&mut self, name: &str) -> Result<Option<Unit>> {
        for place in PLACES {
            if let Some(unit) = self.unit(&format!("{place}{name}"))? {
                return Ok(Some(unit));
            }
        }
        Ok(None)
    }

    /// The first file in a place of units that switches ours off.
    fn mask(&mut self) -> Result<Option<String>> {
        for place in PLACES {
            let path = format!("{place}{UNIT}");
            if matches!(self.unit(&path)?, Some(Unit::Mask | Unit::Dangling)) {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }

    /// Whether a target pulls our unit in, and the first file that says it doesn't. Of a link systemd takes the name only,
    /// wherever it leads.
    fn pulls(&mut self) -> Result<(bool, Option<String>)> {
        let (mut pulled_in, mut masked) = (false, None);
        for place in PLACES {
            let Some(Found::Node(Node::Directory(directory))) = self.find(place)? else { continue };
            for (name, _) in self.tree.entries(directory) {
                if !name.ends_with(b".requires") && !name.ends_with(b".wants") {
                    continue;
                }
                let path = format!("{place}{}/{UNIT}", String::from_utf8_lossy(name));
                match self.unit(&path)? {
                    Some(Unit::Mask) => masked = masked.or(Some(path)),
                    unit => pulled_in |= unit.is_some(),
                }
            }
        }
        Ok((pulled_in, masked))
    }
}

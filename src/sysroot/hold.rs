//! What keeps a staged deployment from becoming the default at shutdown: libostree's lock file, ours or another's.

use anyhow::{Context as _, Result};
use fn_error_context::context;

use super::notes::Notes;
use crate::beneath::{Below, TEXT_MAX};

/// What libostree has written down of a staged deployment, see [`Notes`].
pub(super) const STAGED: &str = "/run/ostree/staged-deployment";
/// While this exists, libostree doesn't make a staged deployment the default at shutdown.
const FINALIZATION_LOCK: &str = "/run/ostree/staged-deployment-locked";

/// Who holds a staged deployment back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// A run of ours that has not let it through, or is about to decide.
    Us,
    /// An admin, or another program, with `ostree admin lock-finalization` or the like.
    Others,
}

/// Who holds the staged deployment back, by libostree's own two marks: a file, and since 2023.8 a word in its notes.
#[context("looking for who holds the staged deployment back")]
pub(super) fn holder() -> Result<Option<Holder>> {
    if let Some(notes) = staged_notes()? {
        if Notes::parse(&notes).with_context(|| format!("reading {STAGED}"))?.locked {
            return Ok(Some(Holder::Others));
        }
    }
    let mark = finalization_lock().read_if_there(TEXT_MAX)?;
    Ok(mark.map(|mark| if mark == OUR_MARK.as_bytes() { Holder::Us } else { Holder::Others }))
}

/// What libostree has written down of the staged deployment, if there is one.
pub(super) fn staged_notes() -> Result<Option<Vec<u8>>> {
    Below::new("/", STAGED).read_if_there(TEXT_MAX)
}

fn finalization_lock() -> Below {
    Below::new("/", FINALIZATION_LOCK)
}

/// Holds a staged deployment back from becoming the default at shutdown, until [`HeldBack::release`]. A process that
/// dies in between leaves it held back, and the running deployment stays the default.
#[derive(Debug)]
pub struct HeldBack {
    by_us: bool,
}

impl HeldBack {
    /// Holds the staged deployment back.
    #[context("holding the staged deployment back with {FINALIZATION_LOCK}")]
    pub fn hold() -> Result<Self> {
        // Written under another name first: a run that is killed here must not leave an empty file, which would
        // look like an admin's.
        let prepared = format!("{FINALIZATION_LOCK}.ostree-seal");
        std::fs::write(&prepared, OUR_MARK)?;
        let linked = std::fs::hard_link(&prepared, FINALIZATION_LOCK);
        std::fs::remove_file(&prepared)?;
        match linked {
            Ok(()) => Ok(Self { by_us: true }),
            // Left by a run of ours that was killed, or by an admin who wants to decide himself.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                Ok(Self { by_us: finalization_lock().read(TEXT_MAX)? == OUR_MARK.as_bytes() })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Lets libostree go on, unless somebody else holds the deployment back too. libostree takes the lock away by itself
    /// when a deployment is withdrawn or staged anew.
    #[context("releasing the staged deployment")]
    pub fn release(self) -> Result<()> {
        if !self.by_us {
            return Ok(());
        }
        match std::fs::remove_file(FINALIZATION_LOCK) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// What our own lock file holds; others leave it empty.
const OUR_MARK: &str = "ostree-seal\n";

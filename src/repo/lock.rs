//! libostree's lock on a repository. The binding to it is missing from the `ostree` crate, so this file calls the C
//! function.

#![allow(unsafe_code, reason = "ostree_repo_lock_push and _pop have no safe binding in the ostree crate")]

use std::ptr;

use ostree::ffi;
use ostree::glib;
use ostree::glib::translate::{ToGlibPtr, from_glib_full};

/// A shared lock: a prune, which wants an exclusive one, waits until this is dropped.
#[derive(Debug)]
pub(super) struct SharedLock {
    repo: ostree::Repo,
}

impl SharedLock {
    /// Takes the lock, and waits for it as long as the repository's `core.lock-timeout-secs` says. A repository that
    /// the user can't write to isn't locked (libostree doesn't either: the lock file may not be creatable).
    pub(super) fn take(repo: &ostree::Repo) -> Result<Self, glib::Error> {
        // SAFETY: `repo` is a valid, opened OstreeRepo that lives beyond the call; a null cancellable is allowed.
        call(|error| unsafe {
            ffi::ostree_repo_lock_push(
                repo.to_glib_none().0,
                ffi::OSTREE_REPO_LOCK_SHARED,
                ptr::null_mut(),
                error,
            )
        })?;
        Ok(Self { repo: repo.clone() })
    }
}

impl Drop for SharedLock {
    fn drop(&mut self) {
        // SAFETY: as in `take`; the lock that is given back was taken there.
        let released = call(|error| unsafe {
            ffi::ostree_repo_lock_pop(
                self.repo.to_glib_none().0,
                ffi::OSTREE_REPO_LOCK_SHARED,
                ptr::null_mut(),
                error,
            )
        });
        // The lock ends with the descriptor that holds it at the latest, so nobody has to hear of this.
        drop(released);
    }
}

/// Turns libostree's convention (FALSE and an owned error) into a `Result`.
fn call(
    function: impl FnOnce(*mut *mut glib::ffi::GError) -> glib::ffi::gboolean,
) -> Result<(), glib::Error> {
    let mut error = ptr::null_mut();
    if function(&mut error) != glib::ffi::GFALSE {
        return Ok(());
    }
    if error.is_null() {
        return Err(glib::Error::new(glib::FileError::Failed, "libostree gave no reason"));
    }
    // SAFETY: libostree set the error and passed its ownership on.
    Err(unsafe { from_glib_full(error) })
}

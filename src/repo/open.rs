//! What libostree is asked for: opening a repository and its parents, its mode, refs, and the lock.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail, ensure};
use fn_error_context::context;
use ostree::{gio, glib};
use rustix::fs::{Mode, OFlags};
use strsim::damerau_levenshtein;

use super::checksum::Checksum;
use super::lock::SharedLock;
use super::store::{RepoMode, Store};

/// An opened repository and its parents, locked against a prune until this is dropped.
#[derive(Debug)]
pub(super) struct Repo {
    repo: ostree::Repo,
    path: PathBuf,
    _locks: Vec<SharedLock>,
}

impl Repo {
    /// Opens a repository; the stores are its own and those of its parents, in the order in which to look.
    pub(super) fn open(path: &Path) -> anyhow::Result<(Self, Vec<Store>)> {
        let repo = ostree::Repo::new_for_path(path);
        repo.open(gio::Cancellable::NONE).map_err(|error| not_opened(path, error))?;
        let mut locks = Vec::new();
        let mut stores = Vec::new();
        let mut next = Some(repo.clone());
        while let Some(repo) = next {
            locks.push(take_lock(&repo)?);
            stores.push(open_store(&repo)?);
            next = repo.parent();
        }
        Ok((Self { repo, path: path.to_owned(), _locks: locks }, stores))
    }

    /// The repository as libostree has it.
    pub(super) fn ostree(&self) -> &ostree::Repo {
        &self.repo
    }

    /// The commit that a ref, `remote:ref` or full or abbreviated commit id names.
    pub(super) fn resolve(&self, rev: &str) -> anyhow::Result<Checksum> {
        // libostree takes the empty one for an abbreviation of any commit.
        ensure!(
            !rev.is_empty(),
            "the name of the commit is empty; `ostree refs` lists the names that there are"
        );
        let found = self.repo.require_rev(rev).map_err(|error| self.not_found(rev, error))?;
        Checksum::from_hex(&found).with_context(|| format!("{rev:?} names {found:?}, which is no commit id"))
    }

    /// The names of all refs, sorted.
    pub(super) fn refs(&self) -> anyhow::Result<Vec<String>> {
        let refs = self.repo.list_refs(None, gio::Cancellable::NONE).context("listing the refs")?;
        let mut names: Vec<String> = refs.into_keys().map(|name| name.to_string()).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Names the refs that look like it, since that is what a typing mistake leaves.
    fn not_found(&self, rev: &str, error: glib::Error) -> anyhow::Error {
        let refs = self.repo.list_refs(None, gio::Cancellable::NONE).unwrap_or_default();
        let mut near: Vec<_> = refs.into_keys().filter(|name| is_near(rev, name)).collect();
        near.sort_unstable();
        let hint = match near.first() {
            Some(name) => format!("did you mean {name}?"),
            None => format!("`ostree refs --repo={}` lists those that there are", self.path.display()),
        };
        anyhow!("{error}; {hint}").context(format!("looking for {rev:?} in {}", self.path.display()))
    }
}

/// Whether two names differ in a few letters, or one ends as the other does.
fn is_near(one: &str, other: &str) -> bool {
    let last = |name: &str| name.rsplit(['/', ':']).next().unwrap_or_default().to_lowercase();
    one != other
        && (last(one) == last(other) || damerau_levenshtein(one, other) <= 1 + one.chars().count() / 5)
}

fn not_opened(path: &Path, error: glib::Error) -> anyhow::Error {
    if error.matches(gio::IOErrorEnum::NotFound) {
        let what = if path.exists() { "is not an OSTree repository" } else { "does not exist" };
        anyhow!("{} {what}; `ostree init --repo=DIR` makes a repository", path.display())
    } else {
        anyhow!(error).context(format!("opening the OSTree repository {}", path.display()))
    }
}

#[context("locking {}", location(repo).display())]
fn take_lock(repo: &ostree::Repo) -> anyhow::Result<SharedLock> {
    Ok(SharedLock::take(repo)?)
}

#[context("opening {}", location(repo).display())]
fn open_store(repo: &ostree::Repo) -> anyhow::Result<Store> {
    let mode = match repo.mode() {
        ostree::RepoMode::Bare => RepoMode::Bare,
        ostree::RepoMode::BareUser => RepoMode::BareUser,
        ostree::RepoMode::BareUserOnly => RepoMode::BareUserOnly,
        ostree::RepoMode::BareSplitXattrs => RepoMode::BareSplitXattrs,
        ostree::RepoMode::Archive => RepoMode::Archive,
        other => bail!("its mode is unknown to this version: {other:?}"),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let objects = rustix::fs::openat(repo.dfd_borrow(), "objects", flags, Mode::empty())
        .context("opening its objects directory")?;
    // libostree has read the key when it opened the repository: an error here means that there is none.
    let disable_xattrs = repo.config().boolean("core", "disable-xattrs").unwrap_or(false);
    Ok(Store { path: location(repo), objects, mode, disable_xattrs })
}

fn location(repo: &ostree::Repo) -> PathBuf {
    use ostree::gio::prelude::FileExt as _;
    repo.path().path().expect("invariant: it was opened by a path")
}

#[cfg(test)]
mod tests {
    use super::is_near;

    #[test]
    fn a_typing_mistake_is_near_and_another_name_is_not() {
        for (typed, name) in [("debain/13", "debian/13"), ("13/x86", "debian/13/X86"), ("origin:os", "os")] {
            assert!(is_near(typed, name), "{typed}");
        }
        assert!(!is_near("fedora", "debian"));
    }
}

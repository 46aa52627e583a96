//! OSTree repositories: from a commit to a [`Tree`]. The only files that name ostree, gio or glib.
//!
//! libostree opens the repository, resolves refs and holds the lock. The objects are read directly: they are a stable
//! format, and that is where the time goes.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::mpsc;
use std::thread;

use anyhow::Context as _;
use fn_error_context::context;

use crate::tree::Tree;

mod checksum; // an object's name
mod commit; // where a commit's tree begins
mod dirmeta; // owner, mode and xattrs
mod dirtree; // the names in a directory
mod gvariant; // the serialised form of all three

mod archive; // file objects in archive repositories
mod file; // file objects in the other modes
mod store; // objects as files below `objects`
mod xattrs; // their extended attributes

mod detached; // signatures: what they are made over, where they are kept
mod staged; // what libostree has written down of a staged deployment
pub mod sysroot; // sysroots and deployments, through libostree

mod lock; // libostree's lock; the only unsafe code of this package
mod repo; // libostree: open, resolve, lock

mod assemble; // table of objects -> tree
mod explore; // what the threads do
mod presence; // whether objects that a cache knows are there
mod queue; // jobs for them
mod walk; // commit -> table of objects

pub use checksum::Checksum;
pub use commit::Commit;
pub use detached::Embedded;
pub use file::{ObjectInfo, ObjectKind, Work};
pub use gvariant::FormatError;
pub use store::{MissingObject, RepoMode};
pub use xattrs::{XattrList, Xattrs};

use assemble::assemble;
use repo::Repo;
use store::{Metadata, ObjectPath, Store, read_metadata};
use walk::{Company, read_objects};

/// What is known of file objects from earlier runs.
pub trait ObjectCache: Sync {
    /// The number by which an object is known, another one for each: then the object isn't opened. Called on any thread.
    fn find(&self, object: &Checksum) -> Option<u32>;
    /// What the object with this number is. None is as good as not knowing it at all.
    fn info(&self, number: u32) -> Option<ObjectInfo>;
    /// Takes note of an object that was read.
    fn add(&self, object: &Checksum, info: &ObjectInfo);
}

/// Knows nothing and learns nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCache;

impl ObjectCache for NoCache {
    fn find(&self, _: &Checksum) -> Option<u32> {
        None
    }

    fn info(&self, _: u32) -> Option<ObjectInfo> {
        None
    }

    fn add(&self, _: &Checksum, _: &ObjectInfo) {}
}

/// Which part of owners and xattrs a repository and its parents keep. An object is the same in all repositories, but what
/// they give back of it is the same only in those with one view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View(u32);

impl View {
    /// Everything, as the object's checksum covers it.
    pub const FULL: Self = Self(0);
    /// A bare-user-only repository loses owners and xattrs.
    const NO_OWNERS: u32 = 1;
    /// `core.disable-xattrs` loses xattrs.
    const NO_XATTRS: u32 = 2;

    /// The view on a repository that loses xattrs.
    #[cfg(test)]
    pub(crate) fn without_xattrs() -> Self {
        Self(Self::NO_XATTRS)
    }

    /// Different for different views.
    pub fn number(self) -> u32 {
        self.0
    }
}

/// Hears how far a load is. Called on the thread that called [`Source::load`], a few times per thousand objects.
pub trait Progress {
    /// So many file objects were read, and so many are known to be in the commit so far.
    fn objects(&mut self, done: u64, known: u64);
}

impl Progress for () {
    fn objects(&mut self, _: u64, _: u64) {}
}

/// An OSTree repository, open and locked against a concurrent prune until it's dropped.
#[derive(Debug)]
pub struct Source {
    repo: Repo,
    stores: Vec<Store>,
}

/// How to load a commit.
pub struct Load<'a> {
    /// Number of threads that read and hash objects. The result doesn't depend on it.
    pub threads: NonZeroUsize,
    /// What is known from earlier runs.
    pub cache: &'a dyn ObjectCache,
    /// Who hears of the progress.
    pub progress: &'a mut dyn Progress,
}

/// A commit as a tree, and what it took.
#[derive(Debug)]
pub struct Loaded {
    /// The tree that libostree would make an image of.
    pub tree: Tree,
    /// Different file objects in the commit, known ones included.
    pub objects: u64,
    /// What was read.
    pub work: Work,
}

impl Source {
    /// Opens the repository at this path, and its parents.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let (repo, stores) = Repo::open(path)?;
        Ok(Self { repo, stores })
    }

    /// How the repository keeps its files.
    pub fn mode(&self) -> RepoMode {
        self.stores[0].mode
    }

    /// Which part of owners and xattrs the repository and its parents keep.
    pub fn view(&self) -> View {
        self.stores.iter().fold(View::FULL, |view, store| {
            let owners = if store.mode == RepoMode::BareUserOnly { View::NO_OWNERS } else { 0 };
            let xattrs = if store.disable_xattrs { View::NO_XATTRS } else { 0 };
            View(view.0 | owners | xattrs)
        })
    }

    /// Whether the repository or a parent of it has this file object.
    pub fn has_file(&self, object: &Checksum) -> bool {
        self.stores.iter().any(|store| store.has(&ObjectPath::new(object, store.mode.file_extension())))
    }

    /// The commit that a ref, `remote:ref`, or a full or abbreviated commit id names.
    pub fn commit(&self, rev: &str) -> anyhow::Result<Commit> {
        let checksum = self.repo.resolve(rev)?;
        self.read_commit(checksum)
    }

    /// Reads all objects of a commit, each once, and makes its tree.
    pub fn load(&self, commit: &Commit, load: Load<'_>) -> anyhow::Result<Loaded> {
        self.load_with(commit, load, Ok)
    }

    /// Loads a commit and makes something of it. Meanwhile another thread looks whether the repository has the objects
    /// that the cache knows: if one is missing, that's the result, whatever was made.
    #[context("loading commit {}", commit.checksum)]
    pub fn load_with<T>(
        &self,
        commit: &Commit,
        load: Load<'_>,
        make: impl FnOnce(Loaded) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let stores = &self.stores;
        let (sender, known) = mpsc::channel();
        thread::scope(|scope| {
            let presence = scope.spawn(move || presence::require(stores, &known));
            let company = Company { cache: load.cache, progress: load.progress, known: sender };
            let objects = read_objects(stores, commit, load.threads, company)?;
            let (tree, count, work) = (assemble(&objects)?, objects.files.len() as u64, objects.work);
            // The tree has all of it now; `make` may need the memory.
            drop(objects);
            let made = make(Loaded { tree, objects: count, work });
            presence.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            made
        })
    }

    #[context("loading commit {checksum}")]
    fn read_commit(&self, checksum: Checksum) -> anyhow::Result<Commit> {
        let mut buffer = Vec::new();
        let bytes = read_metadata(&self.stores, &checksum, Metadata::Commit, &mut buffer)?;
        Commit::parse(checksum, bytes).with_context(|| format!("reading object {checksum}.commit"))
    }
}

impl std::fmt::Debug for Load<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Load").field("threads", &self.threads).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

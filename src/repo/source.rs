//! A repository, open: commits and what becomes of them.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::mpsc;
use std::thread;

use anyhow::Context as _;
use fn_error_context::context;

use super::assemble::assemble;
use super::checksum::Checksum;
use super::commit::Commit;
use super::file::Work;
use super::known::{Check, KeptMetadata, LoadProgress, ObjectCache};
use super::list::list_files;
use super::open::Repo;
use super::paths;
use super::presence;
use super::store::{Metadata, MissingObject, ObjectPath, RepoMode, Store, read_metadata};
use super::walk::{WalkContext, read_objects};
use crate::tree::Tree;

/// An OSTree repository, open and locked against a concurrent prune until it's dropped.
#[derive(Debug)]
pub struct Source {
    pub(super) repo: Repo,
    pub(super) stores: Vec<Store>,
}

/// How to load a commit.
pub struct Load<'a> {
    /// Number of threads that read and hash objects. The result doesn't depend on it.
    pub threads: NonZeroUsize,
    /// What is known from earlier runs.
    pub cache: &'a dyn ObjectCache,
    /// Which contents are compared with their objects' names.
    pub check: Check,
    /// Who hears of the progress.
    pub progress: &'a mut dyn LoadProgress,
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
    pub fn view(&self) -> KeptMetadata {
        self.stores.iter().fold(KeptMetadata::FULL, |view, store| {
            view.through(store.mode != RepoMode::BareUserOnly, !store.disable_xattrs)
        })
    }

    /// Whether the repository or a parent of it has this file object.
    pub fn has_file(&self, object: &Checksum) -> bool {
        self.stores.iter().any(|store| store.has(&ObjectPath::new(object, store.mode.file_extension())))
    }

    /// The names of all refs, sorted.
    pub fn refs(&self) -> anyhow::Result<Vec<String>> {
        self.repo.refs()
    }

    /// The commit that a ref, `remote:ref`, or a full or abbreviated commit id names.
    pub fn commit(&self, rev: &str) -> anyhow::Result<Commit> {
        let checksum = self.repo.resolve(rev)?;
        self.read_commit(checksum)
    }

    /// The names of all file objects of a commit, sorted. Its directories are read, and no file object is opened.
    #[context("listing the objects of commit {}", commit.checksum)]
    pub fn list(&self, commit: &Commit, threads: NonZeroUsize) -> anyhow::Result<Vec<Checksum>> {
        list_files(&self.stores, commit, threads)
            .map_err(|error| paths::name_path(&self.stores, commit, error))
            .map_err(|error| self.explained(error, &commit.checksum))
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
        let made = thread::scope(|scope| {
            let presence = scope.spawn(move || presence::require(stores, &known));
            let context =
                WalkContext { cache: load.cache, check: load.check, progress: load.progress, known: sender };
            let objects = read_objects(stores, commit, load.threads, context)
                .map_err(|error| paths::name_path(stores, commit, error))?;
            let (tree, count, work) = (assemble(&objects)?, objects.files.len() as u64, objects.work);
            // The tree has all of it now; `make` may need the memory.
            drop(objects);
            let made = make(Loaded { tree, objects: count, work });
            presence.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            made
        });
        made.map_err(|error| self.explained(error, &commit.checksum))
    }

    /// The same error; if it is about a missing object, with what the repository says of that.
    fn explained(&self, mut error: anyhow::Error, commit: &Checksum) -> anyhow::Error {
        if let Some(missing) = error.downcast_mut::<MissingObject>() {
            missing.explain(&self.stores, commit);
        }
        error
    }

    #[context("loading commit {checksum}")]
    fn read_commit(&self, checksum: Checksum) -> anyhow::Result<Commit> {
        let mut buffer = Vec::new();
        let bytes = read_metadata(&self.stores, &checksum, Metadata::Commit, &mut buffer)
            .map_err(|error| self.explained(error, &checksum))?;
        Commit::parse(checksum, bytes).with_context(|| format!("reading object {checksum}.commit"))
    }
}

impl std::fmt::Debug for Load<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Load").field("threads", &self.threads).finish_non_exhaustive()
    }
}

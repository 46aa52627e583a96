//! The arguments for the object cache.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::Args;

use super::print;
use crate::cache::{Cache, FILE_NAME, Scope};
use crate::repo::{Checksum, ObjectCache, ObjectInfo, Source};

/// Which cache to use.
#[derive(Debug, Args)]
pub(super) struct CacheArgs {
    /// Keep what was learned of objects in FILE, which several repositories can share [default: ostree-seal.cache in
    /// the repository]
    #[arg(long, value_name = "FILE", conflicts_with = "no_cache", display_order = 101)]
    cache: Option<PathBuf>,

    /// Read every object, and don't keep what was learned
    #[arg(long, display_order = 102)]
    no_cache: bool,
}

/// The cache that was chosen, or none.
#[derive(Debug)]
pub(super) struct UsedCache {
    cache: Option<Cache>,
    path: PathBuf,
    /// Whether the user named it.
    chosen: bool,
}

impl CacheArgs {
    pub(super) fn open(&self, repo: &Path, source: &Source) -> UsedCache {
        let (path, scope) = match &self.cache {
            Some(path) => (path.clone(), Scope::Shared),
            None => (repo.join(FILE_NAME), Scope::Repository),
        };
        let cache = (!self.no_cache).then(|| Cache::open(path.clone(), scope, source.view()));
        if let Some(reason) = cache.as_ref().and_then(Cache::ignored) {
            print::say(format_args!("note: not using the cache {}: {reason}", path.display()));
        }
        UsedCache { cache, path, chosen: self.cache.is_some() }
    }
}

impl UsedCache {
    /// Keeps what was learned, and says how many objects were known. A cache that can't be written costs time later,
    /// but nothing now.
    pub(super) fn save(self, source: &Source) -> u64 {
        let Some(cache) = self.cache else { return 0 };
        let hits = cache.hits();
        match cache.save(|object| source.has_file(object)) {
            Ok(()) => {}
            // Somebody else's repository.
            Err(error) if !self.chosen && is_no_permission(error.kind()) => {}
            Err(error) => {
                print::say(format_args!("note: the cache {} was not written: {error}", self.path.display()))
            }
        }
        hits
    }
}

impl ObjectCache for UsedCache {
    fn find(&self, object: &Checksum) -> Option<u32> {
        self.cache.as_ref()?.find(object)
    }

    fn info(&self, number: u32) -> Option<ObjectInfo> {
        self.cache.as_ref()?.info(number)
    }

    fn add(&self, object: &Checksum, info: &ObjectInfo) {
        if let Some(cache) = &self.cache {
            cache.add(object, info);
        }
    }
}

fn is_no_permission(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
}

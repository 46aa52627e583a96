//! What a load asks and tells: what is known of objects from earlier runs, and how far it is.

use super::checksum::Checksum;
use super::object::ObjectInfo;

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
pub struct KeptMetadata(u32);

impl KeptMetadata {
    /// Everything, as the object's checksum covers it.
    pub const FULL: Self = Self(0);
    /// A bare-user-only repository loses owners and xattrs.
    const NO_OWNERS: u32 = 1;
    /// `core.disable-xattrs` loses xattrs.
    const NO_XATTRS: u32 = 2;

    /// This view through a store that may lose owners or xattrs.
    pub(super) fn through(self, owners: bool, xattrs: bool) -> Self {
        let owners = if owners { 0 } else { Self::NO_OWNERS };
        let xattrs = if xattrs { 0 } else { Self::NO_XATTRS };
        Self(self.0 | owners | xattrs)
    }

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

/// Which contents are compared with the names of their objects, as `ostree fsck` does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Check {
    /// None.
    #[default]
    None,
    /// Those that are read anyway: neither the cache nor the kernel has their digest.
    Read,
    /// All: each is read, although the kernel may have its digest.
    All,
}

/// Hears how far a load is. Called on the thread that called [`Source::load`], a few times per thousand objects.
pub trait LoadProgress {
    /// So many file objects were read, and so many are known to be in the commit so far.
    fn objects(&mut self, done: u64, known: u64);
}

impl LoadProgress for () {
    fn objects(&mut self, _: u64, _: u64) {}
}

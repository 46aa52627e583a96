//! How a deployment is to be sealed, and who hears of the progress.

use std::num::NonZeroUsize;

use crate::continuity::allowed::Allowed;
use crate::continuity::changes::TrustChange;
use crate::continuity::running::RunningSystem;

/// How a deployment is to be sealed.
pub struct Request<'a> {
    /// A note from elsewhere than the commit's detached metadata.
    pub note: Option<Vec<u8>>,
    /// Whether fs-verity is switched on now.
    pub verity: VerityTiming,
    /// Whether each object's content is compared with its checksum first.
    pub fsck: bool,
    /// Threads that read and hash.
    pub threads: NonZeroUsize,
    /// Threads that wait for the disk while fs-verity is switched on.
    pub queue_depth: NonZeroUsize,
    /// What runs, whose trust has to say yes, too.
    pub running: &'a RunningSystem,
    /// What an administrator lets through all the same.
    pub allowed: &'a Allowed,
    /// Who hears of the progress.
    pub progress: &'a dyn Progress,
}

/// Whether fs-verity is switched on now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerityTiming {
    /// Now.
    Now,
    /// Later, on the device: this kernel or file system has none.
    Deferred,
}

/// Hears how far a run is.
pub trait Progress: Sync {
    /// A step begins that goes through so many objects.
    fn begin(&self, step: Step, objects: usize);
    /// One more object of the step is done. Called from any thread.
    fn object(&self);
    /// So many objects of the step are done, and so many are known by now.
    fn objects(&self, done: u64, known: u64);
    /// The step is over.
    fn end(&self);
    /// What the deployment's policy changes against the one that runs, before anything is done.
    fn changes(&self, changes: Vec<TrustChange>);
    /// Something went wrong that is in nobody's way, one sentence.
    fn warn(&self, sentence: &str);
}

/// A step that takes longer than a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Comparing contents with checksums.
    Fsck,
    /// Switching fs-verity on.
    Enable,
    /// Making the image.
    Convert,
    /// Measuring each object against the image.
    Measure,
}

impl std::fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request")
            .field("verity", &self.verity)
            .field("fsck", &self.fsck)
            .finish_non_exhaustive()
    }
}

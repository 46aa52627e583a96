//! fs-verity on the objects of a commit: one pass that switches it on where it is missing and measures each object
//! against the image, so that a second run opens and measures but writes nothing.
//!
//! Switching it on makes the kernel read the whole file, write its Merkle tree and wait for the disk, file by file.
//! Three things keep the disk busy: files are taken in the order of their inode numbers, which on ext4 is close to
//! their order on the disk; several threads wait at the same time, on one CPU too; and a batch of files is read ahead
//! before the first of it is written. Mixed, the reads would suffer from the writes, and the kernel (`blk-wbt`) then
//! lets one write at a time pass, however many wait.

use std::fmt;
use std::num::{NonZeroU64, NonZeroUsize};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ostree_seal_root::check::verity::{self, EnableError, Enabled, MeasureError};
use rustix::fs::{self, Advice, Mode, OFlags};
use rustix::io::Errno;

use super::object::Object;
use super::order::{SHORT, inode_order};
use super::problem::{ObjectError, Problem};
use crate::threads::{Then, each, for_pieces, lock};

/// Threads that wait for the disk at the same time. From 8 on the time stays the same, on disks with and without a latency:
/// `tests/vm/bench-deploy`.
pub const DEFAULT_QUEUE_DEPTH: NonZeroUsize = match NonZeroUsize::new(16) {
    Some(depth) => depth,
    None => NonZeroUsize::MIN,
};

/// How much is read ahead before fs-verity is switched on for the files that were read: enough for the kernel to see that
/// nobody reads while we write, little enough to stay in the page cache of a small machine.
const BATCH: Batch = Batch { files: 8192, bytes: 64 << 20 };
/// How much of one file is read ahead. The kernel sees to the rest of it when its turn comes.
const READ_AHEAD_MAX: u64 = 4 << 20;

/// How long a file that another process is switching on may stay busy.
const BUSY_LIMIT: Duration = Duration::from_secs(30);
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// How the pass is done.
pub struct Pass<'a> {
    /// Threads.
    pub queue_depth: NonZeroUsize,
    /// Called from any thread after each object.
    pub progress: &'a (dyn Fn() + Sync),
}

/// Objects that all have fs-verity, with the digests of the image as far as they were known. Only [`seal_objects`] and
/// [`keep_sealed`] make one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedObjects {
    enabled: usize,
    before: usize,
}

/// Switches fs-verity on for each object that lacks it and measures all of them. The first problem ends the pass;
/// what was done until then stays and is skipped by the next one. Returns after the file system has written all of it.
pub fn seal_objects(
    directory: impl AsFd + Sync,
    objects: &[Object<'_>],
    pass: &Pass<'_>,
) -> Result<SealedObjects, ObjectError> {
    let order = inode_order(directory.as_fd(), objects, pass.queue_depth)?;
    let run = Run { directory: directory.as_fd(), objects, pass };
    let mut done = SealedObjects { enabled: 0, before: 0 };
    let mut rest = order.as_slice();
    while !rest.is_empty() {
        let (found, lacking) = run.look_at_batch(&mut rest)?;
        done = done.plus(found).plus(run.enable(&lacking)?);
    }
    if done.enabled > 0 {
        fs::syncfs(&directory).map_err(|errno| ObjectError::new(b"", Problem::Flush(errno)))?;
    }
    Ok(done)
}

/// The same for objects that were sealed before: they are measured as the list has them, and only those that lack
/// fs-verity after all go through [`seal_objects`].
pub fn keep_sealed(
    directory: impl AsFd + Sync,
    objects: &[Object<'_>],
    pass: &Pass<'_>,
) -> Result<SealedObjects, ObjectError> {
    let threads = for_pieces(pass.queue_depth, objects.len(), SHORT);
    let lacking = Mutex::new(Vec::new());
    let measured = each(objects.len(), threads, |place| {
        let object = &objects[place];
        let sealed = object.is_sealed(open_object(&directory, &object.path)?);
        match sealed {
            Ok(true) => (pass.progress)(),
            // What is no regular file has no fs-verity either; that is told apart before anything is changed.
            Ok(false) | Err(Problem::Measure(MeasureError::Unsupported)) => lock(&lacking).push(place),
            Err(problem) => return Err(problem),
        }
        Ok(Then::Next)
    });
    measured.map_err(|(place, problem)| ObjectError::new(&objects[place].path, problem))?;
    let lacking = lacking.into_inner().unwrap_or_else(PoisonError::into_inner);
    let lacking: Vec<_> = lacking.into_iter().map(|place| objects[place].clone()).collect();
    let before = objects.len() - lacking.len();
    Ok(SealedObjects { enabled: 0, before }.plus(seal_objects(directory, &lacking, pass)?))
}

impl SealedObjects {
    /// Objects that got fs-verity in this pass.
    pub fn enabled(&self) -> usize {
        self.enabled
    }

    /// Objects that had it before.
    pub fn before(&self) -> usize {
        self.before
    }

    fn plus(self, other: Self) -> Self {
        Self { enabled: self.enabled + other.enabled, before: self.before + other.before }
    }
}

/// How much a batch has of either at most.
struct Batch {
    files: usize,
    bytes: u64,
}

/// One pass over the objects of a commit.
struct Run<'a> {
    directory: BorrowedFd<'a>,
    objects: &'a [Object<'a>],
    pass: &'a Pass<'a>,
}

/// The files of a batch that lack fs-verity and are being read ahead.
#[derive(Default)]
struct Lacking {
    files: Vec<usize>,
    bytes: u64,
}

impl Run<'_> {
    /// Measures objects from the front of `rest`, which then begins behind them, until so many lack fs-verity that they
    /// make a batch. Those are being read ahead, and come back in order.
    fn look_at_batch(&self, rest: &mut &[usize]) -> Result<(SealedObjects, Vec<usize>), ObjectError> {
        let order = *rest;
        let threads = for_pieces(self.pass.queue_depth, order.len(), SHORT);
        let lacking = Mutex::new(Lacking::default());
        let measured = each(order.len(), threads, |place| {
            let object = &self.objects[order[place]];
            let file = open_object(self.directory, &object.path)?;
            if object.is_sealed(&file)? {
                (self.pass.progress)();
                return Ok(Then::Next);
            }
            let bytes = read_ahead(&file);
            let mut lacking = lock(&lacking);
            lacking.files.push(place);
            lacking.bytes += bytes;
            let full = lacking.files.len() >= BATCH.files || lacking.bytes >= BATCH.bytes;
            Ok(if full { Then::Stop } else { Then::Next })
        });
        let taken = measured.map_err(|(place, problem)| self.error(order[place], problem))?;
        let mut places = lacking.into_inner().unwrap_or_else(PoisonError::into_inner).files;
        places.sort_unstable();
        *rest = &order[taken..];
        let lacking: Vec<_> = places.into_iter().map(|place| order[place]).collect();
        Ok((SealedObjects { enabled: 0, before: taken - lacking.len() }, lacking))
    }

    /// Switches fs-verity on for these objects.
    fn enable(&self, lacking: &[usize]) -> Result<SealedObjects, ObjectError> {
        let count = AtomicUsize::new(0);
        let done = each(lacking.len(), self.pass.queue_depth, |place| {
            let object = &self.objects[lacking[place]];
            let file = open_object(self.directory, &object.path)?;
            let enabled = enable_patiently(&file)?;
            if !object.is_sealed(&file)? {
                return Err(Problem::Measure(MeasureError::NotEnabled));
            }
            (self.pass.progress)();
            count.fetch_add(usize::from(enabled == Enabled::Now), Ordering::Relaxed);
            Ok(Then::Next)
        });
        done.map_err(|(place, problem)| self.error(lacking[place], problem))?;
        let enabled = count.into_inner();
        Ok(SealedObjects { enabled, before: lacking.len() - enabled })
    }

    fn error(&self, index: usize, problem: Problem) -> ObjectError {
        ObjectError::new(&self.objects[index].path, problem)
    }
}

impl Object<'_> {
    /// Whether an open object has fs-verity. Another digest than the image has for it is a problem.
    fn is_sealed(&self, file: impl AsFd) -> Result<bool, Problem> {
        match (verity::measure(file), self.digest) {
            (Ok(found), Some(expected)) if expected != found => Err(Problem::Digest { expected, found }),
            (Ok(_), _) => Ok(true),
            (Err(MeasureError::NotEnabled), _) => Ok(false),
            (Err(error), _) => Err(Problem::Measure(error)),
        }
    }
}

/// Asks the kernel to read a file and doesn't wait for it; how many bytes. What can't be read shows later.
fn read_ahead(file: impl AsFd) -> u64 {
    let len = fs::fstat(&file).map_or(0, |stat| u64::try_from(stat.st_size).unwrap_or(0)).min(READ_AHEAD_MAX);
    if let Some(len) = NonZeroU64::new(len) {
        // A hint: an error of it costs time.
        let _ = fs::fadvise(&file, 0, Some(len), Advice::WillNeed);
    }
    len
}

fn open_object(directory: impl AsFd, path: &[u8]) -> Result<OwnedFd, Problem> {
    // NONBLOCK: a FIFO under an object's name must not hang the update.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    fs::openat(directory, path, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::NOENT => Problem::Missing,
        Errno::LOOP | Errno::NXIO => Problem::NotRegular,
        errno => Problem::Open(errno),
    })
}

/// Another process that is switching the same file on (`ostree admin post-copy`, a pull) makes it busy for a moment.
fn enable_patiently(file: impl AsFd) -> Result<Enabled, Problem> {
    let start = Instant::now();
    loop {
        match verity::enable(&file) {
            Err(EnableError::Busy | EnableError::Os(Errno::BUSY)) if start.elapsed() < BUSY_LIMIT => {
                std::thread::sleep(BUSY_PAUSE);
            }
            Err(EnableError::Os(Errno::INTR)) if start.elapsed() < BUSY_LIMIT => {}
            result => return result.map_err(Problem::Enable),
        }
    }
}

impl fmt::Debug for Pass<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pass").field("queue_depth", &self.queue_depth).finish_non_exhaustive()
    }
}

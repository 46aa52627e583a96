//! fs-verity on the objects of a commit: one pass that switches it on where it is missing and measures each object
//! against the image, so that a second run opens and measures but writes nothing.
//!
//! Switching it on makes the kernel read the whole file, write its Merkle tree and wait for the disk, file by file.
//! Two things keep the disk busy: files are taken in the order of their inode numbers, which on ext4 is close to
//! their order on the disk, and several threads wait at the same time, on one CPU too.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::fmt;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::resume_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ostree_seal_root::digest::Digest;
use ostree_seal_root::verity::{self, EnableError, Enabled, MeasureError};
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, RawDir, StatxAttributes, StatxFlags};
use rustix::io::Errno;

/// Threads that wait for the disk at the same time. Not tuned yet; `tests/vm/run.sh bench-deploy` measures it.
pub const DEFAULT_QUEUE_DEPTH: NonZeroUsize = NonZeroUsize::new(16).unwrap();

/// How long a file that another process is switching on may stay busy.
const BUSY_LIMIT: Duration = Duration::from_secs(30);
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// A file object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Object {
    /// Path below the object directory: `xx/…62 digits….file`.
    pub path: CString,
    /// The fs-verity digest that the image expects. `None` before there is an image; then it may be a symlink, which
    /// has no content and is passed over.
    pub digest: Option<Digest>,
}

/// How the pass is done.
pub struct Pass<'a> {
    /// Threads.
    pub queue_depth: NonZeroUsize,
    /// Called from any thread after each object.
    pub progress: &'a (dyn Fn() + Sync),
}

/// Objects that all have fs-verity, with the digests of the image as far as they were known. Only [`seal_objects`]
/// makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedObjects {
    enabled: usize,
    before: usize,
}

/// Why an object can't be part of a sealed deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectError {
    /// Path below the object directory.
    pub object: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// There is no such file.
    Missing,
    /// It is not a regular file.
    NotRegular,
    /// Its content is not what the image was made from.
    Digest {
        /// The digest in the image.
        expected: Digest,
        /// The digest that the kernel measured.
        found: Digest,
    },
    /// fs-verity could not be switched on.
    Enable(EnableError),
    /// The kernel gave no digest.
    Measure(MeasureError),
    /// It could not be opened or listed.
    Open(Errno),
}

/// How many objects have fs-verity, by what `statx` says of their names: nothing is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Coverage {
    /// Objects with fs-verity.
    pub with_verity: usize,
    /// Objects without.
    pub without: usize,
    /// Objects that don't exist.
    pub missing: usize,
}

/// Switches fs-verity on for each object that lacks it and measures all of them. The first problem ends the pass;
/// what was done until then stays and is skipped by the next one. Returns after the file system has written all of it.
pub fn seal_objects(
    directory: impl AsFd + Sync,
    objects: &[Object],
    pass: &Pass<'_>,
) -> Result<SealedObjects, ObjectError> {
    let order = inode_order(&directory, objects)?;
    let queue = Queue { next: AtomicUsize::new(0), first_error: Mutex::new(None) };
    let tally = std::thread::scope(|scope| {
        let worker = || run_worker(&directory, objects, &order, &queue, pass);
        let threads = pass.queue_depth.get().min(objects.len().max(1));
        let handles: Vec<_> = (1..threads).map(|_| scope.spawn(worker)).collect();
        let own = worker();
        let others =
            handles.into_iter().map(|handle| handle.join().unwrap_or_else(|panic| resume_unwind(panic)));
        others.fold(own, SealedObjects::plus)
    });
    if let Some(error) = queue.into_error() {
        return Err(error);
    }
    if tally.enabled > 0 {
        fs::syncfs(&directory).map_err(|errno| ObjectError::new(c".", Problem::Open(errno)))?;
    }
    Ok(tally)
}

/// Counts the objects with fs-verity. Errors other than a missing file are errors.
pub fn coverage(directory: impl AsFd, objects: &[Object]) -> Result<Coverage, ObjectError> {
    let mut coverage = Coverage::default();
    for object in objects {
        match fs::statx(&directory, &object.path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::TYPE) {
            Ok(stat) if stat.stx_attributes.contains(StatxAttributes::VERITY) => coverage.with_verity += 1,
            Ok(_) => coverage.without += 1,
            Err(Errno::NOENT) => coverage.missing += 1,
            Err(errno) => return Err(ObjectError::new(&object.path, Problem::Open(errno))),
        }
    }
    Ok(coverage)
}

impl Coverage {
    /// How many objects there should be.
    pub fn all(&self) -> usize {
        self.with_verity + self.without + self.missing
    }
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

impl ObjectError {
    fn new(path: &CStr, problem: Problem) -> Self {
        Self { object: path.to_string_lossy().into_owned(), problem }
    }

    /// Whether the objects are not what was signed, rather than the machine being in the way.
    pub fn is_refusal(&self) -> bool {
        matches!(self.problem, Problem::Missing | Problem::NotRegular | Problem::Digest { .. })
    }
}

/// The work still to do. An error makes it look done to all threads.
struct Queue {
    next: AtomicUsize,
    first_error: Mutex<Option<ObjectError>>,
}

impl Queue {
    fn take<'a>(&self, order: &'a [usize]) -> Option<&'a usize> {
        order.get(self.next.fetch_add(1, Ordering::Relaxed))
    }

    fn stop(&self, error: ObjectError, len: usize) {
        self.next.store(len, Ordering::Relaxed);
        let mut first = self.first_error.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        first.get_or_insert(error);
    }

    fn into_error(self) -> Option<ObjectError> {
        self.first_error.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn run_worker(
    directory: impl AsFd,
    objects: &[Object],
    order: &[usize],
    queue: &Queue,
    pass: &Pass<'_>,
) -> SealedObjects {
    let mut tally = SealedObjects { enabled: 0, before: 0 };
    while let Some(index) = queue.take(order) {
        let object = &objects[*index];
        match seal_object(&directory, object) {
            Ok(Enabled::Now) => tally.enabled += 1,
            Ok(Enabled::Before) => tally.before += 1,
            Err(problem) => {
                queue.stop(ObjectError::new(&object.path, problem), order.len());
                break;
            }
        }
        (pass.progress)();
    }
    tally
}

fn seal_object(directory: impl AsFd, object: &Object) -> Result<Enabled, Problem> {
    let file = open_object(directory, &object.path)?;
    let (found, enabled) = match verity::measure(&file) {
        Ok(digest) => (digest, Enabled::Before),
        Err(MeasureError::NotEnabled) => {
            enable_patiently(&file)?;
            (verity::measure(&file).map_err(Problem::Measure)?, Enabled::Now)
        }
        Err(error) => return Err(Problem::Measure(error)),
    };
    match object.digest {
        Some(expected) if expected != found => Err(Problem::Digest { expected, found }),
        _ => Ok(enabled),
    }
}

fn open_object(directory: impl AsFd, path: &CStr) -> Result<OwnedFd, Problem> {
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
            result => return result.map_err(Problem::Enable),
        }
    }
}

/// The indexes of the objects with content, in the order of their inode numbers. The numbers come from the directories,
/// so that no inode is read from the disk before its turn. A missing object is found here, before anything is changed.
fn inode_order(directory: impl AsFd, objects: &[Object]) -> Result<Vec<usize>, ObjectError> {
    let mut by_directory: BTreeMap<&[u8], Vec<(&[u8], usize)>> = BTreeMap::new();
    for (index, object) in objects.iter().enumerate() {
        let path = object.path.to_bytes();
        let slash = path.iter().position(|byte| *byte == b'/').unwrap_or(0);
        let name = path.get(slash + 1..).unwrap_or_default();
        by_directory.entry(&path[..slash]).or_default().push((name, index));
    }
    let mut found = vec![None; objects.len()];
    for (parent, mut wanted) in by_directory {
        wanted.sort_unstable();
        find_inodes(&directory, parent, &wanted, &mut found)
            .map_err(|problem| ObjectError::new(&objects[wanted[0].1].path, problem))?;
    }
    let mut order = Vec::with_capacity(objects.len());
    for (index, (object, found)) in objects.iter().zip(found).enumerate() {
        match found {
            Some((FileType::RegularFile | FileType::Unknown, inode)) => order.push((inode, index)),
            Some((FileType::Symlink, _)) if object.digest.is_none() => {}
            Some(_) => return Err(ObjectError::new(&object.path, Problem::NotRegular)),
            None => return Err(ObjectError::new(&object.path, Problem::Missing)),
        }
    }
    order.sort_unstable();
    Ok(order.into_iter().map(|(_, index)| index).collect())
}

type Found = Option<(FileType, u64)>;

/// Fills in type and inode number of `wanted` (sorted names of files in `parent` and their indexes).
fn find_inodes(
    directory: impl AsFd,
    parent: &[u8],
    wanted: &[(&[u8], usize)],
    found: &mut [Found],
) -> Result<(), Problem> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::DIRECTORY;
    let opened = fs::openat(directory, parent, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::NOENT => Problem::Missing,
        errno => Problem::Open(errno),
    })?;
    let mut buffer = Vec::with_capacity(32 * 1024);
    let mut entries = RawDir::new(opened, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry.map_err(Problem::Open)?;
        let name = entry.file_name().to_bytes();
        let from = wanted.partition_point(|(wanted, _)| *wanted < name);
        for (_, index) in wanted[from..].iter().take_while(|(wanted, _)| *wanted == name) {
            found[*index] = Some((entry.file_type(), entry.ino()));
        }
    }
    Ok(())
}

impl fmt::Display for ObjectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "object {}: {}", self.object, self.problem)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => {
                write!(f, "the file does not exist; pull the commit again (`ostree fsck --delete` first)")
            }
            Self::NotRegular => {
                write!(f, "not a regular file; `ostree fsck --delete`, then pull the commit again")
            }
            Self::Digest { expected, found } => write!(
                f,
                "the image expects the fs-verity digest {expected}, the kernel measured {found}; the content is \
                 damaged: `ostree fsck --delete`, then pull the commit again"
            ),
            Self::Enable(EnableError::Os(Errno::NOSPC)) => {
                write!(f, "no space left to enable fs-verity; free some space and run the command again")
            }
            Self::Enable(EnableError::Os(Errno::IO)) => write!(
                f,
                "the disk could not read or write it (Input/output error): see the kernel's log, then `ostree fsck \
                 --delete`, and pull the commit again"
            ),
            Self::Enable(error) => error.fmt(f),
            Self::Measure(error) => error.fmt(f),
            Self::Open(errno) => write!(f, "opening: {errno}"),
        }
    }
}

impl std::error::Error for ObjectError {}

impl fmt::Debug for Pass<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pass").field("queue_depth", &self.queue_depth).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

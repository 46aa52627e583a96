//! File objects, checked: each is there, has the fs-verity digest that an image expects, and is what it was named after.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::{fmt, thread};

use ostree_seal_root::check::verity::{self, MeasureError};
use ostree_seal_trust::digest::Digest;
use rustix::io::Errno;

use super::checksum::Checksum;
use super::file::{FileReader, Work};
use super::known::Check;
use super::name::DamagedObject;
use super::object::ObjectKind;
use super::source::Source;
use super::store::{MissingObject, ObjectPath, Store};

/// A file object, and what it has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Wanted {
    /// Its name.
    pub object: Checksum,
    /// The digest that an image has for it; with one, it must have fs-verity, too.
    pub digest: Option<Digest>,
}

/// How thoroughly.
pub struct Verify<'a> {
    /// Threads. They wait for the disk more than they compute, unless contents are read.
    pub threads: NonZeroUsize,
    /// Whether contents are read and compared, too.
    pub content: bool,
    /// Called from any thread after each object.
    pub progress: &'a (dyn Fn() + Sync),
}

/// What is wrong with an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It isn't there.
    Missing,
    /// It is no regular file, although an image expects one.
    NotAFile,
    /// It can't be read, for this reason: damage of the disk, most of the time.
    Unreadable(String),
    /// The kernel doesn't check it: fs-verity is off.
    NoVerity,
    /// It is another content than the image expects.
    Digest {
        /// The digest in the image.
        expected: Digest,
        /// The digest that it has.
        found: Digest,
    },
    /// Content, owner, mode or xattrs are not what it was named after, but this.
    Name(Checksum),
}

impl Fault {
    /// Whether another copy of the object would mend it.
    pub fn is_damage(&self) -> bool {
        *self != Self::NoVerity
    }
}

impl Source {
    /// Checks objects, and returns the faults by their place in the list.
    pub fn verify(&self, wanted: &[Wanted], how: &Verify<'_>) -> Vec<(usize, Fault)> {
        let (next, faults) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let stores = &self.stores;
        thread::scope(|scope| {
            for _ in 0..how.threads.get().min(wanted.len()) {
                scope.spawn(|| {
                    let mut checker = Checker::new(stores, how.content);
                    while let Some((place, one)) = take(&next, wanted) {
                        if let Err(fault) = checker.check(one) {
                            faults.lock().unwrap_or_else(PoisonError::into_inner).push((place, fault));
                        }
                        (how.progress)();
                    }
                });
            }
        });
        let mut faults = faults.into_inner().unwrap_or_else(PoisonError::into_inner);
        faults.sort_by_key(|(place, _)| *place);
        faults
    }
}

fn take<'w>(next: &AtomicUsize, wanted: &'w [Wanted]) -> Option<(usize, &'w Wanted)> {
    let place = next.fetch_add(1, Ordering::Relaxed);
    Some((place, wanted.get(place)?))
}

struct Checker<'s> {
    stores: &'s [Store],
    reader: Option<FileReader<'s>>,
}

impl<'s> Checker<'s> {
    fn new(stores: &'s [Store], content: bool) -> Self {
        Self { stores, reader: content.then(|| FileReader::new(stores, Check::All)) }
    }

    fn check(&mut self, wanted: &Wanted) -> Result<(), Fault> {
        // What is damaged is said before what isn't protected.
        if let Some(reader) = &mut self.reader {
            let read = reader.read([&wanted.object].into_iter(), &mut Work::default());
            let info = read.map_err(fault_of)?.pop();
            if let (Some(expected), Some(ObjectKind::Regular { digest, .. })) =
                (wanted.digest, info.map(|info| info.kind))
            {
                same(expected, digest)?;
            }
        }
        self.measure(wanted)
    }

    fn measure(&self, wanted: &Wanted) -> Result<(), Fault> {
        for store in self.stores {
            let path = ObjectPath::new(&wanted.object, store.mode.file_extension());
            let file = match store.open(&path) {
                Ok(file) => file,
                Err(Errno::NOENT) => continue,
                Err(Errno::LOOP) if wanted.digest.is_none() => return Ok(()),
                Err(Errno::LOOP) => return Err(Fault::NotAFile),
                Err(errno) => return Err(Fault::Unreadable(errno.to_string())),
            };
            let Some(expected) = wanted.digest else { return Ok(()) };
            return match verity::measure(&file) {
                Ok(found) => same(expected, found),
                Err(MeasureError::NotEnabled | MeasureError::Unsupported) => Err(Fault::NoVerity),
                Err(error) => Err(Fault::Unreadable(error.to_string())),
            };
        }
        Err(Fault::Missing)
    }
}

fn same(expected: Digest, found: Digest) -> Result<(), Fault> {
    if expected == found { Ok(()) } else { Err(Fault::Digest { expected, found }) }
}

fn fault_of(error: anyhow::Error) -> Fault {
    if error.is::<MissingObject>() {
        return Fault::Missing;
    }
    match error.downcast_ref::<DamagedObject>() {
        Some(damaged) => Fault::Name(damaged.found),
        None => Fault::Unreadable(format!("{error:#}")),
    }
}

impl fmt::Debug for Verify<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verify").field("content", &self.content).finish_non_exhaustive()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => write!(f, "it is missing"),
            Self::NotAFile => write!(f, "it is not a regular file"),
            Self::Unreadable(reason) => write!(f, "it can't be read: {reason}"),
            Self::NoVerity => write!(f, "it has no fs-verity"),
            Self::Digest { expected, found } => {
                write!(f, "it has the fs-verity digest {found}, the image expects {expected}")
            }
            Self::Name(found) => {
                write!(f, "its owner, mode, xattrs and content have the SHA-256 {found}")
            }
        }
    }
}

//! What the threads of a walk do: they find their own way from dirtree to dirtree, each going deep and leaving half of
//! what it has to a thread that has nothing to do, and read metadata and file objects.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use anyhow::{Context as _, anyhow};

use super::checksum::Checksum;
use super::commit::Commit;
use super::dirmeta::Dirmeta;
use super::dirtree::Dirtree;
use super::file::{FileReader, Work};
use super::known::{Check, ObjectCache};
use super::object::ObjectInfo;
use super::store::{Metadata, Store, read_metadata};
use super::xattrs::Xattrs;
use crate::threads::{self, Queue, lock};

/// How many dirtrees a thread reads before it hands over what is in them.
const DIRTREES: usize = 64;

/// What a thread is asked to do.
#[derive(Debug)]
pub(super) enum Job {
    /// Read these dirtrees, and all below them that nobody has seen yet.
    Dirtrees(Vec<Row>),
    Dirmeta(Row),
    Files(Vec<Row>),
}

/// What a thread has done.
#[derive(Debug)]
pub(super) enum Done {
    Dirtrees(Chunk),
    Dirmeta(u32, DirectoryInfo),
    Files(Vec<(u32, ObjectInfo)>, Work),
}

/// An object, and its row in the table of its kind.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) row: u32,
    pub(super) object: Checksum,
}

/// Dirtrees that were read, in the order of reading.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    pub(super) names: String,
    pub(super) trees: Vec<ReadDirtree>,
    /// The files of all dirtrees.
    pub(super) files: Vec<FileEntry>,
    /// The directories of all dirtrees.
    pub(super) directories: Vec<DirectoryEntry>,
}

/// One dirtree of a [`Chunk`].
#[derive(Debug)]
pub(super) struct ReadDirtree {
    pub(super) row: u32,
    /// How many entries of the chunk are its own.
    pub(super) files: usize,
    pub(super) directories: usize,
}

/// A piece of the names that go with it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name {
    pub(super) start: u32,
    pub(super) end: u32,
}

#[derive(Debug)]
pub(super) struct FileEntry {
    pub(super) name: Name,
    pub(super) object: Checksum,
    /// By which the cache knows the object.
    pub(super) number: Option<u32>,
}

#[derive(Debug)]
pub(super) struct DirectoryEntry {
    pub(super) name: Name,
    /// Row of the dirtree.
    pub(super) dirtree: u32,
    pub(super) dirmeta: Checksum,
}

/// The dirtrees that any thread has seen, each with its row.
#[derive(Debug, Default)]
pub(super) struct SeenDirtrees(Mutex<HashMap<Checksum, u32>>);

impl SeenDirtrees {
    /// A dirtree's row, and whether nobody has asked for it before.
    pub(super) fn number(&self, object: Checksum) -> anyhow::Result<(u32, bool)> {
        let mut seen = lock(&self.0);
        let next = u32::try_from(seen.len())?;
        let row = *seen.entry(object).or_insert(next);
        Ok((row, row == next))
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        lock(&self.0).len()
    }
}

/// Owner, mode and xattrs of a directory.
#[derive(Debug, Clone, Default)]
pub(super) struct DirectoryInfo {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mode: u32,
    pub(super) xattrs: Xattrs,
}

/// The side of the thread that asks: what it hands out, and what comes back.
pub(super) struct Reading<'a> {
    pub(super) queue: &'a Queue<Job>,
    pub(super) seen: &'a SeenDirtrees,
    results: Receiver<anyhow::Result<Done>>,
}

/// The side of a thread that reads.
struct Explorer<'a> {
    stores: &'a [Store],
    cache: &'a dyn ObjectCache,
    check: Check,
    queue: &'a Queue<Job>,
    seen: &'a SeenDirtrees,
    results: Sender<anyhow::Result<Done>>,
}

/// Has this many threads read for `ask`, until it returns.
pub(super) fn explore<T>(
    stores: &[Store],
    cache: &dyn ObjectCache,
    check: Check,
    threads: NonZeroUsize,
    ask: impl FnOnce(&Reading<'_>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let (queue, seen) = (Queue::new(), SeenDirtrees::default());
    let (sender, results) = mpsc::channel();
    let work =
        || Explorer { stores, cache, check, queue: &queue, seen: &seen, results: sender.clone() }.run();
    threads::work_off(&queue, threads, work, || ask(&Reading { queue: &queue, seen: &seen, results }))
}

impl Reading<'_> {
    /// Asks for the dirtrees of a commit, which lead to all others.
    pub(super) fn begin(&self, commit: &Commit) -> anyhow::Result<()> {
        let (row, _) = self.seen.number(commit.dirtree)?;
        self.queue.push_first(Job::Dirtrees(vec![Row { row, object: commit.dirtree }]));
        Ok(())
    }

    /// What a thread has done.
    pub(super) fn next(&self) -> anyhow::Result<Done> {
        self.results.recv().map_err(|_| anyhow!("the threads that read objects are gone"))?
    }
}

/// Nobody listens any more: the walk has failed elsewhere.
struct Hangup;

impl Explorer<'_> {
    /// Job by job until the queue is closed.
    fn run(self) {
        let _alarm = Alarm(&self.results);
        // Its buffers are for those who read files; many threads only list.
        let mut files = None;
        let mut buffer = Vec::new();
        while let Some(job) = self.queue.next() {
            let sent = match job {
                Job::Dirtrees(open) => self.explore(open, &mut buffer),
                Job::Dirmeta(row) => self.send(self.dirmeta(row, &mut buffer)),
                Job::Files(rows) => {
                    let files = files.get_or_insert_with(|| FileReader::new(self.stores, self.check));
                    self.send(read_files(files, &rows))
                }
            };
            if sent.is_err() {
                return;
            }
        }
    }

    fn send(&self, done: anyhow::Result<Done>) -> Result<(), Hangup> {
        self.results.send(done).map_err(|_| Hangup)
    }

    /// Reads dirtrees, and those in them, until none is left.
    fn explore(&self, mut open: Vec<Row>, buffer: &mut Vec<u8>) -> Result<(), Hangup> {
        let mut chunk = Chunk::default();
        while let Some(row) = open.pop() {
            if let Err(error) = self.dirtree(row, buffer, &mut chunk, &mut open) {
                return self.send(Err(error));
            }
            if open.len() > 1 && self.queue.is_waited_for() {
                // The ones that were seen first have the most below them.
                let share = open.drain(..open.len() / 2).collect();
                self.queue.push_first(Job::Dirtrees(share));
            }
            if chunk.trees.len() == DIRTREES || open.is_empty() {
                self.send(Ok(Done::Dirtrees(std::mem::take(&mut chunk))))?;
            }
        }
        Ok(())
    }

    fn dirtree(
        &self,
        Row { row, object }: Row,
        buffer: &mut Vec<u8>,
        chunk: &mut Chunk,
        open: &mut Vec<Row>,
    ) -> anyhow::Result<()> {
        let bytes = read_metadata(self.stores, &object, Metadata::Dirtree, buffer)?;
        let parsed = Dirtree::parse(bytes).with_context(|| format!("reading object {object}.dirtree"))?;
        let (files, directories) = (parsed.files.len(), parsed.directories.len());
        chunk.trees.push(ReadDirtree { row, files, directories });
        for file in parsed.files {
            let name = Name::add(&mut chunk.names, file.name)?;
            chunk.files.push(FileEntry { name, object: file.object, number: self.cache.find(&file.object) });
        }
        for directory in parsed.directories {
            let name = Name::add(&mut chunk.names, directory.name)?;
            let (dirtree, is_new) = self.seen.number(directory.dirtree)?;
            chunk.directories.push(DirectoryEntry { name, dirtree, dirmeta: directory.dirmeta });
            if is_new {
                open.push(Row { row: dirtree, object: directory.dirtree });
            }
        }
        Ok(())
    }

    fn dirmeta(&self, Row { row, object }: Row, buffer: &mut Vec<u8>) -> anyhow::Result<Done> {
        let bytes = read_metadata(self.stores, &object, Metadata::Dirmeta, buffer)?;
        let meta = Dirmeta::parse(bytes).with_context(|| format!("reading object {object}.dirmeta"))?;
        let xattrs = Xattrs::new(&meta.xattrs);
        let info = DirectoryInfo { uid: meta.uid, gid: meta.gid, mode: meta.mode, xattrs };
        Ok(Done::Dirmeta(row, info))
    }
}

fn read_files(reader: &mut FileReader<'_>, rows: &[Row]) -> anyhow::Result<Done> {
    let mut work = Work::default();
    let infos = reader.read(rows.iter().map(|row| &row.object), &mut work)?;
    Ok(Done::Files(rows.iter().map(|row| row.row).zip(infos).collect(), work))
}

impl Name {
    fn add(names: &mut String, name: &str) -> anyhow::Result<Self> {
        let start = u32::try_from(names.len())?;
        names.push_str(name);
        Ok(Self { start, end: u32::try_from(names.len())? })
    }
}

/// Tells the walk of a thread that panics: it would wait for that thread's result forever.
struct Alarm<'a>(&'a Sender<anyhow::Result<Done>>);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            // If nobody listens any more, nobody waits either.
            drop(self.0.send(Err(anyhow!("a thread that read objects panicked"))));
        }
    }
}

//! The walk over a commit's objects: dirtrees lead to file objects, and threads read each object once, however many
//! paths name it. What comes out is a table of objects; their order in it depends on the threads, but nothing else does.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::mpsc::Sender;

use super::checksum::Checksum;
use super::commit::Commit;
use super::explore::{Chunk, DirectoryInfo, Done, FileEntry, Job, Name, Reading, Row, explore};
use super::file::Work;
use super::known::{Check, LoadProgress, ObjectCache};
use super::object::ObjectInfo;
use super::store::Store;

/// File objects that a thread takes at once: enough to fill the lanes of [`crate::merkle::Batch`], few enough to share
/// the last ones fairly.
const FILES: usize = 64;

/// The objects of a commit, each once.
#[derive(Debug, Default)]
pub(super) struct Objects {
    names: String,
    file_entries: Vec<(Name, u32)>,
    directory_entries: Vec<(Name, u32, u32)>,
    /// The first is the root's.
    dirtrees: Vec<Listing>,
    /// The first is the root's.
    pub(super) dirmetas: Vec<DirectoryInfo>,
    /// Each has its info once the walk is over.
    pub(super) files: Vec<(Checksum, Option<ObjectInfo>)>,
    pub(super) work: Work,
}

/// Which entries are a dirtree's.
#[derive(Debug, Clone, Default)]
struct Listing {
    files: Range<usize>,
    directories: Range<usize>,
}

/// The files in a dirtree, by their row in the table.
pub(super) type Files<'a> = &'a [(Name, u32)];
/// The directories in a dirtree: the rows of dirtree and dirmeta.
pub(super) type Directories<'a> = &'a [(Name, u32, u32)];

impl Objects {
    /// The entries of a dirtree.
    pub(super) fn entries(&self, dirtree: u32) -> Option<(Files<'_>, Directories<'_>)> {
        let Listing { files, directories } = self.dirtrees.get(dirtree as usize)?.clone();
        Some((&self.file_entries[files], &self.directory_entries[directories]))
    }

    pub(super) fn name(&self, name: Name) -> &str {
        &self.names[name.start as usize..name.end as usize]
    }
}

/// What the walk reports to and asks while it runs.
pub(super) struct WalkContext<'a> {
    pub(super) cache: &'a dyn ObjectCache,
    pub(super) check: Check,
    pub(super) progress: &'a mut dyn LoadProgress,
    /// Hears of the objects that the cache knows: nobody has looked whether they are there.
    pub(super) known: Sender<Vec<Checksum>>,
}

/// Reads all objects of a commit with this many threads, but for those that the cache knows.
pub(super) fn read_objects(
    stores: &[Store],
    commit: &Commit,
    threads: NonZeroUsize,
    context: WalkContext<'_>,
) -> anyhow::Result<Objects> {
    let (cache, check) = (context.cache, context.check);
    explore(stores, cache, check, threads, |reading| {
        let mut walk = Walk::new(reading, context);
        walk.run(commit)?;
        Ok(walk.objects)
    })
}

/// The calling thread's side: puts results into their rows and hands out files.
struct Walk<'r, 'c> {
    reading: &'r Reading<'r>,
    context: WalkContext<'c>,
    /// Jobs without a result yet, not counting those for dirtrees.
    open_jobs: usize,
    /// Dirtrees that came.
    read_dirtrees: usize,
    dirmetas: HashMap<Checksum, u32>,
    /// The rows of files, by the cache's numbers and by object.
    known_files: Vec<Option<u32>>,
    new_files: HashMap<Checksum, u32>,
    /// What was not handed out yet.
    waiting_files: Vec<Row>,
    /// Objects that the cache knows, of the dirtrees that came last.
    known: Vec<Checksum>,
    objects: Objects,
}

impl<'r, 'c> Walk<'r, 'c> {
    fn new(reading: &'r Reading<'r>, context: WalkContext<'c>) -> Self {
        Self {
            reading,
            context,
            open_jobs: 0,
            read_dirtrees: 0,
            dirmetas: HashMap::new(),
            known_files: Vec::new(),
            new_files: HashMap::new(),
            waiting_files: Vec::new(),
            known: Vec::new(),
            objects: Objects::default(),
        }
    }

    fn run(&mut self, commit: &Commit) -> anyhow::Result<()> {
        self.reading.begin(commit)?;
        self.want_dirmeta(commit.dirmeta)?;
        // A dirtree counts as seen before the one comes in which it was seen.
        while self.open_jobs > 0 || self.read_dirtrees < self.reading.seen.count() {
            let done = self.reading.next()?;
            self.take(done)?;
            if self.waiting_files.len() >= FILES || self.read_dirtrees == self.reading.seen.count() {
                self.hand_out_files();
            }
            self.context.progress.objects(self.objects.work.objects, self.objects.files.len() as u64);
        }
        Ok(())
    }

    fn take(&mut self, done: Done) -> anyhow::Result<()> {
        match done {
            Done::Dirtrees(chunk) => self.list(&chunk)?,
            Done::Dirmeta(row, meta) => {
                self.open_jobs -= 1;
                self.objects.dirmetas[row as usize] = meta;
            }
            Done::Files(infos, work) => {
                self.open_jobs -= 1;
                self.objects.work.add(work);
                for (row, info) in infos {
                    let (object, slot) = &mut self.objects.files[row as usize];
                    self.context.cache.add(object, &info);
                    *slot = Some(info);
                }
            }
        }
        Ok(())
    }

    fn list(&mut self, chunk: &Chunk) -> anyhow::Result<()> {
        let base = u32::try_from(self.objects.names.len())?;
        self.objects.names.push_str(&chunk.names);
        // Names are pieces of this text.
        u32::try_from(self.objects.names.len())?;
        let shift = |name: Name| Name { start: base + name.start, end: base + name.end };
        let (mut files, mut directories) = (chunk.files.iter(), chunk.directories.iter());
        for tree in &chunk.trees {
            let before = (self.objects.file_entries.len(), self.objects.directory_entries.len());
            for entry in files.by_ref().take(tree.files) {
                let file = self.want_file(entry)?;
                self.objects.file_entries.push((shift(entry.name), file));
            }
            for entry in directories.by_ref().take(tree.directories) {
                let dirmeta = self.want_dirmeta(entry.dirmeta)?;
                self.objects.directory_entries.push((shift(entry.name), entry.dirtree, dirmeta));
            }
            let after = (self.objects.file_entries.len(), self.objects.directory_entries.len());
            self.list_at(tree.row, Listing { files: before.0..after.0, directories: before.1..after.1 });
        }
        self.read_dirtrees += chunk.trees.len();
        if !self.known.is_empty() {
            // Without a listener, the walk has failed and this is the last that it does.
            drop(self.context.known.send(std::mem::take(&mut self.known)));
        }
        Ok(())
    }

    fn list_at(&mut self, row: u32, listing: Listing) {
        let (row, dirtrees) = (row as usize, &mut self.objects.dirtrees);
        if row >= dirtrees.len() {
            dirtrees.resize_with(row + 1, Listing::default);
        }
        dirtrees[row] = listing;
    }

    fn want_dirmeta(&mut self, object: Checksum) -> anyhow::Result<u32> {
        if let Some(row) = self.dirmetas.get(&object) {
            return Ok(*row);
        }
        let row = u32::try_from(self.objects.dirmetas.len())?;
        self.objects.dirmetas.push(DirectoryInfo::default());
        self.dirmetas.insert(object, row);
        self.open_jobs += 1;
        self.reading.queue.push_last(Job::Dirmeta(Row { row, object }));
        Ok(row)
    }

    fn want_file(&mut self, entry: &FileEntry) -> anyhow::Result<u32> {
        match entry.number {
            Some(number) => self.want_known_file(entry.object, number),
            None => self.want_new_file(entry.object),
        }
    }

    fn want_known_file(&mut self, object: Checksum, number: u32) -> anyhow::Result<u32> {
        let index = number as usize;
        if index >= self.known_files.len() {
            self.known_files.resize(index + 1, None);
        }
        if let Some(row) = self.known_files[index] {
            return Ok(row);
        }
        let Some(info) = self.context.cache.info(number) else { return self.want_new_file(object) };
        let row = u32::try_from(self.objects.files.len())?;
        self.objects.files.push((object, Some(info)));
        self.known.push(object);
        self.known_files[index] = Some(row);
        Ok(row)
    }

    fn want_new_file(&mut self, object: Checksum) -> anyhow::Result<u32> {
        if let Some(row) = self.new_files.get(&object) {
            return Ok(*row);
        }
        let row = u32::try_from(self.objects.files.len())?;
        self.objects.files.push((object, None));
        self.waiting_files.push(Row { row, object });
        self.new_files.insert(object, row);
        Ok(row)
    }

    fn hand_out_files(&mut self) {
        for batch in self.waiting_files.chunks(FILES) {
            self.open_jobs += 1;
            self.reading.queue.push_last(Job::Files(batch.to_vec()));
        }
        self.waiting_files.clear();
    }
}

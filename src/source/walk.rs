//! The walk over a commit's objects: dirtrees lead to file objects, and threads read each object once, however many
//! paths name it. What comes out is a table of objects; their order in it depends on the threads, but nothing else does.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use anyhow::anyhow;

use super::checksum::Checksum;
use super::commit::Commit;
use super::explore::{Chunk, Done, Explorer, FileEntry, Job, Met, Name, Place};
use super::file::{ObjectInfo, Work};
use super::queue::Queue;
use super::store::Store;
use super::xattrs::Xattrs;
use super::{ObjectCache, Progress};

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

/// Owner, mode and xattrs of a directory.
#[derive(Debug, Clone, Default)]
pub(super) struct DirectoryInfo {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mode: u32,
    pub(super) xattrs: Xattrs,
}

/// The files in a dirtree, by their place in the table.
pub(super) type Files<'a> = &'a [(Name, u32)];
/// The directories in a dirtree: the places of dirtree and dirmeta.
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
pub(super) struct Company<'a> {
    pub(super) cache: &'a dyn ObjectCache,
    pub(super) progress: &'a mut dyn Progress,
    /// Hears of the objects that the cache knows: nobody has looked whether they are there.
    pub(super) known: Sender<Vec<Checksum>>,
}

/// Reads all objects of a commit with this many threads, but for those that the cache knows.
pub(super) fn read_objects(
    stores: &[Store],
    commit: &Commit,
    threads: NonZeroUsize,
    company: Company<'_>,
) -> anyhow::Result<Objects> {
    let (queue, met) = (Queue::new(), Met::default());
    let (sender, results) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..threads.get() {
            let (queue, met, cache, results) = (&queue, &met, company.cache, sender.clone());
            scope.spawn(move || Explorer { stores, cache, queue, met, results }.run());
        }
        drop(sender);
        let mut walk = Walk::new(&queue, company);
        let result = walk.run(commit, &met, &results);
        queue.close();
        result?;
        Ok(walk.objects)
    })
}

/// The calling thread's side: puts results into their places, and hands out files.
struct Walk<'q, 'c> {
    queue: &'q Queue<Job>,
    company: Company<'c>,
    /// Jobs without a result yet, not counting those for dirtrees.
    open_jobs: usize,
    /// Dirtrees that came.
    read_dirtrees: usize,
    dirmetas: HashMap<Checksum, u32>,
    /// The places of files, by the cache's numbers and by object.
    known_files: Vec<Option<u32>>,
    new_files: HashMap<Checksum, u32>,
    /// What was not handed out yet.
    waiting_files: Vec<Place>,
    /// Objects that the cache knows, of the dirtrees that came last.
    known: Vec<Checksum>,
    objects: Objects,
}

impl<'q, 'c> Walk<'q, 'c> {
    fn new(queue: &'q Queue<Job>, company: Company<'c>) -> Self {
        Self {
            queue,
            company,
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

    fn run(
        &mut self,
        commit: &Commit,
        met: &Met,
        results: &Receiver<anyhow::Result<Done>>,
    ) -> anyhow::Result<()> {
        let (place, _) = met.meet(commit.dirtree)?;
        self.queue.push_first(Job::Dirtrees(vec![Place { place, object: commit.dirtree }]));
        self.want_dirmeta(commit.dirmeta)?;
        // A dirtree counts as met before the one comes in which it was met.
        while self.open_jobs > 0 || self.read_dirtrees < met.count() {
            let done = results.recv().map_err(|_| anyhow!("the threads that read objects are gone"))??;
            self.take(done)?;
            if self.waiting_files.len() >= FILES || self.read_dirtrees == met.count() {
                self.hand_out_files();
            }
            self.company.progress.objects(self.objects.work.objects, self.objects.files.len() as u64);
        }
        Ok(())
    }

    fn take(&mut self, done: Done) -> anyhow::Result<()> {
        match done {
            Done::Dirtrees(chunk) => self.list(&chunk)?,
            Done::Dirmeta(place, meta) => {
                self.open_jobs -= 1;
                self.objects.dirmetas[place as usize] = meta;
            }
            Done::Files(infos, work) => {
                self.open_jobs -= 1;
                self.objects.work.add(work);
                for (place, info) in infos {
                    let (object, slot) = &mut self.objects.files[place as usize];
                    self.company.cache.add(object, &info);
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
            self.place(tree.place, Listing { files: before.0..after.0, directories: before.1..after.1 });
        }
        self.read_dirtrees += chunk.trees.len();
        if !self.known.is_empty() {
            // Without a listener, the walk has failed and this is the last that it does.
            drop(self.company.known.send(std::mem::take(&mut self.known)));
        }
        Ok(())
    }

    fn place(&mut self, place: u32, listing: Listing) {
        let (place, dirtrees) = (place as usize, &mut self.objects.dirtrees);
        if place >= dirtrees.len() {
            dirtrees.resize_with(place + 1, Listing::default);
        }
        dirtrees[place] = listing;
    }

    fn want_dirmeta(&mut self, object: Checksum) -> anyhow::Result<u32> {
        if let Some(place) = self.dirmetas.get(&object) {
            return Ok(*place);
        }
        let place = u32::try_from(self.objects.dirmetas.len())?;
        self.objects.dirmetas.push(DirectoryInfo::default());
        self.dirmetas.insert(object, place);
        self.open_jobs += 1;
        self.queue.push_last(Job::Dirmeta(Place { place, object }));
        Ok(place)
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
        if let Some(place) = self.known_files[index] {
            return Ok(place);
        }
        let Some(info) = self.company.cache.info(number) else { return self.want_new_file(object) };
        let place = u32::try_from(self.objects.files.len())?;
        self.objects.files.push((object, Some(info)));
        self.known.push(object);
        self.known_files[index] = Some(place);
        Ok(place)
    }

    fn want_new_file(&mut self, object: Checksum) -> anyhow::Result<u32> {
        if let Some(place) = self.new_files.get(&object) {
            return Ok(*place);
        }
        let place = u32::try_from(self.objects.files.len())?;
        self.objects.files.push((object, None));
        self.waiting_files.push(Place { place, object });
        self.new_files.insert(object, place);
        Ok(place)
    }

    fn hand_out_files(&mut self) {
        for batch in self.waiting_files.chunks(FILES) {
            self.open_jobs += 1;
            self.queue.push_last(Job::Files(batch.to_vec()));
        }
        self.waiting_files.clear();
    }
}

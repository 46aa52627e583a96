//! The walk over a commit's objects: dirtrees lead to file objects, and threads read each object once, however many
//! paths name it. What comes out is a table of objects; their order in it depends on the threads, but nothing else does.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use anyhow::{Context as _, anyhow};

use super::checksum::Checksum;
use super::commit::Commit;
use super::dirmeta::Dirmeta;
use super::dirtree::Dirtree;
use super::file::{FileReader, ObjectInfo, Work};
use super::queue::Queue;
use super::store::{Metadata, Store, read_metadata};
use super::xattrs::Xattrs;
use super::{ObjectCache, Progress};

/// File objects that a thread takes at once: enough to fill the lanes of [`crate::merkle::Batch`], few enough to share
/// the last ones fairly.
const FILES: usize = 64;
/// The most dirtrees that a thread takes at once: a job costs as much as reading a dirtree if threads sleep in between.
const DIRTREES: usize = 64;

/// The objects of a commit, each once.
#[derive(Debug)]
pub(super) struct Objects {
    /// The first is the root's.
    pub(super) dirtrees: Vec<Listing>,
    /// The first is the root's.
    pub(super) dirmetas: Vec<DirectoryInfo>,
    pub(super) files: Vec<(Checksum, ObjectInfo)>,
    pub(super) work: Work,
}

/// A dirtree whose entries are places in the table of objects.
#[derive(Debug, Default)]
pub(super) struct Listing {
    names: String,
    pub(super) files: Vec<(Name, u32)>,
    /// Dirtree and dirmeta.
    pub(super) directories: Vec<(Name, u32, u32)>,
}

/// A piece of the names of a [`Listing`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Name {
    start: u32,
    end: u32,
}

/// Owner, mode and xattrs of a directory.
#[derive(Debug, Clone, Default)]
pub(super) struct DirectoryInfo {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mode: u32,
    pub(super) xattrs: Xattrs,
}

impl Listing {
    pub(super) fn name(&self, name: Name) -> &str {
        &self.names[name.start as usize..name.end as usize]
    }
}

/// What the walk reports to and asks while it runs.
pub(super) struct Company<'a> {
    pub(super) cache: &'a dyn ObjectCache,
    pub(super) progress: &'a mut dyn Progress,
}

/// Reads all objects of a commit with this many threads, but for those that the cache knows. They come second; nobody
/// has looked whether they are there.
pub(super) fn read_objects(
    stores: &[Store],
    commit: &Commit,
    threads: NonZeroUsize,
    company: Company<'_>,
) -> anyhow::Result<(Objects, Vec<Checksum>)> {
    let queue = Queue::new();
    let (sender, results) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..threads.get() {
            let (reader, queue) = (Reader { stores, cache: company.cache, buffer: Vec::new() }, &queue);
            let sender = sender.clone();
            scope.spawn(move || work_off(reader, queue, &sender));
        }
        drop(sender);
        let mut walk = Walk::new(&queue, threads, company);
        let result = walk.run(commit, &results);
        queue.close();
        result?;
        Ok(walk.finish())
    })
}

#[derive(Debug)]
enum Job {
    Dirtrees(Vec<(u32, Checksum)>),
    Dirmeta(u32, Checksum),
    Files(Vec<(u32, Checksum)>),
}

#[derive(Debug)]
enum Done {
    Dirtrees(Vec<(u32, OwnedDirtree)>),
    Dirmeta(u32, DirectoryInfo),
    Files(Vec<(u32, ObjectInfo)>, Work),
}

/// A dirtree that doesn't borrow the buffer it was read into.
#[derive(Debug, Default)]
struct OwnedDirtree {
    names: String,
    /// With the number by which the cache knows an object.
    files: Vec<(Name, Checksum, Option<u32>)>,
    directories: Vec<(Name, Checksum, Checksum)>,
}

/// Reads metadata objects.
struct Reader<'a> {
    stores: &'a [Store],
    cache: &'a dyn ObjectCache,
    buffer: Vec<u8>,
}

/// What a thread does: job by job until the queue is closed.
fn work_off(mut reader: Reader<'_>, queue: &Queue<Job>, results: &Sender<anyhow::Result<Done>>) {
    let _alarm = Alarm(results);
    let mut files = FileReader::new(reader.stores);
    while let Some(job) = queue.next() {
        let done = match job {
            Job::Dirtrees(batch) => batch
                .into_iter()
                .map(|(place, object)| Ok((place, reader.dirtree(&object)?)))
                .collect::<anyhow::Result<_>>()
                .map(Done::Dirtrees),
            Job::Dirmeta(place, object) => reader.dirmeta(&object).map(|meta| Done::Dirmeta(place, meta)),
            Job::Files(batch) => read_files(&mut files, batch),
        };
        if results.send(done).is_err() {
            return;
        }
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

fn read_files(reader: &mut FileReader<'_>, batch: Vec<(u32, Checksum)>) -> anyhow::Result<Done> {
    let mut work = Work::default();
    let infos = reader.read(batch.iter().map(|(_, object)| object), &mut work)?;
    let places = batch.into_iter().map(|(place, _)| place);
    Ok(Done::Files(places.zip(infos).collect(), work))
}

impl Reader<'_> {
    fn dirtree(&mut self, object: &Checksum) -> anyhow::Result<OwnedDirtree> {
        let bytes = read_metadata(self.stores, object, Metadata::Dirtree, &mut self.buffer)?;
        let parsed = Dirtree::parse(bytes).with_context(|| format!("reading object {object}.dirtree"))?;
        let mut owned = OwnedDirtree::default();
        owned.files.reserve_exact(parsed.files.len());
        for file in parsed.files {
            let name = add_name(&mut owned.names, file.name)?;
            owned.files.push((name, file.object, self.cache.find(&file.object)));
        }
        for directory in parsed.directories {
            let name = add_name(&mut owned.names, directory.name)?;
            owned.directories.push((name, directory.dirtree, directory.dirmeta));
        }
        Ok(owned)
    }

    fn dirmeta(&mut self, object: &Checksum) -> anyhow::Result<DirectoryInfo> {
        let bytes = read_metadata(self.stores, object, Metadata::Dirmeta, &mut self.buffer)?;
        let meta = Dirmeta::parse(bytes).with_context(|| format!("reading object {object}.dirmeta"))?;
        let xattrs = Xattrs::new(&meta.xattrs);
        Ok(DirectoryInfo { uid: meta.uid, gid: meta.gid, mode: meta.mode, xattrs })
    }
}

fn add_name(names: &mut String, name: &str) -> anyhow::Result<Name> {
    let start = u32::try_from(names.len())?;
    names.push_str(name);
    Ok(Name { start, end: u32::try_from(names.len())? })
}

/// The calling thread's side: hands out jobs and puts results into their places.
struct Walk<'q, 'c> {
    queue: &'q Queue<Job>,
    company: Company<'c>,
    threads: usize,
    /// Jobs without a result yet.
    open_jobs: usize,
    /// Dirtrees that were not read yet.
    open_dirtrees: usize,
    dirtrees: HashMap<Checksum, u32>,
    dirmetas: HashMap<Checksum, u32>,
    /// The places of files, by the cache's numbers and by object.
    known_files: Vec<Option<u32>>,
    new_files: HashMap<Checksum, u32>,
    /// What was not handed out yet.
    waiting_dirtrees: Vec<(u32, Checksum)>,
    waiting_files: Vec<(u32, Checksum)>,
    /// Objects that the cache knows, and that nobody has looked for yet.
    known: Vec<Checksum>,
    listings: Vec<Listing>,
    directory_infos: Vec<DirectoryInfo>,
    file_infos: Vec<(Checksum, Option<ObjectInfo>)>,
    work: Work,
}

impl<'q, 'c> Walk<'q, 'c> {
    fn new(queue: &'q Queue<Job>, threads: NonZeroUsize, company: Company<'c>) -> Self {
        Self {
            queue,
            company,
            threads: threads.get(),
            open_jobs: 0,
            open_dirtrees: 0,
            dirtrees: HashMap::new(),
            dirmetas: HashMap::new(),
            known_files: Vec::new(),
            new_files: HashMap::new(),
            waiting_dirtrees: Vec::new(),
            waiting_files: Vec::new(),
            known: Vec::new(),
            listings: Vec::new(),
            directory_infos: Vec::new(),
            file_infos: Vec::new(),
            work: Work::default(),
        }
    }

    fn run(&mut self, commit: &Commit, results: &Receiver<anyhow::Result<Done>>) -> anyhow::Result<()> {
        self.want_dirtree(commit.dirtree)?;
        self.want_dirmeta(commit.dirmeta)?;
        self.hand_out_dirtrees();
        while self.open_jobs > 0 {
            let done = results.recv().map_err(|_| anyhow!("the threads that read objects are gone"))??;
            self.take(done)?;
            while let Ok(done) = results.try_recv() {
                self.take(done?)?;
            }
            self.hand_out_dirtrees();
            if self.open_dirtrees == 0 || self.waiting_files.len() >= FILES {
                self.hand_out_files();
            }
            self.company.progress.objects(self.work.objects, self.file_infos.len() as u64);
        }
        Ok(())
    }

    fn take(&mut self, done: Done) -> anyhow::Result<()> {
        self.open_jobs -= 1;
        match done {
            Done::Dirtrees(trees) => {
                self.open_dirtrees -= trees.len();
                for (place, tree) in trees {
                    self.listings[place as usize] = self.list(tree)?;
                }
            }
            Done::Dirmeta(place, meta) => self.directory_infos[place as usize] = meta,
            Done::Files(infos, work) => {
                self.work.add(work);
                for (place, info) in infos {
                    let (object, slot) = &mut self.file_infos[place as usize];
                    self.company.cache.add(object, &info);
                    *slot = Some(info);
                }
            }
        }
        Ok(())
    }

    fn list(&mut self, tree: OwnedDirtree) -> anyhow::Result<Listing> {
        let mut listing = Listing { names: tree.names, ..Listing::default() };
        listing.files.reserve_exact(tree.files.len());
        for (name, object, number) in tree.files {
            listing.files.push((name, self.want_file(object, number)?));
        }
        for (name, dirtree, dirmeta) in tree.directories {
            listing.directories.push((name, self.want_dirtree(dirtree)?, self.want_dirmeta(dirmeta)?));
        }
        Ok(listing)
    }

    fn want_dirtree(&mut self, object: Checksum) -> anyhow::Result<u32> {
        if let Some(place) = self.dirtrees.get(&object) {
            return Ok(*place);
        }
        let place = u32::try_from(self.listings.len())?;
        self.listings.push(Listing::default());
        self.dirtrees.insert(object, place);
        self.open_dirtrees += 1;
        self.waiting_dirtrees.push((place, object));
        Ok(place)
    }

    fn want_dirmeta(&mut self, object: Checksum) -> anyhow::Result<u32> {
        if let Some(place) = self.dirmetas.get(&object) {
            return Ok(*place);
        }
        let place = u32::try_from(self.directory_infos.len())?;
        self.directory_infos.push(DirectoryInfo::default());
        self.dirmetas.insert(object, place);
        self.open_jobs += 1;
        self.queue.push_last(Job::Dirmeta(place, object));
        Ok(place)
    }

    fn want_file(&mut self, object: Checksum, number: Option<u32>) -> anyhow::Result<u32> {
        match number {
            Some(number) => self.want_known_file(object, number),
            None => self.want_new_file(object),
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
        let place = u32::try_from(self.file_infos.len())?;
        self.file_infos.push((object, Some(info)));
        self.known.push(object);
        self.known_files[index] = Some(place);
        Ok(place)
    }

    fn want_new_file(&mut self, object: Checksum) -> anyhow::Result<u32> {
        if let Some(place) = self.new_files.get(&object) {
            return Ok(*place);
        }
        let place = u32::try_from(self.file_infos.len())?;
        self.file_infos.push((object, None));
        self.waiting_files.push((place, object));
        self.new_files.insert(object, place);
        Ok(place)
    }

    /// Dirtrees go first, so that there are soon enough files for all threads.
    fn hand_out_dirtrees(&mut self) {
        let share = self.waiting_dirtrees.len().div_ceil(self.threads).clamp(1, DIRTREES);
        for batch in self.waiting_dirtrees.chunks(share) {
            self.open_jobs += 1;
            self.queue.push_first(Job::Dirtrees(batch.to_vec()));
        }
        self.waiting_dirtrees.clear();
    }

    fn hand_out_files(&mut self) {
        for batch in self.waiting_files.chunks(FILES) {
            self.open_jobs += 1;
            self.queue.push_last(Job::Files(batch.to_vec()));
        }
        self.waiting_files.clear();
    }

    fn finish(self) -> (Objects, Vec<Checksum>) {
        // Each place got its object, since every job had its result.
        let files = self.file_infos.into_iter().filter_map(|(object, info)| Some((object, info?))).collect();
        let (dirtrees, dirmetas) = (self.listings, self.directory_infos);
        (Objects { dirtrees, dirmetas, files, work: self.work }, self.known)
    }
}

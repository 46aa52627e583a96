//! What fs-verity would be of files of an image, and what it is: contents are read and hashed, nothing is changed.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use ostree_seal_trust::digest::Digest;

use super::error::{Error, Result};
use super::extents::{Extent, read_blocks};
use super::file_system::FileSystem;
use super::format::{BLOCK, BLOCK_LEN};
use super::inode::{FileType, Inode};
use super::metadata::{self, Spool, Stored};
use crate::merkle::tree::{Forest, MerkleTree};

/// How much is hashed in one go: enough for all lanes, few enough to stay in the L2 cache.
const BUFFER: usize = 256 * 1024;
/// How many times as large as the file system its files may be, all together.
const SPARSE: u64 = 16;
/// How many files a thread takes at a time.
const CHUNK: usize = 32;

/// How files are examined.
#[derive(Clone, Copy)]
pub struct ExamineOptions<'a> {
    /// Threads that read and hash.
    pub threads: NonZeroUsize,
    /// Called from any thread with the number of bytes that were hashed.
    pub progress: &'a (dyn Fn(u64) + Sync),
}

/// A file's fs-verity, as it is in the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verity {
    /// It has none.
    Off,
    /// Tree and descriptor are those of its content.
    Right,
    /// They aren't: it can't be read, or has another digest.
    Wrong,
}

/// A file that was read and hashed.
#[derive(Debug, Clone)]
pub struct Examined {
    /// Inode number.
    pub inode: u32,
    /// Bytes of content.
    pub size: u64,
    /// The fs-verity digest of its content.
    pub digest: Digest,
    /// What it has.
    pub verity: Verity,
    /// Its last block, if it holds something behind the end of the file, which the kernel would hash.
    pub(super) stray: Option<u64>,
    /// Where its tree and descriptor are kept, if it has none in the image.
    pub(super) stored: Option<Stored>,
}

/// Files that were examined, and their trees.
#[derive(Debug)]
pub struct Findings {
    /// In the order of the inodes that were asked for.
    pub files: Vec<Examined>,
    pub(super) spool: Spool,
}

/// Reads and hashes files; each is refused that could not have fs-verity.
pub fn examine(system: &FileSystem<'_>, inodes: &[u32], pass: ExamineOptions<'_>) -> Result<Findings> {
    let spool = Mutex::new(Spool::new());
    let found = Mutex::new(Vec::with_capacity(inodes.len()));
    let (next, closed, error) = (AtomicUsize::new(0), AtomicBool::new(false), Mutex::new(None));
    let total = AtomicU64::new(0);
    let worker = || {
        while !closed.load(Ordering::Relaxed) {
            let from = next.fetch_add(CHUNK, Ordering::Relaxed);
            let Some(chunk) =
                inodes.get(from..inodes.len().min(from + CHUNK)).filter(|chunk| !chunk.is_empty())
            else {
                return;
            };
            match (Worker { system, total: &total, progress: pass.progress }).run(chunk, &spool) {
                Ok(files) => lock(&found).push((from, files)),
                Err(problem) => {
                    closed.store(true, Ordering::Relaxed);
                    lock(&error).get_or_insert(problem);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..pass.threads.get() {
            scope.spawn(worker);
        }
        worker();
    });
    if let Some(error) = into_inner(error) {
        return Err(error);
    }
    let mut found = into_inner(found);
    found.sort_unstable_by_key(|(from, _)| *from);
    let files = found.into_iter().flat_map(|(_, files)| files).collect();
    Ok(Findings { files, spool: into_inner(spool) })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn into_inner<T>(mutex: Mutex<T>) -> T {
    mutex.into_inner().unwrap_or_else(PoisonError::into_inner)
}

struct Worker<'a> {
    system: &'a FileSystem<'a>,
    /// Bytes of all files so far.
    total: &'a AtomicU64,
    progress: &'a (dyn Fn(u64) + Sync),
}

/// A file that is being hashed.
struct Reading {
    inode: Inode,
    extents: Vec<Extent>,
    stray: Option<u64>,
}

impl Worker<'_> {
    fn run(&self, inodes: &[u32], spool: &Mutex<Spool>) -> Result<Vec<Examined>> {
        let mut forest = Forest::new();
        let mut readings = Vec::with_capacity(inodes.len());
        let (mut buffer, mut used) = (vec![0; BUFFER], 0);
        for number in inodes {
            let mut reading = self.open(*number)?;
            forest.add_file(reading.inode.size());
            self.hash(&mut reading, &mut forest, (&mut buffer, &mut used))?;
            readings.push(reading);
        }
        forest.add_blocks(&buffer[..used]);
        let trees = forest.finish();
        readings.iter().zip(trees).map(|(reading, tree)| self.compare(reading, &tree, spool)).collect()
    }

    fn open(&self, number: u32) -> Result<Reading> {
        let inode = self.system.inode(number)?;
        let refuse = |what, way_out| Err(Error::File { inode: number, what, way_out });
        if inode.kind() != FileType::File {
            return refuse("is not a regular file", "name regular files only");
        }
        if inode.size() > self.system.disk.length() {
            return refuse("says that it is larger than the file system", "make the image again");
        }
        // Holes cost nothing on the disk, and time here.
        let before = self.total.fetch_add(inode.size(), Ordering::Relaxed);
        if before > self.system.disk.length().saturating_mul(SPARSE) {
            return refuse("and others before it are holes mostly", "make the image again");
        }
        let extents = self.system.extents(&inode)?;
        let end = extents.last().map_or(0, Extent::end);
        if !inode.has_verity() && end > inode.size().div_ceil(BLOCK) {
            return refuse(
                "has blocks behind its end, where fs-verity's metadata belong",
                "make the image again from a copy of the file without them (`cp`)",
            );
        }
        Ok(Reading { inode, extents, stray: None })
    }

    /// Hands a file's blocks to the forest, as the kernel would see them with zeros behind the end.
    fn hash(
        &self,
        reading: &mut Reading,
        forest: &mut Forest,
        (buffer, used): (&mut [u8], &mut usize),
    ) -> Result<()> {
        let size = reading.inode.size();
        let blocks = size.div_ceil(BLOCK);
        let mut at = 0;
        while at < blocks {
            if *used == BUFFER {
                forest.add_blocks(buffer);
                *used = 0;
            }
            let room = BUFFER - *used;
            let len = usize::try_from((blocks - at) * BLOCK).unwrap_or(room).min(room);
            let target = &mut buffer[*used..*used + len];
            read_blocks(&self.system.disk, &reading.extents, at, target)?;
            at += len as u64 / BLOCK;
            let tail = usize::try_from(size % BLOCK).unwrap_or(0);
            if at == blocks && tail > 0 {
                let behind = &mut target[len - BLOCK_LEN + tail..];
                if behind.iter().any(|byte| *byte != 0) {
                    reading.stray = last_block(&reading.extents, blocks);
                    behind.fill(0);
                }
            }
            *used += len;
            (self.progress)(len as u64);
        }
        Ok(())
    }

    /// Compares what the image has with what it should have.
    fn compare(&self, reading: &Reading, tree: &MerkleTree, spool: &Mutex<Spool>) -> Result<Examined> {
        let (verity, stored) = if !reading.inode.has_verity() {
            (Verity::Off, Some(lock(spool).add(tree)?))
        } else if self.is_right(reading, tree)? {
            (Verity::Right, None)
        } else {
            (Verity::Wrong, None)
        };
        let (inode, size) = (reading.inode.number(), reading.inode.size());
        Ok(Examined { inode, size, digest: tree.digest, verity, stray: reading.stray, stored })
    }

    /// Whether the kernel would find this tree: it looks for the descriptor at the end of the last extent.
    fn is_right(&self, reading: &Reading, tree: &MerkleTree) -> Result<bool> {
        let expected = metadata::bytes(tree.size, &tree.hashes, &tree.descriptor);
        let first = metadata::first_block(tree.size);
        let end = first + expected.len() as u64 / BLOCK;
        let ends = reading.extents.last().is_some_and(|extent| extent.end() == end && !extent.unwritten);
        if !ends || reading.stray.is_some() {
            return Ok(false);
        }
        let mut found = vec![0; expected.len()];
        read_blocks(&self.system.disk, &reading.extents, first, &mut found)?;
        Ok(found == expected)
    }
}

/// Where a file's last block lies, if it has been written.
fn last_block(extents: &[Extent], blocks: u64) -> Option<u64> {
    let holds = |extent: &&Extent| (u64::from(extent.logical)..extent.end()).contains(&(blocks - 1));
    let extent = extents.iter().find(holds).filter(|extent| !extent.unwritten)?;
    Some(extent.physical + (blocks - 1 - u64::from(extent.logical)))
}

impl std::fmt::Debug for ExamineOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pass").field("threads", &self.threads).finish_non_exhaustive()
    }
}

//! The limit: reading each file object once on all processors, with hashing and without, and nothing else. As a program
//! of its own, so that it's measured like the others.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::Context as _;
use ostree_seal::merkle::Batch;

/// What is done with what was read, by the name that it has in the table.
pub(crate) const WORKS: [&str; 2] = ["(reading and hashing alone)", "(reading alone)"];
/// The first argument that makes this program the limit.
pub(crate) const PROGRAM: &str = "--floor";

/// How many files a thread takes at once.
const SHARE: usize = 64;

pub(crate) fn command(work: &str, repo: &Path) -> Vec<OsString> {
    let program = std::env::current_exe().unwrap_or_default();
    vec![program.into(), PROGRAM.into(), work.into(), repo.into()]
}

/// Reads all file objects of a bare repository, and hashes them if that's the work.
pub(crate) fn run(work: &str, repo: &Path) -> anyhow::Result<()> {
    let work = if work == WORKS[0] { read_and_hash } else { read };
    let objects = objects(repo)?;
    let shares = Mutex::new(objects.chunks(SHARE));
    let threads = std::thread::available_parallelism()?.get();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(|| work(&mut shares_of(&shares)))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| anyhow::anyhow!("a panic"))?)
    })
}

/// Brings all objects into the page cache, as the runs of a benchmark evict each other's.
pub(crate) fn warm(repo: &Path) -> anyhow::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    for directory in fs::read_dir(repo.join("objects"))? {
        for entry in fs::read_dir(directory?.path())? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                let mut file = File::open(entry.path())?;
                while file.read(&mut buffer)? > 0 {}
            } else {
                entry.metadata()?;
            }
        }
    }
    Ok(())
}

/// What is left to do.
type Shares<'a> = dyn Iterator<Item = &'a [PathBuf]> + 'a;

fn shares_of<'a>(shares: &Mutex<impl Iterator<Item = &'a [PathBuf]>>) -> impl Iterator<Item = &'a [PathBuf]> {
    std::iter::from_fn(|| shares.lock().ok()?.next())
}

fn read_and_hash(shares: &mut Shares<'_>) -> anyhow::Result<()> {
    let mut batch = Batch::new();
    for share in shares {
        for path in share {
            let file = File::open(path)?;
            let size = file.metadata()?.len();
            batch.add(&file, size).with_context(|| format!("reading {}", path.display()))?;
        }
        batch.finish();
    }
    Ok(())
}

fn read(shares: &mut Shares<'_>) -> anyhow::Result<()> {
    let mut buffer = vec![0; 256 * 1024];
    for path in shares.flatten() {
        let mut file = File::open(path)?;
        let mut left = file.metadata()?.len();
        while left > 0 {
            left = left.saturating_sub(file.read(&mut buffer)?.max(1) as u64);
        }
    }
    Ok(())
}

fn objects(repo: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut objects = Vec::new();
    for directory in fs::read_dir(repo.join("objects"))? {
        for entry in fs::read_dir(directory?.path())? {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_file() && path.extension().is_some_and(|extension| extension == "file") {
                objects.push(path);
            }
        }
    }
    Ok(objects)
}

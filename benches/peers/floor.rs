//! The limit: reading and hashing each file object once on all processors, and nothing else. As a program of its own,
//! so that it's measured like the others.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::Context as _;
use ostree_seal::merkle::Batch;

/// What the table calls it.
pub(crate) const NAME: &str = "(reading and hashing alone)";
/// The first argument that makes this program the limit.
pub(crate) const PROGRAM: &str = "--floor";

/// How many files a thread takes at once.
const SHARE: usize = 64;

pub(crate) fn command(repo: &Path) -> Vec<OsString> {
    let program = std::env::current_exe().unwrap_or_default();
    vec![program.into(), PROGRAM.into(), repo.into()]
}

/// Reads and hashes all file objects of a bare repository.
pub(crate) fn run(repo: &Path) -> anyhow::Result<()> {
    let objects = objects(repo)?;
    let shares = Mutex::new(objects.chunks(SHARE));
    let threads = std::thread::available_parallelism()?.get();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(|| work(&shares))).collect();
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

fn work<'a>(shares: &Mutex<impl Iterator<Item = &'a [PathBuf]>>) -> anyhow::Result<()> {
    let mut batch = Batch::new();
    loop {
        let share = shares.lock().ok().and_then(|mut shares| shares.next());
        let Some(share) = share else { return Ok(()) };
        for path in share {
            let file = File::open(path)?;
            let size = file.metadata()?.len();
            batch.add(&file, size).with_context(|| format!("reading {}", path.display()))?;
        }
        batch.finish();
    }
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

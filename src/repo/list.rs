//! The file objects of a commit by name, from its directories alone: no file object is opened.

use std::collections::HashSet;
use std::num::NonZeroUsize;

use anyhow::anyhow;

use super::checksum::Checksum;
use super::commit::Commit;
use super::explore::{Done, Job, Reading, Row, explore};
use super::known::{Check, NoCache};
use super::store::Store;

/// Reads all dirtrees and dirmetas of a commit with this many threads; the names of its file objects, sorted.
pub(super) fn list_files(
    stores: &[Store],
    commit: &Commit,
    threads: NonZeroUsize,
) -> anyhow::Result<Vec<Checksum>> {
    let files = explore(stores, &NoCache, Check::None, threads, |reading| {
        let mut list = List { reading, files: HashSet::new(), dirmetas: HashSet::new(), open_dirmetas: 0 };
        list.run(commit)?;
        Ok(list.files)
    })?;
    let mut files: Vec<_> = files.into_iter().collect();
    files.sort_unstable();
    Ok(files)
}

/// The calling thread's side.
struct List<'a> {
    reading: &'a Reading<'a>,
    files: HashSet<Checksum>,
    dirmetas: HashSet<Checksum>,
    /// Dirmetas that were asked for and haven't come.
    open_dirmetas: usize,
}

impl List<'_> {
    fn run(&mut self, commit: &Commit) -> anyhow::Result<()> {
        self.reading.begin(commit)?;
        self.want_dirmeta(commit.dirmeta);
        let mut read_dirtrees = 0;
        // A dirtree counts as seen before the one comes in which it was seen.
        while self.open_dirmetas > 0 || read_dirtrees < self.reading.seen.count() {
            match self.reading.next()? {
                Done::Dirtrees(chunk) => {
                    read_dirtrees += chunk.trees.len();
                    self.files.extend(chunk.files.iter().map(|file| file.object));
                    chunk.directories.iter().for_each(|directory| self.want_dirmeta(directory.dirmeta));
                }
                Done::Dirmeta(..) => self.open_dirmetas -= 1,
                Done::Files(..) => return Err(anyhow!("invariant: nobody asked for files")),
            }
        }
        Ok(())
    }

    fn want_dirmeta(&mut self, object: Checksum) {
        if self.dirmetas.insert(object) {
            self.open_dirmetas += 1;
            // The rows are for whoever keeps what is in them.
            self.reading.queue.push_last(Job::Dirmeta(Row { row: 0, object }));
        }
    }
}

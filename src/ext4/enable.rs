//! Switching on fs-verity: a plan of every block first, then the bytes. Whoever is interrupted leaves a file system that says
//! so, and that `e2fsck` repairs: trees, and new nodes of extent trees, are on the disk before an inode points at them.

use std::collections::BTreeSet;

use super::append::{Appended, append};
use super::disk::Disk;
use super::error::{Error, Result};
use super::examine::{Examined, Findings, Verity};
use super::file_system::FileSystem;
use super::format::{BLOCK, BLOCK_LEN};
use super::free::{Free, Run, bitmap, mark, unmark};
use super::inode::Inode;
use super::metadata::{self, Spool, Stored};

/// How much is written in one go.
const WRITE: usize = 1 << 20;

/// What will be written.
#[derive(Debug)]
pub struct EnablePlan<'s, 'f> {
    system: &'s mut FileSystem<'f>,
    spool: Spool,
    files: Vec<Planned>,
    /// Blocks that aren't used any more.
    freed: BTreeSet<u64>,
    /// How many more are used.
    blocks: u64,
}

/// A file that gets fs-verity.
#[derive(Debug)]
struct Planned {
    inode: u32,
    size: u64,
    stored: Stored,
    stray: Option<u64>,
    /// Where its metadata go.
    runs: Box<[Run]>,
    /// Blocks for new nodes of its extent tree.
    nodes: Box<[u64]>,
    /// Blocks of nodes that those take the place of.
    freed: Box<[u64]>,
}

impl Planned {
    fn first_block(&self) -> Result<u32> {
        let end = metadata::first_block(self.size) + metadata::blocks(self.size);
        let first = u32::try_from(metadata::first_block(self.size)).ok();
        first.filter(|_| end < u64::from(u32::MAX)).ok_or(Error::File {
            inode: self.inode,
            what: "is too large for fs-verity's metadata behind it",
            way_out: "leave it out",
        })
    }
}

impl<'s, 'f> EnablePlan<'s, 'f> {
    /// Finds a place for everything, or says why there is none. Files that have fs-verity already are left as they are.
    pub fn new(system: &'s mut FileSystem<'f>, findings: Findings) -> Result<Self> {
        system.geometry.require_clean()?;
        let mut free = Free::read(&system.disk, &system.geometry, &system.groups)?;
        let wanted = |file: &&Examined| file.verity == Verity::Off;
        for file in findings.files.iter().filter(wanted) {
            refuse_free_blocks(system, &free, file.inode)?;
        }
        let needed: u64 = findings.files.iter().filter(wanted).map(|file| metadata::blocks(file.size)).sum();
        let no_space = Error::NoSpace { needed: needed * BLOCK, free: free.blocks() * BLOCK };
        let (before, found_free) = (free.blocks(), free.clone());
        let (mut files, mut freed) = (Vec::new(), BTreeSet::new());
        for file in findings.files {
            let Some(stored) = file.stored else { continue };
            let Some(planned) = plan(system, &mut free, &file, stored)? else { return Err(no_space) };
            for block in &planned.freed {
                if found_free.touches(*block, 1) || !freed.insert(*block) {
                    let inode = planned.inode;
                    return Err(Error::damaged(format_args!("inode {inode} has a node that isn't its own")));
                }
            }
            files.push(planned);
        }
        let blocks = (before - free.blocks()).saturating_sub(freed.len() as u64);
        Ok(Self { system, spool: findings.spool, files, freed, blocks })
    }

    /// How many files get fs-verity.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// How many bytes more will be in use.
    pub fn bytes(&self) -> u64 {
        self.blocks * BLOCK
    }

    /// Writes all of it. Does nothing where there is nothing to do.
    pub fn write(mut self) -> Result<()> {
        if self.files.is_empty() && self.system.has_verity() {
            return Ok(());
        }
        let disk = self.system.disk;
        let unclean = self.system.geometry.clone().marked_clean(false).with_verity(0);
        unclean.write(&disk)?;
        disk.sync()?;
        self.write_trees()?;
        for file in self.files.iter().filter(|file| !file.nodes.is_empty()) {
            for (block, bytes) in self.extended(file)?.1.nodes {
                disk.write(block * BLOCK, &bytes)?;
            }
        }
        disk.sync()?;
        self.write_bitmaps()?;
        for file in &self.files {
            self.write_inode(file)?;
        }
        disk.sync()?;
        let done = unclean.with_verity(self.blocks).marked_clean(true);
        done.write(&disk)?;
        disk.sync()?;
        self.system.geometry = done;
        Ok(())
    }

    /// Into blocks that are free. What lay behind the end of a file in its last block becomes zeros.
    fn write_trees(&mut self) -> Result<()> {
        let mut out = Writer { disk: &self.system.disk, at: 0, bytes: Vec::with_capacity(WRITE) };
        for file in &self.files {
            let bytes = self.spool.metadata(file.size, file.stored)?;
            let mut rest = bytes.as_slice();
            for run in &file.runs {
                let (piece, next) = rest.split_at(usize::try_from(run.len * BLOCK).unwrap_or(rest.len()));
                out.write(run.start, piece)?;
                rest = next;
            }
            if let Some(block) = file.stray {
                let tail = file.size % BLOCK;
                let zeros = vec![0; BLOCK_LEN - usize::try_from(tail).unwrap_or(0)];
                self.system.disk.write(block * BLOCK + tail, &zeros)?;
            }
        }
        out.flush()
    }

    /// One write for each group that something was taken of.
    fn write_bitmaps(&mut self) -> Result<()> {
        let (disk, geometry) = (&self.system.disk, &self.system.geometry);
        let metadata = self.system.groups.metadata(geometry);
        let all = self.files.iter().flat_map(|file| {
            let node = |start: &u64| Run { start: *start, len: 1 };
            file.runs.iter().copied().chain(file.nodes.iter().map(node))
        });
        let taken = split_at_groups(all, geometry.blocks_per_group);
        let group_of = |block: u64| u32::try_from(block / geometry.blocks_per_group).unwrap_or(u32::MAX);
        let groups: BTreeSet<u32> =
            taken.iter().map(|run| run.start).chain(self.freed.iter().copied()).map(group_of).collect();
        for group in groups {
            let (start, len) = geometry.group_range(group);
            let mut bits = bitmap(disk, geometry, &self.system.groups, (group, &metadata))?;
            let mut free = u64::from(self.system.groups.free_blocks(group));
            let from = taken.partition_point(|run| run.start < start);
            for run in taken[from..].iter().take_while(|run| run.start < start + len) {
                let before = mark(&mut bits, run.start - start, run.len);
                let left = free.checked_sub(run.len).filter(|_| before == 0);
                free = left.ok_or_else(|| Error::damaged("the image has changed meanwhile"))?;
            }
            for block in self.freed.range(start..start + len) {
                free += u64::from(!unmark(&mut bits, block - start));
            }
            let free = u32::try_from(free).unwrap_or(u32::MAX);
            self.system.groups.write_bitmap((disk, geometry), group, (&bits, free))?;
        }
        Ok(())
    }

    /// The inode last, when all that it points at is on the disk: the way to the tree and the flag come with one write.
    fn write_inode(&self, file: &Planned) -> Result<()> {
        let (mut inode, appended) = self.extended(file)?;
        let more = metadata::blocks(file.size) + file.nodes.len() as u64;
        inode.enable_verity(appended.root, more, file.freed.len() as u64)?;
        inode.write(&self.system.disk, &self.system.geometry)
    }

    /// A file's inode as it is, and the extent tree that it gets.
    fn extended(&self, file: &Planned) -> Result<(Inode, Appended)> {
        let inode = self.system.inode(file.inode)?;
        let mut nodes = file.nodes.iter().copied();
        let appended = extend(self.system, &inode, file, &mut || {
            nodes.next().ok_or_else(|| Error::damaged("the image has changed meanwhile"))
        })?;
        Ok((inode, appended))
    }
}

/// Finds a place for a file's metadata, unless there is too little room.
fn plan(
    system: &FileSystem<'_>,
    free: &mut Free,
    file: &Examined,
    stored: Stored,
) -> Result<Option<Planned>> {
    let Some(runs) = free.take(metadata::blocks(file.size)) else { return Ok(None) };
    let Examined { inode, size, stray, .. } = *file;
    let (runs, none) = (runs.into_boxed_slice(), || Box::new([]));
    let mut planned = Planned { inode, size, stored, stray, runs, nodes: none(), freed: none() };
    let mut nodes = Vec::new();
    let mut is_full = false;
    let appended = extend(system, &system.inode(inode)?, &planned, &mut || match free.take(1).as_deref() {
        Some([run]) => {
            nodes.push(run.start);
            Ok(run.start)
        }
        _ => {
            is_full = true;
            Err(Error::NoSpace { needed: 0, free: 0 })
        }
    });
    if is_full {
        return Ok(None);
    }
    (planned.freed, planned.nodes) = (appended?.freed.into(), nodes.into());
    Ok(Some(planned))
}

fn extend(
    system: &FileSystem<'_>,
    inode: &Inode,
    file: &Planned,
    allocate: &mut dyn FnMut() -> Result<u64>,
) -> Result<Appended> {
    append((&system.disk, &system.geometry), inode, (file.first_block()?, &file.runs), allocate)
}

/// Runs in their order; one that goes on in the next group, in parts that don't: bitmaps are those of groups.
fn split_at_groups(runs: impl Iterator<Item = Run>, blocks_per_group: u64) -> Vec<Run> {
    let mut parts = Vec::new();
    for mut rest in runs {
        while rest.len > 0 {
            let len = rest.len.min(blocks_per_group - rest.start % blocks_per_group);
            parts.push(Run { start: rest.start, len });
            rest = Run { start: rest.start + len, len: rest.len - len };
        }
    }
    parts.sort_unstable();
    parts
}

/// Blocks of a file that are marked as free would be overwritten.
fn refuse_free_blocks(system: &FileSystem<'_>, free: &Free, inode: u32) -> Result<()> {
    let extents = system.extents(&system.inode(inode)?)?;
    match extents.iter().find(|extent| free.touches(extent.physical, extent.len.into())) {
        None => Ok(()),
        Some(_) => Err(Error::damaged(format_args!("inode {inode} has blocks that are marked as free"))),
    }
}

/// Writes blocks, those that lie side by side together.
struct Writer<'a> {
    disk: &'a Disk<'a>,
    /// The block that `bytes` begin at.
    at: u64,
    bytes: Vec<u8>,
}

impl Writer<'_> {
    fn write(&mut self, block: u64, bytes: &[u8]) -> Result<()> {
        let end = self.at + self.bytes.len() as u64 / BLOCK;
        if block != end || self.bytes.len() + bytes.len() > WRITE {
            self.flush()?;
            self.at = block;
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if !self.bytes.is_empty() {
            self.disk.write(self.at * BLOCK, &self.bytes)?;
            self.bytes.clear();
        }
        Ok(())
    }
}

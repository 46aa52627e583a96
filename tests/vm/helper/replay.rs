//! A power cut: `replay LOG DISK SEED PART PARTS` brings DISK, a copy made before QEMU's `blklogwrites` wrote LOG, to a state in which
//! a disk with a write-back cache may be found after the power has failed at some moment.
//!
//! What was written before the last flush is there. Of what was written after it, each sector is there or not: a cache
//! writes back in no order. A seed always gives the same cut. Of PARTS cuts that are made of one log, each falls into a part of
//! its own, from 0, so that some are early and some are late, whatever the seeds. Format of the log: the kernel's `dm-log-writes`, which has a
//! header with the number of entries, and for each entry a sector with its place, its length and its flags, and its data.

use std::fs::File;
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::FileExt;

const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
/// `blklogwrites` counts in these when it is told `log-sector-size=512`.
const SECTOR: u64 = 512;

/// One entry of the log.
#[derive(Clone, Copy)]
struct Entry {
    /// Where on the disk, in bytes.
    to: u64,
    /// Where in the log its data begins, in bytes.
    from: u64,
    len: u64,
    flags: u64,
}

/// One of so many equal parts of the log.
#[derive(Clone, Copy)]
pub(crate) struct Part {
    pub(crate) number: usize,
    pub(crate) of: usize,
}

/// Does it, and prints where the cut was.
pub(crate) fn replay(log: &str, disk: &str, seed: u64, part: Part) -> Result<()> {
    let (log, disk) = (File::open(log)?, File::options().write(true).open(disk)?);
    let entries = read_entries(&log)?;
    let mut random = Random(seed);
    let cut = random.cut(&entries, part);
    let flushed = entries[..cut].iter().rposition(|entry| entry.flags & FLUSH != 0).map_or(0, |at| at + 1);
    // What share of the sectors in the cache is lost, in quarters, and how large the disk's own sectors are.
    let (lost_share, unit) = (random.below(5), [SECTOR, 4096, 4096, 4096][random.below(4)]);
    for entry in &entries[..flushed] {
        copy(&log, &disk, *entry)?;
    }
    let (mut lost, mut all) = (0_u64, 0_u64);
    for entry in &entries[flushed..cut] {
        for start in (0..entry.len).step_by(usize::try_from(unit).map_err(Error::other)?) {
            all += 1;
            if entry.flags & FUA == 0 && random.below(4) < lost_share {
                lost += 1;
            } else {
                let len = unit.min(entry.len - start);
                copy(&log, &disk, Entry { to: entry.to + start, from: entry.from + start, len, ..*entry })?;
            }
        }
    }
    println!("after {cut} of {} writes, {lost} of {all} blocks of {unit} lost from the cache", entries.len());
    disk.sync_all()
}

fn read_entries(log: &File) -> Result<Vec<Entry>> {
    let words = |at: u64| -> Result<[u64; 4]> {
        let mut bytes = [0; 32];
        log.read_exact_at(&mut bytes, at)?;
        let mut words = bytes.chunks(8).map(|word| word.try_into().map_or(0, u64::from_le_bytes));
        Ok(std::array::from_fn(|_| words.next().unwrap_or_default()))
    };
    let [magic, version, count, sector] = words(0)?;
    if (magic, version, sector & u64::from(u32::MAX)) != (MAGIC, 1, SECTOR) {
        return Err(Error::new(ErrorKind::InvalidData, "no log of blklogwrites with sectors of 512 bytes"));
    }
    let (mut at, mut entries) = (SECTOR, Vec::new());
    for _ in 0..count {
        let [to, sectors, flags, _] = words(at)?;
        if flags & !(FLUSH | FUA) != 0 {
            return Err(Error::new(ErrorKind::InvalidData, format!("an entry at {at} with flags {flags}")));
        }
        let len = sectors * SECTOR;
        entries.push(Entry { to: to * SECTOR, from: at + SECTOR, len, flags });
        at += SECTOR + len;
    }
    if entries.is_empty() {
        return Err(Error::new(ErrorKind::InvalidData, "the log has no entries: nothing was recorded"));
    }
    Ok(entries)
}

fn copy(log: &File, disk: &File, entry: Entry) -> Result<()> {
    let mut data = vec![0; usize::try_from(entry.len).map_err(Error::other)?];
    log.read_exact_at(&mut data, entry.from)?;
    disk.write_all_at(&data, entry.to)
}

/// SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % (bound as u64)).unwrap_or_default()
    }

    /// A number below the bound, in a part of the numbers.
    fn below_in(&mut self, bound: usize, part: Part) -> usize {
        let from = part.number * bound / part.of;
        let to = (part.number + 1) * bound / part.of;
        from + self.below((to - from).max(1))
    }

    /// How many entries there were when the power failed: any number with the same chance, or any span between two
    /// flushes with the same chance, since those who wait for the disk write little in each.
    fn cut(&mut self, entries: &[Entry], part: Part) -> usize {
        let flushes: Vec<usize> =
            (0..entries.len()).filter(|at| entries[*at].flags & FLUSH != 0).map(|at| at + 1).collect();
        if flushes.len() < 2 || self.below(2) == 0 {
            return self.below_in(entries.len() + 1, part);
        }
        let span = self.below_in(flushes.len() - 1, part);
        flushes[span] + self.below(flushes[span + 1] - flushes[span])
    }
}

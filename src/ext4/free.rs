//! Free blocks: found in the bitmaps, handed out in an order that depends on the image alone.

use super::disk::Disk;
use super::error::{Error, Result};
use super::format::{BLOCK_LEN, EXT_INIT_MAX_LEN};
use super::groups::Groups;
use super::superblock::Geometry;

/// Blocks that lie side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Run {
    /// First block.
    pub(super) start: u64,
    /// How many.
    pub(super) len: u64,
}

/// Whether a group's bit says that its block is in use.
pub(super) type Bitmap = [u8; BLOCK_LEN];

/// The free blocks of a file system.
#[derive(Debug, Clone)]
pub(super) struct Free {
    runs: Vec<Run>,
    /// Where the next search begins.
    next: usize,
    /// No run has as many blocks as this.
    too_long: u64,
    /// Free blocks.
    blocks: u64,
}

impl Free {
    /// Reads all bitmaps, and refuses those that can't be right: a wrong checksum, another count than the descriptor has,
    /// or metadata that are free.
    pub(super) fn read(disk: &Disk<'_>, geometry: &Geometry, groups: &Groups) -> Result<Self> {
        let metadata = groups.metadata(geometry);
        let mut free = Self { runs: Vec::new(), next: 0, too_long: u64::MAX, blocks: 0 };
        for group in 0..geometry.groups {
            let bitmap = bitmap(disk, geometry, groups, (group, &metadata))?;
            let before = free.blocks;
            free.add(&bitmap, geometry.group_range(group));
            let (found, counted) = (free.blocks - before, groups.free_blocks(group));
            if found != u64::from(counted) {
                return Err(Error::damaged(format_args!(
                    "group {group} has {found} free blocks in its bitmap and {counted} in its descriptor"
                )));
            }
        }
        if let Some((start, _)) = metadata.iter().find(|(start, len)| free.touches(*start, *len)) {
            return Err(Error::damaged(format_args!("metadata at block {start} are marked as free")));
        }
        if geometry.free_blocks() < free.blocks {
            return Err(Error::damaged("the superblock counts fewer free blocks than there are"));
        }
        Ok(free)
    }

    fn add(&mut self, bitmap: &Bitmap, (start, len): (u64, u64)) {
        let mut at = 0;
        while at < len {
            let byte = bitmap[usize::try_from(at / 8).unwrap_or(0)];
            if byte == 0xff && at % 8 == 0 {
                at += 8;
                continue;
            }
            if byte & 1 << (at % 8) == 0 {
                self.blocks += 1;
                match self.runs.last_mut() {
                    Some(run) if run.start + run.len == start + at => run.len += 1,
                    _ => self.runs.push(Run { start: start + at, len: 1 }),
                }
            }
            at += 1;
        }
    }

    /// Free blocks.
    pub(super) fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Whether any of these blocks is free, before any was taken.
    pub(super) fn touches(&self, start: u64, len: u64) -> bool {
        let first = self.runs.partition_point(|run| run.start + run.len <= start);
        self.runs.get(first).is_some_and(|run| run.start < start + len)
    }

    /// Takes so many blocks: one run where there is one that is long enough, or else the next ones that there are. `None` if
    /// there are too few.
    pub(super) fn take(&mut self, count: u64) -> Option<Vec<Run>> {
        if count > self.blocks {
            return None;
        }
        let mut taken = Vec::new();
        if let Some(at) = self.find(count) {
            self.next = at;
            taken.push(self.cut(at, count));
        } else {
            let mut left = count;
            while left > 0 {
                let at = self.find(1)?;
                self.next = at;
                let run = self.cut(at, left);
                left -= run.len;
                taken.push(run);
            }
        }
        Some(taken.into_iter().flat_map(pieces).collect())
    }

    /// The next run of at least so many blocks.
    fn find(&mut self, count: u64) -> Option<usize> {
        if count >= self.too_long {
            return None;
        }
        let (before, behind) = self.runs.split_at(self.next.min(self.runs.len()));
        let fits = |run: &Run| run.len >= count;
        let found = behind.iter().position(fits).map(|at| self.next + at);
        let found = found.or_else(|| before.iter().position(fits));
        if found.is_none() {
            // Runs only get shorter.
            self.too_long = count;
        }
        found
    }

    fn cut(&mut self, at: usize, count: u64) -> Run {
        let run = &mut self.runs[at];
        let len = count.min(run.len);
        let cut = Run { start: run.start, len };
        run.start += len;
        run.len -= len;
        self.blocks -= len;
        cut
    }
}

/// As many blocks as an extent can have, at a time.
fn pieces(run: Run) -> impl Iterator<Item = Run> {
    let max = u64::from(EXT_INIT_MAX_LEN);
    (0..run.len.div_ceil(max)).map(move |piece| {
        let done = piece * max;
        Run { start: run.start + done, len: (run.len - done).min(max) }
    })
}

/// A group's block bitmap. One that was never written is made from where metadata lie.
pub(super) fn bitmap(
    disk: &Disk<'_>,
    geometry: &Geometry,
    groups: &Groups,
    (group, metadata): (u32, &[(u64, u64)]),
) -> Result<Bitmap> {
    if !groups.is_uninit(group) {
        let bitmap = disk.block(groups.block_bitmap(group))?;
        groups.check_bitmap(group, &bitmap, geometry)?;
        return Ok(bitmap);
    }
    let (start, len) = geometry.group_range(group);
    let mut bitmap = [0; BLOCK_LEN];
    mark(&mut bitmap, len, BLOCK_LEN as u64 * 8 - len);
    // Sorted by their first blocks; one that begins before the group may reach into it.
    let longest = metadata.iter().map(|(_, count)| *count).max().unwrap_or(0);
    let from = metadata.partition_point(|(first, _)| first + longest <= start);
    for (first, count) in metadata[from..].iter().take_while(|(first, _)| *first < start + len) {
        let (from, to) = ((*first).max(start), (first + count).min(start + len));
        if from < to {
            mark(&mut bitmap, from - start, to - from);
        }
    }
    Ok(bitmap)
}

/// Marks a block as free; whether it was so already.
pub(super) fn unmark(bitmap: &mut Bitmap, bit: u64) -> bool {
    let byte = &mut bitmap[usize::try_from(bit / 8).unwrap_or(usize::MAX)];
    let before = *byte >> (bit % 8) & 1 == 0;
    *byte &= !(1 << (bit % 8));
    before
}

/// Marks blocks as used; how many of them were so already.
pub(super) fn mark(bitmap: &mut Bitmap, from: u64, len: u64) -> u64 {
    let mut before = 0;
    for bit in from..from + len {
        let byte = &mut bitmap[usize::try_from(bit / 8).unwrap_or(usize::MAX)];
        before += u64::from(*byte >> (bit % 8) & 1);
        *byte |= 1 << (bit % 8);
    }
    before
}

#[cfg(test)]
mod tests {
    use super::{Free, Run, mark, unmark};

    fn free(runs: &[(u64, u64)]) -> Free {
        let mut bitmap = [0xff; 4096];
        for (start, len) in runs {
            for bit in *start..start + len {
                bitmap[usize::try_from(bit / 8).unwrap()] &= !(1 << (bit % 8));
            }
        }
        let mut free = Free { runs: Vec::new(), next: 0, too_long: u64::MAX, blocks: 0 };
        free.add(&bitmap, (0, 32768));
        free
    }

    fn taken(free: &mut Free, count: u64) -> Option<Vec<(u64, u64)>> {
        free.take(count).map(|runs| runs.into_iter().map(|Run { start, len }| (start, len)).collect())
    }

    #[test]
    fn takes_one_run_where_there_is_one_and_pieces_where_there_is_none() {
        let mut free = free(&[(3, 1), (10, 2), (20, 4), (32767, 1)]);
        assert_eq!(free.blocks(), 8);
        assert!(free.touches(9, 2) && !free.touches(12, 8) && free.touches(0, 32768) && !free.touches(4, 6));
        assert_eq!(taken(&mut free, 3), Some(vec![(20, 3)]));
        assert_eq!(taken(&mut free, 1), Some(vec![(23, 1)]));
        assert_eq!(taken(&mut free, 3), Some(vec![(32767, 1), (3, 1), (10, 1)]));
        assert_eq!(taken(&mut free, 2), None);
        assert_eq!(taken(&mut free, 1), Some(vec![(11, 1)]));
        assert_eq!(taken(&mut free, 1), None);
    }

    #[test]
    fn marks_what_is_free_and_says_what_was_not() {
        let mut bitmap = [0; 4096];
        assert_eq!(mark(&mut bitmap, 5, 6), 0);
        assert_eq!((bitmap[0], bitmap[1], bitmap[2]), (0b1110_0000, 0b0000_0111, 0));
        assert_eq!(mark(&mut bitmap, 0, 16), 6);
        assert!(!unmark(&mut bitmap, 9) && unmark(&mut bitmap, 9));
        assert_eq!((bitmap[0], bitmap[1]), (0xff, 0b1111_1101));
    }
}

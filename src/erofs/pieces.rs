//! An image cut into pieces that can be made one by one. README.md, "Emission".

use std::ops::Range;

use super::format::BLOCK_SIZE;
use super::layout::Plan;

/// About how many bytes a piece has. Its last inode may be larger than that.
const PIECE_SIZE: u64 = 256 * 1024;

/// Bytes of the image that follow each other.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) part: Part,
    /// Where in the image it begins.
    pub(super) start: u64,
    /// Where in the image it ends.
    pub(super) end: u64,
}

/// What a piece is made of.
#[derive(Debug, Clone)]
pub(super) enum Part {
    Headers,
    /// The records of these inodes, their xattrs and tails.
    Inodes(Range<usize>),
    SharedXattrs,
    /// The blocks of these inodes.
    Blocks(Range<usize>),
}

/// All of the image, in pieces.
pub(super) fn cut(plan: &Plan) -> Vec<Piece> {
    let inodes_start = plan.inodes.first().map_or(plan.inodes_end, |inode| inode.start());
    let mut pieces = vec![Piece { part: Part::Headers, start: 0, end: inodes_start }];
    let starts = plan.inodes.iter().map(|inode| inode.start());
    cut_inodes(&mut pieces, starts, plan.inodes_end, Part::Inodes);
    pieces.push(Piece { part: Part::SharedXattrs, start: plan.inodes_end, end: plan.data_start });
    let starts = plan.inodes.iter().map(|inode| u64::from(inode.block) * BLOCK_SIZE);
    cut_inodes(&mut pieces, starts, plan.image_size(), Part::Blocks);
    pieces
}

/// Cuts what begins at these offsets, one for each inode, and ends at `end`.
fn cut_inodes(
    pieces: &mut Vec<Piece>,
    starts: impl Iterator<Item = u64>,
    end: u64,
    part: fn(Range<usize>) -> Part,
) {
    let mut open: Option<(usize, u64)> = None;
    let mut count = 0;
    for (place, start) in starts.enumerate() {
        let (first, begin) = *open.get_or_insert((place, start));
        if start - begin >= PIECE_SIZE {
            pieces.push(Piece { part: part(first..place), start: begin, end: start });
            open = Some((place, start));
        }
        count = place + 1;
    }
    if let Some((first, begin)) = open {
        pieces.push(Piece { part: part(first..count), start: begin, end });
    }
}

//! An image in pieces, which several threads make and one writes in order. README.md, "Emission".

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::format::BLOCK_SIZE;
use super::layout::Plan;
use super::writer::Emitter;
use crate::tree::Tree;

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

/// Writes the image of a tree, made by this many threads. The caller's writer gets large pieces in order,
/// [`Plan::image_size`] bytes in all; their bytes don't depend on the number of threads.
pub fn emit(
    tree: &Tree,
    plan: &Plan,
    threads: NonZeroUsize,
    out: &mut (impl Write + ?Sized),
) -> io::Result<()> {
    let pieces = cut(plan);
    thread::scope(|scope| {
        // Thread n makes every n-th piece, so that it's known from whom the next one comes.
        let makers: Vec<_> = (0..threads.get().min(pieces.len()))
            .map(|first| {
                let (maker, link) = link();
                let mine = pieces.iter().skip(first).step_by(threads.get());
                scope.spawn(move || maker.run(Emitter::new(tree, plan), mine));
                link
            })
            .collect();
        makers.iter().cycle().take(pieces.len()).try_for_each(|maker| {
            let lost = |_| io::Error::other("a thread that makes the image panicked");
            let bytes = maker.pieces.recv().map_err(lost)??;
            out.write_all(&bytes)?;
            // A maker that has no more to make has gone.
            drop(maker.empties.send(bytes));
            Ok(())
        })
    })
}

/// The writer's end of what connects it with a thread.
struct Link {
    pieces: Receiver<io::Result<Vec<u8>>>,
    /// Buffers go back, since fresh memory costs more than filling it.
    empties: SyncSender<Vec<u8>>,
}

/// The thread's end.
struct Maker {
    pieces: SyncSender<io::Result<Vec<u8>>>,
    empties: Receiver<Vec<u8>>,
}

/// One piece may wait while the next one is made.
fn link() -> (Maker, Link) {
    let (piece_sender, pieces) = sync_channel(1);
    let (empties, empty_receiver) = sync_channel(3);
    (Maker { pieces: piece_sender, empties: empty_receiver }, Link { pieces, empties })
}

impl Maker {
    /// Makes pieces until there are no more, or nobody wants them any more because writing failed.
    fn run<'p>(self, mut emitter: Emitter<'_>, pieces: impl Iterator<Item = &'p Piece>) {
        for piece in pieces {
            let buffer = self.empties.try_recv().unwrap_or_default();
            if self.pieces.send(emitter.piece(piece, buffer)).is_err() {
                return;
            }
        }
    }
}

/// All of the image, in pieces.
fn cut(plan: &Plan) -> Vec<Piece> {
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

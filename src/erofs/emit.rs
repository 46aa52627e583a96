//! Emission: several threads make the pieces of an image, and one writes them in order. README.md, "Emission".

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::layout::Plan;
use super::pieces::{Piece, cut};
use super::writer::Emitter;
use crate::tree::Tree;

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

//! The places of a list, handed out to threads that mostly wait for the disk.

use std::num::NonZeroUsize;
use std::ops::Add as _;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::problem::Problem;

/// The places of a list, each handed out once, until the end or the first error.
pub(super) struct Queue {
    len: usize,
    threads: usize,
    next: AtomicUsize,
    closed: AtomicBool,
    first_error: Mutex<Option<(usize, Problem)>>,
}

impl Queue {
    /// The places of a list of this length, for so many threads.
    pub(super) fn new(len: usize, threads: NonZeroUsize) -> Self {
        let (next, first_error) = (AtomicUsize::new(0), Mutex::new(None));
        Self {
            len,
            threads: threads.get().min(len.max(1)),
            next,
            closed: AtomicBool::new(false),
            first_error,
        }
    }

    /// Does something with each place, in no order, and counts how often it came to true.
    pub(super) fn run(&self, act: impl Fn(usize) -> Result<bool, Problem> + Sync) -> usize {
        let worker = || {
            let mut count = 0;
            while let Some(place) = self.take() {
                match act(place) {
                    Ok(counts) => count += usize::from(counts),
                    Err(problem) => self.fail(place, problem),
                }
            }
            count
        };
        std::thread::scope(|scope| {
            let handles: Vec<_> = (1..self.threads).map(|_| scope.spawn(worker)).collect();
            let own = worker();
            let others =
                handles.into_iter().map(|handle| handle.join().unwrap_or_else(|panic| resume_unwind(panic)));
            others.fold(own, usize::add)
        })
    }

    /// Hands out nothing more.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// How many places were handed out, or the first error and its place.
    pub(super) fn finish(self) -> Result<usize, (usize, Problem)> {
        match self.first_error.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(self.next.into_inner().min(self.len)),
        }
    }

    fn take(&self) -> Option<usize> {
        if self.closed.load(Ordering::Relaxed) {
            return None;
        }
        let place = self.next.fetch_add(1, Ordering::Relaxed);
        (place < self.len).then_some(place)
    }

    fn fail(&self, place: usize, problem: Problem) {
        self.close();
        lock(&self.first_error).get_or_insert((place, problem));
    }
}

/// A lock that a panic elsewhere doesn't spoil.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! Threads for many pieces of work: who gets which piece, and how many threads are worth it.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// A queue of jobs, which threads wait at until there is one or no more can come.
#[derive(Debug)]
pub struct Queue<T> {
    jobs: Mutex<Jobs<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct Jobs<T> {
    waiting: VecDeque<T>,
    /// Whether no more can come.
    closed: bool,
    /// Threads in [`Queue::next`] for which there is no job.
    idle_threads: usize,
}

impl<T> Queue<T> {
    /// A queue without jobs; more can come.
    pub fn new() -> Self {
        Self::of(VecDeque::new(), false)
    }

    fn of(waiting: VecDeque<T>, closed: bool) -> Self {
        Self { jobs: Mutex::new(Jobs { waiting, closed, idle_threads: 0 }), changed: Condvar::new() }
    }

    /// Adds a job that goes before all others.
    pub fn push_first(&self, job: T) {
        lock(&self.jobs).waiting.push_front(job);
        self.changed.notify_one();
    }

    /// Adds a job behind the others.
    pub fn push_last(&self, job: T) {
        lock(&self.jobs).waiting.push_back(job);
        self.changed.notify_one();
    }

    /// Whether more threads wait for a job than there are jobs.
    pub fn is_waited_for(&self) -> bool {
        let jobs = lock(&self.jobs);
        jobs.idle_threads > jobs.waiting.len()
    }

    /// Drops the jobs that wait and lets all threads go home; how many there were.
    pub fn close(&self) -> usize {
        let mut jobs = lock(&self.jobs);
        jobs.closed = true;
        self.changed.notify_all();
        std::mem::take(&mut jobs.waiting).len()
    }

    /// The next job, or `None` if there is none and no more can come.
    pub fn next(&self) -> Option<T> {
        let mut jobs = lock(&self.jobs);
        loop {
            if let Some(job) = jobs.waiting.pop_front() {
                return Some(job);
            }
            if jobs.closed {
                return None;
            }
            jobs.idle_threads += 1;
            jobs = self.changed.wait(jobs).unwrap_or_else(PoisonError::into_inner);
            jobs.idle_threads -= 1;
        }
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Has so many threads work off a queue while this one asks for more, until `ask` returns.
pub fn work_off<J: Send, T>(
    queue: &Queue<J>,
    threads: NonZeroUsize,
    work: impl Fn() + Sync,
    ask: impl FnOnce() -> T,
) -> T {
    thread::scope(|scope| {
        (0..threads.get()).for_each(|_| drop(scope.spawn(&work)));
        let _closed_even_by_a_panic = Closing(queue);
        ask()
    })
}

/// Closes a queue when dropped: threads that wait at it would never go home.
struct Closing<'a, T>(&'a Queue<T>);

impl<T> Drop for Closing<'_, T> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Whether a list is gone through to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Go on.
    Next,
    /// Hand out no more of it.
    Stop,
}

/// Does something with each place of a list, in any order, on so many threads, of which this is one. Returns how many were
/// handed out: the first ones of the list, all unless `act` wanted to stop; or the first error and its place, which ends it.
pub fn each<E: Send>(
    len: usize,
    threads: NonZeroUsize,
    act: impl Fn(usize) -> Result<Then, E> + Sync,
) -> Result<usize, (usize, E)> {
    let queue = Queue::of((0..len).collect(), true);
    let (left, first_error) = (AtomicUsize::new(0), Mutex::new(None));
    let work = || {
        while let Some(place) = queue.next() {
            let then = act(place).unwrap_or_else(|error| {
                lock(&first_error).get_or_insert((place, error));
                Then::Stop
            });
            if then == Then::Stop {
                left.fetch_add(queue.close(), Ordering::Relaxed);
            }
        }
    };
    thread::scope(|scope| {
        (1..threads.get().min(len)).for_each(|_| drop(scope.spawn(work)));
        work();
    });
    match first_error.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(len - left.into_inner()),
    }
}

/// At most so many threads, and no more than have so many pieces of the work each: starting one costs as much as several
/// short pieces.
pub fn for_pieces(most: NonZeroUsize, pieces: usize, each: usize) -> NonZeroUsize {
    NonZeroUsize::new(pieces.div_ceil(each)).map_or(NonZeroUsize::MIN, |enough| enough.min(most))
}

/// A lock. A thread that panics with one leaves what is behind it whole, so poison has no meaning here.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::sync::Mutex;

    use super::{Then, each, for_pieces, lock};

    const THREADS: NonZeroUsize = NonZeroUsize::new(4).unwrap();

    #[test]
    fn each_place_is_handed_out_once() {
        for len in [0, 1, 3, 1000] {
            let seen = Mutex::new(vec![0; len]);
            let act = |place: usize| {
                lock(&seen)[place] += 1;
                Ok::<_, ()>(Then::Next)
            };
            assert_eq!(each(len, THREADS, act), Ok(len));
            assert_eq!(seen.into_inner().unwrap(), vec![1; len]);
        }
    }

    #[test]
    fn what_is_handed_out_until_the_stop_is_the_front_of_the_list() {
        let seen = Mutex::new(Vec::new());
        let act = |place| {
            lock(&seen).push(place);
            Ok::<_, ()>(if place == 100 { Then::Stop } else { Then::Next })
        };
        let taken = each(10_000, THREADS, act).unwrap();
        let mut seen = seen.into_inner().unwrap();
        seen.sort_unstable();
        assert!(taken > 100, "{taken}");
        assert_eq!(seen, (0..taken).collect::<Vec<_>>());
    }

    #[test]
    fn an_error_ends_it_and_is_told_with_its_place() {
        let act = |place| if place == 7 { Err("seven") } else { Ok(Then::Next) };
        assert_eq!(each(10, THREADS, act), Err((7, "seven")));
    }

    #[test]
    fn little_work_gets_few_threads() {
        let threads = |pieces| for_pieces(THREADS, pieces, 32).get();
        assert_eq!([0, 1, 32, 33, 96, 97, 10_000].map(threads), [1, 1, 1, 2, 3, 4, 4]);
    }
}

//! Jobs for the reader threads.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A queue that threads wait at until there is a job or no more can come.
#[derive(Debug)]
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    jobs: VecDeque<T>,
    closed: bool,
    /// Threads in [`Queue::next`] for which there is no job.
    waiting: usize,
}

impl<T> Queue<T> {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State { jobs: VecDeque::new(), closed: false, waiting: 0 }),
            changed: Condvar::new(),
        }
    }

    /// Adds a job that goes before all others.
    pub(super) fn push_first(&self, job: T) {
        self.lock().jobs.push_front(job);
        self.changed.notify_one();
    }

    /// Adds a job behind the others.
    pub(super) fn push_last(&self, job: T) {
        self.lock().jobs.push_back(job);
        self.changed.notify_one();
    }

    /// Whether more threads wait for a job than there are jobs.
    pub(super) fn is_waited_for(&self) -> bool {
        let state = self.lock();
        state.waiting > state.jobs.len()
    }

    /// Drops the jobs that wait and lets all threads go home.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.jobs.clear();
        self.changed.notify_all();
    }

    /// The next job, or `None` after [`Queue::close`].
    pub(super) fn next(&self) -> Option<T> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            state.waiting += 1;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
    }

    /// A thread that panics while it holds the lock leaves the queue whole, so poison has no meaning here.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

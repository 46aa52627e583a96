//! Progress on a terminal: a bar on stderr, for work that takes longer than a glance.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::repo::LoadProgress;

/// Work that is done sooner shows no bar.
const PATIENCE: Duration = Duration::from_secs(1);

/// A bar that counts objects, if stderr is a terminal.
pub(super) struct ObjectBar {
    started: Instant,
    terminal: bool,
    bar: Option<ProgressBar>,
}

impl ObjectBar {
    pub(super) fn new() -> Self {
        Self { started: Instant::now(), terminal: io::stderr().is_terminal(), bar: None }
    }
}

impl LoadProgress for ObjectBar {
    fn objects(&mut self, done: u64, known: u64) {
        if !self.terminal || self.started.elapsed() < PATIENCE {
            return;
        }
        let bar = self.bar.get_or_insert_with(new_bar);
        bar.set_length(known);
        bar.set_position(done);
    }
}

impl Drop for ObjectBar {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn new_bar() -> ProgressBar {
    // The template is fixed, so the fallback is never seen.
    let style = ProgressStyle::with_template("{wide_bar} {human_pos}/{human_len} objects, {elapsed}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style)
}

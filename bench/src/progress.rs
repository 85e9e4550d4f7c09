//! What is being done, on standard error.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::ProgressBar;

/// A line that moves on a terminal, and lines that stay elsewhere.
pub(crate) struct Progress {
    bar: ProgressBar,
    terminal: bool,
}

const REDRAW: Duration = Duration::from_millis(100);

impl Progress {
    pub(crate) fn new() -> Self {
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(REDRAW);
        Self { bar, terminal: std::io::stderr().is_terminal() }
    }

    /// From here on `what` is done.
    pub(crate) fn step(&self, what: String) {
        if self.terminal {
            self.bar.set_message(what);
        } else {
            eprintln!("{what}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

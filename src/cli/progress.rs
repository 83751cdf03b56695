//! A line on standard error that says how far a long command has come. It is for people: where
//! standard error is no terminal, nothing is written. A terminal that is held holds nothing up.

use std::io::{IsTerminal, stderr};

use prometheus::IntCounter;

use crate::telemetry::{LogWriter, unlocked};

/// Goes to the line's start and clears it.
const CLEAR: &str = "\r\u{1b}[K";

/// The line; gone when it is dropped.
#[derive(Debug)]
pub(super) struct Progress {
    /// `None` where it is not shown.
    lines: Option<LogWriter>,
}

impl Progress {
    pub(super) fn start() -> Progress {
        let lines = || {
            // Nobody looks at it: the line is all there is to see.
            let dropped = IntCounter::new("progress_dropped", "LogWriter not shown.").ok()?;
            Some(LogWriter::to("progress", unlocked(stderr()), dropped))
        };
        Progress { lines: stderr().is_terminal().then(lines).flatten() }
    }

    /// Says what is under way now.
    pub(super) fn is_at(&self, what: &str) {
        if let Some(lines) = &self.lines {
            lines.write(format!("{CLEAR}{what}").into_bytes());
        }
    }

    /// Makes room for a line of standard output; the next step is shown below it.
    pub(super) fn clear(&self) {
        self.is_at("");
        if let Some(lines) = &self.lines {
            lines.flush();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

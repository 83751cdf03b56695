//! A progress line on standard error. Nothing is written if standard error is not a terminal, and a
//! stopped terminal does not block the command.

use std::io::{IsTerminal, stderr};

use prometheus::IntCounter;

use crate::telemetry::{LogWriter, unlocked};

/// Clears the line.
const CLEAR: &str = "\r\u{1b}[K";

/// The progress line; removed when dropped.
#[derive(Debug)]
pub(super) struct Progress {
    /// `None` if it is not shown.
    lines: Option<LogWriter>,
}

impl Progress {
    pub(super) fn start() -> Progress {
        let lines = || {
            // Not exported.
            let dropped = IntCounter::new("progress_dropped", "Lines not shown.").ok()?;
            Some(LogWriter::to("progress", unlocked(stderr()), dropped))
        };
        Progress { lines: stderr().is_terminal().then(lines).flatten() }
    }

    /// Shows the current step.
    pub(super) fn show(&self, what: &str) {
        if let Some(lines) = &self.lines {
            lines.write(format!("{CLEAR}{what}").as_bytes());
        }
    }

    /// Clears the line before something is printed on standard output.
    pub(super) fn clear(&self) {
        self.show("");
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

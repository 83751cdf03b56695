//! A line on standard error that says how far a long command has come. It is for people: where
//! standard error is no terminal, nothing is written.

use std::io::{IsTerminal, Write, stderr};

/// Goes to the line's start and clears it.
const CLEAR: &str = "\r\u{1b}[K";

/// The line; gone when it is dropped.
#[derive(Debug)]
pub(super) struct Progress {
    is_shown: bool,
}

impl Progress {
    pub(super) fn start() -> Progress {
        Progress { is_shown: stderr().is_terminal() }
    }

    /// Says what is under way now.
    pub(super) fn is_at(&self, what: &str) {
        self.write(what);
    }

    /// Makes room for a line of standard output; the next step is shown below it.
    pub(super) fn clear(&self) {
        self.write("");
    }

    fn write(&self, what: &str) {
        if self.is_shown {
            // Nobody is there to be told that it could not be told.
            let _ = write!(stderr(), "{CLEAR}{what}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

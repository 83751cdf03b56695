//! The last failed requests, as access-log entries, for the status page and `sluice top`.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

/// Most entries that are kept.
const MAX_KEPT: usize = 50;

/// Longest entry that is kept, in bytes.
const MAX_LINE: usize = 8 * 1024;

/// The last failures, the newest at the end. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Failures(Arc<Mutex<VecDeque<Arc<str>>>>);

impl Failures {
    /// Keeps an entry in JSON, and drops the oldest if there are too many.
    pub(super) fn keep(&self, line: &[u8]) {
        let Ok(line) = std::str::from_utf8(line) else { return };
        if line.len() > MAX_LINE {
            return;
        }
        let mut lines = self.0.lock();
        if lines.len() >= MAX_KEPT {
            lines.pop_front();
        }
        lines.push_back(line.into());
    }

    /// The entries, the newest first.
    pub fn newest_first(&self) -> Vec<Arc<str>> {
        let lines = self.0.lock();
        lines.iter().rev().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_failures_are_kept() {
        let failures = Failures::default();
        (0..MAX_KEPT + 2).for_each(|number| failures.keep(number.to_string().as_bytes()));
        failures.keep(&[b'x'; MAX_LINE + 1]);
        let kept = failures.newest_first();
        assert_eq!(kept.len(), MAX_KEPT);
        assert_eq!((&*kept[0], &*kept[MAX_KEPT - 1]), ("51", "2"));
    }
}

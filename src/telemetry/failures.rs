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
    /// Keeps an entry in JSON, and drops the oldest if there are too many. Of an entry that is too
    /// long as few of its `attempts` are left out as necessary: `cut` writes it with so many of them.
    pub(super) fn keep(&self, line: &[u8], attempts: usize, cut: impl Fn(usize) -> Vec<u8>) {
        let mut shorter;
        let (mut line, mut left) = (line, attempts);
        while line.len() > MAX_LINE && left > 0 {
            left /= 2;
            shorter = cut(left);
            line = &shorter;
        }
        // What is left is bounded, and kept whatever its length.
        let Ok(line) = std::str::from_utf8(line) else { return };
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
        let cut = |_| panic!("none is long");
        (0..MAX_KEPT + 2).for_each(|number| failures.keep(number.to_string().as_bytes(), 1, cut));
        let kept = failures.newest_first();
        assert_eq!(kept.len(), MAX_KEPT);
        assert_eq!((&*kept[0], &*kept[MAX_KEPT - 1]), ("51", "2"));
    }

    #[test]
    fn a_long_entry_is_kept_with_as_many_attempts_as_fit() {
        let failures = Failures::default();
        let entry = |attempts: usize| vec![b'x'; 100 + attempts * 1000];
        for (attempts, kept) in [(8, 8), (9, 4), (100, 6), (7, 7)] {
            failures.keep(&entry(attempts), attempts, entry);
            assert_eq!(failures.newest_first()[0].len(), entry(kept).len(), "{attempts}");
        }
        // Whatever else is long, the failure is shown.
        failures.keep(&entry(20), 20, |left| vec![b'x'; MAX_LINE + 1 + left]);
        assert_eq!(failures.newest_first()[0].len(), MAX_LINE + 1);
    }
}

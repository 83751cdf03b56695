//! The last requests without an answer, as access-log entries, for the status page and `sluice top`.
//!
//! Failures are kept apart from what clients caused themselves, so that a client that sends wrong
//! requests does not push the failures out.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

/// Most entries of each kind that are kept.
const MAX_KEPT: usize = 50;

/// Longest entry that is kept, in bytes.
const MAX_LINE: usize = 8 * 1024;

/// The last requests without an answer. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Failures(Arc<Mutex<Kept>>);

/// Entries with their numbers, the newest of each kind at the end.
#[derive(Debug, Default)]
struct Kept {
    next_number: u64,
    failures: VecDeque<(u64, Arc<str>)>,
    caused_by_clients: VecDeque<(u64, Arc<str>)>,
}

impl Failures {
    /// Keeps an entry in JSON, and drops the oldest of its kind if there are too many. Of an entry
    /// that is too long as few of its `attempts` are left out as necessary: `cut` writes it with so
    /// many of them.
    pub(super) fn keep(
        &self,
        line: &[u8],
        is_failure: bool,
        attempts: usize,
        cut: impl Fn(usize) -> Vec<u8>,
    ) {
        let mut shorter;
        let (mut line, mut left) = (line, attempts);
        while line.len() > MAX_LINE && left > 0 {
            left /= 2;
            shorter = cut(left);
            line = &shorter;
        }
        // What is left is bounded, and kept whatever its length.
        let Ok(line) = std::str::from_utf8(line) else { return };
        let mut kept = self.0.lock();
        let number = kept.next_number;
        kept.next_number += 1;
        let lines = if is_failure { &mut kept.failures } else { &mut kept.caused_by_clients };
        if lines.len() >= MAX_KEPT {
            lines.pop_front();
        }
        lines.push_back((number, line.into()));
    }

    /// The entries of both kinds, the newest first.
    pub fn newest_first(&self) -> Vec<Arc<str>> {
        let kept = self.0.lock();
        let mut lines: Vec<_> =
            kept.failures.iter().chain(&kept.caused_by_clients).cloned().collect();
        drop(kept);
        lines.sort_unstable_by_key(|(number, _)| Reverse(*number));
        lines.into_iter().map(|(_, line)| line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_failures_are_kept() {
        let failures = Failures::default();
        let cut = |_| panic!("none is long");
        (0..MAX_KEPT + 2)
            .for_each(|number| failures.keep(number.to_string().as_bytes(), true, 1, cut));
        let kept = failures.newest_first();
        assert_eq!(kept.len(), MAX_KEPT);
        assert_eq!((&*kept[0], &*kept[MAX_KEPT - 1]), ("51", "2"));
    }

    #[test]
    fn what_clients_cause_does_not_push_failures_out() {
        let failures = Failures::default();
        let keep = |text: &str, is_failure| {
            failures.keep(text.as_bytes(), is_failure, 0, |_| panic!("it is not long"));
        };
        keep("failure", true);
        (0..MAX_KEPT + 1).for_each(|number| keep(&number.to_string(), false));
        keep("newer failure", true);
        let kept = failures.newest_first();
        assert_eq!(kept.len(), MAX_KEPT + 2);
        assert_eq!((&*kept[0], &*kept[1]), ("newer failure", "50"));
        assert_eq!((&*kept[MAX_KEPT], &*kept[MAX_KEPT + 1]), ("1", "failure"));
    }

    #[test]
    fn a_long_entry_is_kept_with_as_many_attempts_as_fit() {
        let failures = Failures::default();
        let entry = |attempts: usize| vec![b'x'; 100 + attempts * 1000];
        for (attempts, kept) in [(8, 8), (9, 4), (100, 6), (7, 7)] {
            failures.keep(&entry(attempts), true, attempts, entry);
            assert_eq!(failures.newest_first()[0].len(), entry(kept).len(), "{attempts}");
        }
        // Whatever else is long, the failure is shown.
        failures.keep(&entry(20), true, 20, |left| vec![b'x'; MAX_LINE + 1 + left]);
        assert_eq!(failures.newest_first()[0].len(), MAX_LINE + 1);
    }
}

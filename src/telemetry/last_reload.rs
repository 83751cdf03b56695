//! The result of the last reload of the config, for the status page.

use std::time::SystemTime;

use parking_lot::Mutex;

/// Most characters of a message that are kept.
const MAX_MESSAGE: usize = 2000;

/// A reload that changed nothing, because the new config is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedReload {
    /// When.
    pub at: SystemTime,
    /// What is wrong.
    pub message: String,
}

/// Whether the last reload was refused, and why.
#[derive(Debug, Default)]
pub struct LastReload(Mutex<Option<RefusedReload>>);

impl LastReload {
    /// Notes a reload that succeeded.
    pub fn succeeded(&self) {
        *self.0.lock() = None;
    }

    /// Notes a refused reload, with the beginning of its message.
    pub fn refused(&self, message: &str, at: SystemTime) {
        let message = match message.char_indices().nth(MAX_MESSAGE) {
            Some((end, _)) => format!("{}\u{2026}", message.get(..end).unwrap_or_default()),
            None => message.to_owned(),
        };
        *self.0.lock() = Some(RefusedReload { at, message });
    }

    /// The last reload, if it was refused.
    pub fn refusal(&self) -> Option<RefusedReload> {
        self.0.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_kept_within_bounds_until_a_reload_succeeds() {
        let last = LastReload::default();
        assert_eq!(last.refusal(), None);
        last.refused(&"\u{e4}".repeat(MAX_MESSAGE + 1), SystemTime::UNIX_EPOCH);
        let message = last.refusal().unwrap().message;
        assert_eq!(message.chars().count(), MAX_MESSAGE + 1);
        assert!(message.ends_with("\u{e4}\u{2026}"), "{message}");
        last.refused("unknown key", SystemTime::UNIX_EPOCH);
        assert_eq!(last.refusal().unwrap().message, "unknown key");
        last.succeeded();
        assert_eq!(last.refusal(), None);
    }
}

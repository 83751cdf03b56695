//! Labels of metrics as numbers, so that who counts need not look at their texts.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The label that stands for none.
pub(super) const NO_LABEL: u32 = 0;

/// All labels that have a number. They come from the config, so there are not ever more of them.
#[derive(Debug)]
pub struct Labels(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    numbers: HashMap<Arc<str>, u32>,
    /// By number.
    texts: Vec<Arc<str>>,
}

impl Default for Labels {
    fn default() -> Labels {
        let labels = Labels(Mutex::default());
        // Has the number 0.
        labels.number("");
        labels
    }
}

impl Labels {
    /// The number of a text, from now on.
    pub fn number(&self, text: &str) -> u32 {
        let mut known = self.known();
        if let Some(number) = known.numbers.get(text) {
            return *number;
        }
        let text: Arc<str> = text.into();
        let number = u32::try_from(known.texts.len()).unwrap_or(u32::MAX);
        known.texts.push(Arc::clone(&text));
        known.numbers.insert(text, number);
        number
    }

    /// The texts, by their numbers.
    pub(super) fn texts(&self) -> Vec<Arc<str>> {
        self.known().texts.clone()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Every change is whole before the lock is let go, but for a text that nobody has the number of.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The number of a label, kept with what the label is of, once it is asked for.
#[derive(Debug, Default)]
pub struct Number(AtomicU32);

impl Number {
    /// The number of this text, which is always the same.
    pub fn of<T: AsRef<str>>(&self, text: impl FnOnce() -> T, labels: &Labels) -> u32 {
        match self.0.load(Ordering::Relaxed) {
            NO_LABEL => {
                let number = labels.number(text().as_ref());
                self.0.store(number, Ordering::Relaxed);
                number
            }
            number => number,
        }
    }
}

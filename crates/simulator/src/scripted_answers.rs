//! Scripted answers, which a model gives instead of echoing the user.
//!
//! An answer stays until it is replaced or removed. A model is known by its id as called or by the
//! last part of its ARN, as for faults and quotas.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

/// Bytes of all scripted answers together, names included.
pub const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// No room for another answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the scripted answers would be longer than {MAX_ANSWER_BYTES} bytes together")]
pub struct TooManyAnswers;

/// The scripted answer of each model that has one. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    texts: Arc<Mutex<BTreeMap<String, Arc<str>>>>,
}

impl Answers {
    /// Sets what `model` answers from now on.
    ///
    /// # Errors
    /// [`TooManyAnswers`] when all together would be longer than [`MAX_ANSWER_BYTES`].
    pub fn set(&self, model: &str, text: &str) -> Result<(), TooManyAnswers> {
        let mut texts = self.lock();
        let others = texts.iter().filter(|(name, _)| *name != model);
        let others: usize = others.map(|(name, text)| name.len() + text.len()).sum();
        if others + model.len() + text.len() > MAX_ANSWER_BYTES {
            return Err(TooManyAnswers);
        }
        texts.insert(model.to_owned(), text.into());
        Ok(())
    }

    /// Forgets all answers: models echo again.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// The scripted answers by model.
    pub fn texts(&self) -> BTreeMap<String, Arc<str>> {
        self.lock().clone()
    }

    /// The scripted answer of a model with one of these names.
    pub(super) fn of(&self, names: &[&str]) -> Option<Arc<str>> {
        let texts = self.lock();
        names.iter().find_map(|name| texts.get(*name).cloned())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<str>>> {
        self.texts.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_says_what_it_was_told_last_until_it_is_forgotten() {
        let answers = Answers::default();
        answers.set("m", "one").unwrap();
        answers.set("m", "two").unwrap();
        assert_eq!(answers.of(&["arn:x/m", "m"]).as_deref(), Some("two"));
        assert_eq!(answers.of(&["us.m"]), None);
        answers.clear();
        assert_eq!(answers.of(&["m"]), None);
    }

    #[test]
    fn all_together_are_bounded() {
        let answers = Answers::default();
        let half = "x".repeat(MAX_ANSWER_BYTES / 2);
        answers.set("a", &half).unwrap();
        assert_eq!(answers.set("b", &half), Err(TooManyAnswers));
        answers.set("a", &half).unwrap();
        answers.set("b", "short").unwrap();
    }
}

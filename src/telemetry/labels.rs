//! Label values of metrics, interned: counters are found by number instead of by text.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;

/// The id of the empty label.
pub(super) const NO_LABEL: u32 = 0;

/// All label values that have an id. They come from the config, which bounds their number.
#[derive(Debug)]
pub struct Labels(Mutex<Interned>);

#[derive(Debug, Default)]
struct Interned {
    ids: HashMap<Arc<str>, u32>,
    /// Indexed by id.
    texts: Vec<Arc<str>>,
}

impl Default for Labels {
    fn default() -> Labels {
        let labels = Labels(Mutex::default());
        // Takes the id `NO_LABEL`.
        labels.id("");
        labels
    }
}

impl Labels {
    /// The id of a label value. Assigns one on first use.
    pub fn id(&self, text: &str) -> u32 {
        let mut interned = self.0.lock();
        if let Some(id) = interned.ids.get(text) {
            return *id;
        }
        let text: Arc<str> = text.into();
        let id = u32::try_from(interned.texts.len()).unwrap_or(u32::MAX);
        interned.texts.push(Arc::clone(&text));
        interned.ids.insert(text, id);
        id
    }

    /// The label values, indexed by id.
    pub fn texts(&self) -> Vec<Arc<str>> {
        self.0.lock().texts.clone()
    }
}

/// A label's id, looked up on first use and cached beside the object that the label names.
#[derive(Debug, Default)]
pub struct LabelId(AtomicU32);

impl LabelId {
    /// The id of this text, which must be the same in every call.
    pub fn get<T: AsRef<str>>(&self, text: impl FnOnce() -> T, labels: &Labels) -> u32 {
        match self.0.load(Ordering::Relaxed) {
            NO_LABEL => {
                let id = labels.id(text().as_ref());
                self.0.store(id, Ordering::Relaxed);
                id
            }
            id => id,
        }
    }
}

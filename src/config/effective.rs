//! A configuration as it was written: the keys of the file, with what the environment has set in them
//! and with defaults, and without any secret, which the file only refers to.

use std::sync::Arc;

use super::raw::RawConfig;

/// How a configuration was written, apart from what it means.
#[derive(Clone, Debug)]
pub struct Effective(Arc<RawConfig>);

impl Effective {
    pub(super) fn new(raw: &RawConfig) -> Effective {
        Effective(Arc::new(raw.clone()))
    }

    /// The keys as the file has them. Secrets are the references to them, digests of keys are
    /// hidden.
    ///
    /// # Errors
    /// None that is known: every key has a form in JSON.
    pub fn to_json(&self) -> serde_json::Result<serde_json::Value> {
        serde_json::to_value(&*self.0)
    }
}

// Configurations that mean the same are the same, however they were written.
impl PartialEq for Effective {
    fn eq(&self, _: &Effective) -> bool {
        true
    }
}

impl Eq for Effective {}

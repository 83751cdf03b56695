//! The store of responses: one backend with what it needs, keys that are long enough, and bounds that fit one
//! another.

use super::Checker;
use crate::document::KeyPath;
use crate::files;
use crate::model::{ResponseStore, ResponseStoreBackend};

/// Fewest bytes of a key that encrypts responses.
const MIN_KEY_BYTES: usize = 32;

impl Checker<'_> {
    pub(super) fn response_store(&mut self, raw: &ResponseStore) -> ResponseStore {
        let at = KeyPath::from(["response_store"]);
        let backend = self.response_backend(&at, &raw.backend);
        for (index, key) in raw.keys.iter().enumerate() {
            // An empty one was a problem already.
            if (1..MIN_KEY_BYTES).contains(&key.expose().len()) {
                let message = format!("names a key shorter than {MIN_KEY_BYTES} bytes");
                self.problem(&at.key("keys").index(index), message);
            }
        }
        let is_used = backend != ResponseStoreBackend::Off;
        if is_used && raw.keys.is_empty() && !self.is_refused(&at.key("keys")) {
            let message = "needs 'keys' beside it: responses are encrypted where they are kept";
            self.problem(&at.key("backend"), message);
        }
        let bounds = [
            ("max_bytes_per_client", raw.max_bytes_per_client, raw.max_response_bytes),
            ("max_bytes", raw.max_bytes, raw.max_bytes_per_client),
        ];
        let names = ["max_response_bytes", "max_bytes_per_client"];
        for ((key, own, least), smaller) in bounds.into_iter().zip(names) {
            let are_given = ![key, smaller].iter().any(|key| self.is_refused(&at.key(key)));
            if own < least && are_given {
                self.problem(&at.key(key), format!("must not be less than {smaller}"));
            }
        }
        ResponseStore { backend, ..raw.clone() }
    }

    fn response_backend(
        &mut self,
        at: &KeyPath,
        raw: &ResponseStoreBackend,
    ) -> ResponseStoreBackend {
        let (is_sqlite, is_redis) = match raw {
            ResponseStoreBackend::Off => (false, false),
            ResponseStoreBackend::Sqlite { .. } => (true, false),
            ResponseStoreBackend::Redis { .. } => (false, true),
        };
        for (key, is_used, name) in [
            ("path", is_sqlite, "sqlite"),
            ("redis_url", is_redis, "redis"),
            ("redis_prefix", is_redis, "redis"),
        ] {
            if !is_used && self.document.mentions(&at.key(key)) {
                let message = format!("{at}.{key} has no effect unless backend is \"{name}\"");
                self.warnings.push(message);
            }
        }
        match raw {
            ResponseStoreBackend::Sqlite { path } => {
                ResponseStoreBackend::Sqlite { path: files::resolve(self.base, path) }
            }
            ResponseStoreBackend::Redis { url, .. } => {
                self.one_redis(&at.key("redis_url"), url);
                raw.clone()
            }
            ResponseStoreBackend::Off => ResponseStoreBackend::Off,
        }
    }
}

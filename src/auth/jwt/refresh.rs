//! Fetches the keys of an issuer: at the start, by an interval, and when a token names an unknown key.
//! No request waits for it.
//!
//! The keys that were fetched last stay in use until newer ones can be fetched.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::Uri;
use serde::Deserialize;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::key_set::{KeySet, KeySetError, MAX_BYTES};
use crate::config::{self, IssuerKeys, keys_url};
use crate::system::time::sleep;
use crate::telemetry::Metrics;
use crate::upstream::{FetchError, Upstream};

/// Time limit for fetching one document.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);

/// Why an issuer's keys could not be fetched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum RefreshError {
    #[error("the discovery document could not be fetched: {0}")]
    NoDiscovery(FetchError),
    #[error("the discovery document can't be used: {0}")]
    Discovery(String),
    #[error("the key set could not be fetched: {0}")]
    NoKeys(FetchError),
    #[error("the key set can't be used: {0}")]
    Keys(#[from] KeySetError),
}

/// The metric of whether an issuer's keys could be fetched the last time. It exists while the config
/// has an issuer of this name.
#[derive(Debug)]
pub(super) struct Reachability {
    metrics: Arc<Metrics>,
    label: String,
}

impl Reachability {
    pub(super) fn new(metrics: &Arc<Metrics>, issuer: &str) -> Arc<Reachability> {
        let reachability =
            Reachability { metrics: Arc::clone(metrics), label: format!("issuer_{issuer}") };
        metrics.dependencies.is_unchecked(&reachability.label);
        Arc::new(reachability)
    }

    fn set(&self, problem: Option<&RefreshError>) {
        match problem {
            None => self.metrics.dependencies.works(&self.label),
            Some(problem) => self.metrics.dependencies.fails(&self.label, problem),
        }
    }
}

impl Drop for Reachability {
    fn drop(&mut self) {
        self.metrics.dependencies.forget(&self.label);
    }
}

/// The keys of an issuer, and the way to ask for newer ones.
#[derive(Debug, Default)]
pub(super) struct KeyCache {
    pub(super) keys: ArcSwapOption<KeySet>,
    /// Notified when a token names an unknown key.
    pub(super) refresh_wanted: Notify,
}

/// The task that refreshes a [`KeyCache`] until it is stopped.
pub(super) struct KeyRefresh {
    pub(super) issuer: config::Issuer,
    pub(super) upstream: Upstream,
    pub(super) key_cache: Arc<KeyCache>,
    pub(super) reachability: Arc<Reachability>,
}

impl KeyRefresh {
    pub(super) async fn run(self, stop: CancellationToken) {
        let work = async {
            let mut problem = None;
            loop {
                let fetched = fetch(&self.issuer, &self.upstream).await;
                let pause = match &fetched {
                    Ok(_) => self.issuer.refresh_interval,
                    Err(_) => self.issuer.unknown_key_interval.min(self.issuer.refresh_interval),
                };
                self.report(fetched.as_ref().err(), &mut problem);
                if let Ok(keys) = fetched {
                    self.key_cache.keys.store(Some(Arc::new(keys)));
                }
                // Tokens with unknown keys cause no more fetches than this.
                let rest = self.issuer.unknown_key_interval.min(pause);
                sleep(rest).await;
                tokio::select! {
                    () = self.key_cache.refresh_wanted.notified() => {}
                    () = sleep(pause.saturating_sub(rest)) => {}
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = work => {}
        }
    }

    /// Sets the metric, and logs an outcome that differs from the one before.
    fn report(&self, now: Option<&RefreshError>, before: &mut Option<RefreshError>) {
        self.reachability.set(now);
        if now == before.as_ref() {
            return;
        }
        let issuer = &self.issuer.name;
        match now {
            Some(error) => {
                tracing::warn!(issuer, %error, "cannot refresh the issuer's keys; keeping the last ones")
            }
            None => tracing::info!(issuer, "the issuer's keys are refreshed again"),
        }
        *before = now.cloned();
    }
}

/// Fetches an issuer's keys once, for a check of the config, and returns how many can be used.
///
/// # Errors
/// When they can't be fetched or used, as a sentence.
pub async fn fetch_keys(issuer: &config::Issuer, upstream: &Upstream) -> Result<usize, String> {
    let keys = fetch(issuer, upstream).await;
    keys.map(|keys| keys.len()).map_err(|error| error.to_string())
}

async fn fetch(issuer: &config::Issuer, upstream: &Upstream) -> Result<KeySet, RefreshError> {
    let discovered;
    let uri = match &issuer.keys {
        IssuerKeys::At(uri) => uri,
        IssuerKeys::Discovered(uri) => {
            let document = upstream.fetch(uri, MAX_BYTES, FETCH_TIMEOUT).await;
            let document = document.map_err(RefreshError::NoDiscovery)?;
            discovered = keys_uri(issuer, &document).map_err(RefreshError::Discovery)?;
            &discovered
        }
    };
    let document = upstream.fetch(uri, MAX_BYTES, FETCH_TIMEOUT).await;
    Ok(KeySet::read(&document.map_err(RefreshError::NoKeys)?)?)
}

/// The URL of the keys in the issuer's discovery document (OpenID Connect Discovery 1.0, section 4.3).
fn keys_uri(issuer: &config::Issuer, document: &Bytes) -> Result<Uri, String> {
    #[derive(Deserialize)]
    struct Discovery {
        issuer: String,
        jwks_uri: String,
    }
    let found: Discovery = serde_json::from_slice(document).map_err(|error| error.to_string())?;
    if found.issuer != issuer.issuer {
        return Err("it is another issuer's".to_owned());
    }
    keys_url(&found.jwks_uri).map_err(|why| format!("its jwks_uri {why}"))
}

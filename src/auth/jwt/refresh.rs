//! Keeps the keys of an issuer at hand: fetched at the start, by an interval, and when a token names
//! a key that is not known, but never while a request waits.
//!
//! What was fetched last stays in use for as long as nothing newer can be had.

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

/// Time for one document.
const TIME: Duration = Duration::from_secs(10);

/// Why an issuer's keys could not be had.
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

/// Whether an issuer's keys could be had the last time: a metric that is there for as long as any
/// config has an issuer of this name.
#[derive(Debug)]
pub(super) struct Reach {
    metrics: Arc<Metrics>,
    label: String,
}

impl Reach {
    pub(super) fn new(metrics: &Arc<Metrics>, issuer: &str) -> Arc<Reach> {
        let reach = Reach { metrics: Arc::clone(metrics), label: format!("issuer_{issuer}") };
        reach.set(false);
        Arc::new(reach)
    }

    fn set(&self, is_up: bool) {
        let gauge = self.metrics.dependency_up.with_label_values(&[&self.label]);
        gauge.set(i64::from(is_up));
    }
}

impl Drop for Reach {
    fn drop(&mut self) {
        // Fails only if it is not there.
        let _ = self.metrics.dependency_up.remove_label_values(&[&self.label]);
    }
}

/// What is known of an issuer's keys, and how to ask for more.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) keys: ArcSwapOption<KeySet>,
    /// Told when a token names a key that is not known.
    pub(super) wanted: Notify,
}

/// Keeps `known` fresh until it is stopped.
pub(super) struct Refresh {
    pub(super) issuer: config::Issuer,
    pub(super) upstream: Upstream,
    pub(super) known: Arc<Known>,
    pub(super) reach: Arc<Reach>,
}

impl Refresh {
    pub(super) async fn run(self, stop: CancellationToken) {
        let work = async {
            let mut problem = None;
            loop {
                let fetched = self.fetch().await;
                let pause = match &fetched {
                    Ok(_) => self.issuer.refresh_interval,
                    Err(_) => self.issuer.unknown_key_interval.min(self.issuer.refresh_interval),
                };
                self.tell(fetched.as_ref().err(), &mut problem);
                if let Ok(keys) = fetched {
                    self.known.keys.store(Some(Arc::new(keys)));
                }
                // Whoever asks for more does not get it sooner than this.
                let rest = self.issuer.unknown_key_interval.min(pause);
                sleep(rest).await;
                tokio::select! {
                    () = self.known.wanted.notified() => {}
                    () = sleep(pause.saturating_sub(rest)) => {}
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = work => {}
        }
    }

    /// Says what came of it, in the log when that has changed.
    fn tell(&self, now: Option<&RefreshError>, before: &mut Option<RefreshError>) {
        self.reach.set(now.is_none());
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

    async fn fetch(&self) -> Result<KeySet, RefreshError> {
        let discovered;
        let uri = match &self.issuer.keys {
            IssuerKeys::At(uri) => uri,
            IssuerKeys::Discovered(uri) => {
                let document = self.upstream.fetch(uri, MAX_BYTES, TIME).await;
                let document = document.map_err(RefreshError::NoDiscovery)?;
                discovered = self.discovered(&document).map_err(RefreshError::Discovery)?;
                &discovered
            }
        };
        let document = self.upstream.fetch(uri, MAX_BYTES, TIME).await;
        Ok(KeySet::read(&document.map_err(RefreshError::NoKeys)?)?)
    }

    /// Where the keys are, as the issuer says of itself (OpenID Connect Discovery 1.0, section 4.3).
    fn discovered(&self, document: &Bytes) -> Result<Uri, String> {
        #[derive(Deserialize)]
        struct Discovery {
            issuer: String,
            jwks_uri: String,
        }
        let found: Discovery =
            serde_json::from_slice(document).map_err(|error| error.to_string())?;
        if found.issuer != self.issuer.issuer {
            return Err("it is another issuer's".to_owned());
        }
        keys_url(&found.jwks_uri).map_err(|why| format!("its jwks_uri {why}"))
    }
}

//! Readiness: the gateway gets traffic while its listeners are up, credentials are resolved, and no
//! shutdown has begun.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::upstream::credentials::CredentialsProvider;

const STARTING: u8 = 0;
const SERVING: u8 = 1;
const DRAINING: u8 = 2;

/// The part of readiness that follows the server's start and shutdown.
#[derive(Debug, Default)]
pub struct Readiness(AtomicU8);

impl Readiness {
    /// Notes that the listeners are up.
    pub fn serving(&self) {
        self.0.store(SERVING, Ordering::Release);
    }

    /// Notes that the shutdown has begun.
    pub fn draining(&self) {
        self.0.store(DRAINING, Ordering::Release);
    }

    /// Whether the shutdown has begun.
    pub(super) fn is_draining(&self) -> bool {
        self.0.load(Ordering::Acquire) == DRAINING
    }

    /// Whether the gateway is ready, or why not. Every set of credentials must have been tried, and one
    /// must be resolved: a faulty set must not take down the targets of the others.
    pub(super) fn check(&self, providers: &[Arc<CredentialsProvider>]) -> Result<(), String> {
        match self.0.load(Ordering::Acquire) {
            STARTING => return Err("starting".to_owned()),
            DRAINING => return Err("draining".to_owned()),
            _ => {}
        }
        let unsettled = providers.iter().find(|provider| !provider.is_settled());
        match unsettled {
            Some(provider) => Err(provider.problem()),
            None if providers.iter().any(|provider| provider.auth().is_some()) => Ok(()),
            None => Err(providers.first().map_or_else(
                || "no credentials are configured".to_owned(),
                |provider| provider.problem(),
            )),
        }
    }
}

//! Whether the gateway should get traffic: its listeners are up, its credentials are there, and
//! it is not about to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::upstream::credentials::Identity;

const STARTING: u8 = 0;
const SERVING: u8 = 1;
const DRAINING: u8 = 2;

/// The part of readiness that the server's life decides.
#[derive(Debug, Default)]
pub struct Readiness(AtomicU8);

impl Readiness {
    /// The listeners are up.
    pub fn serving(&self) {
        self.0.store(SERVING, Ordering::Release);
    }

    /// The gateway is about to stop.
    pub fn draining(&self) {
        self.0.store(DRAINING, Ordering::Release);
    }

    /// Whether the gateway is about to stop.
    pub(super) fn is_draining(&self) -> bool {
        self.0.load(Ordering::Acquire) == DRAINING
    }

    /// Whether to send traffic, or why not. With several sets of credentials each must have been
    /// tried and one be there: a broken one must not take the others' targets down.
    pub(super) fn check(&self, identities: &[Arc<Identity>]) -> Result<(), String> {
        match self.0.load(Ordering::Acquire) {
            STARTING => return Err("starting".to_owned()),
            DRAINING => return Err("draining".to_owned()),
            _ => {}
        }
        let unsettled = identities.iter().find(|identity| !identity.is_settled());
        match unsettled {
            Some(identity) => Err(identity.problem()),
            None if identities.iter().any(|identity| identity.auth().is_some()) => Ok(()),
            None => Err(identities.first().map_or_else(
                || "no credentials are configured".to_owned(),
                |identity| identity.problem(),
            )),
        }
    }
}

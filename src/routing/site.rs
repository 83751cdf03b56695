//! Where targets are and who signs their requests. Those of one place share it, so that requests to
//! many targets find it in the cache.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use super::target::header;
use crate::config::{self, Endpoint};
use crate::upstream::Origin;
use crate::upstream::credentials::Identity;

/// A place of targets.
#[derive(Debug)]
pub struct Site {
    /// Region that requests are signed for.
    pub region: String,
    /// The same as a header value.
    pub region_header: HeaderValue,
    /// Where requests go.
    pub origin: Origin,
    /// Who signs them.
    pub identity: Arc<Identity>,
    /// Time for an answer to begin.
    pub first_byte_timeout: Duration,
    /// Longest silence within a stream.
    pub idle_timeout: Duration,
}

/// The places of one config.
#[derive(Debug, Default)]
pub(super) struct Sites(HashMap<Key, Arc<Site>>);

/// What makes two places the same.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    region: String,
    endpoint: Endpoint,
    identity: *const Identity,
    timeouts: [Duration; 2],
}

impl Sites {
    /// The place of a target.
    pub(super) fn of(&mut self, target: &config::Target, identity: Arc<Identity>) -> Arc<Site> {
        let key = Key {
            region: target.region.clone(),
            endpoint: target.endpoint.clone(),
            identity: Arc::as_ptr(&identity),
            timeouts: [target.first_byte_timeout, target.idle_timeout],
        };
        let site = || {
            Arc::new(Site {
                region: target.region.clone(),
                region_header: header(&target.region),
                origin: Origin::new(&target.endpoint),
                identity,
                first_byte_timeout: target.first_byte_timeout,
                idle_timeout: target.idle_timeout,
            })
        };
        Arc::clone(self.0.entry(key).or_insert_with(site))
    }
}

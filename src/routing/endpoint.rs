//! Endpoint, region and credentials of targets. Targets that agree in them share one object, so that requests
//! to many targets find it in the CPU's cache.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use crate::config::{self, Endpoint};
use crate::upstream::Origin;
use crate::upstream::credentials::CredentialsProvider;

/// Where the requests of targets go, and how they are signed.
#[derive(Debug)]
pub struct TargetEndpoint {
    /// The region that requests are signed for.
    pub region: String,
    /// The same as a header value.
    pub region_header: HeaderValue,
    /// Where requests go.
    pub origin: Origin,
    /// The credentials that sign them.
    pub credentials: Arc<CredentialsProvider>,
    /// Time for an answer to begin.
    pub first_byte_timeout: Duration,
    /// Longest silence within a stream.
    pub idle_timeout: Duration,
}

/// The endpoints of one config.
#[derive(Debug, Default)]
pub(super) struct TargetEndpoints(HashMap<Key, Arc<TargetEndpoint>>);

/// Targets with the same key share an endpoint.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    region: String,
    endpoint: Endpoint,
    credentials: *const CredentialsProvider,
    timeouts: [Duration; 2],
}

impl TargetEndpoints {
    /// The endpoint of a target.
    pub(super) fn of(
        &mut self,
        target: &config::Target,
        credentials: Arc<CredentialsProvider>,
    ) -> Arc<TargetEndpoint> {
        let key = Key {
            region: target.region.clone(),
            endpoint: target.endpoint.clone(),
            credentials: Arc::as_ptr(&credentials),
            timeouts: [target.first_byte_timeout, target.idle_timeout],
        };
        let endpoint = || {
            Arc::new(TargetEndpoint {
                region: target.region.clone(),
                region_header: HeaderValue::from_str(&target.region)
                    .unwrap_or_else(|_| HeaderValue::from_static("-")),
                origin: Origin::new(&target.endpoint),
                credentials,
                first_byte_timeout: target.first_byte_timeout,
                idle_timeout: target.idle_timeout,
            })
        };
        Arc::clone(self.0.entry(key).or_insert_with(endpoint))
    }
}

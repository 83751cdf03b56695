//! The chain of signatures of a bidirectional stream's events.

use std::collections::HashMap;

use http::HeaderMap;
use secrecy::{ExposeSecret, SecretString};

use sluice_bedrock::sigv4::{Authorization, EventChain, Scope, SigningKey};

/// The chain of a request that was verified; none where it signs nothing.
pub(crate) fn chain(
    headers: &HeaderMap,
    keys: &HashMap<String, SecretString>,
) -> Option<EventChain> {
    let value = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
    let claim = Authorization::parse(value).ok()?;
    let secret = keys.get(claim.access_key_id)?.clone();
    let key = move |scope: &Scope<'_>| SigningKey::derive(secret.expose_secret(), scope);
    Some(EventChain::new(key, claim.scope.region, claim.signature))
}

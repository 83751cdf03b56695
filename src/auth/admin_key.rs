//! The admin key as a request presents it: in a header of its own, or as a bearer token where that
//! belongs to no client.

use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};

use super::authenticator::bearer;
use crate::config::Secret;

/// Carries the admin key, where a bearer token is a client's.
const ADMIN_KEY: HeaderName = HeaderName::from_static("x-sluice-admin-key");

/// Whether a request with these headers presents this key.
pub fn is_presented(key: &Secret, headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let presented = text(ADMIN_KEY).or_else(|| text(AUTHORIZATION).and_then(bearer));
    presented.is_some_and(|presented| key.matches(presented))
}

//! The admin key as a request presents it: in a header of its own, or as a bearer token where that
//! belongs to no client.

use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};

use super::presented::bearer;
use crate::config::Secret;

/// Carries the admin key, where a bearer token is a client's.
const ADMIN_KEY: HeaderName = HeaderName::from_static("x-sluice-admin-key");

/// What a request presents as the admin key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PresentedKey {
    /// The admin key.
    Right,
    /// Another key, in the header for the admin key.
    Wrong,
    /// Another key as a bearer token, which may be a client's.
    OtherBearer,
    /// None.
    Missing,
}

/// What a request with these headers presents, if `key` is the admin key.
pub fn presented(key: &Secret, headers: &HeaderMap) -> PresentedKey {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let (presented, otherwise) = match text(ADMIN_KEY) {
        Some(own) => (Some(own), PresentedKey::Wrong),
        None => (text(AUTHORIZATION).and_then(bearer), PresentedKey::OtherBearer),
    };
    match presented {
        Some(presented) if key.matches(presented) => PresentedKey::Right,
        Some(_) => otherwise,
        None => PresentedKey::Missing,
    }
}

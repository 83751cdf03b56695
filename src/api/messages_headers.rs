//! The headers of Anthropic's API as they go upstream: the version, and the beta flags that the surface takes.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::bedrock::betas::{self, BetaTable};

/// The header with the version of the API.
pub static VERSION: HeaderName = HeaderName::from_static("anthropic-version");

/// The header with the beta flags of a request.
pub static BETA: HeaderName = HeaderName::from_static(betas::ANTHROPIC_BETA);

/// The version that is sent for a client that names none.
const DEFAULT_VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");

/// Keeps the flags that the surface takes, and adds the version if it is missing. Returns the flags that were
/// kept.
pub fn prepare(headers: &mut HeaderMap, table: &BetaTable) -> Vec<String> {
    if !headers.contains_key(&VERSION) {
        headers.insert(VERSION.clone(), DEFAULT_VERSION);
    }
    if !headers.contains_key(&BETA) {
        return Vec::new();
    }
    let filtered = betas::filter(headers.get_all(&BETA), table);
    match filtered.header() {
        Some(value) => headers.insert(BETA.clone(), value),
        None => headers.remove(&BETA),
    };
    filtered.kept
}

/// The flags of a client's headers that the surface does not take, with commas between them; `None` if it takes
/// all.
pub fn dropped(headers: &HeaderMap, table: &BetaTable) -> Option<Box<str>> {
    if !headers.contains_key(&BETA) {
        return None;
    }
    let dropped = betas::filter(headers.get_all(&BETA), table).dropped;
    (!dropped.is_empty()).then(|| dropped.join(",").into())
}

/// Removes the headers, for an operation that has none of them.
pub fn remove(headers: &mut HeaderMap) {
    headers.remove(&VERSION);
    headers.remove(&BETA);
}

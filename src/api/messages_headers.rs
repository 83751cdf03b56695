//! The headers of Anthropic's API as they go upstream: the version, and the beta flags that the surface takes.

use std::sync::OnceLock;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::bedrock::betas::{self, BetaTable, Filtered};
use crate::catalogue::Endpoint;

/// The header with the version of the API.
pub static VERSION: HeaderName = HeaderName::from_static("anthropic-version");

/// The header with the beta flags of a request.
pub static BETA: HeaderName = HeaderName::from_static(betas::ANTHROPIC_BETA);

/// The version that is sent for a client that names none.
const DEFAULT_VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");

/// The beta flags of one request, divided by what each endpoint takes: once, when that is first asked for.
#[derive(Debug, Default)]
pub struct BetaFlags {
    runtime: OnceLock<Box<Filtered>>,
    mantle: OnceLock<Box<Filtered>>,
}

impl BetaFlags {
    /// The flags of a client's headers by the table of an endpoint; `None` if there are none.
    fn divided(
        &self,
        headers: &HeaderMap,
        endpoint: Endpoint,
        table: &BetaTable,
    ) -> Option<&Filtered> {
        let divided = match endpoint {
            Endpoint::Runtime => &self.runtime,
            Endpoint::Mantle => &self.mantle,
        };
        let divide = || Box::new(betas::filter(headers.get_all(&BETA), table));
        headers.contains_key(&BETA).then(|| &**divided.get_or_init(divide))
    }

    /// Keeps of an attempt's headers, which are still the client's, the flags that the endpoint takes, and adds the
    /// version if it is missing. Returns the flags that were kept.
    pub fn prepare(
        &self,
        headers: &mut HeaderMap,
        endpoint: Endpoint,
        table: &BetaTable,
    ) -> &[String] {
        if !headers.contains_key(&VERSION) {
            headers.insert(VERSION.clone(), DEFAULT_VERSION);
        }
        let Some(filtered) = self.divided(headers, endpoint, table) else { return &[] };
        match filtered.header() {
            Some(value) => headers.insert(BETA.clone(), value),
            None => headers.remove(&BETA),
        };
        &filtered.kept
    }

    /// The flags of a client's headers that the endpoint does not take, with commas between them; `None` if it takes
    /// all.
    pub fn dropped(
        &self,
        headers: &HeaderMap,
        endpoint: Endpoint,
        table: &BetaTable,
    ) -> Option<Box<str>> {
        let dropped = &self.divided(headers, endpoint, table)?.dropped;
        (!dropped.is_empty()).then(|| dropped.join(",").into())
    }
}

/// Removes the headers, for an operation that has none of them.
pub fn remove(headers: &mut HeaderMap) {
    headers.remove(&VERSION);
    headers.remove(&BETA);
}

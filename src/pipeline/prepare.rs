//! One attempt's request to a target: the target's model in the path, those of the client's headers
//! that Bedrock or the config knows, the body clamped where the target's cap asks for it.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request;
use http::uri::PathAndQuery;
use smallvec::SmallVec;

use super::policy;
use super::route::Routed;
use crate::bedrock::body;
use crate::bedrock::is_about_caller;
use crate::bedrock::path::Resource;
use crate::bedrock::sigv4::PayloadHash;
use crate::routing::Target;

/// How the names begin of the headers that are between the gateway and its clients.
const OWN_PREFIX: &str = "x-sluice-";

/// The parts of an attempt's request that are the same for every attempt on one target.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) head: request::Parts,
    pub(super) payload: Payload,
}

/// The body of an attempt's request.
#[derive(Debug)]
pub(super) struct Payload {
    pub(super) body: Bytes,
    /// Whether it is not the client's.
    is_changed: bool,
}

impl Payload {
    /// The hash of the body; that of the client's is computed once for all attempts.
    pub(super) fn hash(&self, routed: &Routed) -> PayloadHash {
        let hash = || PayloadHash::of(&self.body);
        if self.is_changed { hash() } else { *routed.hash.get_or_init(hash) }
    }
}

/// Prepares an attempt of a request, whose headers are stripped by [`strip_for_upstream`], on
/// `target`; `None` if its path is no URI, which no checked id makes.
pub(super) fn prepare(routed: &Routed, target: &Target) -> Option<Prepared> {
    let (mut head, ()) = http::Request::new(()).into_parts();
    head.method = routed.head.method.clone();
    head.uri = match &routed.call.resource {
        Resource::Model(_) => target.uri(routed.call.operation)?,
        _ => {
            let path = with_query(routed.call.to_path()?, routed);
            target.endpoint.origin.uri(PathAndQuery::try_from(path).ok()?)
        }
    };
    head.headers = routed.head.headers.clone();
    policy::add_guardrail(&routed.exchange, routed.call.operation, &mut head.headers);
    head.headers.insert(header::HOST, target.endpoint.origin.host());
    let cap = routed.call.model().and_then(|requested| target.cap(requested));
    let clamped = cap.and_then(|cap| body::clamp(&routed.body, &routed.peek, cap));
    let is_changed = clamped.is_some();
    let body = clamped.unwrap_or_else(|| routed.body.clone());
    Some(Prepared { head, payload: Payload { body, is_changed } })
}

/// Removes what may not pass to the client: what means the upstream's connection alone, and what
/// only the gateway says.
pub(super) fn strip_for_client(headers: &mut HeaderMap) {
    strip(headers, |name| is_hop_by_hop(name) || name.starts_with(OWN_PREFIX));
}

/// Leaves what may pass to the upstream, whichever target it is, and asks for an answer that is not
/// encoded: once for all attempts. `forwarded` are the names that the config adds.
pub(super) fn strip_for_upstream(headers: &mut HeaderMap, forwarded: &[HeaderName]) {
    let is_forwarded = |name: &str| forwarded.iter().any(|known| known.as_str() == name);
    strip(headers, |name| !is_bedrocks(name) && !is_forwarded(name));
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
}

/// Removes what `connection` lists, and what `goes` says of by its name.
fn strip(headers: &mut HeaderMap, goes: impl Fn(&str) -> bool) {
    let connection = headers.get_all(header::CONNECTION).iter().cloned();
    for value in connection.collect::<SmallVec<[HeaderValue; 2]>>() {
        let options = value.to_str().unwrap_or_default().split(',');
        options.for_each(|option| drop(headers.remove(option.trim())));
    }
    let all = headers.keys();
    let gone: SmallVec<[HeaderName; 16]> =
        all.filter(|name| goes(name.as_str())).cloned().collect();
    for name in &gone {
        headers.remove(name);
    }
}

/// Whether a header means its connection alone (RFC 9110, section 7.6.1).
fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Whether Bedrock knows a header of requests: what its operations have, what describes the body and
/// the wanted answer, what SDKs tell of themselves, and traces. All others are between the client, the
/// proxies on its way and the gateway, or nobody's that the gateway knows.
fn is_bedrocks(name: &str) -> bool {
    const BEDROCKS_PREFIX: &str = "x-amzn-bedrock-";
    matches!(name, "content-type" | "accept")
        || is_about_caller(name)
        || name.starts_with(BEDROCKS_PREFIX)
}

/// Only listing operations have a query of their own; a client's query on any other says nothing
/// to Bedrock and may carry a presigned signature.
fn with_query(path: String, routed: &Routed) -> String {
    match routed.head.uri.query() {
        Some(query) if routed.call.operation.has_query() => {
            let parameters = query.split('&').filter(|parameter| !is_signature(parameter));
            let query = parameters.collect::<Vec<_>>().join("&");
            if query.is_empty() { path } else { format!("{path}?{query}") }
        }
        _ => path,
    }
}

fn is_signature(parameter: &str) -> bool {
    parameter.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("x-amz-"))
}

/// A header value of a text that may, in principle, have characters that no header has.
pub(super) fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    fn stripped(mut headers: HeaderMap) -> HeaderMap {
        strip_for_upstream(&mut headers, &[HeaderName::from_static("x-of-the-config")]);
        assert_eq!(headers.remove(header::ACCEPT_ENCODING).unwrap(), "identity");
        headers
    }

    #[test]
    fn nothing_of_the_clients_auth_or_connection_passes() {
        let inbound = headers(&[
            ("authorization", "AWS4-HMAC-SHA256 ..."),
            ("x-amz-date", "20261123T120000Z"),
            ("x-amz-security-token", "t"),
            ("x-amz-content-sha256", "h"),
            ("cookie", "c"),
            ("host", "localhost"),
            ("content-length", "5"),
            ("connection", "keep-alive, X-Secret-Hop"),
            ("x-secret-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("expect", "100-continue"),
            ("proxy-authorization", "p"),
            ("x-forwarded-for", "10.0.0.1"),
            ("forwarded", "for=10.0.0.1"),
            ("x-sluice-priority", "high"),
            ("x-api-key", "k"),
            ("api-key", "k"),
            ("x-amzn-oidc-data", "t"),
            ("x-amz-target", "t"),
            ("cf-access-jwt-assertion", "t"),
            ("accept-encoding", "gzip, br"),
            ("content-encoding", "gzip"),
            ("origin", "https://client.example"),
            ("baggage", "user=1"),
            ("x-of-the-config-too", "1"),
            ("x-amzn-bedrock", "1"),
        ]);
        assert_eq!(stripped(inbound), HeaderMap::new());
    }

    #[test]
    fn bedrocks_headers_and_those_of_the_config_pass() {
        let inbound = headers(&[
            ("content-type", "application/json"),
            ("accept", "application/json"),
            ("x-amzn-bedrock-guardrailidentifier", "gr-1"),
            ("x-amzn-bedrock-trace", "ENABLED"),
            ("x-amzn-trace-id", "Root=1"),
            ("amz-sdk-request", "attempt=1"),
            ("amz-sdk-invocation-id", "1"),
            ("user-agent", "app"),
            ("x-amz-user-agent", "app"),
            ("traceparent", "00-1-1-01"),
            ("tracestate", "a=1"),
            ("x-of-the-config", "1"),
        ]);
        assert_eq!(stripped(inbound.clone()), inbound);
    }

    #[test]
    fn what_connection_lists_goes_however_long_the_list_is() {
        let listed = format!("{}X-Of-The-Config, no name, ", "a,".repeat(30_000));
        let mut inbound =
            headers(&[("x-of-the-config", "1"), ("accept", "1"), ("user-agent", "2")]);
        inbound.append("connection", HeaderValue::from_str(&listed).unwrap());
        inbound.append("connection", HeaderValue::from_static("accept, connection"));
        assert_eq!(stripped(inbound), headers(&[("user-agent", "2")]));
    }

    #[test]
    fn answers_lose_the_headers_of_their_hop_and_of_the_gateway_only() {
        let mut upstream = headers(&[
            ("transfer-encoding", "chunked"),
            ("connection", "close, X-Of-This-Hop"),
            ("x-of-this-hop", "1"),
            ("x-amzn-requestid", "r"),
            ("content-length", "5"),
            ("x-sluice-mock", "true"),
            ("x-sluice-budget-remaining-usd", "0"),
            ("x-sluice-anything", "1"),
        ]);
        let wanted = headers(&[("x-amzn-requestid", "r"), ("content-length", "5")]);
        strip_for_client(&mut upstream);
        assert_eq!(upstream, wanted);
    }
}

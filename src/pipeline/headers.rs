//! Which headers pass through the gateway, in either direction.
//!
//! Of a client's headers only those go upstream that Bedrock knows or that the config names; its
//! authentication and its connection are never among them. Of an upstream's headers all pass but
//! those of its connection, and those that only the gateway may set (`x-sluice-*`).

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;

use crate::bedrock::{Api, guardrail, is_about_caller};

/// Prefix of the headers that the gateway and its clients exchange.
const OWN_PREFIX: &str = "x-sluice-";

/// Prefix of the headers of Bedrock's operations.
pub(super) const BEDROCK_PREFIX: &str = "x-amzn-bedrock-";

/// Removes the headers of the upstream's connection, and those that only the gateway may set.
pub(super) fn strip_for_client(headers: &mut HeaderMap) {
    strip(headers, |name| is_hop_by_hop(name) || name.starts_with(OWN_PREFIX));
}

/// Keeps the headers that may pass to any upstream, and asks for an answer without a content
/// encoding; once for all attempts. `forwarded` are the names that the config adds.
pub(super) fn strip_for_upstream(headers: &mut HeaderMap, api: Api, forwarded: &[HeaderName]) {
    let is_forwarded = |name: &str| forwarded.iter().any(|known| known.as_str() == name);
    let is_known = |name: &str| is_bedrock_header(name) || is_header_of(api, name);
    strip(headers, |name| !is_known(name) && !is_forwarded(name));
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
}

/// Removes the headers that `connection` lists, and those whose name `is_removed`.
fn strip(headers: &mut HeaderMap, is_removed: impl Fn(&str) -> bool) {
    let connection = headers.get_all(header::CONNECTION).iter().cloned();
    for value in connection.collect::<SmallVec<[HeaderValue; 2]>>() {
        // By bytes: one option with an invalid character must not save the others.
        for option in value.as_bytes().split(|byte| *byte == b',') {
            if let Ok(name) = HeaderName::from_bytes(option.trim_ascii()) {
                headers.remove(name);
            }
        }
    }
    let all = headers.keys();
    let gone: SmallVec<[HeaderName; 16]> =
        all.filter(|name| is_removed(name.as_str())).cloned().collect();
    for name in &gone {
        headers.remove(name);
    }
}

/// Whether a header concerns its connection alone (RFC 9110, section 7.6.1).
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

/// Whether Bedrock knows a request header: those of its operations, of the body and the accepted
/// answer, of SDKs, and of traces. All others concern the client, its proxies and the gateway.
fn is_bedrock_header(name: &str) -> bool {
    matches!(name, "content-type" | "accept")
        || is_about_caller(name)
        || name.starts_with(BEDROCK_PREFIX)
}

/// Whether a request header belongs to an API.
fn is_header_of(api: Api, name: &str) -> bool {
    api == Api::Messages && matches!(name, "anthropic-version" | "anthropic-beta")
}

/// The headers that name a guardrail.
#[derive(Clone, Debug)]
pub(super) struct ForcedGuardrail {
    pub(super) identifier: HeaderValue,
    pub(super) version: HeaderValue,
}

impl ForcedGuardrail {
    /// Sets the headers, in place of the client's.
    pub(super) fn set(self, headers: &mut HeaderMap) {
        headers.insert(guardrail::IDENTIFIER, self.identifier);
        headers.insert(guardrail::VERSION, self.version);
    }
}

/// A header value of `text`; `-` if it has characters that no header may have.
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
        strip_for_upstream(
            &mut headers,
            Api::Bedrock,
            &[HeaderName::from_static("x-of-the-config")],
        );
        assert_eq!(headers.remove(header::ACCEPT_ENCODING).unwrap(), "identity");
        headers
    }

    #[test]
    fn no_header_of_the_clients_authentication_or_connection_passes() {
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
            ("openai-project", "p"),
            ("openai-organization", "o"),
            ("anthropic-beta", "b"),
            ("x-of-the-config-too", "1"),
            ("x-amzn-bedrock", "1"),
        ]);
        assert_eq!(stripped(inbound), HeaderMap::new());
    }

    #[test]
    fn a_connection_header_counts_even_if_one_of_its_options_is_no_text() {
        let mut inbound = headers(&[("x-of-the-config", "1"), ("x-amzn-bedrock-trace", "ENABLED")]);
        let options = HeaderValue::from_bytes(b"X-Of-The-Config, \xff").unwrap();
        inbound.insert(header::CONNECTION, options);
        assert_eq!(stripped(inbound), headers(&[("x-amzn-bedrock-trace", "ENABLED")]));
    }

    #[test]
    fn headers_of_bedrock_and_of_the_config_pass() {
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
    fn headers_that_connection_lists_are_removed_however_long_the_list_is() {
        let listed = format!("{}X-Of-The-Config, no name, ", "a,".repeat(30_000));
        let mut inbound =
            headers(&[("x-of-the-config", "1"), ("accept", "1"), ("user-agent", "2")]);
        inbound.append("connection", HeaderValue::from_str(&listed).unwrap());
        inbound.append("connection", HeaderValue::from_static("accept, connection"));
        assert_eq!(stripped(inbound), headers(&[("user-agent", "2")]));
    }

    #[test]
    fn answers_lose_only_the_headers_of_their_hop_and_of_the_gateway() {
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

//! SigV4 for outbound requests, and the bearer form that stands in for it.
//!
//! The canonical path is the wire path encoded once more, as every service but S3 wants; the
//! payload hash is signed but not sent. Which headers are signed is decided here: those that
//! change what Bedrock does, and none that a proxy between may change.

use std::time::SystemTime;

use aws_sigv4::http_request::{
    PercentEncodingMode, SignableBody, SignableRequest, SigningSettings, sign,
};
use aws_sigv4::sign::v4::SigningParams;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderName, HeaderValue, request};

use super::credentials::Auth;
use crate::bedrock::sigv4::{CONTENT_SHA256, PayloadHash, SERVICE, STREAMING_EVENTS};

/// Why a request could not be signed; the message never has a secret in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the request could not be signed: {0}")]
pub struct SignError(String);

const CONTENT_HASH: HeaderName = HeaderName::from_static(CONTENT_SHA256);

/// The same as [`authorize`] for a request whose body is a stream of events. Gives the signature
/// that the first event's hangs on; none where events are not signed.
pub fn authorize_events(
    head: &mut request::Parts,
    auth: &Auth,
    region: &str,
    now: SystemTime,
) -> Result<Option<String>, SignError> {
    if let Auth::SigV4(_) = auth {
        head.headers.insert(CONTENT_HASH, HeaderValue::from_static(STREAMING_EVENTS));
    }
    authorize_payload(head, STREAMING_EVENTS, auth, region, now)
}

/// Adds `auth` to a request whose URI is absolute and whose `host` header is set. Existing
/// authorization is replaced.
pub fn authorize(
    head: &mut request::Parts,
    payload_hash: &PayloadHash,
    auth: &Auth,
    region: &str,
    now: SystemTime,
) -> Result<(), SignError> {
    authorize_payload(head, payload_hash.as_str(), auth, region, now).map(drop)
}

/// The same for a payload with this hash, or with what stands for it. Gives the signature, if one
/// was made.
fn authorize_payload(
    head: &mut request::Parts,
    payload: &str,
    auth: &Auth,
    region: &str,
    now: SystemTime,
) -> Result<Option<String>, SignError> {
    let identity = match auth {
        Auth::Bearer(header) => {
            head.headers.insert(AUTHORIZATION, header.clone());
            return Ok(None);
        }
        Auth::SigV4(identity) => identity,
    };
    let mut settings = SigningSettings::default();
    settings.percent_encoding_mode = PercentEncodingMode::Double;
    let params = SigningParams::builder()
        .identity(identity)
        .region(region)
        .name(SERVICE)
        .time(now)
        .settings(settings)
        .build()
        .map_err(|error| SignError(error.to_string()))?
        .into();
    let uri = head.uri.to_string();
    let signed = head
        .headers
        .iter()
        .filter(|(name, _)| is_signed(name))
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    let body = SignableBody::Precomputed(payload.to_owned());
    let request = SignableRequest::new(head.method.as_str(), uri, signed, body)
        .map_err(|error| SignError(error.to_string()))?;
    let (instructions, signature) =
        sign(request, &params).map_err(|error| SignError(error.to_string()))?.into_parts();
    let (headers, _) = instructions.into_parts();
    for header in headers {
        let mut value = HeaderValue::from_str(header.value())
            .map_err(|_| SignError(format!("{} is no header value", header.name())))?;
        value.set_sensitive(header.sensitive() || header.name() == "authorization");
        head.headers.insert(HeaderName::from_static(header.name()), value);
    }
    Ok(Some(signature))
}

fn is_signed(name: &HeaderName) -> bool {
    matches!(*name, HOST | CONTENT_TYPE | ACCEPT)
        || *name == CONTENT_HASH
        || name.as_str().starts_with("x-amzn-bedrock-")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aws_credential_types::Credentials;
    use http::Request;
    use serde_json::Value;

    use super::*;

    /// `20261123T120000Z`, the time of every vector.
    const NOW: u64 = 1_795_435_200;

    fn signed(vector: &Value) -> http::HeaderMap {
        let text = |key: &str| vector[key].as_str().unwrap();
        let uri: http::Uri = text("url").parse().unwrap();
        let mut request = Request::builder()
            .method(text("method"))
            .header(HOST, uri.host().unwrap())
            .header("x-forwarded-for", "10.0.0.1")
            .header("user-agent", "app/1.0")
            .header(AUTHORIZATION, "left over from the client")
            .uri(uri);
        for (name, value) in vector["request_headers"].as_object().unwrap() {
            request = request.header(name, value.as_str().unwrap());
        }
        let (mut head, ()) = request.body(()).unwrap().into_parts();
        let token = vector["session_token"].as_str().map(str::to_owned);
        let keys =
            Credentials::new(text("access_key_id"), text("secret_access_key"), token, None, "t");
        let hash = PayloadHash::of(text("body").as_bytes());
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW);
        authorize(&mut head, &hash, &Auth::SigV4(keys.into()), text("region"), now).unwrap();
        head.headers
    }

    #[test]
    fn signs_the_vectors() {
        let vectors: Vec<Value> =
            serde_json::from_str(include_str!("../../tests/vectors/sigv4.json")).unwrap();
        assert!(!vectors.is_empty());
        for vector in &vectors {
            let headers = signed(vector);
            for name in ["authorization", "x-amz-date", "x-amz-security-token"] {
                let wanted = vector["signed_headers"]
                    .as_object()
                    .unwrap()
                    .iter()
                    .find(|(key, _)| key.eq_ignore_ascii_case(name))
                    .map(|(_, value)| value.as_str().unwrap());
                let found = headers.get(name).map(|value| value.to_str().unwrap().to_owned());
                // botocore puts a space after the commas of the authorization header, too.
                assert_eq!(found.as_deref(), wanted, "{}: {name}", vector["name"]);
            }
            assert!(!headers.contains_key("x-amz-content-sha256"));
        }
    }
}

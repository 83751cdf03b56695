//! Authorizes outbound requests: with a SigV4 signature, or with a bearer token.
//!
//! The canonical path is the wire path encoded once more, as all services except S3 require. The payload
//! hash is signed but not sent. A signature covers the headers that change what Bedrock does, and none
//! that a proxy on the way may change.
//!
//! The signing key is the same for a day and region, and is cached. A signature therefore costs a third
//! of the AWS library's, which derives the key each time. Tests compare both signatures.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sigv4::sign::v4::generate_signing_key;
use aws_smithy_runtime_api::client::identity::Identity;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue, request};
use smallvec::SmallVec;

use crate::bedrock::account::TARGET;
use crate::bedrock::sigv4::amz_date::amz_date;
use crate::bedrock::sigv4::{
    ALGORITHM, CONTENT_SHA256, DATE, PayloadHash, Received, SECURITY_TOKEN, SERVICE,
    STREAMING_EVENTS, Scope, SigningKey, SigningKeyCache, TERMINATOR, canonical_hash,
    string_to_sign,
};

/// Signing keys kept for one set of credentials: a few regions, over midnight.
const MAX_SIGNING_KEYS: usize = 32;

/// Why a request could not be signed. The message never contains a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The credentials have characters that a header can't have.
    #[error("the request could not be signed: a header can't contain the credentials")]
    InvalidHeaderValue,
}

const CONTENT_HASH: HeaderName = HeaderName::from_static(CONTENT_SHA256);
const AMZ_DATE: HeaderName = HeaderName::from_static(DATE);
const TOKEN: HeaderName = HeaderName::from_static(SECURITY_TOKEN);

/// What authorizes a request.
#[derive(Debug)]
pub enum Auth {
    /// Credentials that sign it.
    SigV4(Signer),
    /// The `authorization` header of a Bedrock API key.
    Bearer(HeaderValue),
}

/// Credentials, and the signing keys that were derived from them.
#[derive(Debug)]
pub struct Signer {
    credentials: Credentials,
    identity: Identity,
    /// The token of temporary credentials; an error if a header can't contain it.
    token: Option<Result<HeaderValue, SignError>>,
    signing_keys: SigningKeyCache,
}

impl From<Credentials> for Signer {
    fn from(credentials: Credentials) -> Signer {
        let token = credentials.session_token().map(|token| sensitive(token.to_owned()));
        let identity = credentials.clone().into();
        Signer {
            credentials,
            identity,
            token,
            signing_keys: SigningKeyCache::new(MAX_SIGNING_KEYS),
        }
    }
}

impl Signer {
    /// The credentials in the form that AWS's libraries take.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Adds date, token and signature to the head. Returns the signature.
    fn sign(
        &self,
        head: &mut request::Parts,
        payload: &str,
        (service, region): (&str, &str),
        now: SystemTime,
    ) -> Result<PayloadHash, SignError> {
        let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let date = amz_date(i64::try_from(seconds).unwrap_or(i64::MAX));
        head.headers.insert(AMZ_DATE, value(date.as_str().to_owned())?);
        if let Some(token) = &self.token {
            head.headers.insert(TOKEN, token.clone()?);
        }
        let (names, request) = {
            let signed = signed_headers(head);
            let names = names(&signed);
            let request = canonical_hash(&Received::of(head), &signed, &names, payload);
            (names, request)
        };
        let scope = Scope { date: date.day(), region, service, terminator: TERMINATOR };
        let text = string_to_sign(date.as_str(), &scope, &request);
        let signature = self.with_key(&scope, now, |key| key.sign(&text));
        let parts = [
            ALGORITHM,
            " Credential=",
            self.credentials.access_key_id(),
            "/",
            scope.date,
            "/",
            region,
            "/",
            service,
            "/",
            TERMINATOR,
            ", SignedHeaders=",
            &names,
            ", Signature=",
            signature.as_str(),
        ];
        let mut authorization = String::with_capacity(512);
        authorization.extend(parts);
        head.headers.insert(AUTHORIZATION, sensitive(authorization)?);
        Ok(signature)
    }

    fn with_key<T>(
        &self,
        scope: &Scope<'_>,
        now: SystemTime,
        sign: impl FnOnce(&SigningKey) -> T,
    ) -> T {
        // The cache is small, and requests are for this service.
        let is_cached = scope.service == SERVICE;
        if let Some(key) = self.signing_keys.get(scope).filter(|_| is_cached) {
            return sign(&key);
        }
        let secret = self.credentials.secret_access_key();
        let key = generate_signing_key(secret, now, scope.region, scope.service);
        let key = Arc::new(SigningKey::derived(key.as_ref()));
        if is_cached {
            self.signing_keys.insert(scope, &key);
        }
        sign(&key)
    }
}

/// As [`authorize`], for a request whose body is a stream of events. Returns the signature, which is the
/// seed of the first event's signature; `None` if events are not signed.
pub fn authorize_events(
    head: &mut request::Parts,
    auth: &Auth,
    region: &str,
    now: SystemTime,
) -> Result<Option<String>, SignError> {
    match auth {
        Auth::Bearer(header) => {
            head.headers.insert(AUTHORIZATION, header.clone());
            Ok(None)
        }
        Auth::SigV4(signer) => {
            head.headers.insert(CONTENT_HASH, HeaderValue::from_static(STREAMING_EVENTS));
            let signature = signer.sign(head, STREAMING_EVENTS, (SERVICE, region), now)?;
            Ok(Some(signature.as_str().to_owned()))
        }
    }
}

/// Authorizes a request with `auth`, and replaces an existing authorization. The request's URI must be
/// absolute, and its `host` header set. `payload` is called only for a signature.
pub fn authorize(
    head: &mut request::Parts,
    payload: impl FnOnce() -> PayloadHash,
    auth: &Auth,
    region: &str,
    now: SystemTime,
) -> Result<(), SignError> {
    authorize_for(head, payload, auth, (SERVICE, region), now)
}

/// As [`authorize`], for the service with this name in signatures and a region.
pub fn authorize_for(
    head: &mut request::Parts,
    payload: impl FnOnce() -> PayloadHash,
    auth: &Auth,
    place: (&str, &str),
    now: SystemTime,
) -> Result<(), SignError> {
    match auth {
        Auth::Bearer(header) => {
            head.headers.insert(AUTHORIZATION, header.clone());
            Ok(())
        }
        Auth::SigV4(signer) => signer.sign(head, payload().as_str(), place, now).map(drop),
    }
}

fn value(text: String) -> Result<HeaderValue, SignError> {
    HeaderValue::from_maybe_shared(Bytes::from(text)).map_err(|_| SignError::InvalidHeaderValue)
}

/// A header value that `Debug` does not show.
fn sensitive(text: String) -> Result<HeaderValue, SignError> {
    let mut value = value(text)?;
    value.set_sensitive(true);
    Ok(value)
}

/// The headers that are signed, sorted by name. Several values of one header keep their order.
fn signed_headers(head: &request::Parts) -> SmallVec<[(&str, &HeaderValue); 12]> {
    let all = head.headers.iter().filter(|(name, _)| is_signed(name));
    let mut signed: SmallVec<[_; 12]> = all.map(|(name, value)| (name.as_str(), value)).collect();
    signed.sort_by_key(|(name, _)| *name);
    signed
}

/// The names of these headers, each once, separated by semicolons.
fn names(signed: &[(&str, &HeaderValue)]) -> String {
    let mut names = String::with_capacity(128);
    for values in signed.chunk_by(|(name, _), (next, _)| name == next) {
        names.push_str(if names.is_empty() { "" } else { ";" });
        names.push_str(values.first().map_or("", |(name, _)| name));
    }
    names
}

fn is_signed(name: &HeaderName) -> bool {
    match name.as_str() {
        "host" | "content-type" | "accept" | DATE | SECURITY_TOKEN | CONTENT_SHA256 | TARGET => {
            true
        }
        name => name.starts_with("x-amzn-bedrock-"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aws_sigv4::http_request::{
        PercentEncodingMode, SignableBody, SignableRequest, SigningSettings, sign,
    };
    use aws_sigv4::sign::v4::SigningParams;
    use http::Request;
    use http::header::{ACCEPT, CONTENT_TYPE, HOST};
    use proptest::prelude::*;
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
        authorize(&mut head, || hash, &Auth::SigV4(keys.into()), text("region"), now).unwrap();
        head.headers
    }

    #[test]
    fn signatures_match_the_test_vectors() {
        let vectors: Vec<Value> =
            serde_json::from_str(include_str!("../../crates/bedrock/vectors/sigv4.json")).unwrap();
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

    /// The authorization that AWS's library computes for the same request.
    fn library_authorization(
        head: &request::Parts,
        keys: &Credentials,
        payload: &str,
    ) -> HeaderValue {
        let identity = keys.clone().into();
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Double;
        let now = UNIX_EPOCH + Duration::from_secs(NOW);
        let params = SigningParams::builder().identity(&identity).region("us-east-1");
        let params = params.name(SERVICE).time(now).settings(settings).build().unwrap().into();
        let headers = head.headers.iter().filter(|(name, _)| is_signed(name));
        let headers = headers.map(|(name, value)| (name.as_str(), value.to_str().unwrap()));
        let body = SignableBody::Precomputed(payload.to_owned());
        let uri = head.uri.to_string();
        let request = SignableRequest::new(head.method.as_str(), uri, headers, body).unwrap();
        let (instructions, _) = sign(request, &params).unwrap().into_parts();
        let signed =
            instructions.into_parts().0.into_iter().find(|it| it.name() == "authorization");
        HeaderValue::from_str(signed.unwrap().value()).unwrap()
    }

    proptest! {
        #[test]
        fn signatures_match_those_of_the_aws_library(
            path in "(/([a-zA-Z0-9._~:-]|%3A|%2F|%20|%25|%C3%A9){1,12}[a-z]){1,4}",
            query in proptest::option::of("[a-z]{1,3}(=([a-zA-Z0-9:/]|%3D|%2B){0,5})?(&[a-z]{1,3}=[a-z]{1,3}){0,3}"),
            guardrail in proptest::option::of("[a-z0-9]([ -~]{0,20}[a-z0-9])?"),
            guardrail_again in any::<bool>(),
            accept in proptest::option::of("[a-z/*]{1,20}"),
            token in proptest::option::of("[A-Za-z0-9+/=]{1,200}"),
            body in proptest::collection::vec(any::<u8>(), 0..100),
            again in 0..3,
        ) {
            let query = query.map(|query| format!("?{query}")).unwrap_or_default();
            let mut request = Request::post(format!("https://bedrock.example:8443{path}{query}"))
                .header(HOST, "bedrock.example:8443")
                .header("x-amzn-trace-id", "not signed")
                .header(CONTENT_TYPE, "application/json");
            if let Some(accept) = accept {
                request = request.header(ACCEPT, accept);
            }
            if let Some(guardrail) = guardrail {
                if guardrail_again {
                    request = request.header("x-amzn-bedrock-guardrailidentifier", "another");
                }
                request = request.header("x-amzn-bedrock-guardrailidentifier", guardrail);
            }
            let (mut head, ()) = request.body(()).unwrap().into_parts();
            let keys = Credentials::new("AKID", "secret", token, None, "test");
            let payload = PayloadHash::of(&body);
            let expected = library_authorization(&head, &keys, payload.as_str());
            let auth = Auth::SigV4(keys.into());
            let now = UNIX_EPOCH + Duration::from_secs(NOW);
            // With a cached signing key, and with those of other scopes in the cache.
            for round in 0..=again {
                let other = format!("eu-west-{round}");
                authorize(&mut head.clone(), || payload, &auth, &other, now).unwrap();
                authorize(&mut head, || payload, &auth, "us-east-1", now).unwrap();
                prop_assert_eq!(&head.headers[AUTHORIZATION], &expected);
            }
        }
    }

    #[test]
    fn a_bearer_token_needs_no_payload_hash() {
        let (mut head, ()) = Request::new(()).into_parts();
        let auth = Auth::Bearer(HeaderValue::from_static("Bearer key"));
        let hash = || panic!("nothing is signed");
        authorize(&mut head, hash, &auth, "us-east-1", SystemTime::now()).unwrap();
        assert_eq!(head.headers[AUTHORIZATION], "Bearer key");
    }

    #[test]
    fn the_cache_of_signing_keys_is_bounded() {
        let signer = Signer::from(Credentials::new("AKID", "secret", None, None, "test"));
        for day in 0..MAX_SIGNING_KEYS as u64 + 5 {
            let now = UNIX_EPOCH + Duration::from_secs(NOW + day * 86_400);
            let (mut head, ()) = Request::new(()).into_parts();
            signer.sign(&mut head, "UNSIGNED-PAYLOAD", (SERVICE, "us-east-1"), now).unwrap();
        }
        assert_eq!(signer.signing_keys.len(), MAX_SIGNING_KEYS);
    }
}

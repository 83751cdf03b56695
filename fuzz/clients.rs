//! What holds for whatever clients send in their heads, and to show who they are.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use aws_smithy_types::DateTime;
use aws_smithy_types::event_stream::{Header, HeaderValue as EventValue, Message};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use jsonwebtoken::Algorithm;
use sluice::api::paths::ApiPaths;
use sluice::api::response_id::{Owner, Place, ResponseIdError, ResponseIds};
use sluice::auth::{AuthOutcome, Authenticator, ClientCertificate, Issuers, KeySet, PendingAuth};
use sluice::auth::{identify, origin};
use sluice::bedrock::betas::{self, BetaTable};
use sluice::bedrock::sigv4::amz_date::parse_amz_date;
use sluice::bedrock::sigv4::{
    Authorization, CHUNK_SIGNATURE, CONTENT_SHA256, DATE, EventChain, PayloadHash, Scope,
    SigningKey, UNSIGNED_PAYLOAD,
};
use sluice::bedrock::{Extras, Operation, ServiceTier};
use sluice::catalogue::Endpoint;
use sluice::config::{self, Config, Env, LimitKey};
use sluice::limits::ClientRegistry;
use sluice::telemetry::Metrics;
use sluice::telemetry::traces::{TRACEPARENT, TraceParent};
use sluice::upstream::{ConnectionGauges, Upstream};

/// The time at which the seeds are signed, `20261123T120000Z`, since 1970.
const NOW: Duration = Duration::from_secs(1_795_435_200);

/// The key pair of the seeds, and the request that they sign.
const ID: &str = "SLUICEFUZZKEY234";
const SECRET: &str = "a-secret-of-the-seeds/with+signs";
const PATH: &str = "/model/a.b%3A0/invoke";
const QUERY: [(&str, &str); 3] = [("a", "x y"), ("b", ""), ("b", "2")];
const SIGNED: [(&str, &str); 3] =
    [("host", "h:1"), ("content-type", "application/json"), ("x-two", "a b,c")];
const BODY: &[u8] = br#"{"max_tokens":9}"#;

static AUTHENTICATOR: LazyLock<Authenticator> = LazyLock::new(|| {
    let pair = config::KeyPair {
        access_key_id: ID.to_owned(),
        secret_access_key: SECRET.into(),
        expires: None,
    };
    let name = "a".to_owned();
    let clients =
        [config::ClientConfig { name, keys: vec![pair], ..config::ClientConfig::default() }];
    let registry = ClientRegistry::new(&clients, None, None).unwrap();
    let (auth, metrics) = (config::Auth::default(), Arc::new(Metrics::new()));
    let issuers = issuers(&metrics);
    Authenticator::new(&clients, &registry, &auth, metrics, None).with_issuers(issuers)
});

/// An issuer whose keys do not come: nothing drives the task that fetches them.
fn issuers(metrics: &Arc<Metrics>) -> Issuers {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = runtime.enter();
    let issuer = config::Issuer {
        name: "i".to_owned(),
        issuer: "https://i.example".to_owned(),
        ..config::Issuer::default()
    };
    let gauges = ConnectionGauges::of(metrics);
    let settings = Config::from_toml("", "config.toml", &Env::default()).unwrap().config;
    let upstream = Upstream::new(&settings.upstream, gauges, metrics.upstream_resent.clone());
    let issuers = Issuers::new(&[issuer], &upstream, metrics, None);
    runtime.shutdown_background();
    issuers
}

/// A request: a line of method and target, lines of headers, a blank line, the body.
fn request(input: &[u8]) -> Option<(Parts, &[u8])> {
    let end = input.windows(2).position(|two| two == b"\n\n").unwrap_or(input.len());
    let (head, body) = (input.get(..end)?, input.get(end + 2..).unwrap_or_default());
    let mut lines = head.split(|byte| *byte == b'\n');
    let (method, target) = std::str::from_utf8(lines.next()?).ok()?.split_once(' ')?;
    let method = Method::from_bytes(method.as_bytes()).ok()?;
    let (mut parts, ()) = Request::builder().method(method).uri(target).body(()).ok()?.into_parts();
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(line.get(..colon)?).ok()?;
        let value = HeaderValue::from_bytes(line.get(colon + 1..)?.trim_ascii()).ok()?;
        parts.headers.append(name, value);
    }
    Some((parts, body))
}

/// The inbound authorization header: an access key id or none, never more than that; and the claim
/// of a signature, read whole or not at all.
pub fn identity(value: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(value) else { return };
    if let Some(claim) = value.to_str().ok().and_then(|text| Authorization::parse(text).ok()) {
        assert!(!claim.access_key_id.is_empty() && !claim.signature.is_empty());
    }
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, value);
    let client = identify(&headers, ([127, 0, 0, 1], 1).into(), &LimitKey::AccessKey, None);
    if let Some(id) = client.access_key_id {
        assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
    }
}

/// Signed requests: one that is taken says what the seeds' signer has signed, in one spelling or another.
pub fn signature(input: &[u8]) {
    let Some((head, body)) = request(input).filter(|(head, body)| authenticate(head, body)) else {
        return;
    };
    let decoded =
        |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let pair = |pair: &str| match pair.split_once('=') {
        Some((name, value)) => (decoded(name), decoded(value)),
        None => (decoded(pair), String::new()),
    };
    let query = head.uri.query().unwrap_or_default().split('&').filter(|it| !it.is_empty());
    let mut query: Vec<_> = query.map(pair).collect();
    query.sort();
    assert_eq!((&head.method, head.uri.path()), (&Method::POST, PATH));
    assert_eq!(query, QUERY.map(|(name, value)| (name.to_owned(), value.to_owned())));
    for (name, wanted) in SIGNED {
        let values = head.headers.get_all(name).iter().map(|value| {
            value.to_str().unwrap().split_ascii_whitespace().collect::<Vec<_>>().join(" ")
        });
        assert_eq!(values.collect::<Vec<_>>().join(","), wanted, "{name}");
    }
    assert_eq!(head.headers[DATE], "20261123T120000Z");
    let is_unsigned = head.headers.get(CONTENT_SHA256).is_some_and(|it| it == UNSIGNED_PAYLOAD);
    assert!(is_unsigned || body == BODY);
}

/// Whether a signed request is taken.
#[allow(dead_code, reason = "for the tests, which know which seeds are")]
pub fn is_taken(input: &[u8]) -> bool {
    request(input).is_some_and(|(head, body)| authenticate(&head, body))
}

/// Whether a request is a client's, by its head and its body.
fn authenticate(head: &Parts, body: &[u8]) -> bool {
    let (authenticator, hash) = (&*AUTHENTICATOR, PayloadHash::of(body));
    match authenticator.authenticate(head, None, SystemTime::UNIX_EPOCH + NOW) {
        Err(error) => {
            assert!(!error.to_string().contains(SECRET));
            false
        }
        Ok(AuthOutcome::Anyone) => unreachable!("only clients may call"),
        Ok(AuthOutcome::Pending(pending)) => {
            authenticator.verify_signature(&pending, &hash).is_ok()
        }
        Ok(AuthOutcome::Client(_, PendingAuth::BodyHash(signed))) => {
            authenticator.verify_body_hash(&signed, &hash).is_ok()
        }
        Ok(AuthOutcome::Client(..)) => true,
    }
}

/// Tokens of issuers, of three lines: header, claims, signature. None is taken without a key.
pub fn token(input: &[u8]) {
    let mut parts = input.splitn(3, |byte| *byte == b'\n');
    let mut part = || URL_SAFE_NO_PAD.encode(parts.next().unwrap_or_default());
    let token = format!("Bearer {}.{}.{}", part(), part(), part());
    let raw = [b"Bearer ", input].concat();
    for value in [token.as_bytes(), &raw] {
        let Ok(value) = HeaderValue::from_bytes(value) else { continue };
        let (mut head, ()) = Request::new(()).into_parts();
        head.headers.insert(AUTHORIZATION, value);
        let now = SystemTime::UNIX_EPOCH + NOW;
        assert!(AUTHENTICATOR.authenticate(&head, None, now).is_err());
    }
}

/// The key sets of issuers: refused with a reason, or read as keys of which each is public and is found for
/// algorithms of its own kind alone.
pub fn key_set(document: &[u8]) {
    let keys = match KeySet::read(document) {
        Ok(keys) => keys,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let text = String::from_utf8_lossy(document);
    // The names in it, of keys and of others, and none.
    let ids = text.split('"').take(64).map(Some).chain([None]);
    for id in ids {
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            assert!(keys.find(id, algorithm).is_none(), "{id:?}");
        }
        for algorithm in [
            Algorithm::RS256,
            Algorithm::PS512,
            Algorithm::ES256,
            Algorithm::ES384,
            Algorithm::EdDSA,
        ] {
            if let Some(key) = keys.find(id, algorithm) {
                assert_eq!(key.family(), algorithm.family());
            }
        }
    }
}

/// The signed frames of a bidirectional stream: whatever their time, none is taken without its signature.
pub fn signed_event(input: &[u8]) {
    let Some((seconds, rest)) = input.split_first_chunk() else { return };
    let Some((nanos, rest)) = rest.split_first_chunk() else { return };
    let (signature, payload) = rest.split_at(rest.len().min(32));
    let nanos = u32::from_be_bytes(*nanos) % 1_000_000_000;
    let time = DateTime::from_secs_and_nanos(i64::from_be_bytes(*seconds), nanos);
    let frame = Message::new(Bytes::copy_from_slice(payload))
        .add_header(Header::new(":date", EventValue::Timestamp(time)))
        .add_header(Header::new(
            CHUNK_SIGNATURE,
            EventValue::ByteArray(Bytes::copy_from_slice(signature)),
        ));
    let mut chain =
        EventChain::new(|scope: &Scope<'_>| SigningKey::derive(SECRET, scope), "us-east-1", "00");
    assert!(chain.verify(&frame).is_err());
}

/// Certificates of clients: each name of one has a form that no other kind of name has.
pub fn certificate(der: &[u8]) {
    let Ok(certificate) = ClientCertificate::read(der) else { return };
    let subject = &certificate.subject;
    let first = subject.find(['=', ':']).and_then(|at| subject.as_bytes().get(at));
    assert!(subject.is_empty() || first == Some(&b'='), "{subject}");
    assert!(certificate.common_name.iter().all(|name| name.starts_with("CN:")));
    let kinds = ["DNS:", "URI:", "IP:", "email:"];
    let is_of_a_kind = |name: &String| kinds.iter().any(|kind| name.starts_with(kind));
    assert!(certificate.names.iter().all(is_of_a_kind), "{:?}", certificate.names);
    certificate.label();
}

/// Ids of stored responses: only what was sealed is opened, by its owner alone.
pub fn response_id(text: &str) {
    static IDS: LazyLock<ResponseIds> = LazyLock::new(|| ResponseIds::with_secret(&[7; 32]));
    let (place, owner) = (Place::of("t", "us-east-1", Endpoint::Mantle), Owner::nobody());
    if let Ok(opened) = IDS.open(text, owner, Some) {
        assert_eq!(IDS.seal(opened.place, owner, &opened.id).as_deref(), Ok(text));
    }
    let Ok(sealed) = IDS.seal(place, owner, text) else { return };
    let opened = IDS.open(&sealed, owner, Some).unwrap();
    assert_eq!((opened.place, opened.id.as_str()), (place, text));
    let unknown = IDS.open(&sealed, owner, |_| None::<Place>);
    assert_eq!(unknown, Err(ResponseIdError::UnknownPlace));
}

/// Heads of requests: what is read of them is written so that it reads the same, and nothing of a list of flags
/// is lost.
pub fn request_head(input: &[u8]) {
    static PATHS: LazyLock<ApiPaths> = LazyLock::new(|| {
        ApiPaths::new(&Config::from_toml("", "config.toml", &Env::default()).unwrap().config.apis)
    });
    let Some((head, body)) = request(input) else { return };
    PATHS.dialect(&head);
    PATHS.parse(&head);
    let is_own = origin::check(&head, &[]).is_ok();
    assert!(!is_own || origin::authority(&head).is_ok());
    let headers = &head.headers;
    if let Some(parent) = TraceParent::from_headers(headers) {
        let again = HeaderMap::from_iter([(TRACEPARENT, parent.to_header())]);
        assert_eq!(TraceParent::from_headers(&again), Some(parent));
    }
    let table: BetaTable = [("a".to_owned(), Some("b".to_owned())), ("c".to_owned(), None)].into();
    let values: Vec<_> = headers.get_all(betas::ANTHROPIC_BETA).iter().collect();
    let filtered = betas::filter(values.iter().copied(), &table);
    let flags = values.iter().filter_map(|it| it.to_str().ok()).flat_map(|it| it.split(','));
    for flag in flags.map(str::trim).filter(|flag| !flag.is_empty()) {
        let (list, name) = match flag {
            "a" => (&filtered.kept, "b"),
            other => (&filtered.dropped, other),
        };
        assert!(list.iter().any(|it| it == name), "{flag}");
    }
    filtered.header();
    ServiceTier::in_headers(headers);
    Extras::of(Operation::Converse, headers, body);
    if let Some(date) = headers.get(DATE).and_then(|it| it.to_str().ok()) {
        parse_amz_date(date);
    }
}

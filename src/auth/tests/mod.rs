//! Signatures that the AWS library makes, and what is said of those that are not right.

mod certificates;
mod events;
mod random;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings, sign,
};
use aws_sigv4::sign::v4::SigningParams;
use http::{HeaderName, HeaderValue, Request, request};

use super::{AuthError, AuthOutcome, Authenticator, Credential, PendingAuth, SignatureError};
use crate::bedrock::ErrorKind;
use crate::bedrock::sigv4::{PayloadHash, STREAMING_EVENTS};
use crate::config::{self, KeyPair};
use crate::limits::ClientRegistry;
use crate::telemetry::Metrics;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const ID: &str = "SLUICETESTKEY234";
const SECRET: &str = "a-secret-of-team-a/with+signs+in+it";
const HOST: &str = "gateway.example:8080";

/// `20261123T120000Z`.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_435_200)
}

pub(in crate::auth) fn auth() -> config::Auth {
    config::Auth {
        max_clock_skew: Duration::from_secs(300),
        replay_protection: false,
        max_replay_signatures: 100,
    }
}

/// A client with a key pair.
fn team_a(pair: config::KeyPair) -> config::ClientConfig {
    config::ClientConfig {
        name: "team-a".to_owned(),
        keys: vec![pair],
        ..config::ClientConfig::default()
    }
}

fn authenticator(auth: &config::Auth, expires: Option<SystemTime>) -> Authenticator {
    let pair = KeyPair { access_key_id: ID.to_owned(), secret_access_key: SECRET.into(), expires };
    authenticator_of(&[team_a(pair)], auth, None)
}

/// The authenticator of these clients, which takes over the state of `before`.
pub(in crate::auth) fn authenticator_of(
    clients: &[config::ClientConfig],
    auth: &config::Auth,
    before: Option<&Authenticator>,
) -> Authenticator {
    let registry = ClientRegistry::new(clients, None, None).unwrap();
    Authenticator::new(clients, &registry, auth, Arc::new(Metrics::new()), before)
}

/// What a request declares about its payload.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Declared {
    Nothing,
    Hash,
    Unsigned,
    Events,
}

#[derive(Clone, Debug)]
struct Plan {
    method: &'static str,
    path: String,
    query: Option<String>,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    declared: Declared,
    is_encoded_twice: bool,
    session_token: Option<String>,
    region: &'static str,
    service: &'static str,
    /// Whether the URI has the host, as in HTTP/2.
    by_authority: bool,
}

impl Plan {
    fn simple() -> Plan {
        Plan {
            method: "POST",
            path: "/model/anthropic.claude-3-haiku-20240307-v1%3A0/invoke".to_owned(),
            query: None,
            headers: vec![("content-type", "application/json".to_owned())],
            body: b"{}".to_vec(),
            declared: Declared::Nothing,
            is_encoded_twice: true,
            session_token: None,
            region: "us-east-1",
            service: "bedrock",
            by_authority: false,
        }
    }

    fn signed(&self, id: &str, secret: &str, at: SystemTime) -> Signed {
        let target = match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        };
        let uri = if self.by_authority { format!("http://{HOST}{target}") } else { target.clone() };
        let (mut head, ()) =
            Request::builder().method(self.method).uri(uri).body(()).unwrap().into_parts();
        if !self.by_authority {
            head.headers.insert("host", HeaderValue::from_static(HOST));
        }
        for (name, value) in &self.headers {
            let name = HeaderName::from_static(name);
            head.headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        let token = self.session_token.clone();
        let identity = Credentials::new(id, secret, token, None, "test").into();
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = match self.is_encoded_twice {
            true => PercentEncodingMode::Double,
            false => PercentEncodingMode::Single,
        };
        settings.payload_checksum_kind = match self.declared {
            Declared::Nothing => PayloadChecksumKind::NoHeader,
            Declared::Hash | Declared::Unsigned | Declared::Events => {
                PayloadChecksumKind::XAmzSha256
            }
        };
        let params = SigningParams::builder()
            .identity(&identity)
            .region(self.region)
            .name(self.service)
            .time(at)
            .settings(settings)
            .build()
            .unwrap()
            .into();
        let body = match self.declared {
            Declared::Unsigned => SignableBody::UnsignedPayload,
            Declared::Events => SignableBody::Precomputed(STREAMING_EVENTS.to_owned()),
            _ => SignableBody::Bytes(&self.body),
        };
        let listed =
            head.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap()));
        let url = format!("http://{HOST}{target}");
        let signable = SignableRequest::new(self.method, url, listed, body).unwrap();
        let (instructions, _) = sign(signable, &params).unwrap().into_parts();
        let (added, _) = instructions.into_parts();
        for header in added {
            let value = HeaderValue::from_str(header.value()).unwrap();
            head.headers.insert(HeaderName::from_static(header.name()), value);
        }
        Signed { head, body: self.body.clone() }
    }
}

#[derive(Clone, Debug)]
struct Signed {
    head: request::Parts,
    body: Vec<u8>,
}

impl Signed {
    /// Authenticates the request, with its body if that is required.
    fn authenticate_with(
        &self,
        authenticator: &Authenticator,
        at: SystemTime,
    ) -> Result<Credential, AuthError> {
        let hash = PayloadHash::of(&self.body);
        let known = match authenticator.authenticate(&self.head, None, at)? {
            AuthOutcome::Anyone => panic!("there are clients"),
            AuthOutcome::Client(known, PendingAuth::Nothing) => known,
            AuthOutcome::Client(known, PendingAuth::BodyHash(signed)) => {
                authenticator.verify_body_hash(&signed, &hash)?;
                known
            }
            AuthOutcome::Pending(pending) => authenticator.verify_signature(&pending, &hash)?,
            other => panic!("{other:?}"),
        };
        assert_eq!(&*known.client.name, "team-a");
        Ok(known.credential)
    }

    fn set(&mut self, name: &'static str, value: &str) {
        self.head.headers.insert(name, HeaderValue::from_str(value).unwrap());
    }

    fn authorization(&self) -> String {
        self.head.headers["authorization"].to_str().unwrap().to_owned()
    }
}

fn authenticate_plan(plan: &Plan) -> Result<Credential, AuthError> {
    plan.signed(ID, SECRET, now()).authenticate_with(&authenticator(&auth(), None), now())
}

#[test]
fn a_signature_that_does_not_need_the_body_is_verified_by_the_head() {
    let authenticator = authenticator(&auth(), None);
    let authenticate = |signed: &Signed| authenticator.authenticate(&signed.head, None, now());
    let simple = Plan::simple();
    assert!(matches!(authenticate(&simple.signed(ID, SECRET, now())), Ok(AuthOutcome::Pending(_))));
    for declared in [Declared::Hash, Declared::Unsigned] {
        let plan = Plan { declared, ..Plan::simple() };
        assert!(matches!(
            authenticate(&plan.signed(ID, SECRET, now())),
            Ok(AuthOutcome::Client(..))
        ));
        let wrong = authenticate(&plan.signed(ID, "another-secret-0123456", now()));
        assert_eq!(wrong.unwrap_err(), SignatureError::Mismatch.into());
    }
    let stranger = authenticate(&simple.signed("SLUICESTRANGER", SECRET, now())).unwrap_err();
    assert_eq!(stranger.kind(), ErrorKind::UnrecognizedClient);
    let late =
        authenticate(&simple.signed(ID, SECRET, now() - Duration::from_secs(301))).unwrap_err();
    assert_eq!(
        late.to_string(),
        "Signature expired: 20261123T115459Z is now earlier than 20261123T115500Z \
         (20261123T120000Z - 5 min.)"
    );
    let early =
        authenticate(&simple.signed(ID, SECRET, now() + Duration::from_secs(301))).unwrap_err();
    assert_eq!(
        early.to_string(),
        "Signature not yet current: 20261123T120501Z is still later than 20261123T120500Z \
         (20261123T120000Z + 5 min.)"
    );
}

#[test]
fn a_signature_may_be_for_the_service_of_the_sdks_of_other_apis() {
    let authenticator = authenticator(&auth(), None);
    for declared in [Declared::Nothing, Declared::Hash, Declared::Unsigned] {
        for service in ["bedrock", "bedrock-mantle", "bedrock"] {
            let plan = Plan { declared, service, ..Plan::simple() };
            let known = plan.signed(ID, SECRET, now()).authenticate_with(&authenticator, now());
            assert_eq!(known, Ok(Credential::KeyPair), "{service}");
            // A signature of one service is none of the other.
            let mut signed = plan.signed(ID, SECRET, now());
            let other = if service == "bedrock" { "bedrock-mantle" } else { "bedrock" };
            let (from, to) = (format!("/{service}/"), format!("/{other}/"));
            signed.set("authorization", &signed.authorization().replace(&from, &to));
            let refused = signed.authenticate_with(&authenticator, now());
            assert_eq!(refused, Err(SignatureError::Mismatch.into()), "{service}");
        }
    }
    for (service, path) in
        [("s3", "/model/m/invoke"), ("bedrock-mantle", "/model/m/invoke-with-bidirectional-stream")]
    {
        let path = path.to_owned();
        let plan = Plan { service, path, declared: Declared::Hash, ..Plan::simple() };
        let refused = plan.signed(ID, SECRET, now()).authenticate_with(&authenticator, now());
        assert_eq!(refused, Err(SignatureError::ScopeService.into()), "{service}");
    }
}

#[test]
fn each_fault_of_a_signature_has_its_own_exception() {
    let authenticator = authenticator(&auth(), None);
    let refused = |change: &dyn Fn(&mut Signed)| {
        let mut signed = Plan::simple().signed(ID, SECRET, now());
        change(&mut signed);
        let refused = authenticator.authenticate(&signed.head, None, now()).unwrap_err();
        (refused.kind(), refused.to_string())
    };
    let rewritten = |from: &'static str, to: &'static str| {
        refused(&move |signed| {
            let changed = signed.authorization().replace(from, to);
            assert_ne!(changed, signed.authorization());
            signed.set("authorization", &changed);
        })
    };
    let incomplete = ErrorKind::IncompleteSignature;
    let invalid = ErrorKind::InvalidSignature;
    let cases = [
        (
            refused(&|it| drop(it.head.headers.remove("authorization"))),
            ErrorKind::MissingAuthenticationToken,
            "Missing Authentication Token",
        ),
        (refused(&|it| drop(it.head.headers.remove("x-amz-date"))), incomplete, "X-Amz-Date"),
        (refused(&|it| it.set("x-amz-date", "2026-11-23")), incomplete, "ISO-8601"),
        (
            refused(&|it| {
                it.head.headers.append("authorization", HeaderValue::from_static("Bearer x"));
            }),
            incomplete,
            "more than one",
        ),
        (
            refused(&|it| {
                it.head.headers.remove("authorization");
                it.head.uri = "/model/m/invoke?X-Amz-Signature=00".parse().unwrap();
            }),
            incomplete,
            "no signature in the query",
        ),
        (
            refused(&|it| {
                it.head.uri = "/model/m/invoke?X-Amz-Signature=00".parse().unwrap();
            }),
            incomplete,
            "no signature in the query",
        ),
        (refused(&|it| it.set("authorization", "Basic dGVhbTphYmM=")), incomplete, "algorithm"),
        (refused(&|it| it.set("x-amz-security-token", "t")), invalid, "'x-amz-security-token'"),
        (
            refused(&|it| it.set("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")),
            invalid,
            "x-amz-content-sha256",
        ),
        (
            refused(&|it| it.set("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-EVENTS")),
            invalid,
            "x-amz-content-sha256",
        ),
        (rewritten("Signature=", "Signature=,X="), incomplete, "parameter"),
        (rewritten("/bedrock/", "/s3/"), invalid, "correct service: 'bedrock'"),
        (rewritten("aws4_request", "aws5_request"), invalid, "terminator"),
        (rewritten("/20261123/", "/20261122/"), invalid, "Date in Credential scope"),
        (rewritten(";host;", ";"), invalid, "'host' must be a 'SignedHeader'"),
        (rewritten("SignedHeaders=", "SignedHeaders=a-lost;"), invalid, "'a-lost'"),
        (rewritten("SignedHeaders=", "SignedHeaders=host;"), incomplete, "ascending order"),
        (rewritten(";host;", ";Host;"), incomplete, "lower case"),
        (
            refused(&|it| {
                let path = format!("/model/m/invoke?{}", "a&".repeat(200));
                it.head.uri = path.parse().unwrap();
            }),
            invalid,
            "parameters",
        ),
    ];
    for ((kind, message), expected, part) in cases {
        assert_eq!(kind, expected, "{message}");
        assert!(message.contains(part), "{message}: {part}");
    }
}

#[test]
fn messages_and_debug_output_contain_neither_secret_nor_signature() {
    let authenticator = authenticator(&auth(), None);
    let signed = Plan::simple().signed(ID, SECRET, now());
    let mut other = signed.clone();
    other.body.push(b' ');
    let refused = other.authenticate_with(&authenticator, now()).unwrap_err();
    assert!(refused.to_string().starts_with("The request signature we calculated"), "{refused}");
    assert!(!refused.to_string().contains("Canonical String"));
    assert_eq!(signed.authenticate_with(&authenticator, now()), Ok(Credential::KeyPair));
    let shown = format!("{authenticator:?} {refused:?}");
    assert!(!shown.contains(SECRET), "{shown}");
}

#[test]
fn a_signed_session_token_is_ignored() {
    let plan = Plan { session_token: Some("left-over".to_owned()), ..Plan::simple() };
    assert_eq!(authenticate_plan(&plan), Ok(Credential::KeyPair));
}

#[test]
fn the_head_of_a_bidirectional_stream_is_verified_before_its_events() {
    let plan = |declared, operation: &str| Plan {
        path: format!("/model/amazon.nova-sonic-v1%3A0/{operation}"),
        declared,
        body: vec![],
        ..Plan::simple()
    };
    let authenticator = authenticator(&auth(), None);
    let authenticate = |plan: Plan, secret: &str| {
        authenticator.authenticate(&plan.signed(ID, secret, now()).head, None, now())
    };
    // SDKs declare a stream of events, the hash of an empty payload, or nothing.
    for declared in [Declared::Events, Declared::Hash, Declared::Nothing] {
        let right = authenticate(plan(declared, "invoke-with-bidirectional-stream"), SECRET);
        assert!(matches!(right, Ok(AuthOutcome::Client(_, PendingAuth::Events(_)))), "{right:?}");
        let wrong = authenticate(
            plan(declared, "invoke-with-bidirectional-stream"),
            "another-secret-0123456",
        );
        assert_eq!(wrong.unwrap_err(), SignatureError::Mismatch.into());
    }
    let unsigned =
        authenticate(plan(Declared::Unsigned, "invoke-with-bidirectional-stream"), SECRET);
    assert!(matches!(unsigned, Ok(AuthOutcome::Client(_, PendingAuth::Nothing))), "{unsigned:?}");
    let whole =
        Plan { body: b"{}".to_vec(), ..plan(Declared::Hash, "invoke-with-bidirectional-stream") };
    assert_eq!(authenticate(whole, SECRET).unwrap_err(), SignatureError::EventsPayload.into());
    let elsewhere = authenticate(plan(Declared::Events, "invoke"), SECRET);
    assert_eq!(elsewhere.unwrap_err(), SignatureError::Payload.into());
}

#[test]
fn an_expired_key_pair_has_its_own_error() {
    let signed = Plan::simple().signed(ID, SECRET, now());
    let expired =
        signed.authenticate_with(&authenticator(&auth(), Some(now())), now()).unwrap_err();
    assert_eq!(expired.kind(), ErrorKind::ExpiredToken);
    assert!(expired.to_string().contains("has expired"), "{expired}");
    let later = Some(now() + Duration::from_secs(1));
    assert_eq!(
        signed.authenticate_with(&authenticator(&auth(), later), now()),
        Ok(Credential::KeyPair)
    );
}

#[test]
fn with_replay_protection_a_signature_is_accepted_once_even_after_a_reload() {
    let auth = config::Auth { replay_protection: true, ..auth() };
    for declared in [Declared::Nothing, Declared::Hash] {
        let authenticator = authenticator(&auth, None);
        let signed = Plan { declared, ..Plan::simple() }.signed(ID, SECRET, now());
        // A refused signature does not count as used.
        let mut spoilt = signed.clone();
        spoilt.set("content-type", "text/plain");
        assert_eq!(
            spoilt.authenticate_with(&authenticator, now()),
            Err(SignatureError::Mismatch.into())
        );
        assert_eq!(signed.authenticate_with(&authenticator, now()), Ok(Credential::KeyPair));
        assert_eq!(
            signed.authenticate_with(&authenticator, now()),
            Err(SignatureError::Replayed.into())
        );
        let pair = KeyPair {
            access_key_id: ID.to_owned(),
            secret_access_key: SECRET.into(),
            expires: None,
        };
        let next = authenticator_of(&[team_a(pair)], &auth, Some(&authenticator));
        assert_eq!(signed.authenticate_with(&next, now()), Err(SignatureError::Replayed.into()));
    }
}

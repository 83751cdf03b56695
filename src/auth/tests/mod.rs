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

fn keys(auth: &config::Auth, expires: Option<SystemTime>) -> Authenticator {
    let pair = KeyPair { access_key_id: ID.to_owned(), secret_access_key: SECRET.into(), expires };
    keys_of(&[team_a(pair)], auth, None)
}

/// The keys of these clients, after others that were there `before`.
pub(in crate::auth) fn keys_of(
    clients: &[config::ClientConfig],
    auth: &config::Auth,
    before: Option<&Authenticator>,
) -> Authenticator {
    let members = ClientRegistry::new(clients, None, None).unwrap();
    Authenticator::new(clients, &members, auth, Arc::new(Metrics::new()), before)
}

/// What a request says of its payload.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Said {
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
    said: Said,
    is_encoded_twice: bool,
    session_token: Option<String>,
    region: &'static str,
    /// Whether the host stands in the URI, as over HTTP/2.
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
            said: Said::Nothing,
            is_encoded_twice: true,
            session_token: None,
            region: "us-east-1",
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
        settings.payload_checksum_kind = match self.said {
            Said::Nothing => PayloadChecksumKind::NoHeader,
            Said::Hash | Said::Unsigned | Said::Events => PayloadChecksumKind::XAmzSha256,
        };
        let params = SigningParams::builder()
            .identity(&identity)
            .region(self.region)
            .name("bedrock")
            .time(at)
            .settings(settings)
            .build()
            .unwrap()
            .into();
        let body = match self.said {
            Said::Unsigned => SignableBody::UnsignedPayload,
            Said::Events => SignableBody::Precomputed(STREAMING_EVENTS.to_owned()),
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
    /// What the gateway makes of it, its body read if need be.
    fn judged(&self, keys: &Authenticator, at: SystemTime) -> Result<Credential, AuthError> {
        let hash = PayloadHash::of(&self.body);
        let known = match keys.authenticate(&self.head, None, at)? {
            AuthOutcome::Anyone => panic!("there are clients"),
            AuthOutcome::Client(known, PendingAuth::Nothing) => known,
            AuthOutcome::Client(known, PendingAuth::BodyHash(signed)) => {
                keys.verify_body_hash(&signed, &hash)?;
                known
            }
            AuthOutcome::Pending(pending) => keys.verify_signature(&pending, &hash)?,
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

fn judged(plan: &Plan) -> Result<Credential, AuthError> {
    plan.signed(ID, SECRET, now()).judged(&keys(&auth(), None), now())
}

#[test]
fn what_can_be_told_from_the_head_is_told_without_the_body() {
    let keys = keys(&auth(), None);
    let look = |signed: &Signed| keys.authenticate(&signed.head, None, now());
    let simple = Plan::simple();
    assert!(matches!(look(&simple.signed(ID, SECRET, now())), Ok(AuthOutcome::Pending(_))));
    for said in [Said::Hash, Said::Unsigned] {
        let plan = Plan { said, ..Plan::simple() };
        assert!(matches!(look(&plan.signed(ID, SECRET, now())), Ok(AuthOutcome::Client(..))));
        let wrong = look(&plan.signed(ID, "another-secret-0123456", now()));
        assert_eq!(wrong.unwrap_err(), SignatureError::Mismatch.into());
    }
    let stranger = look(&simple.signed("SLUICESTRANGER", SECRET, now())).unwrap_err();
    assert_eq!(stranger.kind(), ErrorKind::UnrecognizedClient);
    let late = look(&simple.signed(ID, SECRET, now() - Duration::from_secs(301))).unwrap_err();
    assert_eq!(
        late.to_string(),
        "Signature expired: 20261123T115459Z is now earlier than 20261123T115500Z \
         (20261123T120000Z - 5 min.)"
    );
    let early = look(&simple.signed(ID, SECRET, now() + Duration::from_secs(301))).unwrap_err();
    assert_eq!(
        early.to_string(),
        "Signature not yet current: 20261123T120501Z is still later than 20261123T120500Z \
         (20261123T120000Z + 5 min.)"
    );
}

#[test]
fn each_lack_has_its_own_exception() {
    let keys = keys(&auth(), None);
    let refused = |change: &dyn Fn(&mut Signed)| {
        let mut signed = Plan::simple().signed(ID, SECRET, now());
        change(&mut signed);
        let refused = keys.authenticate(&signed.head, None, now()).unwrap_err();
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
fn messages_and_debug_hold_neither_secret_nor_signature() {
    let keys = keys(&auth(), None);
    let signed = Plan::simple().signed(ID, SECRET, now());
    let mut other = signed.clone();
    other.body.push(b' ');
    let refused = other.judged(&keys, now()).unwrap_err();
    assert!(refused.to_string().starts_with("The request signature we calculated"), "{refused}");
    assert!(!refused.to_string().contains("Canonical String"));
    assert_eq!(signed.judged(&keys, now()), Ok(Credential::KeyPair));
    let shown = format!("{keys:?} {refused:?}");
    assert!(!shown.contains(SECRET), "{shown}");
}

#[test]
fn a_session_token_that_is_signed_means_nothing() {
    let plan = Plan { session_token: Some("left-over".to_owned()), ..Plan::simple() };
    assert_eq!(judged(&plan), Ok(Credential::KeyPair));
}

#[test]
fn the_head_of_a_bidirectional_stream_is_judged_at_once_and_its_events_are_to_follow() {
    let plan = |said, operation: &str| Plan {
        path: format!("/model/amazon.nova-sonic-v1%3A0/{operation}"),
        said,
        body: vec![],
        ..Plan::simple()
    };
    let keys = keys(&auth(), None);
    let look = |plan: Plan, secret: &str| {
        keys.authenticate(&plan.signed(ID, secret, now()).head, None, now())
    };
    // What SDKs say of the payload, or that they sign an empty one and say nothing.
    for said in [Said::Events, Said::Hash, Said::Nothing] {
        let right = look(plan(said, "invoke-with-bidirectional-stream"), SECRET);
        assert!(matches!(right, Ok(AuthOutcome::Client(_, PendingAuth::Events(_)))), "{right:?}");
        let wrong = look(plan(said, "invoke-with-bidirectional-stream"), "another-secret-0123456");
        assert_eq!(wrong.unwrap_err(), SignatureError::Mismatch.into());
    }
    let unsigned = look(plan(Said::Unsigned, "invoke-with-bidirectional-stream"), SECRET);
    assert!(matches!(unsigned, Ok(AuthOutcome::Client(_, PendingAuth::Nothing))), "{unsigned:?}");
    let whole =
        Plan { body: b"{}".to_vec(), ..plan(Said::Hash, "invoke-with-bidirectional-stream") };
    assert_eq!(look(whole, SECRET).unwrap_err(), SignatureError::EventsPayload.into());
    let elsewhere = look(plan(Said::Events, "invoke"), SECRET);
    assert_eq!(elsewhere.unwrap_err(), SignatureError::Payload.into());
}

#[test]
fn an_expired_pair_says_so() {
    let signed = Plan::simple().signed(ID, SECRET, now());
    let expired = signed.judged(&keys(&auth(), Some(now())), now()).unwrap_err();
    assert_eq!(expired.kind(), ErrorKind::ExpiredToken);
    assert!(expired.to_string().contains("has expired"), "{expired}");
    let later = Some(now() + Duration::from_secs(1));
    assert_eq!(signed.judged(&keys(&auth(), later), now()), Ok(Credential::KeyPair));
}

#[test]
fn with_replay_protection_a_signature_is_taken_once_also_by_the_next_config() {
    let auth = config::Auth { replay_protection: true, ..auth() };
    for said in [Said::Nothing, Said::Hash] {
        let keys = keys(&auth, None);
        let signed = Plan { said, ..Plan::simple() }.signed(ID, SECRET, now());
        // What was refused was not taken.
        let mut spoilt = signed.clone();
        spoilt.set("content-type", "text/plain");
        assert_eq!(spoilt.judged(&keys, now()), Err(SignatureError::Mismatch.into()));
        assert_eq!(signed.judged(&keys, now()), Ok(Credential::KeyPair));
        assert_eq!(signed.judged(&keys, now()), Err(SignatureError::Replayed.into()));
        let pair = KeyPair {
            access_key_id: ID.to_owned(),
            secret_access_key: SECRET.into(),
            expires: None,
        };
        let next = keys_of(&[team_a(pair)], &auth, Some(&keys));
        assert_eq!(signed.judged(&next, now()), Err(SignatureError::Replayed.into()));
    }
}

//! Bearer keys, in whichever header they are.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::{AUTHORIZATION, HOST};
use http::{HeaderValue, Request};

use super::{auth, authenticator_of};
use crate::auth::origin::OriginError;
use crate::auth::{AuthError, AuthOutcome, Authenticator, Credential, PendingAuth};
use crate::bedrock::{Dialect, ErrorKind};
use crate::config::{self, BearerKey};
use crate::limits::ClientRegistry;

const NOW: SystemTime = SystemTime::UNIX_EPOCH;

fn authenticator(tokens: &[(&str, &str, Option<SystemTime>)]) -> Authenticator {
    let clients = tokens.iter().map(|(name, key, expires)| config::ClientConfig {
        name: (*name).to_owned(),
        bearer_tokens: vec![config::BearerToken { key: BearerKey::of(key), expires: *expires }],
        ..config::ClientConfig::default()
    });
    authenticator_of(&clients.collect::<Vec<_>>(), &auth(), None)
}

fn authenticate(
    authenticator: &Authenticator,
    authorization: Option<&str>,
) -> Result<Option<String>, AuthError> {
    let (mut head, ()) = Request::new(()).into_parts();
    head.headers.insert(HOST, HeaderValue::from_static("localhost"));
    if let Some(text) = authorization {
        head.headers.insert(AUTHORIZATION, HeaderValue::from_str(text).unwrap());
    }
    let name = authenticator
        .authenticate_unsigned(&head, None, NOW)
        .map(|it| it.map(|it| it.name.to_string()));
    match (&name, authenticator.authenticate(&head, None, NOW)) {
        (Ok(Some(name)), Ok(AuthOutcome::Client(client, PendingAuth::Nothing))) => {
            assert_eq!(
                (name.as_str(), client.credential),
                (&*client.client.name, Credential::BearerKey)
            );
        }
        (Ok(None), Ok(AuthOutcome::Anyone)) => {}
        (Err(AuthError::BearerRequired), Err(AuthError::Signature(_))) => {}
        (Err(unsigned), Err(signed)) => assert_eq!(*unsigned, signed),
        (unsigned, signed) => panic!("{unsigned:?} and {signed:?}"),
    }
    name
}

#[test]
fn a_bearer_key_identifies_its_client() {
    let authenticator = authenticator(&[("team-a", "a-key-of-team-a-alone", None)]);
    let authenticate = |text| authenticate(&authenticator, text);
    let client = Ok(Some("team-a".to_owned()));
    assert_eq!(authenticate(Some("Bearer a-key-of-team-a-alone")), client);
    assert_eq!(authenticate(Some("bearer  a-key-of-team-a-alone ")), client);
    assert_eq!(authenticate(Some("Bearer a-key-of-team-b")), Err(AuthError::UnknownKey));
    assert_eq!(authenticate(Some("Bearer ")), Err(AuthError::UnknownKey));
    assert_eq!(
        authenticate(Some("AWS4-HMAC-SHA256 Credential=A/b")),
        Err(AuthError::BearerRequired)
    );
    assert_eq!(authenticate(None), Err(AuthError::Missing));
}

#[test]
fn each_bearer_key_of_a_client_is_valid_until_its_own_expiry() {
    let second = Duration::from_secs(1);
    let authenticator = authenticator(&[
        ("team-a", "the-old-key-of-team-a", Some(NOW)),
        ("team-a", "the-key-of-team-a", Some(NOW + second)),
        ("team-a", "the-new-key-of-team-a", None),
    ]);
    let client = Ok(Some("team-a".to_owned()));
    assert_eq!(
        authenticate(&authenticator, Some("Bearer the-old-key-of-team-a")),
        Err(AuthError::ExpiredKey("team-a".into()))
    );
    assert_eq!(authenticate(&authenticator, Some("Bearer the-key-of-team-a")), client);
    assert_eq!(authenticate(&authenticator, Some("Bearer the-new-key-of-team-a")), client);
}

#[test]
fn a_bearer_key_may_be_in_the_headers_of_other_apis() {
    let authenticator = authenticator(&[("team-a", "a-key-of-team-a-alone", None)]);
    let client = |headers: &[(&'static str, &'static str)]| {
        let (mut head, ()) = Request::new(()).into_parts();
        for (name, value) in headers {
            head.headers.insert(*name, HeaderValue::from_static(value));
        }
        let unsigned = authenticator.authenticate_unsigned(&head, None, NOW);
        match authenticator.authenticate(&head, None, NOW) {
            Ok(AuthOutcome::Client(known, PendingAuth::Nothing)) => {
                assert!(Arc::ptr_eq(&known.client, &unsigned.unwrap().unwrap()));
                Ok(known.credential)
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => {
                assert_eq!(unsigned.unwrap_err(), error);
                Err(error)
            }
        }
    };
    let (key, other) = ("a-key-of-team-a-alone", "a-key-of-team-b-alone");
    for name in ["x-api-key", "api-key"] {
        assert_eq!(client(&[(name, key)]), Ok(Credential::BearerKey));
        assert_eq!(client(&[(name, other)]), Err(AuthError::UnknownKey));
        assert_eq!(client(&[(name, "")]), Err(AuthError::Missing));
    }
    let bearer = ("authorization", "Bearer a-key-of-team-a-alone");
    assert_eq!(client(&[bearer, ("x-api-key", other)]), Ok(Credential::BearerKey));
    let unknown = ("authorization", "Bearer a-key-of-team-b-alone");
    assert_eq!(client(&[unknown, ("x-api-key", key)]), Err(AuthError::UnknownKey));
}

#[test]
fn a_wrong_key_is_a_caller_who_is_not_known_where_sdks_expect_that() {
    let wrong = AuthError::UnknownKey;
    assert_eq!(wrong.kind_in(Dialect::Bedrock), ErrorKind::AccessDenied);
    for dialect in [Dialect::OpenAi, Dialect::Anthropic] {
        assert_eq!(crate::bedrock::dialect::status(dialect, wrong.kind_in(dialect)), 401);
        let of_page = AuthError::Origin(OriginError::Page);
        assert_eq!(of_page.kind_in(dialect), of_page.kind());
    }
}

#[test]
fn without_clients_anyone_may_call() {
    assert_eq!(authenticate(&authenticator(&[]), None), Ok(None));
}

#[test]
fn a_waiting_request_of_a_removed_client_is_refused() {
    let without_clients = authenticator(&[]);
    let authenticator = authenticator(&[("team-a", "a-key-of-team-a-alone", None)]);
    let client = config::ClientConfig { name: "team-a".to_owned(), ..Default::default() };
    let registry = ClientRegistry::new(&[client], None, None).unwrap();
    assert_eq!(authenticator.check_active(registry.get("team-a")), Ok(()));
    assert_eq!(authenticator.check_active(registry.get("team-b")), Err(AuthError::ClientRemoved));
    assert_eq!(without_clients.check_active(None), Ok(()));
}

//! Tokens of every kind that is accepted, and the errors of those that are not valid.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{EncodingKey, Header, encode};
use proptest::prelude::*;
use serde_json::json;

use super::key_set::{KeySet, KeySetError, MAX_KEYS};
use super::*;
use crate::config::{Env, IssuerKeys};

const ISSUER: &str = "https://login.example.com";
const NOW: u64 = 1_795_435_200;

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

/// A key of the issuer's.
struct Signer {
    id: &'static str,
    algorithm: Algorithm,
    key: EncodingKey,
}

impl Signer {
    fn new(id: &'static str, algorithm: Algorithm) -> Signer {
        let random = SystemRandom::new();
        let key = match algorithm {
            Algorithm::ES256 => {
                let curve = &ECDSA_P256_SHA256_FIXED_SIGNING;
                EncodingKey::from_ec_der(
                    EcdsaKeyPair::generate_pkcs8(curve, &random).unwrap().as_ref(),
                )
            }
            Algorithm::ES384 => {
                let curve = &ECDSA_P384_SHA384_FIXED_SIGNING;
                EncodingKey::from_ec_der(
                    EcdsaKeyPair::generate_pkcs8(curve, &random).unwrap().as_ref(),
                )
            }
            Algorithm::EdDSA => {
                EncodingKey::from_ed_der(Ed25519KeyPair::generate_pkcs8(&random).unwrap().as_ref())
            }
            _ => {
                let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
                let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
                // What is left behind the head of the outer form is the inner one.
                EncodingKey::from_rsa_der(&der.as_ref()[26..])
            }
        };
        Signer { id, algorithm, key }
    }

    fn jwk(&self) -> Value {
        if self.algorithm == Algorithm::EdDSA {
            let pair = Ed25519KeyPair::from_pkcs8(self.key.as_bytes()).unwrap();
            let x = URL_SAFE_NO_PAD.encode(pair.public_key());
            return json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": self.id });
        }
        let mut jwk = Jwk::from_encoding_key(&self.key, self.algorithm).unwrap();
        jwk.common.key_id = Some(self.id.to_owned());
        serde_json::to_value(jwk).unwrap()
    }

    fn header(&self) -> Header {
        let mut header = Header::new(self.algorithm);
        header.kid = Some(self.id.to_owned());
        header
    }

    fn sign(&self, claims: &Value) -> String {
        encode(&self.header(), claims, &self.key).unwrap()
    }
}

fn claims() -> Value {
    json!({ "iss": ISSUER, "aud": "sluice", "sub": "team-a-app", "exp": NOW + 600 })
}

/// The claims with one that is another, or gone.
fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    match value {
        Value::Null => claims.as_object_mut().unwrap().remove(name),
        value => claims.as_object_mut().unwrap().insert(name.to_owned(), value),
    };
    claims
}

fn config() -> config::Issuer {
    config::Issuer {
        name: "corp".to_owned(),
        issuer: ISSUER.to_owned(),
        audiences: vec!["sluice".to_owned(), "bedrock".to_owned()],
        // Nobody is there.
        keys: IssuerKeys::At("http://127.0.0.1:9/keys".parse().unwrap()),
        claim: "sub".to_owned(),
        algorithms: vec![
            TokenAlgorithm::RS256,
            TokenAlgorithm::PS256,
            TokenAlgorithm::ES256,
            TokenAlgorithm::ES384,
            TokenAlgorithm::EdDSA,
        ],
        leeway: Duration::from_secs(60),
        refresh_interval: Duration::from_secs(900),
        unknown_key_interval: Duration::from_secs(30),
    }
}

fn upstream(metrics: &Metrics) -> Upstream {
    let gauges = crate::upstream::ConnectionGauges::of(metrics);
    let config = config::Config::from_toml("", "config.toml", &Env::default()).unwrap().config;
    Upstream::new(&config.upstream, gauges, metrics.upstream_resent.clone())
}

fn issuers(config: config::Issuer, before: Option<(&Issuers, bool)>) -> Issuers {
    let metrics = Arc::new(Metrics::new());
    Issuers::new(&[config], &upstream(&metrics), &metrics, before)
}

fn has(issuers: &Issuers, keys: &[Value]) {
    let document = json!({ "keys": keys }).to_string();
    let keys = KeySet::read(document.as_bytes()).unwrap();
    issuers.0[0].key_cache.keys.store(Some(Arc::new(keys)));
}

/// The issuer with these keys.
fn issuer_with(config: config::Issuer, keys: &[Value]) -> Issuers {
    let issuers = issuers(config, None);
    has(&issuers, keys);
    issuers
}

fn verified(issuers: &Issuers, token: &str) -> Result<Vec<String>, TokenError> {
    issuers.verify(token, now()).map(|claims| {
        assert_eq!(claims.issuer, "corp");
        claims.values
    })
}

#[tokio::test]
async fn tokens_of_each_algorithm_are_accepted_and_refused_with_any_part_changed() {
    for algorithm in
        [Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA]
    {
        let signer = Signer::new("key-1", algorithm);
        let issuers = issuer_with(config(), &[signer.jwk()]);
        let token = signer.sign(&claims());
        assert_eq!(verified(&issuers, &token), Ok(vec!["team-a-app".to_owned()]), "{algorithm:?}");
        // Each digit of each part but the last digits, of which not all bits count.
        for index in (0..token.len() - 1).step_by(7) {
            let mut other = token.clone().into_bytes();
            other[index] = match other[index] {
                b'.' => continue,
                b'A' => b'B',
                _ => b'A',
            };
            let other = String::from_utf8(other).unwrap();
            assert!(verified(&issuers, &other).is_err(), "{algorithm:?} {index} {other}");
        }
        let of_another = Signer::new("key-1", algorithm).sign(&claims());
        assert_eq!(verified(&issuers, &of_another), Err(TokenError::Signature), "{algorithm:?}");
    }
}

#[tokio::test]
async fn the_required_claims_are_checked() {
    let signer = Signer::new("key-1", Algorithm::ES256);
    let issuers = issuer_with(config(), &[signer.jwk()]);
    for (name, value, expected) in [
        ("aud", json!("bedrock"), None),
        ("aud", json!(["other", "sluice"]), None),
        ("aud", json!("other"), Some(TokenError::Audience)),
        ("aud", json!([]), Some(TokenError::Audience)),
        ("aud", Value::Null, Some(TokenError::Claims)),
        ("iss", json!("https://login.example.com/"), Some(TokenError::NoToken)),
        ("iss", json!([ISSUER]), Some(TokenError::NoToken)),
        ("iss", Value::Null, Some(TokenError::NoToken)),
        // Up to the leeway, and not a second more.
        ("exp", json!(NOW - 59), None),
        ("exp", json!(NOW as f64 - 59.5), None),
        ("exp", json!(NOW - 60), Some(TokenError::Expired)),
        ("exp", json!(0), Some(TokenError::Expired)),
        ("exp", json!(1e300), Some(TokenError::Claims)),
        ("exp", json!(-1), Some(TokenError::Claims)),
        ("exp", json!((NOW + 600).to_string()), Some(TokenError::Claims)),
        ("exp", Value::Null, Some(TokenError::Claims)),
        ("nbf", json!(NOW + 60), None),
        ("nbf", json!(NOW + 61), Some(TokenError::TooEarly)),
        ("nbf", json!("soon"), Some(TokenError::Claims)),
        ("sub", Value::Null, Some(TokenError::Claims)),
        ("sub", json!(7), Some(TokenError::Claims)),
        ("sub", json!(["a", 7]), Some(TokenError::Claims)),
        // Other claims may be lists; this one is a text (RFC 7519, section 4.1.2).
        ("sub", json!(["a", "b"]), Some(TokenError::Claims)),
    ] {
        let found = verified(&issuers, &signer.sign(&with(name, value.clone())));
        assert_eq!(found.err(), expected, "{name} {value}");
    }
    let groups = config::Issuer { claim: "groups".to_owned(), ..config() };
    let issuers = issuer_with(groups, &[signer.jwk()]);
    let token = signer.sign(&with("groups", json!(["a", "b"])));
    assert_eq!(verified(&issuers, &token), Ok(vec!["a".to_owned(), "b".to_owned()]));
}

#[tokio::test]
async fn a_token_can_not_choose_how_it_is_verified() {
    let (rsa, ec) = (Signer::new("rsa", Algorithm::RS256), Signer::new("ec", Algorithm::ES256));
    let issuers = issuer_with(config(), &[rsa.jwk(), ec.jwk()]);
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let unsigned = |header: Value| format!("{}.{}.", part(header), part(claims()));
    assert_eq!(verified(&issuers, &unsigned(json!({ "alg": "none" }))), Err(TokenError::NoToken));
    assert_eq!(
        verified(&issuers, &unsigned(json!({ "alg": "RS256", "kid": "rsa" }))),
        Err(TokenError::Signature)
    );
    // The public key as a secret that both sides know.
    let modulus = URL_SAFE_NO_PAD.decode(rsa.jwk()["n"].as_str().unwrap()).unwrap();
    for secret in [modulus, rsa.jwk().to_string().into_bytes()] {
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some("rsa".to_owned());
        let token = encode(&header, &claims(), &EncodingKey::from_secret(&secret)).unwrap();
        assert_eq!(verified(&issuers, &token), Err(TokenError::Algorithm));
    }
    // A key of the token's own.
    let stranger = Signer::new("stranger", Algorithm::ES256);
    let mut header = stranger.header();
    header.jwk = Some(serde_json::from_value(stranger.jwk()).unwrap());
    header.jku = Some("https://attacker.example/keys".to_owned());
    for (id, expected) in [
        ("stranger", TokenError::UnknownKey),
        ("ec", TokenError::Signature),
        ("rsa", TokenError::UnknownKey),
    ] {
        header.kid = Some(id.to_owned());
        let token = encode(&header, &claims(), &stranger.key).unwrap();
        assert_eq!(verified(&issuers, &token), Err(expected), "{id}");
    }
    let mut header = ec.header();
    header.crit = Some(vec!["b64".to_owned()]);
    let token = encode(&header, &claims(), &ec.key).unwrap();
    assert_eq!(verified(&issuers, &token), Err(TokenError::Claims));
    // Only what the config allows.
    let rsa_alone = config::Issuer { algorithms: vec![TokenAlgorithm::RS256], ..config() };
    let issuers = issuer_with(rsa_alone, &[rsa.jwk(), ec.jwk()]);
    assert_eq!(verified(&issuers, &ec.sign(&claims())), Err(TokenError::Algorithm));
    assert!(verified(&issuers, &rsa.sign(&claims())).is_ok());
}

#[tokio::test]
async fn a_key_is_found_by_its_id_or_is_the_only_one() {
    let (one, two) = (Signer::new("one", Algorithm::ES256), Signer::new("two", Algorithm::ES256));
    let nameless = encode(&Header::new(Algorithm::ES256), &claims(), &two.key).unwrap();
    let issuers = issuer_with(config(), &[one.jwk(), two.jwk()]);
    assert!(verified(&issuers, &two.sign(&claims())).is_ok());
    assert_eq!(verified(&issuers, &nameless), Err(TokenError::UnknownKey));
    let other_kind = Signer::new("other", Algorithm::ES384);
    has(&issuers, &[other_kind.jwk(), two.jwk()]);
    assert!(verified(&issuers, &nameless).is_ok());
    assert_eq!(verified(&issuers, &one.sign(&claims())), Err(TokenError::UnknownKey));
}

#[tokio::test]
async fn keys_that_are_not_for_signatures_are_skipped() {
    let signer = Signer::new("key-1", Algorithm::RS256);
    let read = |keys: Vec<Value>| KeySet::read(json!({ "keys": keys }).to_string().as_bytes());
    let altered = |name: &str, value: Value| {
        let mut key = signer.jwk();
        key[name] = value;
        key
    };
    let short = URL_SAFE_NO_PAD.encode([0xc5; 128]);
    for left_out in [
        altered("use", json!("enc")),
        altered("key_ops", json!(["encrypt"])),
        altered("n", json!(short)),
        altered("n", json!("!")),
        altered("kty", json!("new")),
        json!({ "kty": "oct", "k": "c2VjcmV0", "kid": "key-1" }),
        json!({ "kty": "EC", "crv": "P-521", "x": "AA", "y": "AA" }),
        json!("key"),
    ] {
        assert_eq!(read(vec![left_out.clone()]).err(), Some(KeySetError::Empty), "{left_out}");
        let set = read(vec![left_out, signer.jwk()]).unwrap();
        assert!(set.find(Some("key-1"), Algorithm::RS256).is_some());
    }
    // An algorithm that is named is the only one.
    let set = read(vec![altered("alg", json!("RS512"))]).unwrap();
    assert!(set.find(Some("key-1"), Algorithm::RS256).is_none());
    let many = vec![signer.jwk(); MAX_KEYS + 1];
    assert_eq!(read(many).err(), Some(KeySetError::TooMany(MAX_KEYS + 1)));
    assert!(matches!(KeySet::read(b"<html>"), Err(KeySetError::Unreadable(_))));
}

#[tokio::test]
async fn a_token_before_the_keys_were_fetched_gets_service_unavailable() {
    let signer = Signer::new("key-1", Algorithm::ES256);
    let issuers = issuers(config(), None);
    let bad = verified(&issuers, &signer.sign(&claims())).unwrap_err();
    assert_eq!((bad, bad.kind()), (TokenError::NoKeys, ErrorKind::ServiceUnavailable));
    assert_eq!(verified(&Issuers::default(), &signer.sign(&claims())), Err(TokenError::NoToken));
}

#[tokio::test]
async fn a_clock_before_1970_makes_no_token_valid() {
    let signer = Signer::new("key-1", Algorithm::ES256);
    let issuers = issuer_with(config(), &[signer.jwk()]);
    let token = signer.sign(&with("exp", json!(1)));
    let now = UNIX_EPOCH - Duration::from_secs(1);
    assert_eq!(issuers.verify(&token, now).err(), Some(TokenError::TooEarly));
}

#[tokio::test]
async fn a_reload_keeps_the_keys_of_unchanged_issuers() {
    let signer = Signer::new("key-1", Algorithm::ES256);
    let token = signer.sign(&claims());
    let first = issuer_with(config(), &[signer.jwk()]);
    let same = issuers(config(), Some((&first, true)));
    assert!(Arc::ptr_eq(&first.0[0], &same.0[0]));
    let moved = issuers(config(), Some((&first, false)));
    assert!(!Arc::ptr_eq(&first.0[0], &moved.0[0]) && verified(&moved, &token).is_ok());
    let stricter = config::Issuer { audiences: vec!["else".to_owned()], ..config() };
    let stricter = issuers(stricter, Some((&first, true)));
    assert_eq!(verified(&stricter, &token), Err(TokenError::Audience));
    let keys = IssuerKeys::At("http://127.0.0.1:9/other".parse().unwrap());
    let elsewhere = issuers(config::Issuer { keys, ..config() }, Some((&first, true)));
    assert_eq!(verified(&elsewhere, &token), Err(TokenError::NoKeys));
}

proptest! {
    #[test]
    fn no_text_panics(text in "[ -~]{0,60}", header in "\\PC{0,40}", claims in "\\PC{0,40}") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _entered = runtime.enter();
        let issuers = issuers(config(), None);
        let parts = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
        for token in [text.clone(), format!("{}.{}.{text}", parts[0], parts[1])] {
            prop_assert!(issuers.verify(&token, now()).is_err());
        }
    }
}

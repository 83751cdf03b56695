//! Thousands of random requests that the AWS library signs: taken as they are, and refused with any
//! one byte of what is signed changed.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::{ALGORITHM, Declared, HOST, ID, Plan, SECRET, Signed, auth, authenticator, now};
use crate::auth::Credential;
use crate::bedrock::ErrorKind;

/// One of the characters that a path may have as it is, or an escape.
fn path_part() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "[a-zA-Z0-9]{1,6}",
        2 => "[-._~:@!$&'()*,;=+]",
        2 => select(vec!["%3A", "%2F", "%20", "%25", "%C3%A9", "%E2%82%AC", "%F0%9F%98%80", "%3a"])
            .prop_map(str::to_owned),
    ]
}

fn path() -> impl Strategy<Value = String> {
    let segment = prop::collection::vec(path_part(), 1..6).prop_map(|parts| parts.concat());
    // No operation has a segment of dots alone, which signers fold.
    let segment = segment.prop_filter("dots", |segment| segment.bytes().any(|byte| byte != b'.'));
    prop::collection::vec(segment, 1..5).prop_map(|segments| format!("/{}", segments.join("/")))
}

fn query() -> impl Strategy<Value = Option<String>> {
    let text = prop::collection::vec(
        prop_oneof![
            "[a-zA-Z0-9._~-]{1,4}",
            select(vec!["%3A", "%2F", "%20", "%2B", "%3D", "%26", "%C3%A9", ":", "/", "@"])
                .prop_map(str::to_owned),
        ],
        1..4,
    );
    let text = text.prop_map(|parts| parts.concat());
    let pair = (text.clone(), prop::option::of(text));
    let pair = pair.prop_map(|(name, value)| match value {
        Some(value) => format!("{name}={value}"),
        None => name,
    });
    prop::option::of(prop::collection::vec(pair, 1..5).prop_map(|pairs| pairs.join("&")))
}

fn headers() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let names = vec![
        "content-type",
        "accept",
        "x-amzn-bedrock-trace",
        "x-amzn-bedrock-request-metadata",
        "amz-sdk-invocation-id",
        "z-last",
        "a-first",
    ];
    let value = "[a-zA-Z0-9]([ -~]{0,20}[a-zA-Z0-9])?";
    prop::collection::vec((select(names), value), 0..7)
}

prop_compose! {
    fn plans()(
        method in select(vec!["POST", "GET", "PUT"]),
        path in path(),
        query in query(),
        headers in headers(),
        body in prop::collection::vec(any::<u8>(), 0..200),
        declared in select(vec![Declared::Nothing, Declared::Hash, Declared::Unsigned]),
        is_encoded_twice in any::<bool>(),
        session_token in prop::option::of("[A-Za-z0-9/+=]{1,40}"),
        region in select(vec!["us-east-1", "eu-central-1", "ap-southeast-7"]),
        service in select(vec!["bedrock", "bedrock-mantle"]),
        by_authority in any::<bool>(),
    ) -> Plan {
        Plan {
            method, path, query, headers, body, declared, is_encoded_twice, session_token, region,
            service, by_authority,
        }
    }
}

/// Changes one letter or digit of a text to another, not to its other case, which says the same in
/// an escape.
fn change(text: &str, at: Index, to: u8) -> Option<String> {
    let places: Vec<usize> =
        text.bytes().enumerate().filter(|it| it.1.is_ascii_alphanumeric()).map(|it| it.0).collect();
    if places.is_empty() {
        return None;
    }
    let place = places[at.index(places.len())];
    let mut bytes = text.as_bytes().to_vec();
    let other = if bytes[place].eq_ignore_ascii_case(&to) { b'q' } else { to };
    if bytes[place].eq_ignore_ascii_case(&other) {
        return None;
    }
    bytes[place] = other;
    String::from_utf8(bytes).ok()
}

/// Changes one byte of what is signed; `None` where there is nothing of the kind to change.
fn spoilt(mut signed: Signed, plan: &Plan, what: u8, at: Index, to: u8) -> Option<Signed> {
    match what {
        0 => {
            signed.head.method = Method::from_bytes(format!("{}X", plan.method).as_bytes()).ok()?
        }
        1 | 2 => {
            let (path, query) = (&plan.path, plan.query.as_deref());
            let target = match (what, query) {
                (1, None) => change(path, at, to)?,
                (1, Some(query)) => format!("{}?{query}", change(path, at, to)?),
                (_, query) => format!("{path}?{}", change(query?, at, to)?),
            };
            let uri = if plan.by_authority { format!("http://{HOST}{target}") } else { target };
            // Half an escape is no path.
            signed.head.uri = uri.parse().ok()?;
        }
        3 => {
            let index = at.index(signed.head.headers.len());
            let is_signed = |name: &HeaderName| name != "authorization";
            let (name, value) = signed.head.headers.iter_mut().nth(index)?;
            if !is_signed(name) {
                return None;
            }
            *value = HeaderValue::from_str(&change(value.to_str().ok()?, at, to)?).ok()?;
        }
        4 => {
            if plan.declared == Declared::Unsigned || signed.body.is_empty() {
                return None;
            }
            let index = at.index(signed.body.len());
            signed.body[index] ^= to | 1;
        }
        5 => {
            let changed = change(&signed.authorization().replace(ALGORITHM, "")[1..], at, to)?;
            signed.set("authorization", &format!("{ALGORITHM} {changed}"));
        }
        6 => {
            if plan.declared == Declared::Unsigned {
                return None;
            }
            signed.body.push(to);
        }
        _ => {
            let name =
                signed.head.headers.keys().nth(at.index(signed.head.headers.keys_len()))?.clone();
            signed.head.headers.append(name, HeaderValue::from_bytes(&[to]).ok()?);
        }
    }
    Some(signed)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn requests_signed_by_the_aws_library_are_accepted_and_refused_with_one_byte_changed(
        plan in plans(), what in 0..8_u8, at in any::<Index>(), to in select(b"abcdxyz012789".to_vec()),
    ) {
        let authenticator = authenticator(&auth(), None);
        let signed = plan.signed(ID, SECRET, now());
        prop_assert_eq!(signed.authenticate_with(&authenticator, now()), Ok(Credential::KeyPair), "{:?}", signed);
        // With the derived key at hand, it is the same.
        prop_assert_eq!(signed.authenticate_with(&authenticator, now()), Ok(Credential::KeyPair));
        if let Some(spoilt) = spoilt(signed, &plan, what, at, to) {
            prop_assert!(spoilt.authenticate_with(&authenticator, now()).is_err(), "{:?}", spoilt);
        }
    }
}

proptest! {
    #[test]
    fn another_secret_or_time_is_refused(plan in plans(), seconds in 301..100_000_u64) {
        let authenticator = authenticator(&auth(), None);
        let off = Duration::from_secs(seconds);
        prop_assert!(plan.signed(ID, "another-secret-0123456", now()).authenticate_with(&authenticator, now()).is_err());
        for at in [now() - off, now() + off] {
            let refused = plan.signed(ID, SECRET, at).authenticate_with(&authenticator, now()).unwrap_err();
            prop_assert_eq!(refused.kind(), ErrorKind::InvalidSignature);
        }
    }

    #[test]
    fn no_head_panics(value in "[ -~]{0,80}", date in "[ -~]{0,20}", hash in "[ -~]{0,20}") {
        let mut signed = Plan::simple().signed(ID, SECRET, now());
        signed.set("authorization", &format!("{ALGORITHM} {value}"));
        signed.set("x-amz-date", &date);
        signed.set("x-amz-content-sha256", &hash);
        prop_assert!(signed.authenticate_with(&authenticator(&auth(), None), now()).is_err());
    }
}

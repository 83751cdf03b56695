//! Clients show who they are as the SDKs of these APIs do: by a key in one of three headers, or by a signature
//! for either service.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;

use super::{APIS, Upstream, digest, gateway, json, post};
use crate::support::{Ask, bodies};

const KEY: &str = "a-long-enough-key-of-the-team";
const PAIR: (&str, &str) = ("SLUICETEAM", "a-long-enough-secret-of-the-team");

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_taken_in_each_of_the_headers_and_goes_no_further() {
    let bearer = format!("Bearer {KEY}");
    let taken: [&[(&str, &str)]; 5] = [
        &[("x-api-key", KEY)],
        &[("api-key", KEY)],
        &[("authorization", &bearer)],
        &[("authorization", &bearer), ("x-api-key", "another-key-that-nobody-has")],
        &[("authorization", "Basic dGVhbTphYmM="), ("x-api-key", KEY)],
    ];
    let refused: [&[(&str, &str)]; 3] = [
        &[("x-api-key", "another-key-that-nobody-has")],
        &[("authorization", "Bearer another-key-that-nobody-has"), ("x-api-key", KEY)],
        &[("x-api-key", KEY), ("api-key", "another-key-that-nobody-has")],
    ];
    for api in APIS {
        let answer = api.answer();
        let upstream = Upstream::start(move |_, _, _| json(200, &answer)).await;
        let gateway = gateway(&upstream, |config| config.client("team", &digest(KEY))).await;
        for headers in taken {
            let answer = post(&gateway, api.path, headers, api.body(false)).await;
            assert_eq!(answer.status, 200, "{headers:?}: {}", answer.text());
        }
        for headers in refused {
            let answer = post(&gateway, api.path, headers, api.body(false)).await;
            assert_eq!(answer.status, 401, "{headers:?}: {}", answer.text());
        }
        let seen = upstream.seen();
        assert_eq!(seen.len(), taken.len());
        for request in seen {
            assert!(!request.head.contains(KEY) && !request.head.contains("nobody-has"));
        }
        let metrics = gateway.metrics().await;
        let by = |result| [("by", "bearer_key"), ("result", result)];
        assert_eq!(metrics.sum("sluice_authentications_total", &by("ok")), 5.0);
        assert_eq!(metrics.sum("sluice_authentications_total", &by("unknown")), 2.0);
        assert_eq!(metrics.sum("sluice_authentications_total", &by("invalid")), 1.0);
        assert!(!gateway.output().contains(KEY));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn native_requests_take_a_key_in_these_headers_too() {
    let upstream = Upstream::start(|_, _, _| json(200, "{}")).await;
    let gateway = gateway(&upstream, |config| config.client("team", &digest(KEY))).await;
    let ask = |key: &str| {
        let body = bodies::messages("hi", 9);
        Ask::new(&gateway, "hi").of("maker.one").body(body).header("x-api-key", key)
    };
    assert_eq!(ask(KEY).send().await.status, 200);
    let refused = ask("another-key-that-nobody-has").send().await;
    assert_eq!(refused.status, 403);
    assert_eq!(refused.header("x-amzn-errortype"), Some("AccessDeniedException"));
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_is_taken_for_the_service_of_aws_and_for_that_of_the_sdks() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, PAIR.1).unwrap();
    let client = format!(
        "name = 'team'\naccess_key_id = '{}'\nsecret_access_key = 'file:{}'",
        PAIR.0,
        secret.display()
    );
    for api in APIS {
        let answer = api.answer();
        let upstream = Upstream::start(move |_, _, _| json(200, &answer)).await;
        let gateway = gateway(&upstream, |config| config.client_with(&client)).await;
        for (service, status) in [("bedrock", 200), ("bedrock-mantle", 200), ("s3", 401)] {
            let (url, body) = (format!("{}{}", gateway.url(), api.path), api.body(false));
            let signed = signed(service, &url, &body);
            let headers: Vec<_> =
                signed.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let answer = post(&gateway, api.path, &headers, body).await;
            assert_eq!(answer.status, status, "{service}: {}", answer.text());
        }
        assert_eq!(upstream.seen().len(), 2);
    }
}

/// The headers that sign a POST of this body for a service.
fn signed(service: &str, url: &str, body: &str) -> Vec<(String, String)> {
    let identity = Credentials::new(PAIR.0, PAIR.1, None, None, "test").into();
    let params = SigningParams::builder()
        .identity(&identity)
        .region("us-east-1")
        .name(service)
        .time(SystemTime::now())
        .settings(SigningSettings::default())
        .build()
        .unwrap()
        .into();
    let body = SignableBody::Bytes(body.as_bytes());
    let signable = SignableRequest::new("POST", url, std::iter::empty(), body).unwrap();
    let (instructions, _) = sign(signable, &params).unwrap().into_parts();
    let (headers, _) = instructions.into_parts();
    headers.iter().map(|it| (it.name().to_owned(), it.value().to_owned())).collect()
}

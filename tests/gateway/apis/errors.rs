//! Errors in the dialect of the client.

use super::{APIS, Upstream, digest, gateway, json, post};
use crate::support::http::request;
use crate::support::scripted::say;

#[tokio::test(flavor = "multi_thread")]
async fn the_gateways_own_errors_have_the_form_of_the_api() {
    let upstream = Upstream::start(|_, _, _| json(200, "{}")).await;
    let gateway = gateway(&upstream, |config| config.set("fallback.unrouted", "reject")).await;
    for api in APIS {
        let broken = post(&gateway, api.path, &[], "{\"model\":").await;
        assert_eq!(broken.status, 400);
        assert_eq!(api.error(&broken)["type"], "invalid_request_error");
        let unnamed = post(&gateway, api.path, &[], "{}").await;
        assert_eq!(unnamed.status, 400);
        assert!(api.error(&unnamed)["message"].as_str().unwrap().contains("names no model"));
        let unknown = post(&gateway, api.path, &[], r#"{"model":"unheard-of"}"#).await;
        assert_eq!(unknown.status, 404, "{}", unknown.text());
        let error = api.error(&unknown);
        match api.name {
            "messages" => assert_eq!(error["type"], "not_found_error"),
            _ => assert_eq!(
                (&error["code"], &error["param"]),
                (&"model_not_found".into(), &"model".into())
            ),
        }
        let id = if api.name == "messages" { "request-id" } else { "x-request-id" };
        assert_eq!(unknown.header(id), unknown.header("x-sluice-request-id"));
        assert!(unknown.header("x-amzn-errortype").is_none());
        let wrong = request("PATCH", &format!("{}{}", gateway.url(), api.path), &[], "").await;
        assert_eq!((wrong.status, wrong.header("allow")), (405, Some("POST")));
        assert_eq!(api.error(&wrong)["type"], "invalid_request_error");
    }
    let path = post(&gateway, "/openai/v1/nonsense", &[], "{}").await;
    assert_eq!((path.status, &path.json()["error"]["code"]), (404, &"unknown_url".into()));
    assert!(upstream.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_a_key_gets_401() {
    let upstream = Upstream::start(|_, _, _| json(200, "{}")).await;
    let gateway = gateway(&upstream, |config| {
        config.client("team", &digest("a-long-enough-key-of-the-team"))
    })
    .await;
    for api in APIS {
        let refused = post(&gateway, api.path, &[("x-api-key", "wrong")], api.body(false)).await;
        assert_eq!(refused.status, 401, "{}", refused.text());
        assert_eq!(api.error(&refused)["type"], "authentication_error");
        let none = post(&gateway, api.path, &[], api.body(false)).await;
        assert_eq!(none.status, 401);
    }
    assert!(upstream.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_the_upstream_in_the_same_dialect_passes_as_it_came() {
    for api in APIS {
        let body = match api.name {
            "messages" => {
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"max_tokens: too many"}}"#
            }
            _ => {
                r#"{"error":{"message":"bad value","type":"invalid_request_error","param":"temperature","code":"unsupported_value"}}"#
            }
        };
        let upstream = Upstream::start(move |_, _, _| json(400, body)).await;
        let gateway = gateway(&upstream, |config| config).await;
        let got = post(&gateway, api.path, &[], api.body(false)).await;
        assert_eq!((got.status, got.text()), (400, body.to_owned()));
        assert_eq!(upstream.seen().len(), 1, "a client's mistake goes nowhere else");
        assert_eq!(gateway.target("first").await["state"], "available");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_error_of_the_dialect_becomes_one() {
    let page = "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>";
    let native = r#"{"message":"Service is busy"}"#;
    for api in APIS {
        for (status, kind, body) in [(502, "text/html", page), (503, "application/json", native)] {
            let answer = say(status, &format!("content-type: {kind}\r\n"), body);
            let upstream = Upstream::start(move |_, _, _| answer.clone()).await;
            let gateway = gateway(&upstream, |config| config.set("retry.attempts", 1)).await;
            for stream in [false, true] {
                let got = post(&gateway, api.path, &[], api.body(stream)).await;
                let wanted = if api.name == "messages" { 529 } else { 503 };
                assert_eq!(got.status, wanted, "{} {}", api.name, got.text());
                assert_eq!(got.header("content-type"), Some("application/json"));
                let error = api.error(&got);
                let kind = if api.name == "messages" { "overloaded_error" } else { "server_error" };
                assert_eq!(error["type"], kind);
                assert!(!error["message"].as_str().unwrap().contains('<'), "{error}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_that_is_too_long_has_the_code_on_which_clients_shorten_it() {
    let body = r#"{"message":"The model returned the following errors: Input is too long for requested model."}"#;
    for api in [APIS[0], APIS[1]] {
        let upstream = Upstream::start(move |_, _, _| {
            say(
                400,
                "content-type: application/json\r\nx-amzn-errortype: ValidationException\r\n",
                body,
            )
        })
        .await;
        let gateway = gateway(&upstream, |config| config).await;
        let got = post(&gateway, api.path, &[], api.body(false)).await;
        assert_eq!(got.status, 400);
        assert_eq!(api.error(&got)["code"], "context_length_exceeded", "{}", got.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttle_of_all_targets_says_when_to_come_back() {
    for api in APIS {
        let upstream = Upstream::start(|_, _, _| {
            say(
                429,
                "content-type: application/json\r\nx-amzn-errortype: ThrottlingException\r\n",
                r#"{"message":"Too many tokens"}"#,
            )
        })
        .await;
        let gateway = gateway(&upstream, |config| config.set("queue.max_wait", "0s")).await;
        let got = post(&gateway, api.path, &[], api.body(false)).await;
        assert_eq!(got.status, 429, "{}", got.text());
        assert_eq!(api.error(&got)["type"], "rate_limit_error");
        assert!(got.header("retry-after").unwrap().parse::<u64>().unwrap() > 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_the_gateways_credentials_does_not_show_them() {
    for api in APIS {
        let upstream = Upstream::start(|_, _, _| {
            json(401, r#"{"error":{"message":"bad key AKIASECRET","type":"authentication_error","code":"invalid_api_key"}}"#)
        })
        .await;
        let gateway = gateway(&upstream, |config| config).await;
        let got = post(&gateway, api.path, &[], api.body(false)).await;
        assert!(got.status >= 500 || got.status == 403 || got.status == 401, "{}", got.status);
        assert!(!got.text().contains("AKIASECRET"), "{}", got.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_ran_out_of_time_is_not_tried_again_at_the_same_target() {
    for api in APIS {
        let body = match api.name {
            "messages" => {
                r#"{"type":"error","error":{"type":"timeout_error","message":"too slow"}}"#
            }
            _ => {
                r#"{"error":{"message":"too slow","type":"server_error","param":null,"code":null}}"#
            }
        };
        let upstream = Upstream::start(move |_, _, _| json(504, body)).await;
        let gateway = gateway(&upstream, |config| config).await;
        let got = post(&gateway, api.path, &[], api.body(false)).await;
        assert_eq!((got.status, got.text()), (504, body.to_owned()), "{}", api.name);
        assert_eq!(upstream.seen().len(), 2, "{}: once at each target", api.name);
    }
}

const KEY: &str = "a-long-enough-key-of-the-team";

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_no_retry_helps_says_so() {
    let upstream = Upstream::start(|_, _, _| json(200, "{}")).await;
    let gateway = gateway(&upstream, |config| {
        config
            .set("fallback.unrouted", "reject")
            .client("team", &digest(KEY))
            .of_client("allowed_models", vec!["m"])
            .of_client("max_body", "1KB")
    })
    .await;
    let with_key = [("x-api-key", KEY)];
    for api in APIS {
        let forbidden = api.body(false).replace(r#""m""#, r#""first-of-others""#);
        for (headers, body, status) in [
            (&[("x-api-key", "wrong")], api.body(false), 401),
            (&with_key, "{\"model\":".to_owned(), 400),
            (&with_key, forbidden, 403),
            (&with_key, "x".repeat(2_000), 413),
        ] {
            let refused = post(&gateway, api.path, headers, body).await;
            assert_eq!(refused.status, status, "{}", refused.text());
            assert_eq!(refused.header("x-should-retry"), Some("false"), "{status}");
        }
    }
    let path = post(&gateway, "/v1/nonsense", &with_key, "{}").await;
    assert_eq!((path.status, path.header("x-should-retry")), (404, Some("false")));
    assert!(upstream.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_that_the_upstream_finds_is_not_to_be_sent_again_and_a_throttle_is() {
    for (status, kind, header) in
        [(400, "invalid_request_error", Some("false")), (429, "rate_limit_error", None)]
    {
        let upstream = Upstream::start(move |_, _, _| {
            let error = format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"no"}}}}"#);
            json(status, &error)
        })
        .await;
        let gateway = gateway(&upstream, |config| config.set("queue.max_wait", "0s")).await;
        let got = post(&gateway, APIS[2].path, &[], APIS[2].body(false)).await;
        assert_eq!((got.status, got.header("x-should-retry")), (status, header));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_has_what_a_refused_client_got() {
    let upstream = Upstream::start(|_, _, _| {
        say(
            400,
            "content-type: application/json\r\nx-amzn-errortype: ValidationException\r\n",
            r#"{"message":"no"}"#,
        )
    })
    .await;
    let gateway = gateway(&upstream, |config| config.client("team", &digest(KEY))).await;
    for (index, api) in APIS.into_iter().enumerate() {
        post(&gateway, api.path, &[("x-api-key", "wrong")], api.body(false)).await;
        let line = gateway.access_log(2 * index + 1).await.pop().unwrap();
        assert_eq!((&line["status"], &line["api"]), (&401.into(), &api.name.into()), "{line}");
        assert_eq!(line["error"], "authentication_error");
        assert_eq!(line["outcome"], "unauthenticated");
        post(&gateway, api.path, &[("x-api-key", KEY)], api.body(false)).await;
        let line = gateway.access_log(2 * index + 2).await.pop().unwrap();
        assert_eq!(
            (&line["status"], &line["error"]),
            (&400.into(), &"invalid_request_error".into()),
            "{line}"
        );
        assert!(line["attempts"][0]["error"].as_str().unwrap().starts_with("ValidationException"));
    }
    post(&gateway, "/favicon.ico", &[], "").await;
    let line = gateway.access_log(7).await.pop().unwrap();
    assert_eq!((&line["api"], &line["path"]), (&"-".into(), &"/favicon.ico".into()));
}

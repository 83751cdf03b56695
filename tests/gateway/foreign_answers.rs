//! Answers of an upstream that are not Bedrock's: pages and texts of proxies, redirects, nothing.

use crate::support::http::Response;
use crate::support::scripted::{answer, error, say};
use crate::support::{Ask, Call, Client, Config, Gateway, Scripted, Simulator, bodies};

const FIRST: &str = "us.anthropic.claude-3-7-sonnet-20250219-v1:0";

const PAGE: &str = "<html><head><title>502 Bad Gateway</title></head><body>\r\n<center><h1>502 \
                    Bad Gateway</h1></center><hr><script>alert('x')</script>nginx/1.22.1</body></html>";

async fn start(upstream: &Scripted, targets: &[&str]) -> Gateway {
    let config = Config::without_routes(&Simulator::start().await)
        .set("upstream.endpoint_url", upstream.url())
        .set("retry.attempts", 1)
        .set("targets.first.model", FIRST)
        .set("targets.second.model", "us.anthropic.claude-sonnet-4-5-20250929-v1:0")
        .route(FIRST, targets);
    Gateway::start(&config).await
}

async fn ask(gateway: &Gateway, operation: &'static str) -> Response {
    let body = bodies::conversation("hello", 20).to_string();
    Ask::new(gateway, "").of(FIRST).operation(operation, body).send().await
}

/// An answer with what proxies put into it.
fn foreign(status: u16, kind: &str, body: &str) -> String {
    let headers = format!(
        "content-type: {kind}\r\nserver: nginx\r\nlocation: http://login.example\r\n\
         set-cookie: session=1\r\nwww-authenticate: Basic realm=x\r\n"
    );
    say(status, &headers, body)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_becomes_an_error_in_bedrocks_form() {
    for (status, kind, body, wanted, name, text) in [
        (502, "text/html", PAGE, 503, "ServiceUnavailableException", "502 Bad Gateway"),
        (
            503,
            "text/plain",
            "no healthy upstream",
            503,
            "ServiceUnavailableException",
            "no healthy",
        ),
        (504, "text/html", "", 503, "ServiceUnavailableException", "504 Gateway Timeout"),
        (500, "text/plain", "oops\u{1b}[31m", 500, "InternalServerException", "oops [31m"),
        (302, "text/html", "<a href='x'>moved</a>", 503, "ServiceUnavailableException", "moved"),
        (304, "text/html", "", 503, "ServiceUnavailableException", "304 Not Modified"),
        (407, "text/html", "<b>who are you</b>", 503, "ServiceUnavailableException", "who are you"),
        (400, "text/html", "<h1>400 Bad Request</h1>", 400, "ValidationException", "400 Bad"),
        (403, "text/html", "<h1>blocked</h1>", 403, "AccessDeniedException", "blocked"),
        (404, "text/plain", "404 page not found", 404, "ResourceNotFoundException", "not found"),
        (200, "text/html", "<form>log in</form>", 503, "ServiceUnavailableException", "log in"),
        (
            403,
            "application/json",
            r#"{"message":"Forbidden"}"#,
            403,
            "AccessDeniedException",
            "Forbidden",
        ),
        (400, "application/json", r#"{"message":"bad"}"#, 400, "ValidationException", "bad"),
        (
            500,
            "application/json",
            r#"{"error":{"message":"deep","code":500}}"#,
            500,
            "InternalServerException",
            "deep",
        ),
    ] {
        for operation in ["converse", "invoke", "count-tokens", "converse-stream"] {
            if status == 200 && operation == "converse-stream" {
                continue;
            }
            let text_of = body.to_owned();
            // A 304 has no body.
            let upstream = Scripted::start(move |_, _| foreign(status, kind, &text_of)).await;
            let gateway = start(&upstream, &["first"]).await;
            let response = ask(&gateway, operation).await;
            let what = format!("{status} {body} {operation}");
            assert_eq!(response.status, wanted, "{what}");
            assert_eq!(response.header("x-amzn-errortype"), Some(name), "{what}");
            assert_eq!(response.header("content-type"), Some("application/json"), "{what}");
            let json = response.json();
            let message = json["message"].as_str().unwrap();
            assert!(message.contains(text), "{what}: {message}");
            assert!(message.len() < 300 && !message.contains(['<', '>', '\u{1b}']), "{message}");
            for header in ["location", "set-cookie", "www-authenticate", "server"] {
                if kind != "application/json" {
                    assert!(response.header(header).is_none(), "{what}: {header}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_sdk_reads_code_and_message() {
    let upstream = Scripted::start(|_, _| foreign(502, "text/html", PAGE)).await;
    let gateway = start(&upstream, &["first"]).await;
    for client in [Client::Boto3, Client::JavaScript] {
        let answer = gateway.call(client, Call::converse(FIRST, "hello")).await;
        assert!(answer.raised().is("ServiceUnavailableException"), "{client:?}: {answer:?}");
        let raised = format!("{:?}", answer.raised());
        assert!(raised.contains("502 Bad Gateway"), "{raised}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_for_one_request_takes_no_target_from_the_others() {
    for status in [302, 403, 404, 407, 413] {
        let upstream = Scripted::start(move |path, body| match path {
            _ if path.contains("3-7") && body.contains("forbidden word") => {
                foreign(status, "text/html", "<h1>blocked by the proxy</h1>")
            }
            _ => answer(),
        })
        .await;
        let gateway = start(&upstream, &["first", "second"]).await;
        for _ in 0..10 {
            let body = bodies::conversation("a forbidden word", 20).to_string();
            let asked = Ask::new(&gateway, "").of(FIRST).operation("converse", body).send().await;
            assert_eq!(asked.status, 200, "{status}: another target answers");
            let plain = ask(&gateway, "converse").await;
            assert_eq!(plain.header("x-sluice-model"), Some(FIRST), "{status}");
        }
        let target = gateway.target("first").await;
        assert_eq!(target["state"], "available");
        assert!(target.get("denied").is_none(), "{target}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_quotes_the_gateways_request_is_not_relayed() {
    let upstream = Scripted::start(|_, _| {
        foreign(502, "text/plain", "Authorization: AWS4-HMAC-SHA256 Credential=K, Signature=abc123")
    })
    .await;
    let gateway = start(&upstream, &["first"]).await;
    let response = ask(&gateway, "converse").await;
    assert_eq!(response.status, 503);
    assert!(!response.text().contains("abc123"), "{}", response.text());
    assert!(!gateway.output().contains("abc123"));
}

#[tokio::test(flavor = "multi_thread")]
async fn bedrocks_own_errors_stay_as_they_are() {
    for (status, name) in
        [(400, "ValidationException"), (500, "InternalServerException"), (418, "New")]
    {
        let upstream = Scripted::start(move |_, _| error(status, name, "<b>as it is</b>")).await;
        let gateway = start(&upstream, &["first"]).await;
        let response = ask(&gateway, "converse").await;
        assert_eq!(response.status, status);
        assert_eq!(response.header("x-amzn-errortype"), Some(name));
        assert_eq!(response.text(), r#"{"message":"<b>as it is</b>"}"#);
    }
}

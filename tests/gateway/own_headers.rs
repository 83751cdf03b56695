//! What begins with `x-sluice-` in an answer is the gateway's word, whatever the upstream says.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;

use ::http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::StreamBody;
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use sluice::bedrock::event_stream;
use tokio::net::TcpListener;

use crate::support::{Ask, Config, Gateway, PRIMARY, Simulator, bodies, http};

/// What the upstream says in the gateway's name.
const POSED: [(&str, &str); 9] = [
    ("x-sluice-mock", "posed"),
    ("x-sluice-model", "posed"),
    ("x-sluice-region", "posed"),
    ("x-sluice-attempts", "posed"),
    ("x-sluice-fallback-reason", "posed"),
    ("x-sluice-queued-ms", "posed"),
    ("x-sluice-request-id", "posed"),
    ("x-sluice-budget-remaining-usd", "posed"),
    ("x-sluice-of-its-own", "posed"),
];

/// What the gateway says of such answers.
const OWN: [&str; 5] = [
    "x-sluice-attempts",
    "x-sluice-model",
    "x-sluice-queued-ms",
    "x-sluice-region",
    "x-sluice-request-id",
];

/// Names what the upstream answers; it reaches it, as all headers of Bedrock do.
const WANTED: &str = "x-amzn-bedrock-wanted";

fn answer(head: &HeaderMap) -> (StatusCode, &'static str, Vec<u8>) {
    let error = |status: u16| {
        let body = br#"{"message":"no"}"#.to_vec();
        (StatusCode::from_u16(status).unwrap(), "application/json", body)
    };
    let frames = |frame: Bytes| (StatusCode::OK, event_stream::CONTENT_TYPE, frame.to_vec());
    match head.get(WANTED).map_or("", |wanted| wanted.to_str().unwrap()) {
        "stream" => frames(event_stream::event("chunk", r#"{"bytes":"e30="}"#.to_owned())),
        "exception" => frames(event_stream::exception("validationException", "{}".to_owned())),
        "no stream" => error(200),
        "whole" => {
            let body = bodies::messages("an answer", 1).into_bytes();
            (StatusCode::OK, "application/json", body)
        }
        status => error(status.parse().unwrap()),
    }
}

/// An upstream that poses as the gateway in every header and trailer.
async fn posing() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serve = |request: Request<Incoming>| async move {
        let (status, content_type, body) = answer(request.headers());
        let mut trailers = HeaderMap::new();
        let frames = [Ok::<_, Infallible>(Frame::data(Bytes::from(body)))];
        let mut response = Response::new(());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert("content-type", HeaderValue::from_static(content_type));
        headers.insert("x-amzn-requestid", HeaderValue::from_static("kept"));
        headers.insert("trailer", HeaderValue::from_static("x-sluice-mock"));
        let name = match status.as_u16() {
            403 => "InvalidSignatureException",
            429 => "ThrottlingException",
            _ => "ValidationException",
        };
        if content_type == "application/json" && !request.uri().path().ends_with("/invoke") {
            headers.insert("x-amzn-errortype", HeaderValue::from_static(name));
        }
        for (name, value) in POSED {
            headers.append(name, HeaderValue::from_static(value));
            headers.append(name, HeaderValue::from_static(value));
            trailers.append(name, HeaderValue::from_static(value));
        }
        let frames = frames.into_iter().chain([Ok(Frame::trailers(trailers))]);
        Ok::<_, Infallible>(response.map(|()| StreamBody::new(stream::iter(frames))))
    };
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let builder = auto::Builder::new(TokioExecutor::new());
            tokio::spawn(async move {
                let _ = builder.serve_connection(TokioIo::new(socket), service_fn(serve)).await;
            });
        }
    });
    address
}

async fn gateway(simulator: &Simulator) -> Gateway {
    let url = format!("http://{}", posing().await);
    let config = Config::models(simulator, 2)
        .set("upstream.endpoint_url", url)
        .set("queue.max_wait", "100ms");
    Gateway::start(&config).await
}

#[track_caller]
fn is_our_word(response: &http::Response, what: &str) {
    let mut own = HashMap::<&str, usize>::new();
    for (name, value) in &response.headers {
        assert_ne!(value, "posed", "{what}: {name}");
        if name.as_str().starts_with("x-sluice-") {
            *own.entry(name.as_str()).or_default() += 1;
        }
    }
    let is_ours = |(name, count): (&&str, &usize)| OWN.contains(name) && *count == 1;
    assert!(own.iter().all(is_ours), "{what}: {own:?}");
    assert!(own.len() >= 3, "{what}: {own:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_of_an_upstream_speaks_for_the_gateway() {
    let simulator = Simulator::start().await;
    let arn = "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aasync-invoke%2Fabcdefabcdef";
    let routed = |operation: &str| format!("/model/{PRIMARY}/{operation}");
    let started = r#"{"modelId":"amazon.nova-reel-v1:0","modelInput":{},"outputDataConfig":
        {"s3OutputDataConfig":{"s3Uri":"s3://b"}}}"#;
    let operations = [
        ("POST", routed("invoke"), "whole", bodies::messages("hello", 10)),
        ("POST", routed("converse"), "whole", bodies::messages("hello", 10)),
        ("POST", routed("invoke-with-response-stream"), "stream", bodies::messages("hello", 10)),
        ("POST", routed("converse-stream"), "stream", bodies::messages("hello", 10)),
        ("POST", routed("converse-stream"), "exception", bodies::messages("hello", 10)),
        ("POST", routed("converse-stream"), "no stream", bodies::messages("hello", 10)),
        ("POST", "/model/an.unrouted-v1%3A0/invoke".to_owned(), "whole", "{}".to_owned()),
        ("POST", routed("count-tokens"), "whole", r#"{"input":{}}"#.to_owned()),
        ("POST", "/guardrail/g/version/1/apply".to_owned(), "whole", "{}".to_owned()),
        ("POST", "/async-invoke".to_owned(), "whole", started.to_owned()),
        ("GET", "/async-invoke".to_owned(), "whole", String::new()),
        ("GET", format!("/async-invoke/{arn}"), "whole", String::new()),
    ];
    let gateway = gateway(&simulator).await;
    for (method, path, wanted, body) in &operations {
        let url = format!("{}{path}", gateway.url());
        let response = http::request(method, &url, &[(WANTED, wanted)], body.clone()).await;
        assert_eq!(response.header("x-amzn-requestid"), Some("kept"), "{path}: {response:?}");
        is_our_word(&response, &format!("{path} {wanted}"));
    }
    // Each on a gateway of its own, since some of them put targets out.
    for status in [400, 403, 404, 429, 500, 503] {
        let gateway = self::gateway(&simulator).await;
        for path in [routed("invoke"), routed("converse-stream")] {
            let url = format!("{}{path}", gateway.url());
            let headers = [(WANTED, &*status.to_string())];
            let response = http::post(&url, &headers, bodies::messages("hello", 10)).await;
            assert!(response.status >= 400, "{status}: {response:?}");
            is_our_word(&response, &format!("{path} {status}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_does_that_of_a_bidirectional_stream_or_a_hedge() {
    let simulator = Simulator::start().await;
    let gateway = gateway(&simulator).await;
    let path = format!("/model/{PRIMARY}/invoke-with-bidirectional-stream");
    for wanted in ["stream", "exception", "400", "403", "500"] {
        let url = format!("{}{path}", gateway.url());
        let response = http::post_by_http2(&url, &[(WANTED, wanted)], "").await;
        is_our_word(&response, &format!("both ways {wanted}"));
    }
    let config = Config::models(&simulator, 2)
        .set("upstream.endpoint_url", format!("http://{}", posing().await))
        .set("hedge.enabled", true)
        .set("hedge.max_share", 0.5);
    let gateway = Gateway::start(&config).await;
    for _ in 0..40 {
        let response = Ask::new(&gateway, "hello").header(WANTED, "whole").send().await;
        assert_eq!(response.status, 200);
        is_our_word(&response, "hedged");
    }
}

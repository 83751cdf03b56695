//! The simulator over real sockets: what a client meets for each fault, each schema, each limit.

use std::time::Duration;

use aws_sdk_bedrockruntime as sdk;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::*;
use crate::bedrock::event_stream::{Frame, Kind};
use crate::bedrock::{Usage, error};

const HAIKU: &str = "anthropic.claude-3-haiku-20240307-v1:0";
const LIMIT: Duration = Duration::from_secs(10);

struct Running {
    url: String,
    addr: SocketAddr,
    controls: Controls,
    serving: JoinHandle<io::Result<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn start() -> Running {
    let simulator = Simulator::bind(Settings::default()).await.unwrap();
    Running {
        url: simulator.url(),
        addr: simulator.addr(),
        controls: simulator.controls(),
        serving: tokio::spawn(simulator.serve(std::future::pending())),
    }
}

impl Running {
    fn fault(&self, fault: Fault) {
        self.controls.faults.add(FaultRule::next(1, fault)).unwrap();
    }

    fn request(&self, model: &str, suffix: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
        Request::post(format!("{}/model/{model}/{suffix}", self.url))
            .header("authorization", format!("Bearer {DEFAULT_BEARER_TOKEN}"))
            .header("content-type", "application/json")
            .body(Full::new(body.into()))
            .unwrap()
    }

    async fn post(&self, model: &str, suffix: &str, body: impl Into<Bytes>) -> Answered {
        answered(send(self.request(model, suffix, body), false).await).await
    }

    async fn converse(&self, text: &str) -> Answered {
        self.post(HAIKU, "converse", converse(text)).await
    }

    async fn stream(&self, text: &str) -> Answered {
        self.post(HAIKU, "converse-stream", converse(text)).await
    }

    async fn control(&self, method: &str, resource: &str, body: Value) -> (StatusCode, Value) {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}/_sim/{resource}", self.url))
            .body(Full::new(Bytes::from(body.to_string())))
            .unwrap();
        let answered = answered(send(request, false).await).await;
        (answered.status, serde_json::from_slice(&answered.body).unwrap())
    }

    /// What comes back on a bare socket, and how it ends.
    async fn raw(&self) -> (Vec<u8>, io::Result<usize>) {
        let mut socket = TcpStream::connect(self.addr).await.unwrap();
        let body = converse("hello");
        let request = format!(
            "POST /model/{HAIKU}/converse HTTP/1.1\r\nhost: x\r\n\
             authorization: Bearer {DEFAULT_BEARER_TOKEN}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut got = Vec::new();
        let end = tokio::time::timeout(LIMIT, socket.read_to_end(&mut got)).await.unwrap();
        (got, end)
    }

    async fn last(&self) -> Entry {
        let log = &self.controls.log;
        let ended = log.wait_for(|entry| entry.ending != Ending::Open);
        tokio::time::timeout(LIMIT, ended).await.unwrap();
        log.entries().pop().unwrap()
    }
}

struct Answered {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
    broken: bool,
}

impl Answered {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn error(&self) -> String {
        error::read(&self.headers, &self.body).name.unwrap_or_default()
    }

    /// The frames that are whole, and whether bytes were left over.
    fn frames(&self) -> (Vec<String>, bool) {
        let (mut names, mut rest) = (Vec::new(), self.body.as_slice());
        while let Ok(Some(frame)) = Frame::read(rest) {
            names.push(match frame.kind() {
                Kind::Event(name) | Kind::Exception(name) | Kind::Error(name) => name.to_owned(),
                Kind::Other => "?".to_owned(),
            });
            rest = &rest[frame.len..];
        }
        (names, !rest.is_empty())
    }
}

fn converse(text: &str) -> String {
    json!({
        "messages": [{"role": "user", "content": [{"text": text}]}],
        "inferenceConfig": {"maxTokens": 100},
    })
    .to_string()
}

async fn send(request: Request<Full<Bytes>>, h2: bool) -> http::Response<Incoming> {
    let client = Client::builder(TokioExecutor::new()).http2_only(h2).build_http();
    tokio::time::timeout(LIMIT, client.request(request)).await.unwrap().unwrap()
}

async fn answered(response: http::Response<Incoming>) -> Answered {
    let (head, mut body) = response.into_parts();
    let (mut bytes, mut broken) = (Vec::new(), false);
    while let Some(frame) = tokio::time::timeout(LIMIT, body.frame()).await.unwrap() {
        match frame {
            Ok(frame) => bytes.extend_from_slice(&frame.into_data().unwrap_or_default()),
            Err(_) => {
                broken = true;
                break;
            }
        }
    }
    Answered { status: head.status, headers: head.headers, body: bytes, broken }
}

#[tokio::test]
async fn every_error_fault_has_its_status_and_name() {
    let simulator = start().await;
    for (fault, status, name) in [
        (Fault::Throttle, 429, "ThrottlingException"),
        (Fault::ThrottleTokens, 429, "ThrottlingException"),
        (Fault::ThrottleDaily, 429, "ThrottlingException"),
        (Fault::ServiceQuotaExceeded, 400, "ServiceQuotaExceededException"),
        (Fault::ModelNotReady, 429, "ModelNotReadyException"),
        (Fault::ServiceUnavailable, 503, "ServiceUnavailableException"),
        (Fault::Internal, 500, "InternalServerException"),
        (Fault::ModelTimeout, 408, "ModelTimeoutException"),
        (Fault::ModelError, 424, "ModelErrorException"),
        (Fault::Validation, 400, "ValidationException"),
        (Fault::AccessDenied, 403, "AccessDeniedException"),
        (Fault::NotFound, 404, "ResourceNotFoundException"),
        (Fault::ExpiredToken, 403, "ExpiredTokenException"),
        (Fault::InvalidSignature, 403, "InvalidSignatureException"),
        (
            Fault::ErrorAsTypeInBody { name: "ThrottlingException".to_owned(), status: 429 },
            429,
            "ThrottlingException",
        ),
        (Fault::Error { name: "Odd".to_owned(), status: 418, message: String::new() }, 418, "Odd"),
    ] {
        let kind = fault.kind();
        simulator.fault(fault);
        let answered = simulator.converse("hello").await;
        assert_eq!((answered.status.as_u16(), answered.error().as_str()), (status, name), "{kind}");
        assert!(answered.json()["message"].is_string());
        assert!(answered.headers.contains_key("x-amzn-requestid"));
        assert_eq!(simulator.controls.log.entries().pop().unwrap().fault.unwrap(), kind);
    }
    simulator.fault(Fault::Html502);
    let answered = simulator.converse("hello").await;
    assert_eq!(answered.status, 502);
    assert_eq!(answered.headers["content-type"], "text/html");
    assert_eq!(simulator.converse("hello").await.status, 200);
}

#[tokio::test]
async fn the_daily_throttle_says_so() {
    let simulator = start().await;
    simulator.fault(Fault::ThrottleDaily);
    let message = simulator.converse("hello").await.json()["message"].to_string();
    assert!(message.contains("per day"), "{message}");
}

#[tokio::test]
async fn a_connection_is_reset_closed_or_filled_with_garbage() {
    let simulator = start().await;
    simulator.fault(Fault::ResetBeforeHead);
    let (got, end) = simulator.raw().await;
    assert!(got.is_empty());
    assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);

    simulator.fault(Fault::CloseBeforeHead);
    let (got, end) = simulator.raw().await;
    assert_eq!((got.len(), end.is_ok()), (0, true));

    simulator.fault(Fault::GarbageHead);
    let (got, _) = simulator.raw().await;
    assert!(!got.is_empty() && !got.starts_with(b"HTTP"));

    simulator.fault(Fault::ShortBody);
    let (got, end) = simulator.raw().await;
    assert!(got.starts_with(b"HTTP/1.1 200"));
    assert!(end.is_ok());
    let text = String::from_utf8(got).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    assert_eq!(body.len(), length.parse::<usize>().unwrap() / 2);

    simulator.fault(Fault::ResetMidBody);
    let (got, end) = simulator.raw().await;
    assert!(got.ends_with(&body.as_bytes()[body.len() - 8..]), "the half before it arrives");
    assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    for entry in simulator.controls.log.entries() {
        assert_eq!(entry.ending, Ending::Broken);
    }
}

#[tokio::test]
async fn every_stream_fault_breaks_the_stream_in_its_way() {
    let simulator = start().await;
    // The whole: messageStart, 4 deltas, contentBlockStop, messageStop, metadata.
    let named = |name: &str| name.to_owned();
    for (fault, frames, last, left_over, broken) in [
        (Fault::ResetAfterFrames { frames: 2 }, 2, "contentBlockDelta", false, true),
        (Fault::CloseAfterFrames { frames: 3 }, 3, "contentBlockDelta", false, true),
        (Fault::EndAfterFrames { frames: 1 }, 1, "messageStart", false, false),
        (Fault::EndAfterFrames { frames: 0 }, 0, "", false, false),
        (Fault::EmptyStream, 0, "", false, false),
        (Fault::TruncatedFrame { frame: 3 }, 2, "contentBlockDelta", true, false),
        (Fault::ShortBody, 0, "", true, true),
        (Fault::ResetMidBody, 0, "", true, true),
        (
            Fault::ExceptionFirstFrame { name: named("throttlingException") },
            1,
            "throttlingException",
            false,
            false,
        ),
        (
            Fault::ExceptionFrame { name: named("modelStreamErrorException"), frame: 4 },
            4,
            "modelStreamErrorException",
            false,
            false,
        ),
        (Fault::ErrorFrame { frame: 2 }, 2, "InternalFailure", false, false),
        (Fault::SlowTrickle { bytes: 5, ms: 0 }, 8, "metadata", false, false),
        (Fault::BadCrcFrame { frame: 2 }, 8, "metadata", false, false),
    ] {
        let kind = fault.kind();
        simulator.fault(fault);
        let answered = simulator.stream("hello sim:tokens=4").await;
        assert_eq!(answered.headers["content-type"], "application/vnd.amazon.eventstream");
        let (names, rest) = answered.frames();
        assert_eq!(names.len(), frames, "{kind} {names:?}");
        assert_eq!(names.last().map_or("", String::as_str), last, "{kind}");
        assert_eq!((rest, answered.broken), (left_over, broken), "{kind}");
        let entry = simulator.controls.log.entries().pop().unwrap();
        assert_eq!(entry.frames, frames as u64, "{kind}");
        assert_eq!(entry.ending == Ending::Broken, broken, "{kind}");
    }
    assert_eq!(simulator.controls.quotas.books()[HAIKU].in_flight, 0);
}

#[tokio::test]
async fn one_checksum_is_wrong_and_no_other() {
    let simulator = start().await;
    simulator.fault(Fault::BadCrcFrame { frame: 2 });
    let answered = simulator.stream("hello sim:tokens=4").await;
    let (mut rest, mut wrong) = (answered.body.as_slice(), Vec::new());
    while let Ok(Some(frame)) = Frame::read(rest) {
        let read = aws_smithy_eventstream::frame::read_message_from(&rest[..frame.len]);
        wrong.push(read.is_err());
        rest = &rest[frame.len..];
    }
    assert_eq!(wrong, [false, true, false, false, false, false, false, false]);
}

#[tokio::test]
async fn a_stream_operation_can_answer_json() {
    let simulator = start().await;
    simulator.fault(Fault::Json200OnStream);
    let answered = simulator.stream("hello").await;
    assert_eq!(
        (answered.status.as_u16(), &answered.headers["content-type"]),
        (200, &"application/json".parse().unwrap())
    );
    assert!(answered.json()["Output"]["__type"].to_string().contains("UnknownOperation"));
}

#[tokio::test]
async fn a_client_that_leaves_a_stream_is_seen_and_its_quota_settled() {
    let simulator = start().await;
    let limits = ModelSettings { tpm: Some(1000), ..ModelSettings::default() };
    simulator.controls.quotas.set(HAIKU, limits);
    simulator.fault(Fault::StallAfterFrames { frames: 3 });
    let request =
        simulator.request(HAIKU, "converse-stream", converse("hello there, sim:tokens=9"));
    let mut response = send(request, false).await;
    let mut got = Vec::new();
    while (Answered {
        status: StatusCode::OK,
        headers: HeaderMap::new(),
        body: got.clone(),
        broken: false,
    })
    .frames()
    .0
    .len()
        < 3
    {
        let frame = tokio::time::timeout(LIMIT, response.frame()).await.unwrap().unwrap();
        got.extend_from_slice(frame.unwrap().data_ref().unwrap());
    }
    assert!(simulator.controls.quotas.standings()[HAIKU].tokens_left.unwrap() < 950.0);
    drop(response);
    let entry = simulator.last().await;
    assert_eq!((entry.ending, entry.frames, entry.output_tokens), (Ending::Disconnected, 3, 2));
    let settled = async {
        while simulator.controls.quotas.books()[HAIKU].in_flight > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, settled).await.unwrap();
    assert_eq!(simulator.controls.quotas.books()[HAIKU].output_tokens, 2);
    assert!(simulator.controls.quotas.standings()[HAIKU].tokens_left.unwrap() > 980.0);
}

#[tokio::test]
async fn a_client_that_leaves_before_the_head_is_seen() {
    let simulator = start().await;
    simulator.fault(Fault::HangBeforeHead);
    let client = Client::builder(TokioExecutor::new()).build_http();
    let asked = tokio::spawn(client.request(simulator.request(HAIKU, "converse", converse("x"))));
    let struck = simulator.controls.log.wait_for(|entry| entry.fault.is_some());
    tokio::time::timeout(LIMIT, struck).await.unwrap();
    asked.abort();
    let entry = simulator.last().await;
    assert_eq!((entry.ending, entry.status), (Ending::Disconnected, None));
}

#[tokio::test]
async fn every_family_answers_in_its_shape_with_the_same_usage_everywhere() {
    let simulator = start().await;
    let text = "hello there";
    let messages = json!([{"role": "user", "content": [{"text": text}]}]);
    for (model, body) in [
        (
            HAIKU,
            json!({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 50, "messages": [{"role": "user", "content": text}]}),
        ),
        (
            "us.amazon.nova-lite-v1:0",
            json!({"messages": messages, "inferenceConfig": {"maxTokens": 50}}),
        ),
        ("amazon.titan-text-express-v1", json!({"inputText": text})),
        ("meta.llama3-8b-instruct-v1:0", json!({"prompt": text, "max_gen_len": 50})),
        ("mistral.mistral-7b-instruct-v0:2", json!({"prompt": text, "max_tokens": 50})),
        ("openai.gpt-oss-20b-1:0", json!({"messages": [{"role": "user", "content": text}]})),
    ] {
        simulator.controls.quotas.set(model, ModelSettings::default());
        let whole = simulator.post(model, "invoke", body.to_string()).await;
        assert_eq!(whole.status, 200, "{model}: {:?}", String::from_utf8_lossy(&whole.body));
        let echo = format!("[{model}] {text}");
        assert!(String::from_utf8_lossy(&whole.body).contains(&echo), "{model}");
        let usage = Usage::from_headers(&whole.headers).unwrap();
        assert_eq!(Usage::from_body(&whole.body), Some(usage), "{model}");
        assert_eq!(usage.input, 3);

        let stream = simulator.post(model, "invoke-with-response-stream", body.to_string()).await;
        assert_eq!(stream.headers["x-amzn-bedrock-content-type"], "application/json");
        let (mut rest, mut last) = (stream.body.as_slice(), None);
        while let Ok(Some(frame)) = Frame::read(rest) {
            last = Usage::from_frame(&frame);
            rest = &rest[frame.len..];
        }
        assert_eq!(last, Some(usage), "{model}: the metrics are in the last chunk");
    }
    for (model, body) in [
        ("amazon.titan-embed-text-v2:0", json!({"inputText": text, "dimensions": 256})),
        ("cohere.embed-english-v3", json!({"texts": [text, "b"], "input_type": "search_query"})),
    ] {
        let whole = simulator.post(model, "invoke", body.to_string()).await;
        assert_eq!(whole.status, 200);
        let stream = simulator.post(model, "invoke-with-response-stream", body.to_string()).await;
        assert_eq!(stream.error(), "ValidationException");
        assert_eq!(
            simulator.post(model, "converse", converse("x")).await.error(),
            "ValidationException"
        );
    }
}

#[tokio::test]
async fn what_bedrock_refuses_is_refused() {
    let simulator = start().await;
    let anthropic = |change: Value| {
        let mut body = json!({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 50, "messages": [{"role": "user", "content": "x"}]});
        for (key, value) in change.as_object().unwrap() {
            body[key] = value.clone();
        }
        body.to_string()
    };
    let thinking =
        json!({"max_tokens": 2000, "thinking": {"type": "enabled", "budget_tokens": 2000}});
    for (suffix, body, message) in [
        ("invoke", "{".to_owned(), "Malformed input request"),
        ("invoke", "[]".to_owned(), "Malformed input request"),
        (
            "invoke",
            json!({"anthropic_version": "x", "messages": []}).to_string(),
            "max_tokens: Field required",
        ),
        ("invoke", anthropic(json!({"max_tokens": 4097})), "4097 > 4096"),
        ("invoke", anthropic(json!({"messages": []})), "at least one message"),
        ("invoke", anthropic(thinking), "thinking.budget_tokens"),
        ("converse", converse("x").replace("100", "4097"), "exceeds the model limit of 4096"),
        ("converse", "{}".to_owned(), "messages"),
        ("count-tokens", "{}".to_owned(), "input"),
        ("invoke", "x".repeat(crate::bedrock::MAX_BODY_BYTES + 1), "25000000"),
    ] {
        let answered = simulator.post(HAIKU, suffix, body).await;
        assert_eq!(
            (answered.status.as_u16(), answered.error().as_str()),
            (400, "ValidationException")
        );
        let got = answered.json()["message"].to_string();
        assert!(got.contains(message), "{got}");
    }
    let unknown = simulator.post("nobody.knows-v1:0", "converse", converse("x")).await;
    assert_eq!(unknown.json()["message"], "The provided model identifier is invalid.");
    let path = simulator.post(HAIKU, "unknown-operation", "{}").await;
    assert_eq!((path.status.as_u16(), path.error().as_str()), (404, "UnknownOperationException"));
}

#[tokio::test]
async fn quotas_set_over_the_control_api_throttle() {
    let simulator = start().await;
    let (status, _) = simulator.control("PUT", "quotas", json!({"model": HAIKU, "rpm": 1})).await;
    assert_eq!(status, 200);
    assert_eq!(simulator.converse("a").await.status, 200);
    let refused = simulator.converse("b").await;
    assert_eq!((refused.status.as_u16(), refused.error().as_str()), (429, "ThrottlingException"));
    assert!(!refused.headers.contains_key("retry-after"));
    let profile = format!("us.{HAIKU}");
    assert_eq!(simulator.post(&profile, "converse", converse("c")).await.status, 200);
    let (_, books) = simulator.control("GET", "books", Value::Null).await;
    assert_eq!(books["models"][HAIKU]["calls"], 1);
    assert_eq!(books["models"][HAIKU]["throttled"], 1);
    simulator.control("DELETE", "quotas", Value::Null).await;
    assert_eq!(simulator.converse("d").await.status, 200);
}

#[tokio::test]
async fn the_control_api_scripts_reads_and_clears() {
    let simulator = start().await;
    let rule = json!([{"model": HAIKU, "times": 1, "fault": {"kind": "throttle"}}, {"operation": "Converse", "skip": 9, "fault": {"kind": "slow_head", "ms": 1}}]);
    let (status, rules) = simulator.control("POST", "faults", rule).await;
    assert_eq!((status.as_u16(), rules["faults"].as_array().unwrap().len()), (200, 2));
    assert_eq!(simulator.converse("a").await.status, 429);
    let (_, log) = simulator.control("GET", "log?since=0", Value::Null).await;
    let entry = &log["entries"][0];
    assert_eq!((entry["fault"].as_str(), entry["status"].as_u64()), (Some("throttle"), Some(429)));
    assert_eq!(entry["body_sha256"], sha256_hex(converse("a").as_bytes()));
    let (_, log) = simulator.control("GET", "log?since=1", Value::Null).await;
    assert_eq!(log["entries"], json!([]));
    for (method, resource, body, status) in [
        ("POST", "faults", json!({"fault": {"kind": "nonsense"}}), 400),
        ("PUT", "quotas", json!({"model": HAIKU, "rmp": 3}), 400),
        ("PUT", "log", json!({}), 405),
        ("GET", "nothing", json!({}), 404),
    ] {
        let (got, answer) = simulator.control(method, resource, body).await;
        assert_eq!(got.as_u16(), status);
        assert!(answer["message"].is_string());
    }
    simulator.control("DELETE", "", Value::Null).await;
    assert!(simulator.controls.faults.rules().is_empty());
    assert!(simulator.controls.log.entries().is_empty());
}

#[tokio::test]
async fn cleartext_http2_is_spoken_on_the_same_port() {
    let simulator = start().await;
    let request = simulator.request(HAIKU, "converse-stream", converse("hello sim:tokens=3"));
    let answered = answered(send(request, true).await).await;
    assert_eq!(answered.frames().0.len(), 7);
    assert_eq!(simulator.last().await.protocol, "HTTP/2.0");
}

#[tokio::test]
async fn wrong_credentials_are_refused_and_logged() {
    let simulator = start().await;
    let mut request = simulator.request(HAIKU, "converse", converse("x"));
    request.headers_mut().remove("authorization");
    let none = answered(send(request, false).await).await;
    assert_eq!(
        (none.status.as_u16(), none.error().as_str()),
        (403, "MissingAuthenticationTokenException")
    );
    let entry = simulator.last().await;
    assert_eq!(entry.signature, Some("MissingAuthenticationTokenException"));
    assert_eq!(simulator.controls.quotas.books().len(), 0);
}

fn sdk_client(simulator: &Running, secret: &str) -> sdk::Client {
    let keys = sdk::config::Credentials::new(
        DEFAULT_ACCESS_KEY_ID,
        secret,
        Some("a-session/token==".to_owned()),
        None,
        "test",
    );
    let config = sdk::Config::builder()
        .behavior_version(sdk::config::BehaviorVersion::latest())
        .region(sdk::config::Region::new("eu-west-1"))
        .credentials_provider(keys)
        .endpoint_url(&simulator.url)
        .retry_config(sdk::config::retry::RetryConfig::disabled())
        .build();
    sdk::Client::from_conf(config)
}

#[tokio::test]
async fn an_aws_sdk_is_understood_and_understands() {
    use sdk::types::{ContentBlock, ConversationRole, Message};
    let simulator = start().await;
    let client = sdk_client(&simulator, DEFAULT_SECRET_ACCESS_KEY);
    let message = Message::builder()
        .role(ConversationRole::User)
        .content(ContentBlock::Text("hello".to_owned()))
        .build()
        .unwrap();
    let arn = format!("arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.{HAIKU}");
    let output = client.converse().model_id(&arn).messages(message.clone()).send().await.unwrap();
    let text = output.output().unwrap().as_message().unwrap().content()[0].as_text().unwrap();
    assert_eq!(text, &format!("[eu.{HAIKU}] hello"));

    let mut stream =
        client.converse_stream().model_id(HAIKU).messages(message.clone()).send().await.unwrap();
    let mut events = 0;
    while stream.stream.recv().await.unwrap().is_some() {
        events += 1;
    }
    assert!(events > 4);
    client.list_async_invokes().max_results(3).send().await.unwrap();
    for entry in simulator.controls.log.entries() {
        assert_eq!((entry.signature, entry.region.as_deref()), (Some("valid"), Some("eu-west-1")));
    }

    let wrong = sdk_client(&simulator, "wrong");
    let error = wrong.converse().model_id(HAIKU).messages(message).send().await.unwrap_err();
    assert_eq!(error.into_service_error().meta().code(), Some("InvalidSignatureException"));
}

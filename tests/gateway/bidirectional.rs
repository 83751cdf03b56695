//! The bidirectional stream, by the JavaScript SDK over HTTP/2, and by a client that does what no SDK
//! does.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::event_stream::sign_message;
use aws_sigv4::sign::v4::SigningParams;
use aws_smithy_eventstream::frame::{read_message_from, write_message_to};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use sluice::bedrock::event_stream;
use sluice::simulator::{DEFAULT_BEARER_TOKEN, Ending, Fault};
use sluice::upstream::sign;
use sluice::upstream::sign::Auth;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::support::clients::{Job, converse_both_ways};
use crate::support::patience::{LONG, eventually, within};
use crate::support::{Authority, Config, Gateway, PRIMARY, SECOND, Simulator, Terminator, http};

const OPERATION: &str = "InvokeModelWithBidirectionalStream";
const KEY_ID: &str = "SLUICEQ5ZJ2M4TGB7WDKFA";
const KEY_SECRET: &str = "test/secret+of/team-a+0123456789abcdefgh";

/// Has a conversation and gives what came back.
async fn converse(gateway: &Gateway, job: Value) -> Vec<Value> {
    converse_with(&gateway.url(), Path::new(""), job).await
}

/// The same at this URL, trusting in the authority of this file.
async fn converse_with(endpoint: &str, ca: &Path, job: Value) -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    let mut job = job;
    job["endpoint"] = endpoint.into();
    job["model"] = PRIMARY.into();
    if job["access_key_id"].is_null() {
        job["access_key_id"] = "AKIDOFTHECLIENT".into();
        job["secret_access_key"] = "a secret of the client's own".into();
    }
    let mut node = Command::new("node")
        .arg("bidirectional.mjs")
        .current_dir(folder)
        .env("NODE_EXTRA_CA_CERTS", ca)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut input = node.stdin.take().unwrap();
    input.write_all(job.to_string().as_bytes()).await.unwrap();
    drop(input);
    let output = within(LONG, "the conversation ends", node.wait_with_output()).await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_talk_in_turn_and_every_event_is_signed_for_the_target() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&Config::four_models(&simulator)).await;
    let got = converse(&gateway, json!({ "says": ["one", "two", "three"] })).await;
    let echo = |said: &str| json!({ "event": { "echo": { "say": said } } });
    let usage = json!({ "event": { "usageEvent": {
        "totalInputTokens": 3, "totalOutputTokens": 3,
    } } });
    assert_eq!(got, [echo("one"), echo("two"), echo("three"), usage, json!({ "end": true })]);

    // The simulator has verified the request's signature and each event's, by the gateway's key.
    let call = simulator.only_call();
    assert_eq!(call.operation, Some(OPERATION));
    assert_eq!((call.signature, call.error.as_deref()), (Some("valid"), None));
    assert_eq!(call.access_key_id.as_deref(), Some(simulator.access_key_id()));
    assert_eq!(call.protocol, "HTTP/2.0");
    let log = gateway.access_log(1).await;
    assert_eq!(log[0]["operation"], OPERATION);
    assert_eq!(log[0]["outcome"], "success");
    assert_eq!(log[0]["usage"]["output"], 3);
    let in_flight = async || gateway.quota("sonnet-35").await.in_flight;
    eventually("the reservation is settled", in_flight, |count| *count == 0).await;
}

/// A gateway that authenticates, and its client's key pair.
async fn authenticating(simulator: &Simulator) -> Gateway {
    let config = Config::four_models(simulator).client_that_signs("team-a", KEY_ID, "SECRET");
    Gateway::start_with(&config, &[("SECRET", KEY_SECRET)]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_authenticated_by_the_signatures_of_request_and_events() {
    let simulator = Simulator::start().await;
    let gateway = authenticating(&simulator).await;
    let talk = async |secret: &str| {
        let job =
            json!({ "says": ["one", "two"], "access_key_id": KEY_ID, "secret_access_key": secret });
        converse(&gateway, job).await
    };
    let got = talk(KEY_SECRET).await;
    assert_eq!((got.len(), got.last()), (4, Some(&json!({ "end": true }))), "{got:?}");
    let call = simulator.only_call();
    assert_eq!((call.signature, call.error.as_deref()), (Some("valid"), None));
    let got = talk("not-the-secret-0123456789").await;
    assert_eq!(got[0]["error"], "InvalidSignatureException", "{got:?}");
    assert_eq!(got[0]["status"], 403);
    assert_eq!(simulator.log().len(), 1);
    let log = gateway.access_log(2).await;
    assert_eq!(log[0]["client"], "team-a");
    assert_eq!(
        (&log[0]["outcome"], &log[1]["outcome"]),
        (&"success".into(), &"unauthenticated".into())
    );
}

/// The Rust SDK does not say what it signs in the place of the payload's hash; and speaks HTTP/2 by
/// TLS alone.
#[tokio::test(flavor = "multi_thread")]
async fn the_rust_sdk_is_authenticated() {
    let simulator = Simulator::start().await;
    let authority = Authority::new();
    let config = Config::four_models(&simulator)
        .tls(&authority.server())
        .client_that_signs("team-a", KEY_ID, "SECRET");
    let gateway = Gateway::start_with(&config, &[("SECRET", KEY_SECRET)]).await;
    let job = Job { ca: Some(authority.file()), ..Job::new(&gateway.https_url(), vec![]) };
    let talk = async |job: Job| {
        let talk = converse_both_ways(&job, PRIMARY, &["one", "two"]);
        within(LONG, "the conversation", talk).await
    };
    let echo = |said: &str| json!({ "event": { "echo": { "say": said } } });
    let came = talk(job.clone().signed_by(KEY_ID, KEY_SECRET)).await.unwrap();
    assert_eq!(came[..2], [echo("one"), echo("two")]);
    assert_eq!(came[2]["event"]["usageEvent"]["totalInputTokens"], 2);
    let call = simulator.only_call();
    assert_eq!((call.signature, call.error.as_deref()), (Some("valid"), None));
    assert_eq!(gateway.access_log(1).await[0]["client"], "team-a");
    let raised = talk(job.signed_by(KEY_ID, "not-the-secret-0123456789")).await.unwrap_err();
    assert!(raised.is("InvalidSignatureException"), "{raised:?}");
    assert_eq!(simulator.log().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_its_client_did_not_sign_goes_no_further() {
    let simulator = Simulator::start().await;
    let gateway = authenticating(&simulator).await;
    for forge in [true, false] {
        let (head, mut signer) = Signer::of_a_request(&gateway);
        let mut conversation = Conversation::begin_with(head).await;
        let frame = signer.signs("one");
        conversation.events.send(frame).await.unwrap();
        let echo = json!({ "event": { "echo": { "say": "one" } } });
        assert_eq!(conversation.next().await.unwrap(), Some(echo));
        if forge {
            // A neighbour on the network puts in an event of its own.
            signer.secret = "not-the-secret-0123456789";
            let frame = signer.signs("another");
            conversation.events.send(frame).await.unwrap();
        } else {
            // Or ends the stream before its client does.
            conversation.says_no_more();
        }
        let broken = conversation.next().await;
        let is_broken = match &broken {
            Ok(Some(event)) => event["exception"].is_string(),
            Ok(None) => false,
            Err(_) => true,
        };
        assert!(is_broken, "{broken:?}");
    }
    let heard = |entry: &sluice::simulator::Entry| entry.ending != Ending::Open;
    simulator.sees_within(Duration::from_secs(5), "the ends", heard).await;
    for call in simulator.log() {
        assert_eq!((call.signature, call.frames), (Some("valid"), 1), "{call:?}");
    }
    assert!(gateway.output().contains("not as its client signed it"), "{}", gateway.output());
    gateway.is_healthy().await;
}

/// Bytes that are not events, and the outcome of a request with them.
fn not_events() -> Vec<(&'static str, Bytes)> {
    let mut random = fastrand::Rng::with_seed(1);
    let noise: Vec<u8> = (0..4000).map(|_| random.u8(..)).collect();
    let mut wrong_checksum = said("one").to_vec();
    wrong_checksum[20] ^= 1;
    let cut = said("one").slice(..20);
    let long = event_stream::event("chunk", vec![b' '; 100_000]);
    vec![
        ("bad_request", noise.into()),
        ("bad_request", wrong_checksum.into()),
        ("bad_request", cut),
        ("body_too_large", long),
    ]
}

/// One client could otherwise take a target from all.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_sends_in_place_of_events_does_not_count_against_the_target() {
    let simulator = Simulator::start().await;
    let config = Config::models(&simulator, 1)
        .set("server.max_body", "64KiB")
        .set("queue.max_wait", "0s")
        .set("fallback.eject_after", 2);
    let gateway = Gateway::start(&config).await;
    let mut outcomes = Vec::new();
    // The target has answered when the client sends it, or not yet.
    for answers_first in [true, false] {
        for (outcome, bytes) in not_events() {
            for _ in 0..3 {
                if !answers_first {
                    simulator.strikes(PRIMARY, 1, Fault::HangBeforeHead);
                }
                let body = if answers_first {
                    let mut conversation = Conversation::begin(&gateway).await;
                    conversation.say("one").await;
                    assert!(conversation.next().await.unwrap().is_some());
                    conversation.events.send(bytes.clone()).await.unwrap();
                    conversation.says_no_more();
                    let end = conversation.next().await.unwrap().unwrap();
                    assert_eq!(end["exception"], "validationException", "{end}");
                    end["message"].as_str().unwrap().to_owned()
                } else {
                    let sent = Conversation::opened_with(head(&gateway), bytes.clone()).await;
                    let (status, error, body) = sent.unwrap_err();
                    let wanted = match outcome {
                        "bad_request" => (400, "ValidationException"),
                        _ => (413, "RequestEntityTooLargeException"),
                    };
                    assert_eq!((status, &*error), wanted, "{body}");
                    body
                };
                assert!(body.contains("event"), "{body}");
                outcomes.push(outcome);
            }
        }
    }
    assert_eq!(gateway.target("sonnet-35").await["state"], "available");
    simulator.recovers();
    has_a_word(&gateway).await;
    outcomes.push("success");
    let log = gateway.access_log(outcomes.len()).await;
    let logged: Vec<&str> = log.iter().map(|line| line["outcome"].as_str().unwrap()).collect();
    assert_eq!(logged, outcomes);
    let in_flight = async || gateway.quota("sonnet-35").await.in_flight;
    eventually("the reservations are settled", in_flight, |count| *count == 0).await;
}

/// Curl 7.88 loses an answer behind which its stream is reset.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_still_sends_when_it_has_its_answer_is_not_interrupted() {
    let simulator = Simulator::start().await;
    let config = Config::models(&simulator, 1).set("queue.max_wait", "0s");
    let gateway = Gateway::start(&config).await;
    let url = head(&gateway).uri.to_string();
    // The upstream refuses it, then the gateway.
    simulator.strikes(PRIMARY, 1, Fault::Throttle);
    for _ in 0..2 {
        let event = said("one");
        let status = http::status_of_a_slow_post(&url, event_stream::CONTENT_TYPE, &event).await;
        assert_eq!(status, 429);
    }
    assert_eq!(simulator.log().len(), 1);
}

/// A target may answer only when it has the first event.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_says_nothing_does_not_count_against_the_target() {
    let simulator = Simulator::start().await;
    let config = Config::models(&simulator, 1)
        .set("upstream.first_byte_timeout", "200ms")
        .set("upstream.idle_timeout", "200ms")
        .set("fallback.eject_after", 2);
    let gateway = Gateway::start(&config).await;
    for _ in 0..3 {
        simulator.strikes(PRIMARY, 1, Fault::HangBeforeHead);
        let (status, error, body) = Conversation::sent(head(&gateway)).await.unwrap_err();
        assert_eq!((status, &*error), (408, "RequestTimeoutException"), "{body}");
    }
    for _ in 0..3 {
        let mut conversation = Conversation::begin(&gateway).await;
        let end = conversation.next().await.unwrap().unwrap();
        assert_eq!(end["exception"], "modelStreamErrorException", "{end}");
    }
    assert_eq!(gateway.target("sonnet-35").await["state"], "available");
    let log = gateway.access_log(6).await;
    let outcomes: Vec<&str> = log.iter().map(|line| line["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, [["body_timeout"; 3], ["stream_idle"; 3]].concat());
    has_a_word(&gateway).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_through_tls_on_both_sides() {
    let simulator = Simulator::start().await;
    let authority = Authority::new();
    let server = authority.server();
    let before = Terminator::start(&server, &["h2", "http/1.1"], simulator.address()).await;
    let config = Config::four_models(&simulator)
        .tls(&server)
        .set("upstream.endpoint_url", format!("https://localhost:{}", before.port()))
        .set("upstream.ca_file", authority.path());
    let gateway = Gateway::start(&config).await;
    let says = json!({ "says": ["one", "two"] });
    let got = converse_with(&gateway.https_url(), &authority.file(), says).await;
    assert_eq!(got.last(), Some(&json!({ "end": true })), "{got:?}");
    assert_eq!(simulator.only_call().signature, Some("valid"));
    assert_eq!(before.agreed(), ["h2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_target_is_not_replaced_and_its_error_is_relayed() {
    let simulator = Simulator::start().await;
    let config = Config::four_models(&simulator).set("queue.max_wait", "0s");
    let gateway = Gateway::start(&config).await;
    simulator.strikes(PRIMARY, 1, Fault::Throttle);
    let got = converse(&gateway, json!({ "says": ["one"] })).await;
    assert_eq!(got[0]["error"], "ThrottlingException", "{got:?}");
    assert!(simulator.calls_to(SECOND).is_empty());
    // It cools like any throttled target.
    assert_eq!(gateway.target("sonnet-35").await["consecutive_throttles"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_ends_it_at_the_target() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&Config::four_models(&simulator)).await;
    let got = converse(&gateway, json!({ "says": ["one"], "gives_up": true })).await;
    assert_eq!(got.len(), 1, "{got:?}");
    let in_flight = async || gateway.quota("sonnet-35").await.in_flight;
    eventually("the reservation is settled", in_flight, |count| *count == 0).await;
    let log = gateway.access_log(1).await;
    assert_eq!(log[0]["outcome"], "client_gone");
    gateway.is_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_has_a_time_limit_of_its_own() {
    let simulator = Simulator::start().await;
    let config = Config::four_models(&simulator)
        .set("server.request_timeout", "100ms")
        .set("server.bidirectional_timeout", "1500ms");
    let gateway = Gateway::start(&config).await;
    // The client never stops to talk.
    let says: Vec<String> = (0..200_000).map(|number| number.to_string()).collect();
    let got = converse(&gateway, json!({ "says": says })).await;
    assert!(got.last().unwrap()["error"].is_string(), "{:?}", got.last());
    assert_eq!(gateway.access_log(1).await[0]["outcome"], "request_timeout");
}

#[tokio::test(flavor = "multi_thread")]
async fn http_1_can_not_carry_it() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&Config::four_models(&simulator)).await;
    let path = format!("/model/{PRIMARY}/invoke-with-bidirectional-stream");
    let answer = http::post(&format!("{}{path}", gateway.url()), &[], "").await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.header("x-amzn-errortype"), Some("ValidationException"));
    assert!(answer.text().contains("needs HTTP/2"), "{}", answer.text());
    assert!(simulator.log().is_empty());
}

/// A conversation whose events are not signed. Dropped, its client goes away: it resets the stream,
/// where an end of its events alone would let the target finish its answer.
#[derive(Debug)]
pub(crate) struct Conversation {
    events: mpsc::Sender<Bytes>,
    has_said_all: Arc<AtomicBool>,
    answer: Incoming,
    unread: BytesMut,
}

/// The head of a conversation's request.
fn head(gateway: &Gateway) -> ::http::request::Parts {
    head_for(gateway, PRIMARY)
}

fn head_for(gateway: &Gateway, model: &str) -> ::http::request::Parts {
    let path = format!("/model/{model}/invoke-with-bidirectional-stream");
    let request = ::http::Request::post(format!("{}{path}", gateway.url()))
        .header("content-type", event_stream::CONTENT_TYPE);
    request.body(()).unwrap().into_parts().0
}

/// Signs events as an SDK does.
struct Signer {
    secret: &'static str,
    last: String,
}

impl Signer {
    fn of_a_request(gateway: &Gateway) -> (::http::request::Parts, Signer) {
        let mut head = head(gateway);
        let host = gateway.address().to_string();
        head.headers.insert("host", host.parse().unwrap());
        let keys = Credentials::new(KEY_ID, KEY_SECRET, None, None, "test");
        let auth = Auth::SigV4(keys.into());
        let last = sign::authorize_events(&mut head, &auth, "us-east-1", SystemTime::now());
        (head, Signer { secret: KEY_SECRET, last: last.unwrap().unwrap() })
    }

    fn signs(&mut self, text: &str) -> Bytes {
        let identity = Credentials::new(KEY_ID, self.secret, None, None, "test").into();
        let params = SigningParams::builder()
            .identity(&identity)
            .region("us-east-1")
            .name("bedrock")
            .time(SystemTime::now())
            .settings(())
            .build()
            .unwrap();
        let event = read_message_from(&mut said(text)).unwrap();
        let (message, last) = sign_message(&event, &self.last, &params).unwrap().into_parts();
        self.last = last;
        let mut bytes = Vec::new();
        write_message_to(&message, &mut bytes).unwrap();
        bytes.into()
    }
}

/// The event that says so.
fn said(text: &str) -> Bytes {
    let said = STANDARD.encode(json!({ "say": text }).to_string());
    event_stream::event("chunk", json!({ "bytes": said }).to_string())
}

impl Conversation {
    async fn begin(gateway: &Gateway) -> Conversation {
        Conversation::begin_with(head(gateway)).await
    }

    async fn begin_with(head: ::http::request::Parts) -> Conversation {
        Conversation::sent(head).await.unwrap()
    }

    /// One with this model, by a request with these headers; or else the status and error that
    /// refuse it.
    pub(crate) async fn of(
        gateway: &Gateway,
        model: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Conversation, (u16, String, String)> {
        let mut head = head_for(gateway, model);
        for (name, value) in headers {
            head.headers.insert(*name, value.parse().unwrap());
        }
        Conversation::sent(head).await
    }

    async fn sent(head: ::http::request::Parts) -> Result<Conversation, (u16, String, String)> {
        let (events, sent) = mpsc::channel::<Bytes>(1);
        Conversation::saying(head, events, sent, Arc::default()).await
    }

    /// One whose client sends these bytes, and then no more.
    async fn opened_with(
        head: ::http::request::Parts,
        bytes: Bytes,
    ) -> Result<Conversation, (u16, String, String)> {
        let (events, sent) = mpsc::channel::<Bytes>(1);
        events.send(bytes).await.unwrap();
        drop(events);
        let ended = Arc::new(AtomicBool::new(true));
        Conversation::saying(head, mpsc::channel(1).0, sent, ended).await
    }

    async fn saying(
        head: ::http::request::Parts,
        events: mpsc::Sender<Bytes>,
        sent: mpsc::Receiver<Bytes>,
        has_said_all: Arc<AtomicBool>,
    ) -> Result<Conversation, (u16, String, String)> {
        let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
        let said_all = Arc::clone(&has_said_all);
        let body = stream::unfold(sent, move |mut sent| {
            let said_all = Arc::clone(&said_all);
            async move {
                match sent.recv().await {
                    Some(event) => Some((Ok(Frame::data(event)), sent)),
                    None if said_all.load(Ordering::Relaxed) => None,
                    None => Some((Err(std::io::Error::other("the client goes away")), sent)),
                }
            }
        });
        let body = BodyExt::boxed_unsync(StreamBody::new(body));
        let request = ::http::Request::from_parts(head, body);
        let answer = within(LONG, "the head", client.request(request)).await.unwrap();
        let (head, answer) = answer.into_parts();
        if head.status != 200 {
            let error = head.headers["x-amzn-errortype"].to_str().unwrap().to_owned();
            let body = answer.collect().await.unwrap().to_bytes();
            let text = String::from_utf8(body.to_vec()).unwrap();
            return Err((head.status.as_u16(), error, text));
        }
        Ok(Conversation { events, has_said_all, answer, unread: BytesMut::new() })
    }

    /// Says something; an error when the other side does not listen any more.
    pub(crate) async fn tries_to_say(&self, text: &str) -> Result<(), ()> {
        self.events.send(said(text)).await.map_err(drop)
    }

    /// Ends the client's side of it.
    pub(crate) fn says_no_more(&mut self) {
        self.has_said_all.store(true, Ordering::Relaxed);
        drop(std::mem::replace(&mut self.events, mpsc::channel(1).0));
    }

    async fn say(&self, text: &str) {
        self.tries_to_say(text).await.unwrap();
    }

    /// The next event of the answer; `None` at its end, `Err` if it breaks off.
    pub(crate) async fn next(&mut self) -> Result<Option<Value>, hyper::Error> {
        loop {
            if let Some(frame) = event_stream::Frame::read(&self.unread).unwrap() {
                if let event_stream::Kind::Exception(name) = frame.kind() {
                    let payload: Value = serde_json::from_slice(frame.payload).unwrap();
                    let told = json!({ "exception": name, "message": payload["message"] });
                    self.unread.clear();
                    return Ok(Some(told));
                }
                let payload: Value = serde_json::from_slice(frame.payload).unwrap();
                let len = frame.len;
                let said = STANDARD.decode(payload["bytes"].as_str().unwrap()).unwrap();
                drop(self.unread.split_to(len));
                return Ok(Some(serde_json::from_slice(&said).unwrap()));
            }
            match within(LONG, "an event", self.answer.frame()).await {
                Some(frame) => self.unread.extend(frame?.into_data()),
                None => return Ok(None),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_with_a_bearer_key_gets_events_unsigned() {
    let simulator = Simulator::start().await;
    let config = Config::models(&simulator, 1)
        .without_credentials()
        .set("upstream.bearer_token", "env:BEDROCK_KEY");
    let gateway = Gateway::start_with(&config, &[("BEDROCK_KEY", DEFAULT_BEARER_TOKEN)]).await;
    let mut conversation = Conversation::begin(&gateway).await;
    conversation.say("one").await;
    let echo = json!({ "event": { "echo": { "say": "one" } } });
    assert_eq!(conversation.next().await.unwrap(), Some(echo));
    conversation.says_no_more();
    let usage = conversation.next().await.unwrap().unwrap();
    assert_eq!(usage["event"]["usageEvent"]["totalOutputTokens"], 1);
    assert_eq!(conversation.next().await.unwrap(), None);
    assert_eq!(simulator.only_call().signature, Some("bearer"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_either_side_ends_ends_at_the_target_too() {
    let simulator = Simulator::start().await;
    let config = Config::models(&simulator, 1).set("upstream.idle_timeout", "500ms");
    let gateway = Gateway::start(&config).await;
    let ends = async |seq: u64| {
        let is_over = move |entry: &sluice::simulator::Entry| {
            entry.seq == seq && entry.ending != Ending::Open
        };
        simulator.sees_within(Duration::from_secs(5), "the end", is_over).await
    };
    // The client goes away.
    let mut conversation = Conversation::begin(&gateway).await;
    conversation.say("one").await;
    conversation.next().await.unwrap();
    drop(conversation);
    ends(1).await;
    // Nobody says anything, and the client stays.
    let mut conversation = Conversation::begin(&gateway).await;
    conversation.say("one").await;
    conversation.next().await.unwrap();
    let told = conversation.next().await.unwrap().unwrap();
    assert_eq!(told["exception"], "modelStreamErrorException");
    ends(2).await;
    let in_flight = async || gateway.quota("sonnet-35").await.in_flight;
    eventually("the reservations are settled", in_flight, |count| *count == 0).await;
    let outcomes: Vec<Value> =
        gateway.access_log(2).await.iter().map(|line| line["outcome"].clone()).collect();
    assert_eq!(outcomes, ["client_gone", "stream_idle"]);
}

/// Has one whole conversation.
async fn has_a_word(gateway: &Gateway) {
    let mut conversation = Conversation::begin(gateway).await;
    conversation.say("one").await;
    assert!(conversation.next().await.unwrap().is_some());
    conversation.says_no_more();
    while conversation.next().await.unwrap().is_some() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn conversations_share_a_connection_and_a_dead_one_is_replaced() {
    let simulator = Simulator::start().await;
    let way = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = Config::models(&simulator, 1)
        .set("server.worker_threads", 1)
        .set("upstream.endpoint_url", format!("http://{}", way.local_addr().unwrap()));
    let gateway = Gateway::start(&config).await;
    let upstream = simulator.address();
    let passes = async || {
        let (mut near, _) = within(LONG, "a connection", way.accept()).await.unwrap();
        let mut far = TcpStream::connect(upstream).await.unwrap();
        tokio::io::copy_bidirectional(&mut near, &mut far).await
    };
    let twice = async {
        has_a_word(&gateway).await;
        has_a_word(&gateway).await;
    };
    // It passes one connection, and cuts that off.
    tokio::select! {
        _ = passes() => panic!("the connection was closed between two conversations"),
        () = twice => {}
    }
    tokio::select! {
        _ = passes() => panic!("the connection was closed within a conversation"),
        () = has_a_word(&gateway) => {}
    }
    assert_eq!(simulator.calls_to(PRIMARY).len(), 3);
    let log = gateway.access_log(3).await;
    assert!(log.iter().all(|line| line["outcome"] == "success"), "{log:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_disconnected() {
    let simulator = Simulator::start().await;
    let gateway = Gateway::start(&Config::models(&simulator, 1)).await;
    let conversation = Conversation::begin(&gateway).await;
    let before = gateway.resident_bytes();
    // Each event is echoed; nobody takes the echoes, so that in the end no event is taken either.
    let text = "x".repeat(64 * 1024);
    let mut said = 0;
    while timeout(Duration::from_secs(2), conversation.say(&text)).await.is_ok() {
        said += text.len();
        assert!(said < 50_000_000, "{said} bytes are held somewhere");
    }
    let grown = gateway.resident_bytes().saturating_sub(before);
    println!("{said} bytes went out, {grown} are held");
    assert!(grown < 30_000_000, "{grown} bytes");
}

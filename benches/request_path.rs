//! What the gateway does to each request besides moving bytes: reading the path, reading the
//! body, clamping its cap, hashing, signing, and verifying a client's signature; and reading the
//! events of a stream.
//!
//! Run with `cargo bench --bench request_path`. Sizes in names are bytes of the request body.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use bytes::Bytes;
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use http::header::{ACCEPT, CONTENT_TYPE, HOST};
use http::{Method, Request, request};
use sluice::auth::{AuthOutcome, Authenticator};
use sluice::bedrock::body::Changes;
use sluice::bedrock::path::{model_path, parse};
use sluice::bedrock::sigv4::PayloadHash;
use sluice::bedrock::sse::{self, Event, Piece, Splitter, StreamReader};
use sluice::bedrock::{Api, Family, ModelId, Operation, body};
use sluice::config::{self, KeyPair};
use sluice::limits::ClientRegistry;
use sluice::telemetry::Metrics;
use sluice::upstream::sign;
use sluice::upstream::sign::Auth;

const KEY_ID: &str = "SLUICEBENCH";
const SECRET: &str = "secret-0123456789-0123456789-0123456789";
const MODEL: &str = "anthropic.claude-3-5-sonnet-20240620-v1:0";

fn main() {
    divan::main();
}

/// A Converse request of `bytes` bytes, most of them in one message.
fn converse(bytes: usize) -> String {
    let (before, after) = (
        r#"{"messages":[{"role":"user","content":[{"text":""#,
        r#""}]}],"inferenceConfig":{"maxTokens":9000,"temperature":0.5}}"#,
    );
    let text = "lorem ipsum ".repeat(bytes / 12 + 1);
    let room = bytes.saturating_sub(before.len() + after.len());
    format!("{before}{}{after}", text.get(..room).unwrap_or_default())
}

#[divan::bench(args = [1 << 10, 100 << 10])]
fn hash_and_sign(bencher: Bencher<'_, '_>, bytes: usize) {
    let auth = Auth::SigV4(Credentials::new(KEY_ID, SECRET, None, None, "bench").into());
    let body = converse(bytes);
    bencher.with_inputs(head).input_counter(move |_| BytesCount::new(bytes)).bench_values(|head| {
        let mut head = head?;
        let hash = PayloadHash::of(black_box(body.as_bytes()));
        sign::authorize(&mut head, || hash, &auth, "us-east-1", SystemTime::now()).ok()?;
        Some(head)
    });
}

/// Signing alone, the hash at hand.
#[divan::bench]
fn sign_outbound(bencher: Bencher<'_, '_>) {
    let auth = Auth::SigV4(Credentials::new(KEY_ID, SECRET, None, None, "bench").into());
    let hash = PayloadHash::of(converse(1 << 10).as_bytes());
    bencher.with_inputs(head).bench_values(|head| {
        let mut head = head?;
        sign::authorize(&mut head, || hash, &auth, "us-east-1", SystemTime::now()).ok()?;
        Some(head)
    });
}

/// Verification of a client's signature, all but the hash of the body, which signing needs anyway.
#[divan::bench(args = [false, true])]
fn verify_inbound(bencher: Bencher<'_, '_>, is_first_of_the_day: bool) {
    let auth = Auth::SigV4(Credentials::new(KEY_ID, SECRET, None, None, "bench").into());
    let hash = PayloadHash::of(converse(1 << 10).as_bytes());
    let now = SystemTime::now();
    let signed = head().and_then(|mut head| {
        sign::authorize(&mut head, || hash, &auth, "us-east-1", now).ok()?;
        Some(head)
    });
    let keys = || {
        let pair = KeyPair {
            access_key_id: KEY_ID.to_owned(),
            secret_access_key: SECRET.into(),
            expires: None,
        };
        let client = config::ClientConfig {
            policy: config::ClientPolicy::default(),
            budget: None,
            name: "team-a".to_owned(),
            keys: vec![pair],
            ..config::ClientConfig::default()
        };
        let auth = config::Auth {
            max_clock_skew: Duration::from_secs(300),
            replay_protection: false,
            max_replay_signatures: 1,
        };
        let clients = [client];
        let members = ClientRegistry::new(&clients, None, None).ok()?;
        Some(Authenticator::new(&clients, &members, &auth, Arc::new(Metrics::new()), None))
    };
    let verify = |keys: &Option<Authenticator>| {
        let (keys, head) = (keys.as_ref()?, signed.as_ref()?);
        match keys.authenticate(black_box(head), None, now).ok()? {
            AuthOutcome::Pending(pending) => keys.verify_signature(&pending, &hash).ok(),
            _ => None,
        }
    };
    let known = keys();
    assert!(verify(&known).is_some(), "the signature is right");
    if is_first_of_the_day {
        bencher.with_inputs(keys).bench_refs(|keys| verify(keys).is_some());
    } else {
        bencher.bench_local(|| verify(&known).is_some());
    }
}

fn head() -> Option<request::Parts> {
    let model = ModelId::new(MODEL).map(|model| model.encode()).unwrap_or_default();
    let host = "bedrock-runtime.us-east-1.amazonaws.com";
    let uri = format!("https://{host}{}", model_path(Operation::Converse, &model)?);
    let request = Request::post(uri)
        .header(HOST, host)
        .header(CONTENT_TYPE, "application/json")
        .header(ACCEPT, "application/json")
        .body(());
    Some(request.ok()?.into_parts().0)
}

#[divan::bench(args = [1 << 10, 100 << 10, 1 << 20])]
fn hash(bencher: Bencher<'_, '_>, bytes: usize) {
    let body = converse(bytes);
    bencher
        .counter(BytesCount::new(bytes))
        .bench_local(|| PayloadHash::of(black_box(body.as_bytes())));
}

#[divan::bench]
fn path_parse() -> bool {
    let path = black_box("/model/anthropic.claude-3-5-sonnet-20240620-v1%3A0/converse-stream");
    parse(&Method::POST, path).is_ok()
}

#[divan::bench]
fn path_rewrite() -> String {
    let encoded = black_box("anthropic.claude-3-haiku-20240307-v1%3A0");
    model_path(black_box(Operation::ConverseStream), encoded).unwrap_or_default()
}

#[divan::bench(args = [1 << 10, 1 << 20])]
fn body_peek(bencher: Bencher<'_, '_>, bytes: usize) {
    let body = converse(bytes);
    bencher.counter(BytesCount::new(bytes)).bench_local(|| {
        body::peek(Operation::Converse, Family::Anthropic, black_box(body.as_bytes())).is_ok()
    });
}

/// A body of Chat Completions of `bytes` bytes, most of them in one message.
fn chat(bytes: usize) -> String {
    let (before, after) = (
        r#"{"model":"us.openai.gpt-5.6-sol","stream":true,"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":""#,
        r#""}],"max_completion_tokens":9000,"temperature":0.5,"reasoning_effort":"low"}"#,
    );
    let text = "lorem ipsum ".repeat(bytes / 12 + 1);
    let room = bytes.saturating_sub(before.len() + after.len());
    format!("{before}{}{after}", text.get(..room).unwrap_or_default())
}

#[divan::bench(args = [1 << 10, 1 << 20])]
fn chat_body_peek(bencher: Bencher<'_, '_>, bytes: usize) {
    let body = chat(bytes);
    bencher.counter(BytesCount::new(bytes)).bench_local(|| {
        let body = black_box(body.as_bytes());
        body::peek(Operation::CreateChatCompletion, Family::Unknown, body).is_ok()
    });
}

#[divan::bench(args = [1 << 10, 1 << 20])]
fn chat_body_peek_and_change(bencher: Bencher<'_, '_>, bytes: usize) {
    let body = chat(bytes);
    let changes = Changes {
        model: Some("global.openai.gpt-5.6-sol"),
        cap: Some(4096),
        include_usage: true,
        ..Changes::default()
    };
    bencher.counter(BytesCount::new(bytes)).bench_local(|| {
        let body = black_box(body.as_bytes());
        let peek = body::peek(Operation::CreateChatCompletion, Family::Unknown, body).ok()?;
        body::change(body, &peek, &changes)
    });
}

/// Splitting a stream of server-sent events and reading each: a thousand events that carry a word.
#[divan::bench(args = ["chat_completions", "responses", "messages"])]
fn thousand_events(bencher: Bencher<'_, '_>, name: &str) {
    let (api, event) = match name {
        "messages" => (
            Api::Messages,
            sse::event(
                Some("content_block_delta"),
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" lorem"}}"#,
            ),
        ),
        "responses" => (
            Api::Responses,
            sse::event(
                Some("response.output_text.delta"),
                r#"{"type":"response.output_text.delta","item_id":"msg_68c1f0a2b3d4e5f6","output_index":0,"content_index":0,"delta":" lorem","sequence_number":17,"obfuscation":"Xk2p9Q"}"#,
            ),
        ),
        _ => (
            Api::ChatCompletions,
            sse::event(
                None,
                r#"{"id":"chatcmpl-68c1f0a2b3d4e5f6","object":"chat.completion.chunk","created":1760000000,"model":"openai.gpt-5.6-sol","choices":[{"index":0,"delta":{"content":" lorem"},"logprobs":null,"finish_reason":null}],"usage":null}"#,
            ),
        ),
    };
    let stream = Bytes::from(event.repeat(1000));
    bencher.counter(ItemsCount::new(1000_usize)).bench_local(|| {
        let (mut splitter, mut reader) = (Splitter::new(1 << 20), StreamReader::new(api));
        let mut chunk = black_box(stream.clone());
        while let Some(piece) = splitter.next(&mut chunk) {
            if let Piece::Event(raw) = piece {
                reader.read(&Event::read(&raw));
            }
        }
        reader.output_so_far()
    });
}

#[divan::bench(args = [1 << 10, 1 << 20])]
fn body_peek_and_clamp(bencher: Bencher<'_, '_>, bytes: usize) {
    let body = converse(bytes);
    bencher.counter(BytesCount::new(bytes)).bench_local(|| {
        let body = black_box(body.as_bytes());
        let peek = body::peek(Operation::Converse, Family::Anthropic, body).ok()?;
        body::clamp(body, &peek, 4096)
    });
}

//! What the gateway does to each request besides moving bytes: reading the path, reading the
//! body, clamping its cap, hashing and signing.
//!
//! Run with `cargo bench --bench request_path`. Sizes in names are bytes of the request body.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use http::header::{ACCEPT, CONTENT_TYPE, HOST};
use http::{Method, Request};
use sluice::bedrock::path::{model_path, parse};
use sluice::bedrock::sigv4::PayloadHash;
use sluice::bedrock::{Family, ModelId, Operation, body};
use sluice::upstream::credentials::Auth;
use sluice::upstream::sign;

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
    let auth = Auth::SigV4(Credentials::new("AKIDBENCH", "secret", None, None, "bench").into());
    let body = converse(bytes);
    let model = ModelId::new(MODEL).map(|model| model.encode()).unwrap_or_default();
    let host = "bedrock-runtime.us-east-1.amazonaws.com";
    let uri = format!("https://{host}{}", model_path(Operation::Converse, &model));
    bencher
        .with_inputs(|| {
            let request = Request::post(&uri)
                .header(HOST, host)
                .header(CONTENT_TYPE, "application/json")
                .header(ACCEPT, "application/json")
                .body(());
            request.map(|request| request.into_parts().0)
        })
        .input_counter(move |_| BytesCount::new(bytes))
        .bench_values(|head| {
            let Ok(mut head) = head else { return None };
            let hash = PayloadHash::of(black_box(body.as_bytes()));
            sign::authorize(&mut head, &hash, &auth, "us-east-1", SystemTime::now()).ok()?;
            Some(head)
        });
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
    model_path(black_box(Operation::ConverseStream), encoded)
}

#[divan::bench(args = [1 << 10, 1 << 20])]
fn body_peek(bencher: Bencher<'_, '_>, bytes: usize) {
    let body = converse(bytes);
    bencher.counter(BytesCount::new(bytes)).bench_local(|| {
        body::peek(Operation::Converse, Family::Anthropic, black_box(body.as_bytes())).is_ok()
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

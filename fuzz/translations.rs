//! What holds for any bytes that are translated: nothing panics, and what comes out is JSON.
//!
//! The first byte of an input chooses the client's API and the model.

use sluice_bedrock::ModelId;
use sluice_bedrock::event_stream::{self, Frame};
use sluice_bridge::conversation::CacheTtl;
use sluice_bridge::invoke::to_claude;
use sluice_bridge::{AnswerContext, CachePolicy, DropPolicy, Hub, Model, Source, Stamp, translate};
use sluice_catalogue::Catalogue;

const MODELS: [&str; 5] = [
    "anthropic.claude-sonnet-4-5-20250929-v1:0",
    "anthropic.claude-opus-4-8",
    "amazon.nova-2-lite-v1:0",
    "openai.gpt-oss-120b-1:0",
    "deepseek.r1-v1:0",
];

fn source(byte: u8) -> Source {
    Source::ALL[usize::from(byte) % Source::ALL.len()]
}

fn model(byte: u8) -> Model {
    let id = MODELS[usize::from(byte) / Source::ALL.len() % MODELS.len()];
    let facts = Catalogue::shipped().facts(&ModelId::new(id).unwrap(), "us-east-1");
    Model::of(id, &facts.unwrap_or_default())
}

fn stamp() -> Stamp {
    Stamp { request_id: "1".to_owned(), created: 1 }
}

fn is_json(bytes: &[u8]) {
    serde_json::from_slice::<serde::de::IgnoredAny>(bytes).expect("JSON");
}

/// Requests: refused, or written as JSON; what may be dropped is never a reason to take less.
pub(crate) fn request(input: &[u8]) {
    let Some((byte, body)) = input.split_first() else { return };
    let (source, model) = (source(*byte), model(*byte));
    let drops = DropPolicy { drops: true, ..DropPolicy::default() };
    let strict = translate(source, body, &model, &DropPolicy::default());
    let lenient = translate(source, body, &model, &drops);
    if let Ok(strict) = &strict {
        is_json(&strict.body);
        assert!(lenient.is_ok(), "refused by leave to drop");
    }
    if let Ok(lenient) = lenient {
        is_json(&lenient.body);
    }
    cached(source, body, model);
}

/// Cache points by the operator's policy never cost a request anything.
fn cached(source: Source, body: &[u8], model: Model) {
    let model = Model { min_cache_tokens: Some(0), ..model };
    let (policy, drops) =
        (CachePolicy { adds_points: true, min_ttl: CacheTtl::Hour }, DropPolicy::default());
    if let Some((changed, added)) = to_claude::cached_by(body, policy, &model) {
        assert!(!added.is_empty());
        if serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok() {
            is_json(&changed);
        }
    }
    let Ok(mut hub) = Hub::read(source, body, &drops) else { return };
    let Ok(before) = hub.write(&model, &drops) else { return };
    hub.conversation.cache_by(policy, &model);
    let after = hub.write(&model, &drops).expect("refused for its cache points");
    is_json(&after.body);
    assert_eq!(after.dropped, before.dropped);
}

/// What an answer is translated by, for every API.
fn context(byte: u8) -> AnswerContext {
    let body = match source(byte) {
        Source::ChatCompletions => r#"{"model":"m","messages":[{"role":"user","content":"a"}]}"#,
        Source::Responses => r#"{"model":"m","input":"a"}"#,
        Source::Messages => {
            r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"a"}]}"#
        }
        Source::Converse => r#"{"messages":[{"role":"user","content":[{"text":"a"}]}]}"#,
        Source::InvokeClaude => {
            r#"{"anthropic_version":"bedrock-2023-05-31","max_tokens":9,"messages":[{"role":"user","content":"a"}]}"#
        }
    };
    let policy = DropPolicy { drops: true, ..DropPolicy::default() };
    translate(source(byte), body.as_bytes(), &model(byte), &policy).expect("carried").answer
}

/// Whole answers of Converse.
pub(crate) fn answer(input: &[u8]) {
    let Some((byte, body)) = input.split_first() else { return };
    if let Ok(answer) = context(*byte).answer(body, &stamp()) {
        is_json(&answer);
    }
}

/// Streams: a line of the input is a frame, its event's name and its payload. Cut anywhere, they give the same.
pub(crate) fn stream(input: &[u8]) {
    let Some((byte, rest)) = input.split_first() else { return };
    let mut bytes = Vec::new();
    for line in rest.split(|byte| *byte == b'\n').take(64) {
        let mut parts = line.splitn(2, |byte| *byte == b' ');
        let name = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
        let payload = parts.next().unwrap_or_default().to_vec();
        if name.len() < 256 {
            bytes.extend_from_slice(&event_stream::event(&name, payload));
        }
    }
    let whole = translated(*byte, &[&bytes]);
    let (start, end) = bytes.split_at(bytes.len() * usize::from(*byte) / 256);
    assert_eq!(whole, translated(*byte, &[start, end]));
}

fn translated(byte: u8, pieces: &[&[u8]]) -> (Vec<u8>, bool) {
    let mut translator = context(byte).stream(stamp());
    let (mut held, mut out) = (Vec::new(), Vec::new());
    for piece in pieces {
        held.extend_from_slice(piece);
        while let Ok(Some(frame)) = Frame::read(&held) {
            let len = frame.len;
            if translator.frame(&frame, &mut out).is_err() {
                return (out, false);
            }
            held.drain(..len);
        }
    }
    let is_whole = translator.finish(&mut out).is_ok();
    (out, is_whole)
}

//! What holds for any bytes that are translated: nothing panics, and what comes out is JSON.
//!
//! The first byte of an input of `request`, `answer` and `stream` chooses the client's API and the model.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use sluice_bedrock::ModelId;
use sluice_bedrock::event_stream::{self, Frame};
use sluice_bedrock::sse::{Event, Piece, Splitter};
use sluice_bridge::conversation::CacheTtl;
use sluice_bridge::embeddings as vectors;
use sluice_bridge::invoke::to_claude;
use sluice_bridge::remote_media::{FetchedMedia, RemoteKind, RemoteMedia};
use sluice_bridge::responses::{KeptResponse, PageQuery, input_items, not_stored, with_previous};
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
    with_media(source, body, &model);
    cached(source, body, model);
}

/// What stands at addresses is named, and with bytes in the place of each nothing is left to be fetched.
fn with_media(source: Source, body: &[u8], model: &Model) {
    let drops = DropPolicy { drops: true, ..DropPolicy::default() };
    let Ok(mut hub) = Hub::read(source, body, &drops) else { return };
    hub.conversation.set_no_media();
    assert!(hub.conversation.remote_media().is_empty());
    if let Ok(written) = hub.write(model, &drops) {
        is_json(&written.body);
    }
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
    let (mut translator, mut out) = (context(byte).stream(stamp()), Vec::new());
    let are_taken = all_frames(pieces, |frame| translator.frame(frame, &mut out).is_ok());
    let is_whole = are_taken && translator.finish(&mut out).is_ok();
    (out, is_whole)
}

/// Reads the frames of a stream that comes in pieces, until one is refused. Returns whether none was.
fn all_frames(pieces: &[&[u8]], mut is_taken: impl FnMut(&Frame<'_>) -> bool) -> bool {
    let mut held = Vec::new();
    for piece in pieces {
        held.extend_from_slice(piece);
        while let Ok(Some(frame)) = Frame::read(&held) {
            let len = frame.len;
            if !is_taken(&frame) {
                return false;
            }
            held.drain(..len);
        }
    }
    true
}

/// Messages for Claude by InvokeModel: JSON is refused, or written as JSON; what stood at addresses has its bytes.
pub(crate) fn claude(body: &[u8]) {
    let betas = ["context-1m-2025-08-07".to_owned()];
    let policy = DropPolicy { drops: true, ..DropPolicy::default() };
    let is_whole = serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
    // Texts go on as they are: Bedrock checks what is between their quotes.
    if let (Ok(request), true) = (to_claude::request(body, &betas, &policy), is_whole) {
        is_json(&request.body);
    }
    let fetched: Vec<_> = to_claude::remote_media(body)
        .into_iter()
        .map(|RemoteMedia { url, kind, .. }| {
            let format = if kind == RemoteKind::Image { "png" } else { "pdf" };
            FetchedMedia { url, kind, format, base64: "AA==".to_owned() }
        })
        .collect();
    let with_media = to_claude::with_media(body, &fetched);
    if is_whole {
        is_json(&with_media);
        assert!(to_claude::remote_media(&with_media).is_empty());
    }
}

/// Streams of InvokeModel: a line of the input is an event of Claude's, or what should be one. Cut anywhere, they give
/// the same, and of what is JSON each event is JSON with its own name.
pub(crate) fn claude_stream(input: &[u8]) {
    let Some((cut, rest)) = input.split_first() else { return };
    let (mut bytes, mut are_json) = (Vec::new(), true);
    for line in rest.split(|byte| *byte == b'\n').take(64) {
        let payload = match line.split_first() {
            Some((b'!', raw)) => raw.to_vec(),
            _ => format!("{{\"bytes\":\"{}\"}}", STANDARD.encode(line)).into_bytes(),
        };
        let is_plain =
            line.windows(6).filter(|it| it == b"\"type\"").count() == 1 && !line.contains(&b'\\');
        are_json &= is_plain && serde_json::from_slice::<serde_json::Value>(line).is_ok();
        bytes.extend_from_slice(&event_stream::event("chunk", payload));
    }
    let whole = claude_events(&[&bytes]);
    let (start, end) = bytes.split_at(bytes.len() * usize::from(*cut) / 256);
    assert_eq!(whole, claude_events(&[start, end]));
    let (mut splitter, mut out) = (Splitter::new(1 << 20), Bytes::from(whole.0));
    while let Some(Piece::Event(raw)) = splitter.next(&mut out) {
        let event = Event::read(&raw);
        let data = event.data.expect("each event has data");
        if are_json {
            let data: serde_json::Value = serde_json::from_slice(&data).expect("JSON");
            assert_eq!(event.name, data["type"].as_str().filter(|name| !name.is_empty()));
        }
    }
    assert!(!splitter.is_within_event());
}

fn claude_events(pieces: &[&[u8]]) -> (Vec<u8>, bool) {
    let (mut translator, mut out) = (to_claude::ToSse::new(), Vec::new());
    let are_taken = all_frames(pieces, |frame| translator.frame(frame, &mut out).is_ok());
    let is_whole = are_taken && translator.finish().is_ok();
    (out, is_whole)
}

/// Embeddings: the first line is a request, the rest the answer of each call. The calls have each text once, and are
/// JSON, as is the client's answer.
pub(crate) fn embeddings(input: &[u8]) {
    const MODELS: [&str; 6] = [
        "amazon.titan-embed-text-v1",
        "amazon.titan-embed-text-v2:0",
        "amazon.titan-embed-image-v1",
        "cohere.embed-english-v3",
        "cohere.embed-v4:0",
        "amazon.nova-2-multimodal-embeddings-v1:0",
    ];
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let (body, answer) = (&input[..end], input.get(end + 1..).unwrap_or_default());
    let policy = DropPolicy { drops: true, ..DropPolicy::default() };
    let strict = vectors::read_request(body, &DropPolicy::default());
    let Ok(request) = vectors::read_request(body, &policy) else {
        return assert!(strict.is_err(), "refused by leave to drop");
    };
    for model in MODELS {
        let Ok(plan) = vectors::plan(&request, model, &policy) else { continue };
        let mut next = 0;
        for call in &plan.calls {
            is_json(&call.body);
            assert_eq!(call.inputs.start, next);
            next = call.inputs.end;
        }
        assert_eq!(next, request.texts.len());
        let answers = plan.calls.iter().map(|call| call.read_answer(answer, None).ok());
        if let Some(answers) = answers.collect::<Option<Vec<_>>>() {
            is_json(&vectors::write_answer(&request.model, answers));
        }
    }
}

/// Kept responses: the first line is a request, the second its response, the rest the next request. What is kept comes
/// back as it was, and goes before the next input.
pub(crate) fn turns(input: &[u8]) {
    let mut lines = input.splitn(3, |byte| *byte == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    // The gateway writes responses without space around them.
    let (request, response, next) = (line(), line().trim_ascii(), line());
    let _ = KeptResponse::from_json(request);
    let Ok(kept) = KeptResponse::of(request, response, 1 << 16) else { return };
    if serde_json::from_slice::<serde::de::IgnoredAny>(response).is_err() {
        return;
    }
    let json = kept.to_json();
    is_json(json.as_bytes());
    assert_eq!(KeptResponse::from_json(json.as_bytes()).map(|kept| kept.to_json()), Ok(json));
    is_json(kept.response().as_bytes());
    if let Some(response) = not_stored(kept.response()) {
        is_json(response.as_bytes());
    }
    if let Ok(with_previous) = with_previous(next, &kept) {
        is_json(&with_previous);
    }
    let page = PageQuery::read([].into_iter()).unwrap();
    if let Ok(page) = input_items(&kept, "resp_1", &page) {
        is_json(page.as_bytes());
    }
}

//! What holds for any bytes from outside, as the fuzz targets and the normal tests both check it.
//!
//! Here are the protocols; [`clients`], [`answers`] and [`files`] have what stands in their messages, and what
//! operators write; [`replicas`] has what gateways write to one another.

#[path = "answers.rs"]
mod answers;
#[path = "clients.rs"]
mod clients;
#[path = "files.rs"]
mod files;
#[path = "hyper_oracle.rs"]
mod oracle;
#[path = "replicas.rs"]
mod replicas;

use bytes::Bytes;
use http::Method;
use sluice::bedrock::body::{Changes, change, clamp, peek};
use sluice::bedrock::event_stream::Frame;
use sluice::bedrock::model_id::MAX_MODEL_ID_BYTES;
use sluice::bedrock::path::parse;
use sluice::bedrock::sse::{Event, Form, Piece, Splitter, StreamReader, reported_error};
use sluice::bedrock::{Api, Family, ModelId, Operation, Usage};
use sluice::upstream::http1::{Decoder, Next, read_head};

#[allow(unused_imports, reason = "each fuzz target needs one")]
pub use self::{
    answers::{error, feedback, json, rewrite, usage},
    clients::{
        certificate, identity, is_taken, key_set, request_head, response_id, signature,
        signed_event, token,
    },
    files::{catalogue, config, glob},
    replicas::fleet_event,
};

/// Request paths: what parses is written so that it parses to the same.
pub fn path(path: &str) {
    for method in [Method::POST, Method::GET] {
        if let Ok(call) = parse(&method, path) {
            assert_eq!(parse(&method, &call.to_path().unwrap()).as_ref(), Ok(&call));
            if let Some(model) = call.model() {
                model.family();
            }
        }
    }
}

/// Model ids: decoded once and encoded once, they are the same; encoded, they are one segment of a
/// path; and their base is a part of them.
pub fn model_id(text: &str) {
    for id in [ModelId::decode(text), ModelId::new(text)].into_iter().flatten() {
        assert!((1..=MAX_MODEL_ID_BYTES).contains(&id.as_str().len()));
        let encoded = id.encode();
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~%".contains(&byte);
        assert!(encoded.bytes().all(fits), "{encoded}");
        assert!(!matches!(encoded.as_str(), "." | ".."));
        assert_eq!(ModelId::decode(&encoded).as_ref(), Ok(&id));
        // Encoded once more, it is no model id, unless nothing was encoded.
        let twice = encoded.replace('%', "%25");
        assert!(twice == encoded || ModelId::decode(&twice).is_err());
        match id.base() {
            Some(base) => {
                assert!(id.as_str().ends_with(base));
                assert_eq!(Family::of(base), id.family());
            }
            None => assert_eq!(id.family(), Family::Unknown),
        }
    }
}

/// Frames: read within their bounds, or not at all. One that is verified is the same without that.
pub fn event_stream(bytes: &[u8]) {
    let verified = Frame::read_verified(bytes);
    if let Ok(Some(frame)) = verified {
        let read = Frame::read(bytes).expect("a frame").expect("a whole one");
        assert_eq!((read.len, read.payload, read.kind()), (frame.len, frame.payload, frame.kind()));
        let shorter = Frame::read_verified(&bytes[..frame.len - 1]);
        assert!(matches!(shorter, Ok(None)), "it ends where it ends");
    }
    let mut rest = bytes;
    while let Ok(Some(frame)) = Frame::read(rest) {
        assert!(frame.payload.len() < frame.len);
        frame.kind();
        Usage::from_frame(&frame);
        rest = rest.get(frame.len..).expect("a frame that was read is all there");
    }
}

/// Streams of server-sent events: however the bytes come, none is lost, and the events are the same. A stream that
/// reports an error has failed.
pub fn sse(bytes: &[u8]) {
    let whole = Bytes::copy_from_slice(bytes);
    let (at_once, ends_within_event) = events([whole.clone()]);
    let by_bytes = whole.chunks(1).map(|byte| whole.slice_ref(byte));
    assert_eq!(events(by_bytes), (at_once, ends_within_event));
}

/// An event: its name, and its data unless clients do not see it.
type ReadEvent = (Option<String>, Option<Vec<u8>>);

/// The events of a stream that comes in these chunks, and whether it ends within one.
fn events(chunks: impl IntoIterator<Item = Bytes>) -> (Vec<ReadEvent>, bool) {
    let (mut splitter, mut events) = (Splitter::new(1 << 16), Vec::new());
    let (mut came, mut passed) = (Vec::new(), Vec::new());
    let mut readers = Api::ALL.map(|api| (api, StreamReader::new(api)));
    for mut chunk in chunks {
        came.extend_from_slice(&chunk);
        while let Some(piece) = splitter.next(&mut chunk) {
            match piece {
                Piece::Event(raw) => {
                    let event = Event::read(&raw);
                    readers.iter_mut().for_each(|reader| read_event(reader, &event));
                    let name = event.name.map(str::to_owned);
                    events.push((name, event.data.map(|data| data.into_owned())));
                    passed.extend_from_slice(&raw);
                }
                Piece::LongStart(raw) | Piece::Unread(raw) => passed.extend_from_slice(&raw),
            }
        }
    }
    let ends_within_event = splitter.is_within_event();
    passed.extend_from_slice(&splitter.take_partial());
    assert_eq!(passed, came);
    (events, ends_within_event)
}

/// Reads an event as each API would have it.
fn read_event((api, reader): &mut (Api, StreamReader), event: &Event<'_>) {
    let had_failed = reader.has_failed();
    let form = reader.read(event);
    // Of what no SDK can read nothing counts.
    let fails = form != Form::Unreadable && reported_error(*api, event).is_some();
    assert_eq!(reader.has_failed(), had_failed || fails);
    reader.is_only_usage(event);
}

/// Request bodies: a body that is read is clamped to JSON that differs in its caps alone, and changed to JSON that
/// says what it was told to say.
pub fn body(body: &[u8]) {
    Usage::from_body(body);
    changes(body);
    for (operation, family) in [
        (Operation::Converse, Family::Unknown),
        (Operation::InvokeModel, Family::Anthropic),
        (Operation::InvokeModel, Family::Nova),
        (Operation::InvokeModel, Family::TitanText),
        (Operation::InvokeModel, Family::Llama),
        (Operation::InvokeModel, Family::Mistral),
    ] {
        let Ok(found) = peek(operation, family, body) else { continue };
        assert!(found.media_bytes <= body.len());
        if let Some(clamped) = clamp(body, &found, 7) {
            let again = peek(operation, family, &clamped).expect("clamping leaves it readable");
            assert_eq!(again.max_output_tokens(), Some(7));
            assert_eq!(again.features, found.features);
            assert_eq!(again.cached_prefix, found.cached_prefix);
        }
    }
}

/// Bodies with their model in them: changed, and read again.
fn changes(body: &[u8]) {
    for operation in
        [Operation::CreateChatCompletion, Operation::CreateResponse, Operation::CreateMessage]
    {
        let read = |body: &[u8]| peek(operation, Family::Unknown, body);
        let Ok(found) = read(body) else { continue };
        let changes = Changes {
            model: Some("a\"b"),
            cap: Some(7),
            include_usage: operation == Operation::CreateChatCompletion,
            store: (operation == Operation::CreateResponse).then_some(false),
            previous_response_id: None,
        };
        let Some(changed) = change(body, &found, &changes) else { continue };
        let again = read(&changed).expect("a change leaves it readable");
        assert_eq!(again.parameters.model.as_deref(), changes.model);
        assert!(again.max_output_tokens().is_none_or(|cap| cap <= 7));
        assert_eq!(again.features, found.features);
        assert_eq!(again.parameters.stream, found.parameters.stream);
        assert!(operation != Operation::CreateResponse || !again.parameters.store);
        assert_eq!(change(&changed, &again, &changes), None);
    }
}

/// Answers of an upstream by HTTP/1.1: however the bytes come, the head is the same, and so is the
/// body, and whether it ended, is open, or is malformed.
pub fn answer(bytes: &[u8]) {
    let whole = Bytes::copy_from_slice(bytes);
    let read = read_head(&whole, &Method::POST);
    let Ok(Some(head)) = read else { return };
    assert!(head.len <= bytes.len());
    let shorter = whole.slice(..head.len.saturating_sub(1));
    assert!(matches!(read_head(&shorter, &Method::POST), Ok(None)), "it ends where it ends");
    let body = whole.slice(head.len..);
    let at_once = decoded(Decoder::new(head.framing), [body.clone()]);
    let by_bytes = body.chunks(1).map(|byte| body.slice_ref(byte));
    assert_eq!(decoded(Decoder::new(head.framing), by_bytes), at_once);
}

/// The same answers, as hyper's client reads them: see [`oracle`].
pub fn hyper_oracle(input: &[u8]) {
    oracle::hyper_oracle(input);
}

/// An answer that is as HTTP has it, with this body: see [`oracle`].
#[allow(dead_code, reason = "only the tests know what a well-formed answer is")]
pub fn well_formed(input: &[u8], body: &[u8], is_reusable: bool) {
    oracle::well_formed(input, body, is_reusable);
}

/// The body that comes in these pieces; `None` if it is malformed; whether it ended, and how many bytes after it
/// were not taken.
fn decoded(
    mut decoder: Decoder,
    pieces: impl IntoIterator<Item = Bytes>,
) -> (Vec<u8>, Option<bool>, usize) {
    let (mut body, mut unread, mut after) = (Vec::new(), Bytes::new(), 0);
    let mut is_broken = false;
    for piece in pieces {
        if is_broken {
            continue;
        }
        if decoder.has_ended() {
            after += piece.len();
            continue;
        }
        unread = [unread, piece].concat().into();
        loop {
            match decoder.next(&mut unread) {
                Ok(Next::Data(data)) => {
                    assert!(!data.is_empty());
                    body.extend_from_slice(&data);
                }
                Ok(Next::Incomplete) => break,
                Ok(Next::End) => {
                    after += unread.len();
                    break;
                }
                Err(_) => {
                    is_broken = true;
                    break;
                }
            }
        }
    }
    if is_broken { (body, None, 0) } else { (body, Some(decoder.has_ended()), after) }
}

//! Plays an answer as an event stream.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use super::{Event, Streaming, add_metrics};
use crate::produced::{Part, Produced};
use crate::scripted_answers::OddStream;
use crate::writer::Writer;
use sluice_bedrock::event_stream;

/// The alphabet whose beginning Bedrock pads events with.
const PADDING: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/// Writes the frames of an answer.
pub(in super::super) struct Frames {
    schema: &'static dyn Streaming,
    padding: fastrand::Rng,
    /// Milliseconds until the head.
    head_ms: u64,
    /// Milliseconds until the end.
    total_ms: u64,
    /// Output tokens so far.
    tokens: u64,
}

impl Frames {
    /// Frames in the form of a schema.
    pub(in super::super) fn new(
        schema: &'static dyn Streaming,
        padding: fastrand::Rng,
        head_ms: u64,
        total_ms: u64,
    ) -> Frames {
        Frames { schema, padding, head_ms, total_ms, tokens: 0 }
    }

    fn encode(&mut self, produced: &Produced, events: Vec<Event>) -> Vec<Bytes> {
        let events = match produced.odd_stream {
            Some(odd) => events.into_iter().flat_map(|event| odd_events(odd, event)).collect(),
            None => events,
        };
        events.into_iter().map(|event| encode(event, &mut self.padding)).collect()
    }
}

impl Writer for Frames {
    fn opening(&mut self, produced: &Produced) -> Vec<Bytes> {
        self.encode(produced, self.schema.opening(produced))
    }

    fn begin(&mut self, produced: &Produced, at: usize, part: &Part) -> Vec<Bytes> {
        self.encode(produced, self.schema.begin(at, part))
    }

    fn delta(&mut self, produced: &Produced, at: usize, part: &Part, text: &str) -> Vec<Bytes> {
        self.tokens += 1;
        self.encode(produced, self.schema.delta(produced, at, part, text, self.tokens))
    }

    fn end(&mut self, produced: &Produced, at: usize, part: &Part) -> Vec<Bytes> {
        self.encode(produced, self.schema.end(at, part))
    }

    fn closing(&mut self, produced: &Produced) -> Vec<Bytes> {
        let mut events = self.schema.closing(produced, self.total_ms);
        if let Some(last) = events.last_mut().filter(|last| last.name == "chunk") {
            add_metrics(&mut last.json, produced.answer.usage, self.total_ms, self.head_ms);
        }
        self.encode(produced, events)
    }
}

/// What becomes of an event in an odd stream.
fn odd_events(odd: OddStream, mut event: Event) -> Vec<Event> {
    let kind = event.json.get("type").and_then(Value::as_str).unwrap_or(event.name);
    let is_delta = matches!(kind, "contentBlockDelta" | "content_block_delta");
    match odd {
        OddStream::WithoutStop => {
            let tells_stop = matches!(kind, "messageStop" | "message_delta" | "message_stop");
            if tells_stop { Vec::new() } else { vec![event] }
        }
        OddStream::SharedIndex => {
            for name in ["contentBlockIndex", "index"] {
                if let Some(index) = event.json.get_mut(name) {
                    *index = 0.into();
                }
            }
            vec![event]
        }
        OddStream::EmptyDeltas if is_delta => {
            let mut empty = event.clone();
            if let Some(delta) = empty.json.get_mut("delta") {
                empty_texts(delta);
            }
            vec![empty, event]
        }
        OddStream::EmptyDeltas => vec![event],
    }
}

/// Empties all texts but those that say what a delta is.
fn empty_texts(value: &mut Value) {
    let members = value.as_object_mut().into_iter().flatten().filter(|(name, _)| *name != "type");
    for (_, member) in members {
        match member {
            Value::String(text) => text.clear(),
            inner => empty_texts(inner),
        }
    }
}

fn encode(event: Event, rng: &mut fastrand::Rng) -> Bytes {
    let padding = PADDING.get(..rng.usize(1..PADDING.len())).unwrap_or_default();
    let mut payload = match event.name {
        "chunk" => json!({ "bytes": STANDARD.encode(event.json.to_string()) }),
        _ => event.json,
    };
    if let Some(object) = payload.as_object_mut() {
        object.insert("p".to_owned(), Value::from(padding));
    }
    event_stream::event(event.name, payload.to_string())
}

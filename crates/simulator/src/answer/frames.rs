//! Plays an answer as an event stream.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use super::{Event, Streaming, add_metrics};
use crate::produced::{Part, Produced};
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

    fn encode(&mut self, events: Vec<Event>) -> Vec<Bytes> {
        events.into_iter().map(|event| encode(event, &mut self.padding)).collect()
    }
}

impl Writer for Frames {
    fn opening(&mut self, produced: &Produced) -> Vec<Bytes> {
        self.encode(self.schema.opening(produced))
    }

    fn begin(&mut self, _produced: &Produced, at: usize, part: &Part) -> Vec<Bytes> {
        self.encode(self.schema.begin(at, part))
    }

    fn delta(&mut self, produced: &Produced, at: usize, part: &Part, text: &str) -> Vec<Bytes> {
        self.tokens += 1;
        self.encode(self.schema.delta(produced, at, part, text, self.tokens))
    }

    fn end(&mut self, _produced: &Produced, at: usize, part: &Part) -> Vec<Bytes> {
        self.encode(self.schema.end(at, part))
    }

    fn closing(&mut self, produced: &Produced) -> Vec<Bytes> {
        let mut events = self.schema.closing(produced, self.total_ms);
        if let Some(last) = events.last_mut().filter(|last| last.name == "chunk") {
            add_metrics(&mut last.json, produced.answer.usage, self.total_ms, self.head_ms);
        }
        self.encode(events)
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

//! What the tests of this API share.

use serde_json::{Value, json};

use crate::source::Source;
use crate::translation::{AnswerContext, Echo, EchoTool, Stamp};

mod request;
mod stream;

fn context(tools: Vec<EchoTool>) -> AnswerContext {
    AnswerContext {
        source: Source::Responses,
        echo: Echo { model: "m".to_owned(), tools, ..Echo::default() },
        renamed_tools: Vec::new(),
        answer_tool: None,
        must_be_json: false,
    }
}

fn stamp() -> Stamp {
    Stamp { request_id: "00000000-0000-4000-8000-000000000001".to_owned(), created: 1 }
}

/// The data of the events in a stream.
fn events(out: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(out).unwrap();
    let mut events = Vec::new();
    for event in text.split_terminator("\n\n") {
        let (name, data) = event.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name.strip_prefix("event: "), data["type"].as_str());
        assert_eq!(data["sequence_number"], json!(events.len()));
        events.push(data);
    }
    events
}

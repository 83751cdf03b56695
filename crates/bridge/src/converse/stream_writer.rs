//! Writes the frames of ConverseStream for Converse's own clients.

use sluice_bedrock::dialect::DialectError;
use sluice_bedrock::event_stream;

use crate::answer::Event;
use crate::json::Object;

use super::answer::{write_rest, write_usage};
use super::stop;

/// Writes the frames of ConverseStream.
#[derive(Debug)]
pub(crate) struct StreamWriter;

impl StreamWriter {
    pub(crate) fn new() -> StreamWriter {
        StreamWriter
    }

    pub(crate) fn write(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        let mut payload = Vec::with_capacity(128);
        let name = write_payload(event, &mut payload);
        out.extend_from_slice(&event_stream::event(name, payload));
    }

    #[expect(clippy::unused_self, reason = "the writers of all APIs are alike")]
    pub(crate) fn finish(&mut self, _: &mut Vec<u8>) {}

    pub(crate) fn fail(&mut self, error: &DialectError, _: &str, out: &mut Vec<u8>) {
        let mut payload = Vec::new();
        Object::new(&mut payload).str("message", &error.message);
        let mut name = error.kind.name().to_owned();
        if let Some(first) = name.get_mut(..1) {
            first.make_ascii_lowercase();
        }
        out.extend_from_slice(&event_stream::exception(&name, payload));
    }
}

/// Writes the payload of an event; returns its name.
fn write_payload(event: &Event<'_>, payload: &mut Vec<u8>) -> &'static str {
    let mut object = Object::new(payload);
    match event {
        Event::Start => {
            object.str("role", "assistant");
            "messageStart"
        }
        Event::ToolStart { block, id, name } => {
            object.number("contentBlockIndex", u64::from(*block));
            let mut start = object.object("start");
            let mut tool_use = start.object("toolUse");
            tool_use.str("toolUseId", id);
            tool_use.str("name", name);
            "contentBlockStart"
        }
        Event::Text { block, text } => {
            delta(&mut object, *block).str("text", text);
            "contentBlockDelta"
        }
        Event::Citation { block, citation } => {
            delta(&mut object, *block).raw("citation", &citation.0);
            "contentBlockDelta"
        }
        Event::ToolInput { block, json } => {
            delta(&mut object, *block).object("toolUse").str("input", json);
            "contentBlockDelta"
        }
        Event::Reasoning { block, text } => {
            delta(&mut object, *block).object("reasoningContent").str("text", text);
            "contentBlockDelta"
        }
        Event::Signature { block, signature } => {
            delta(&mut object, *block).object("reasoningContent").str("signature", signature);
            "contentBlockDelta"
        }
        Event::RedactedReasoning { block, data } => {
            delta(&mut object, *block).object("reasoningContent").str("redactedContent", data);
            "contentBlockDelta"
        }
        Event::BlockStop { block } => {
            object.number("contentBlockIndex", u64::from(*block));
            "contentBlockStop"
        }
        Event::Stop { reason, fields, .. } => {
            object.str("stopReason", stop::name(*reason));
            if let Some(fields) = fields {
                object.raw("additionalModelResponseFields", &fields.0);
            }
            "messageStop"
        }
        Event::Usage { usage, tier, of_converse, .. } => {
            write_usage(usage, &mut object);
            write_rest(tier.as_deref(), of_converse, &mut object);
            "metadata"
        }
    }
}

fn delta<'o>(object: &'o mut Object<'_>, block: u32) -> Object<'o> {
    object.number("contentBlockIndex", u64::from(block));
    object.object("delta")
}

//! Streams, written as Anthropic's events: as server-sent events, or as the chunks of InvokeModel's event stream.
//!
//! Blocks get numbers of their own, since one block of the upstream may hold texts and thinking. One follows the
//! other, unless the upstream mixes the inputs of several tools. The reason of the
//! end is held back until the tokens are known, which come after it. A stream that breaks gets an error and no
//! ordinary end.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sluice_bedrock::dialect::DialectError;
use sluice_bedrock::{Dialect, ErrorKind, Usage, event_stream};

use super::answer::{
    message_id, write_cache_creation, write_counts, write_redacted, write_start, write_stop,
    write_thinking_tokens,
};
use super::citations;
use crate::answer::{Event, StopReason};
use crate::conversation::Json;
use crate::json::Object;
use crate::source::Source;
use crate::translation::{AnswerContext, Stamp};

/// Longest signature that is held back until its block ends, in bytes.
const MAX_SIGNATURE: usize = 256 * 1024;

/// What events are written into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// Server-sent events.
    Sse,
    /// Frames of an event stream, each a `chunk` with an event in base64.
    Chunks,
}

/// Writes one stream.
#[derive(Debug)]
pub(crate) struct StreamWriter {
    framing: Framing,
    model: String,
    id: String,
    has_started: bool,
    has_ended: bool,
    /// The number of the next block.
    next: u32,
    /// The blocks that are open: tools, whose input may still come, and behind them at most one other.
    open: Vec<Open>,
    /// The signature of the open block: SDKs take one, whole.
    signature: String,
    stop: Option<(StopReason, Option<String>)>,
    usage: Option<(Usage, Option<u64>)>,
    /// An event of a chunk, before it is encoded.
    scratch: Vec<u8>,
}

/// The block that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Open {
    kind: Kind,
    /// The upstream's number of it.
    block: u32,
    index: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Thinking,
    Tool,
}

impl StreamWriter {
    pub(crate) fn new(context: &AnswerContext, stamp: Stamp) -> StreamWriter {
        let framing = match context.source {
            Source::InvokeClaude => Framing::Chunks,
            _ => Framing::Sse,
        };
        StreamWriter {
            framing,
            model: context.echo.model.clone(),
            id: message_id(&stamp),
            has_started: false,
            has_ended: false,
            next: 0,
            open: Vec::new(),
            signature: String::new(),
            stop: None,
            usage: None,
            scratch: Vec::new(),
        }
    }

    /// Writes what an event is for the client. After the reason of the end only the tokens are read.
    pub(crate) fn write(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        let is_over = self.stop.is_some() && !matches!(event, Event::Usage { .. });
        if self.has_ended || is_over {
            return;
        }
        self.start(out);
        match event {
            Event::Start => {}
            Event::Text { block, text } => {
                if !text.is_empty() {
                    let index = self.open(Kind::Text, *block, out);
                    self.delta(index, "text_delta", "text", text, out);
                }
            }
            Event::Reasoning { block, text } => {
                if !text.is_empty() {
                    let index = self.open(Kind::Thinking, *block, out);
                    self.delta(index, "thinking_delta", "thinking", text, out);
                }
            }
            Event::Signature { block, signature } => {
                let index = self.open(Kind::Thinking, *block, out);
                self.signature.push_str(signature);
                if self.signature.len() > MAX_SIGNATURE {
                    self.sign(index, out);
                }
            }
            Event::RedactedReasoning { data, .. } => self.redacted(data, out),
            Event::Citation { block, citation } => self.citation(*block, citation, out),
            Event::ToolStart { block, id, name } => self.tool(*block, id, name, out),
            Event::ToolInput { block, json } => {
                let is_this = |open: &&Open| open.kind == Kind::Tool && open.block == *block;
                let index = self.open.iter().find(is_this).map(|open| open.index);
                if let Some(index) = index.filter(|_| !json.is_empty()) {
                    self.delta(index, "input_json_delta", "partial_json", json, out);
                }
            }
            Event::BlockStop { block } => {
                self.close(out, |open| open.block == *block);
            }
            Event::Stop { reason, stop_sequence, .. } => {
                self.close(out, |_| true);
                let sequence = stop_sequence.as_deref().map(str::to_owned);
                self.stop = Some((*reason, sequence));
                if self.usage.is_some() {
                    self.end(out);
                }
            }
            Event::Usage { usage, reasoning_tokens, .. } => {
                self.usage = Some((*usage, *reasoning_tokens));
                if self.stop.is_some() {
                    self.end(out);
                }
            }
        }
    }

    /// Writes the end, if it was held back.
    /// How many bytes are held back.
    pub(crate) fn held_bytes(&self) -> usize {
        self.signature.len()
    }

    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        if !self.has_ended {
            self.start(out);
            self.close(out, |_| true);
            self.end(out);
        }
    }

    /// Ends the stream with an error.
    pub(crate) fn fail(&mut self, error: &DialectError, request_id: &str, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.has_ended, true) {
            return;
        }
        match self.framing {
            Framing::Sse => {
                let body = error.body(Dialect::Anthropic, request_id);
                out.extend_from_slice(b"event: error\ndata: ");
                out.extend_from_slice(&body);
                out.extend_from_slice(b"\n\n");
            }
            Framing::Chunks => out.extend_from_slice(&exception(error)),
        }
    }

    fn start(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.has_started, true) {
            return;
        }
        let (model, id) = (std::mem::take(&mut self.model), std::mem::take(&mut self.id));
        self.event("message_start", out, |event| {
            write_start(&model, &id, &mut event.object("message"));
        });
        if self.framing == Framing::Sse {
            self.event("ping", out, |_| {});
        }
    }

    /// The number of the open block, which is another if the open one is not this.
    fn open(&mut self, kind: Kind, block: u32, out: &mut Vec<u8>) -> u32 {
        match self.open.last() {
            Some(open) if open.kind == kind && open.block == block => open.index,
            _ => self.begin(kind, block, out, |content| match kind {
                Kind::Thinking => {
                    content.str("type", "thinking");
                    content.str("thinking", "");
                    content.str("signature", "");
                }
                Kind::Text | Kind::Tool => {
                    content.str("type", "text");
                    content.str("text", "");
                }
            }),
        }
    }

    fn begin(
        &mut self,
        kind: Kind,
        block: u32,
        out: &mut Vec<u8>,
        write: impl FnOnce(&mut Object<'_>),
    ) -> u32 {
        // A text goes on in a new block if it must; the input of a tool can't.
        self.close(out, |open| open.kind != Kind::Tool || open.block == block);
        let index = self.next;
        self.next = self.next.saturating_add(1);
        self.open.push(Open { kind, block, index });
        self.event("content_block_start", out, |event| {
            event.number("index", u64::from(index));
            write(&mut event.object("content_block"));
        });
        index
    }

    /// Closes the open blocks of this kind.
    fn close(&mut self, out: &mut Vec<u8>, is_closed: impl Fn(&Open) -> bool) {
        let mut at = 0;
        while let Some(open) = self.open.get(at).copied() {
            if !is_closed(&open) {
                at += 1;
                continue;
            }
            self.open.remove(at);
            if open.kind == Kind::Thinking && !self.signature.is_empty() {
                self.sign(open.index, out);
            }
            self.event("content_block_stop", out, |event| {
                event.number("index", u64::from(open.index));
            });
        }
    }

    fn sign(&mut self, index: u32, out: &mut Vec<u8>) {
        let signature = std::mem::take(&mut self.signature);
        self.delta(index, "signature_delta", "signature", &signature, out);
    }

    fn redacted(&mut self, data: &str, out: &mut Vec<u8>) {
        self.begin(Kind::Thinking, u32::MAX, out, |content| write_redacted(data, content));
        self.close(out, |open| open.block == u32::MAX);
    }

    fn tool(&mut self, block: u32, id: &str, name: &str, out: &mut Vec<u8>) {
        self.begin(Kind::Tool, block, out, |content| {
            content.str("type", "tool_use");
            content.str("id", id);
            content.str("name", name);
            content.raw("input", "{}");
        });
    }

    fn citation(&mut self, block: u32, citation: &Json<'_>, out: &mut Vec<u8>) {
        let mut json = Vec::new();
        if citations::write(citation, &mut json).is_none() {
            return;
        }
        let index = self.open(Kind::Text, block, out);
        self.event("content_block_delta", out, |event| {
            event.number("index", u64::from(index));
            let mut delta = event.object("delta");
            delta.str("type", "citations_delta");
            delta.key("citation").extend_from_slice(&json);
        });
    }

    fn delta(&mut self, index: u32, kind: &str, member: &str, piece: &str, out: &mut Vec<u8>) {
        self.event("content_block_delta", out, |event| {
            event.number("index", u64::from(index));
            let mut delta = event.object("delta");
            delta.str("type", kind);
            delta.str(member, piece);
        });
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        self.has_ended = true;
        let (reason, sequence) = self.stop.take().unwrap_or_default();
        let (usage, thinking) = self.usage.unwrap_or_default();
        self.event("message_delta", out, |event| {
            write_stop(reason, sequence.as_deref(), &mut event.object("delta"));
            let mut counts = event.object("usage");
            write_counts(&usage, &mut counts);
            if usage.cache_write > 0 {
                write_cache_creation(&usage, &mut counts);
            }
            write_thinking_tokens(thinking, &mut counts);
        });
        let has_metrics = self.framing == Framing::Chunks;
        self.event("message_stop", out, |event| {
            if has_metrics {
                write_metrics(&usage, &mut event.object("amazon-bedrock-invocationMetrics"));
            }
        });
    }

    fn event(
        &mut self,
        name: &'static str,
        out: &mut Vec<u8>,
        write: impl FnOnce(&mut Object<'_>),
    ) {
        match self.framing {
            Framing::Sse => {
                out.extend_from_slice(b"event: ");
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(b"\ndata: ");
                write_event(name, out, write);
                out.extend_from_slice(b"\n\n");
            }
            Framing::Chunks => {
                self.scratch.clear();
                write_event(name, &mut self.scratch, write);
                let payload = format!("{{\"bytes\":\"{}\"}}", STANDARD.encode(&self.scratch));
                out.extend_from_slice(&event_stream::event("chunk", payload));
            }
        }
    }
}

fn write_event(name: &str, out: &mut Vec<u8>, write: impl FnOnce(&mut Object<'_>)) {
    let mut event = Object::new(out);
    event.str("type", name);
    write(&mut event);
}

/// The counts that the last chunk of InvokeModel's streams has.
fn write_metrics(usage: &Usage, metrics: &mut Object<'_>) {
    metrics.number("inputTokenCount", usage.input);
    metrics.number("outputTokenCount", usage.output);
    metrics.number("cacheReadInputTokenCount", usage.cache_read);
    metrics.number("cacheWriteInputTokenCount", usage.cache_write);
}

/// An exception frame. The stream knows only some of the errors; the others are failures of the model's stream.
fn exception(error: &DialectError) -> bytes::Bytes {
    let mut payload = Vec::new();
    let mut object = Object::new(&mut payload);
    object.str("message", &error.message);
    let name = match error.kind {
        ErrorKind::InternalServer => "internalServerException",
        ErrorKind::Validation => "validationException",
        ErrorKind::Throttling => "throttlingException",
        ErrorKind::ModelTimeout => "modelTimeoutException",
        ErrorKind::ServiceUnavailable => "serviceUnavailableException",
        kind => {
            object.number("originalStatusCode", u64::from(kind.status().as_u16()));
            object.str("originalMessage", &error.message);
            "modelStreamErrorException"
        }
    };
    drop(object);
    event_stream::exception(name, payload)
}

#[cfg(test)]
mod tests;

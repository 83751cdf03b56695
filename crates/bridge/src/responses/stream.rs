//! Writes the events of a stream: each item is announced, grows by deltas, and is repeated when it is done; the
//! last event has the whole response, or what failed.
//!
//! An item is done when the next one begins or the answer ends, not when its block does: only then is it known
//! whether it was cut short. The writer holds the answer once, up to [`MOST_HELD`] bytes.

use serde::Deserialize;
use serde_json::value::RawValue;
use sluice_bedrock::dialect::DialectError;
use sluice_bedrock::{Dialect, ErrorKind};

use super::open_item::{OpenItem, Sequence};
use super::response::{Frame, Served, State, Status, incomplete_reason, status_of};
use crate::answer::{Event, StopReason};
use crate::translation::{AnswerContext, Stamp};

/// Most bytes that a stream may hold: many times the largest answer of any model.
const MOST_HELD: usize = 16 << 20;

/// Writes one stream.
#[derive(Debug)]
pub(crate) struct StreamWriter {
    frame: Frame,
    request_id: String,
    sequence: Sequence,
    has_begun: bool,
    /// The items that are not done, in the order of their places.
    open: Vec<OpenItem>,
    /// The JSON of the items that are done, at their places; empty for others.
    done: Vec<Vec<u8>>,
    held: usize,
    stop: Option<StopReason>,
    served: Option<Served>,
    has_failed: bool,
}

impl StreamWriter {
    pub(crate) fn new(context: &AnswerContext, stamp: Stamp) -> StreamWriter {
        StreamWriter {
            frame: Frame::new(context, &stamp),
            request_id: stamp.request_id,
            sequence: Sequence::default(),
            has_begun: false,
            open: Vec::new(),
            done: Vec::new(),
            held: 0,
            stop: None,
            served: None,
            has_failed: false,
        }
    }

    pub(crate) fn write(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        if self.has_failed {
            return;
        }
        self.begin(out);
        match event {
            // Nothing but the tokens comes after the end.
            event if self.stop.is_some() && !matches!(event, Event::Usage { .. }) => {}
            Event::Start | Event::Citation { .. } => {}
            Event::Text { text, .. } if text.is_empty() => {}
            Event::Text { block, text } => {
                // Texts that follow one another are parts of one message.
                if !self.open.last().is_some_and(OpenItem::is_message) {
                    self.open(out, |frame, index| OpenItem::new_message(frame, index, *block));
                }
                self.grow(out, |item, sequence, out| item.text(*block, text, sequence, out));
            }
            Event::Reasoning { block, text } => {
                self.reasoning_item(*block, out);
                self.grow(out, |item, sequence, out| item.reasoning(text, sequence, out));
            }
            Event::Signature { block, signature } => {
                self.reasoning_item(*block, out);
                self.grow(out, |item, _, _| item.signature(signature));
            }
            Event::RedactedReasoning { block, data } => {
                self.reasoning_item(*block, out);
                self.grow(out, |item, _, _| item.redacted(data));
            }
            Event::ToolStart { block, id, name } => {
                self.open(out, |frame, index| OpenItem::new_call(frame, index, *block, id, name));
            }
            Event::ToolInput { block, json } => {
                let StreamWriter { open, sequence, held, .. } = self;
                let mut items = open.iter_mut().rev();
                if let Some(item) = items.find(|item| item.is_call() && item.block == *block) {
                    *held += item.input(json, sequence, out);
                }
            }
            Event::BlockStop { block } => {
                for item in self.open.iter_mut().filter(|item| item.block == *block) {
                    item.end_block(&mut self.sequence, out);
                }
            }
            Event::Stop { reason, .. } => {
                self.stop = Some(*reason);
                let status = status_of(*reason);
                let last = self.done.len();
                for item in std::mem::take(&mut self.open) {
                    let is_last = item.index as usize + 1 == last;
                    self.close(item, if is_last { status } else { Status::Completed }, out);
                }
            }
            Event::Usage { usage, reasoning_tokens, tier, .. } => {
                self.served = Some(Served {
                    usage: *usage,
                    reasoning_tokens: *reasoning_tokens,
                    tier: tier.as_deref().map(str::to_owned),
                });
            }
        }
        if self.held > MOST_HELD {
            let message = format!("the model's answer is longer than {MOST_HELD} bytes");
            let error = DialectError::new(ErrorKind::ServiceUnavailable, message);
            self.fail(&error, &self.request_id.clone(), out);
        }
    }

    /// How many bytes are held for the last event, about.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held
    }

    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        if self.has_failed {
            return;
        }
        self.begin(out);
        let name = match status_of(self.stop.unwrap_or_default()) {
            Status::Incomplete => "response.incomplete",
            _ => "response.completed",
        };
        let mut response = Vec::new();
        self.write_response(&mut response);
        self.sequence.event(out, name, |event| {
            event.key("response").extend_from_slice(&response);
        });
    }

    /// The response, as the event that ends the stream has it; `None` if it has failed.
    pub(crate) fn response(&self) -> Option<Vec<u8>> {
        let mut response = Vec::new();
        (!self.has_failed).then(|| self.write_response(&mut response))?;
        Some(response)
    }

    /// Says in what follows whether the gateway keeps the response.
    pub(crate) fn set_stored(&mut self, is_stored: bool) {
        self.frame.set_stored(is_stored);
    }

    fn write_response(&self, out: &mut Vec<u8>) {
        let stop = self.stop.unwrap_or_default();
        let state = State {
            status: status_of(stop),
            incomplete: incomplete_reason(stop),
            error: None,
            output: &self.output(),
            served: self.served.as_ref(),
        };
        self.frame.write(&state, out);
    }

    pub(crate) fn fail(&mut self, error: &DialectError, request_id: &str, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.has_failed, true) {
            return;
        }
        // SDKs raise an error on the member `error`; Codex reads the response.
        let body = error.body(Dialect::OpenAi, request_id);
        if let Ok(ErrorBody { error: raw }) = serde_json::from_slice(&body) {
            let code = serde_json::from_str::<ErrorCode>(raw.get()).ok().and_then(|it| it.code);
            self.sequence.event(out, "error", |event| {
                event.str_or_null("code", code.as_deref());
                event.str("message", &error.message);
                event.str_or_null("param", error.param.as_deref());
                event.raw("error", raw.get());
            });
        }
        let state = State {
            status: Status::Failed,
            incomplete: None,
            error: Some(error),
            output: &self.output(),
            served: self.served.as_ref(),
        };
        let frame = &self.frame;
        self.sequence.event(out, "response.failed", |event| {
            frame.write(&state, event.key("response"));
        });
    }

    /// The JSON of the items that are done, with commas between them.
    fn output(&self) -> Vec<u8> {
        let mut output = Vec::with_capacity(self.done.iter().map(|item| item.len() + 1).sum());
        for item in self.done.iter().filter(|item| !item.is_empty()) {
            if !output.is_empty() {
                output.push(b',');
            }
            output.extend_from_slice(item);
        }
        output
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.has_begun, true) {
            return;
        }
        let state = State {
            status: Status::InProgress,
            incomplete: None,
            error: None,
            output: &[],
            served: None,
        };
        for name in ["response.created", "response.in_progress"] {
            let frame = &self.frame;
            self.sequence.event(out, name, |event| frame.write(&state, event.key("response")));
        }
    }

    /// Makes the last open item the reasoning in this block.
    fn reasoning_item(&mut self, block: u32, out: &mut Vec<u8>) {
        let is_it = |item: &OpenItem| item.is_reasoning() && item.block == block && !item.has_ended;
        if !self.open.last().is_some_and(is_it) {
            self.open(out, |frame, index| OpenItem::new_reasoning(frame, index, block));
        }
    }

    /// Opens the next item. Others are done with it, but calls whose input still comes.
    fn open(&mut self, out: &mut Vec<u8>, make: impl FnOnce(&Frame, u32) -> OpenItem) {
        let (stay, done) = std::mem::take(&mut self.open)
            .into_iter()
            .partition(|item: &OpenItem| item.is_call() && !item.has_ended);
        self.open = stay;
        for item in done {
            self.close(item, Status::Completed, out);
        }
        let index = u32::try_from(self.done.len()).unwrap_or(u32::MAX);
        let item = make(&self.frame, index);
        item.announce(&mut self.sequence, out);
        self.done.push(Vec::new());
        self.open.push(item);
        self.held += HELD_BY_ITEM;
    }

    /// Lets the last open item grow.
    fn grow(
        &mut self,
        out: &mut Vec<u8>,
        grow: impl FnOnce(&mut OpenItem, &mut Sequence, &mut Vec<u8>) -> usize,
    ) {
        if let Some(item) = self.open.last_mut() {
            self.held += grow(item, &mut self.sequence, out);
        }
    }

    fn close(&mut self, item: OpenItem, status: Status, out: &mut Vec<u8>) {
        let index = item.index as usize;
        let json = item.close(status, &mut self.sequence, out);
        if let Some(place) = self.done.get_mut(index) {
            *place = json;
        }
    }
}

/// About the bytes that an item holds beside its text.
const HELD_BY_ITEM: usize = 512;

#[derive(Deserialize)]
struct ErrorBody<'a> {
    #[serde(borrow)]
    error: &'a RawValue,
}

#[derive(Deserialize)]
struct ErrorCode {
    code: Option<String>,
}

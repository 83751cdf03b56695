//! An item of a stream while it grows, and the events that tell of it.

use super::custom_input::CustomInput;
use super::response::{
    Call, Frame, ItemKind, Status, write_escaped_member, write_message, write_reasoning,
    write_summary_part, write_text_part,
};
use super::sealed::Seal;
use crate::json::{Object, write_escaped};

const FUNCTION_DELTA: &str = "response.function_call_arguments.delta";
const CUSTOM_DELTA: &str = "response.custom_tool_call_input.delta";

/// Numbers the events of a stream, and writes them.
#[derive(Debug, Default)]
pub(super) struct Sequence(u64);

impl Sequence {
    /// Writes an event; `fill` writes its members after the type and the number.
    pub(super) fn event(
        &mut self,
        out: &mut Vec<u8>,
        name: &str,
        fill: impl FnOnce(&mut Object<'_>),
    ) {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\ndata: ");
        {
            let mut event = Object::new(out);
            event.str("type", name);
            event.number("sequence_number", self.0);
            fill(&mut event);
        }
        out.extend_from_slice(b"\n\n");
        self.0 = self.0.saturating_add(1);
    }
}

/// An item that is not done.
#[derive(Debug)]
pub(super) struct OpenItem {
    /// Its place in the output.
    pub(super) index: u32,
    /// The upstream's block that it comes from; of a message, the last one.
    pub(super) block: u32,
    /// Whether that block is complete.
    pub(super) has_ended: bool,
    id: String,
    kind: OpenKind,
    /// The text that grows, as it stands between quotes in JSON.
    text: Vec<u8>,
}

#[derive(Debug)]
enum OpenKind {
    Message {
        /// The JSON of the parts that are done, with commas between them.
        parts: Vec<u8>,
        /// The place of the part that grows.
        part: u32,
        /// Whether a part grows.
        is_growing: bool,
    },
    Reasoning {
        signature: String,
        seal: Seal,
    },
    Function(Call),
    Custom(Call, CustomInput),
}

impl OpenItem {
    pub(super) fn new_message(frame: &Frame, index: u32, block: u32) -> OpenItem {
        let kind = OpenKind::Message { parts: Vec::new(), part: 0, is_growing: false };
        OpenItem::new(frame.ids.item(ItemKind::Message, index), index, block, kind)
    }

    pub(super) fn new_reasoning(frame: &Frame, index: u32, block: u32) -> OpenItem {
        let kind = OpenKind::Reasoning { signature: String::new(), seal: Seal::default() };
        OpenItem::new(frame.ids.item(ItemKind::Reasoning, index), index, block, kind)
    }

    pub(super) fn new_call(
        frame: &Frame,
        index: u32,
        block: u32,
        call_id: &str,
        name: &str,
    ) -> OpenItem {
        let call = Call::new(frame, index, call_id, name);
        let id = call.id.clone();
        let kind = match call.is_custom {
            true => OpenKind::Custom(call, CustomInput::default()),
            false => OpenKind::Function(call),
        };
        OpenItem::new(id, index, block, kind)
    }

    fn new(id: String, index: u32, block: u32, kind: OpenKind) -> OpenItem {
        OpenItem { index, block, has_ended: false, id, kind, text: Vec::new() }
    }

    pub(super) fn is_message(&self) -> bool {
        matches!(self.kind, OpenKind::Message { .. })
    }

    pub(super) fn is_reasoning(&self) -> bool {
        matches!(self.kind, OpenKind::Reasoning { .. })
    }

    pub(super) fn is_call(&self) -> bool {
        matches!(self.kind, OpenKind::Function(_) | OpenKind::Custom(..))
    }

    /// Says that it begins.
    pub(super) fn announce(&self, sequence: &mut Sequence, out: &mut Vec<u8>) {
        sequence.event(out, "response.output_item.added", |event| {
            event.number("output_index", self.index.into());
            let item = event.key("item");
            match &self.kind {
                OpenKind::Message { .. } => {
                    write_message(&self.id, Status::InProgress, &[], item);
                }
                OpenKind::Reasoning { .. } => write_reasoning(&self.id, None, None, item),
                OpenKind::Function(call) | OpenKind::Custom(call, _) => {
                    call.write(Status::InProgress, &[], item);
                }
            }
        });
    }

    /// Takes a piece of a message's text. Returns the bytes that it holds more.
    pub(super) fn text(
        &mut self,
        block: u32,
        piece: &str,
        sequence: &mut Sequence,
        out: &mut Vec<u8>,
    ) -> usize {
        if self.block != block {
            self.end_block(sequence, out);
            self.block = block;
        }
        let OpenItem { id, index, kind, text, has_ended, .. } = self;
        let OpenKind::Message { part, is_growing, .. } = kind else { return 0 };
        *has_ended = false;
        if !std::mem::replace(is_growing, true) {
            sequence.event(out, "response.content_part.added", |event| {
                place(event, id, *index, "content_index", *part);
                write_text_part(&[], event.key("part"));
            });
        }
        let start = text.len();
        write_escaped(text, piece);
        let delta = text.get(start..).unwrap_or_default();
        sequence.event(out, "response.output_text.delta", |event| {
            place(event, id, *index, "content_index", *part);
            write_escaped_member(event, "delta", delta);
            event.raw("logprobs", "[]");
        });
        delta.len()
    }

    /// Takes a piece of thinking. Returns the bytes that it holds more.
    pub(super) fn reasoning(
        &mut self,
        piece: &str,
        sequence: &mut Sequence,
        out: &mut Vec<u8>,
    ) -> usize {
        let OpenItem { id, index, text, .. } = self;
        if piece.is_empty() {
            return 0;
        }
        if text.is_empty() {
            sequence.event(out, "response.reasoning_summary_part.added", |event| {
                place(event, id, *index, "summary_index", 0);
                write_summary_part(&[], event.key("part"));
            });
        }
        let start = text.len();
        write_escaped(text, piece);
        let delta = text.get(start..).unwrap_or_default();
        sequence.event(out, "response.reasoning_summary_text.delta", |event| {
            place(event, id, *index, "summary_index", 0);
            write_escaped_member(event, "delta", delta);
        });
        delta.len()
    }

    /// Takes a piece of the signature. Returns the bytes that it holds more.
    pub(super) fn signature(&mut self, piece: &str) -> usize {
        let OpenKind::Reasoning { signature, .. } = &mut self.kind else { return 0 };
        signature.push_str(piece);
        piece.len()
    }

    /// Takes redacted thinking. Returns the bytes that it holds more.
    pub(super) fn redacted(&mut self, data: &str) -> usize {
        self.seal_text();
        let OpenKind::Reasoning { seal, .. } = &mut self.kind else { return 0 };
        let before = seal.len();
        seal.add_redacted(data);
        seal.len() - before
    }

    /// Takes a piece of a call's input. Returns the bytes that it holds more.
    pub(super) fn input(
        &mut self,
        piece: &str,
        sequence: &mut Sequence,
        out: &mut Vec<u8>,
    ) -> usize {
        let OpenItem { id, index, kind, text, .. } = self;
        let start = text.len();
        let (name, pending) = match kind {
            OpenKind::Function(_) => {
                write_escaped(text, piece);
                (FUNCTION_DELTA, 0)
            }
            OpenKind::Custom(_, input) => {
                input.push(piece, text);
                (CUSTOM_DELTA, input.len())
            }
            _ => return 0,
        };
        write_input_delta(name, id, *index, text.get(start..).unwrap_or_default(), sequence, out);
        text.len() - start + pending
    }

    /// Notes that the block is complete.
    pub(super) fn end_block(&mut self, sequence: &mut Sequence, out: &mut Vec<u8>) {
        self.has_ended = true;
        let OpenItem { id, index, kind, text, .. } = self;
        let OpenKind::Message { parts, part, is_growing } = kind else { return };
        if !std::mem::replace(is_growing, false) {
            return;
        }
        sequence.event(out, "response.output_text.done", |event| {
            place(event, id, *index, "content_index", *part);
            write_escaped_member(event, "text", text);
            event.raw("logprobs", "[]");
        });
        sequence.event(out, "response.content_part.done", |event| {
            place(event, id, *index, "content_index", *part);
            write_text_part(text, event.key("part"));
        });
        if !parts.is_empty() {
            parts.push(b',');
        }
        write_text_part(text, parts);
        text.clear();
        *part = part.saturating_add(1);
    }

    /// Says that it is done; returns its JSON.
    pub(super) fn close(
        mut self,
        status: Status,
        sequence: &mut Sequence,
        out: &mut Vec<u8>,
    ) -> Vec<u8> {
        self.end_block(sequence, out);
        self.end_input(sequence, out);
        self.seal_text();
        let OpenItem { id, index, kind, text, .. } = &self;
        let mut json = Vec::with_capacity(text.len() + 256);
        match kind {
            OpenKind::Message { parts, .. } => write_message(id, status, parts, &mut json),
            OpenKind::Reasoning { seal, .. } => {
                let summary = Some(text.as_slice()).filter(|text| !text.is_empty());
                if let Some(text) = summary {
                    sequence.event(out, "response.reasoning_summary_text.done", |event| {
                        place(event, id, *index, "summary_index", 0);
                        write_escaped_member(event, "text", text);
                    });
                    sequence.event(out, "response.reasoning_summary_part.done", |event| {
                        place(event, id, *index, "summary_index", 0);
                        write_summary_part(text, event.key("part"));
                    });
                }
                write_reasoning(id, summary, seal.finish().as_deref(), &mut json);
            }
            OpenKind::Function(call) | OpenKind::Custom(call, _) => {
                call.write(status, text, &mut json);
            }
        }
        sequence.event(out, "response.output_item.done", |event| {
            event.number("output_index", u64::from(*index));
            event.key("item").extend_from_slice(&json);
        });
        json
    }

    /// Ends the input of a call.
    fn end_input(&mut self, sequence: &mut Sequence, out: &mut Vec<u8>) {
        let OpenItem { id, index, kind, text, .. } = self;
        let start = text.len();
        let (delta, done, member) = match kind {
            OpenKind::Function(_) => {
                // A call without arguments has no pieces.
                if text.is_empty() {
                    text.extend_from_slice(b"{}");
                }
                (FUNCTION_DELTA, "response.function_call_arguments.done", "arguments")
            }
            OpenKind::Custom(_, input) => {
                input.finish(text);
                (CUSTOM_DELTA, "response.custom_tool_call_input.done", "input")
            }
            _ => return,
        };
        let rest = text.get(start..).unwrap_or_default();
        write_input_delta(delta, id, *index, rest, sequence, out);
        sequence.event(out, done, |event| {
            event.str("item_id", id);
            event.number("output_index", u64::from(*index));
            write_escaped_member(event, member, text);
        });
    }

    /// Seals the text with its signature, once.
    fn seal_text(&mut self) {
        let OpenKind::Reasoning { signature, seal } = &mut self.kind else { return };
        if !signature.is_empty() {
            seal.add_signed(&self.text, signature);
            signature.clear();
        }
    }
}

fn write_input_delta(
    name: &str,
    id: &str,
    index: u32,
    delta: &[u8],
    sequence: &mut Sequence,
    out: &mut Vec<u8>,
) {
    if delta.is_empty() {
        return;
    }
    sequence.event(out, name, |event| {
        event.str("item_id", id);
        event.number("output_index", u64::from(index));
        write_escaped_member(event, "delta", delta);
    });
}

/// Where in the output something is.
fn place(event: &mut Object<'_>, id: &str, index: u32, part_name: &str, part: u32) {
    event.str("item_id", id);
    event.number("output_index", u64::from(index));
    event.number(part_name, u64::from(part));
}

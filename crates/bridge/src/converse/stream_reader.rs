//! Reads the frames of ConverseStream.
//!
//! Blocks get numbers of their own, in the order of their beginning: some models put two kinds of content below
//! one index, or never close a block. A block that is given on is of one kind, and is closed before the end.

use std::borrow::Cow;

use sluice_bedrock::event_stream::{Frame, Kind};
use sluice_bedrock::{ErrorKind, Usage};

use crate::answer::{AnswerError, Event, StopReason};
use crate::conversation::Json;
use crate::fields;
use crate::translation::AnswerContext;

use super::json_answer::object_in;
use super::shapes::{
    AdditionalFields, BlockDelta, BlockStart, BlockStop, MessageStop, Metadata, Text, ToolDelta,
    as_written, exception, parse,
};
use super::stop;

/// Most blocks that are open at once.
const MAX_OPEN: usize = 256;

/// Longest text that is held back for a check.
const MAX_HELD: usize = 4 * 1024 * 1024;

/// Reads the frames of ConverseStream.
#[derive(Debug)]
pub(crate) struct StreamReader {
    context: AnswerContext,
    open: Vec<Open>,
    next_block: u32,
    /// Text that is not given on before the end: it must be JSON, or may only announce the answer.
    held: Option<String>,
    has_started: bool,
    has_stopped: bool,
    has_tools: bool,
    has_answer: bool,
    reasoning_tokens: Option<u64>,
    /// The end of an answer without content, which waits for its count of tokens: without any it is a failure.
    empty_end: Option<EmptyEnd>,
}

#[derive(Debug)]
struct EmptyEnd {
    stop_sequence: Option<String>,
    fields: Option<Json<'static>>,
}

/// A block that is not closed.
#[derive(Debug)]
struct Open {
    upstream: u32,
    block: u32,
    kind: BlockKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BlockKind {
    Text,
    Reasoning,
    Tool {
        has_input: bool,
    },
    /// The tool whose input is the answer.
    Answer,
    /// Text that is held back.
    Held,
}

type Each<'e> = dyn FnMut(Event<'_>) + 'e;

impl StreamReader {
    pub(crate) fn new(context: AnswerContext) -> StreamReader {
        let holds = context.must_be_json || context.answer_tool.is_some();
        StreamReader {
            context,
            open: Vec::new(),
            next_block: 0,
            held: holds.then(String::new),
            has_started: false,
            has_stopped: false,
            has_tools: false,
            has_answer: false,
            reasoning_tokens: None,
            empty_end: None,
        }
    }

    /// Reads a frame and gives its events to `each`; most frames have one.
    pub(crate) fn read(
        &mut self,
        frame: &Frame<'_>,
        each: &mut Each<'_>,
    ) -> Result<(), AnswerError> {
        let name = match frame.kind() {
            Kind::Event(name) => name,
            Kind::Exception(name) => return Err(exception(name, frame.payload)),
            Kind::Error(code) => {
                let message = frame.header(":error-message").unwrap_or(code);
                let kind = ErrorKind::from_name(code).unwrap_or(ErrorKind::InternalServer);
                return Err(AnswerError::Exception { kind, message: message.to_owned() });
            }
            Kind::Other => return Err(AnswerError::Unreadable("a frame is no event")),
        };
        if name == "metadata" {
            return self.metadata(frame.payload, each);
        }
        if name == "initial-response" {
            return Ok(());
        }
        if self.has_stopped {
            return Err(AnswerError::Unreadable("content follows its end"));
        }
        if !std::mem::replace(&mut self.has_started, true) {
            each(Event::Start);
        }
        match name {
            "messageStart" => Ok(()),
            "contentBlockStart" => self.start(frame.payload, each),
            "contentBlockDelta" => self.delta(frame.payload, each),
            "contentBlockStop" => {
                let stop: BlockStop = parse(frame.payload)?;
                self.close(stop.content_block_index, each);
                Ok(())
            }
            "messageStop" => self.stop(frame.payload, each),
            _ => Err(AnswerError::Unreadable("an event is not known")),
        }
    }

    fn start(&mut self, payload: &[u8], each: &mut Each<'_>) -> Result<(), AnswerError> {
        let start: BlockStart<'_> = parse(payload)?;
        if start.start.tool_result.is_some() || start.start.image.is_some() {
            return Err(AnswerError::Unreadable(
                "it has a kind of content that can't be translated",
            ));
        }
        // Blocks of other kinds begin with their first piece.
        let Some(tool) = start.start.tool_use else { return Ok(()) };
        self.close(start.content_block_index, each);
        let Text(name) = tool.name;
        if self.context.answer_tool.as_deref() == Some(name.as_ref()) {
            self.has_answer = true;
            self.held = self.context.must_be_json.then(String::new);
            self.block(start.content_block_index, BlockKind::Answer, each)?;
            return Ok(());
        }
        self.has_tools = true;
        let kind = BlockKind::Tool { has_input: false };
        let block = self.block(start.content_block_index, kind, each)?;
        let name = Cow::Borrowed(self.context.client_tool_name(&name));
        each(Event::ToolStart { block, id: tool.tool_use_id.0, name });
        Ok(())
    }

    fn delta(&mut self, payload: &[u8], each: &mut Each<'_>) -> Result<(), AnswerError> {
        let BlockDelta { delta, content_block_index: upstream } = parse(payload)?;
        if let Some(Text(text)) = delta.text {
            return self.text(upstream, text, each);
        }
        if let Some(ToolDelta { input: Text(json) }) = delta.tool_use {
            return self.tool_input(upstream, json, each);
        }
        if let Some(citation) = delta.citation {
            if self.held.is_none() {
                let block = self.block(upstream, BlockKind::Text, each)?;
                each(Event::Citation { block, citation: fields::json(citation.into()) });
            }
            return Ok(());
        }
        let Some(reasoning) = delta.reasoning_content else {
            return Err(AnswerError::Unreadable(
                "it has a kind of content that can't be translated",
            ));
        };
        let block = self.block(upstream, BlockKind::Reasoning, each)?;
        if let Some(Text(text)) = reasoning.text.filter(|Text(text)| !text.is_empty()) {
            each(Event::Reasoning { block, text });
        }
        if let Some(Text(signature)) = reasoning.signature {
            each(Event::Signature { block, signature });
        }
        if let Some(Text(data)) = reasoning.redacted_content {
            each(Event::RedactedReasoning { block, data });
        }
        Ok(())
    }

    fn text(
        &mut self,
        upstream: u32,
        text: Cow<'_, str>,
        each: &mut Each<'_>,
    ) -> Result<(), AnswerError> {
        if text.is_empty() {
            return Ok(());
        }
        if let Some(held) = &mut self.held {
            if held.len() + text.len() > MAX_HELD {
                return Err(AnswerError::TooLong(MAX_HELD));
            }
            held.push_str(&text);
            self.block(upstream, BlockKind::Held, each)?;
            return Ok(());
        }
        // Behind the answer in its tool, a text says nothing more of it.
        if !self.has_answer {
            let block = self.block(upstream, BlockKind::Text, each)?;
            each(Event::Text { block, text });
        }
        Ok(())
    }

    fn tool_input(
        &mut self,
        upstream: u32,
        json: Cow<'_, str>,
        each: &mut Each<'_>,
    ) -> Result<(), AnswerError> {
        let open = self.open.iter_mut().rev().find(|open| open.upstream == upstream);
        let Some(open) = open else {
            return Err(AnswerError::Unreadable("the input of a tool comes before its name"));
        };
        if json.is_empty() {
            return Ok(());
        }
        let block = open.block;
        match &mut open.kind {
            BlockKind::Tool { has_input } => {
                *has_input = true;
                each(Event::ToolInput { block, json });
            }
            BlockKind::Answer => each(Event::Text { block, text: json }),
            _ => return Err(AnswerError::Unreadable("the input of a tool comes before its name")),
        }
        Ok(())
    }

    /// The number of the block below an index, for content of this kind. It opens one if there is none; one of
    /// another kind is closed.
    fn block(
        &mut self,
        upstream: u32,
        kind: BlockKind,
        each: &mut Each<'_>,
    ) -> Result<u32, AnswerError> {
        if let Some(open) = self.open.iter().find(|open| open.upstream == upstream) {
            if open.kind == kind {
                return Ok(open.block);
            }
            self.close(upstream, each);
        }
        if self.open.len() == MAX_OPEN {
            return Err(AnswerError::Unreadable("too many of its blocks are open at once"));
        }
        let block = self.next_block;
        self.next_block = self.next_block.saturating_add(1);
        self.open.push(Open { upstream, block, kind });
        Ok(block)
    }

    fn close(&mut self, upstream: u32, each: &mut Each<'_>) {
        if let Some(at) = self.open.iter().position(|open| open.upstream == upstream) {
            let open = self.open.remove(at);
            end(&open, each);
        }
    }

    fn stop(&mut self, payload: &[u8], each: &mut Each<'_>) -> Result<(), AnswerError> {
        let stop: MessageStop<'_> = parse(payload)?;
        let told = stop.additional_model_response_fields.map(AdditionalFields::of);
        let told = told.unwrap_or_default();
        let reason = match stop::of(&stop.stop_reason.0)? {
            StopReason::EndTurn if self.has_tools => StopReason::ToolUse,
            StopReason::ToolUse if self.has_answer && !self.has_tools => StopReason::EndTurn,
            reason => reason,
        };
        for open in std::mem::take(&mut self.open) {
            end(&open, each);
        }
        if let Some(held) = self.held.take() {
            self.give_held(&held, reason, each)?;
        }
        self.has_stopped = true;
        self.reasoning_tokens = told.reasoning_tokens;
        let fields = stop.additional_model_response_fields.map(|it| fields::json(it.into()));
        if reason == StopReason::EndTurn && self.next_block == 0 {
            let fields = fields.map(|Json(json)| Json(Cow::Owned(json.into_owned())));
            let stop_sequence = told.stop_sequence.map(|text| text.to_string());
            self.empty_end = Some(EmptyEnd { stop_sequence, fields });
            return Ok(());
        }
        each(Event::Stop { reason, stop_sequence: told.stop_sequence, fields });
        Ok(())
    }

    /// How many bytes of text are held back.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held.as_ref().map_or(0, String::len)
    }

    /// Gives on the text that was held back.
    fn give_held(
        &mut self,
        held: &str,
        reason: StopReason,
        each: &mut Each<'_>,
    ) -> Result<(), AnswerError> {
        // A text in place of the tool that takes the answer may still be it.
        let must_be_json = self.context.must_be_json || self.context.answer_tool.is_some();
        let is_checked = must_be_json && stop::is_whole_text(reason);
        let text = match is_checked {
            true => object_in(held).ok_or(AnswerError::NotJson)?,
            false => held,
        };
        if !text.is_empty() {
            let block = self.next_block;
            each(Event::Text { block, text: Cow::Borrowed(text) });
            each(Event::BlockStop { block });
        }
        Ok(())
    }

    fn metadata(&mut self, payload: &[u8], each: &mut Each<'_>) -> Result<(), AnswerError> {
        let metadata: Metadata<'_> = parse(payload)?;
        let of_converse = [
            ("metrics", metadata.metrics),
            ("trace", metadata.trace),
            ("performanceConfig", metadata.performance_config),
        ];
        let usage = Usage::from_body(payload).unwrap_or_default();
        if let Some(end) = self.empty_end.take() {
            if usage.output == 0 {
                return Err(AnswerError::Unreadable("it is empty"));
            }
            let stop_sequence = end.stop_sequence.map(Cow::Owned);
            each(Event::Stop { reason: StopReason::EndTurn, stop_sequence, fields: end.fields });
        }
        each(Event::Usage {
            usage,
            reasoning_tokens: self.reasoning_tokens,
            tier: metadata.service_tier.and_then(|tier| tier.name).map(|Text(name)| name),
            of_converse: as_written(of_converse),
        });
        Ok(())
    }
}

/// Ends a block. A tool that got no input has an empty object: clients parse what they have collected.
fn end(open: &Open, each: &mut Each<'_>) {
    let block = open.block;
    match open.kind {
        BlockKind::Held => return,
        BlockKind::Tool { has_input: false } => {
            each(Event::ToolInput { block, json: Cow::Borrowed("{}") });
        }
        _ => {}
    }
    each(Event::BlockStop { block });
}

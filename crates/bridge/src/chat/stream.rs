//! Writes a stream: chunks of server-sent events.
//!
//! One chunk has the role, one the reason of the end, and after that comes nothing but the usage, if the client
//! asked for it. `[DONE]` is written at an ordinary end alone: a stream that fails ends with an error instead.

use sluice_bedrock::Dialect;
use sluice_bedrock::dialect::DialectError;

use super::answer::{finish_reason, write_head, write_tier, write_usage};
use crate::answer::Event;
use crate::json::{Object, write_str};
use crate::translation::{AnswerContext, Stamp};

/// Writes the events of one stream.
#[derive(Debug)]
pub(crate) struct StreamWriter {
    /// The members with which every chunk begins, without the closing brace.
    head: Vec<u8>,
    include_usage: bool,
    has_started: bool,
    has_finished: bool,
    has_usage: bool,
    /// Tools that are in use: clients count them from 0, upstreams number blocks.
    tools: Vec<OpenTool>,
    next_tool: u32,
    thinking: Option<OpenThinking>,
    next_thinking: u32,
}

#[derive(Debug)]
struct OpenTool {
    block: u32,
    index: u32,
    has_input: bool,
}

#[derive(Clone, Copy, Debug)]
struct OpenThinking {
    block: u32,
    index: u32,
}

impl StreamWriter {
    pub(crate) fn new(context: &AnswerContext, stamp: Stamp) -> StreamWriter {
        let mut head = Vec::with_capacity(160);
        head.extend_from_slice(b"data: ");
        let mut body = Object::new(&mut head);
        write_head(&mut body, "chat.completion.chunk", &context.echo.model, &stamp);
        drop(body);
        // More members follow.
        head.pop();
        StreamWriter {
            head,
            include_usage: context.echo.include_usage,
            has_started: false,
            has_finished: false,
            has_usage: false,
            tools: Vec::new(),
            next_tool: 0,
            thinking: None,
            next_thinking: 0,
        }
    }

    pub(crate) fn write(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        if let Event::Usage { usage, reasoning_tokens, tier, .. } = event {
            if self.include_usage && !std::mem::replace(&mut self.has_usage, true) {
                out.extend_from_slice(&self.head);
                out.extend_from_slice(b",\"choices\":[],");
                let mut members = Vec::with_capacity(256);
                let mut body = Object::new(&mut members);
                write_usage(&mut body, usage, *reasoning_tokens);
                write_tier(&mut body, tier.as_deref());
                drop(body);
                out.extend_from_slice(members.get(1..).unwrap_or_default());
                out.extend_from_slice(b"\n\n");
            }
            return;
        }
        if self.has_finished {
            return;
        }
        if !std::mem::replace(&mut self.has_started, true) {
            self.chunk(out, None, |delta| {
                delta.str("role", "assistant");
                delta.str("content", "");
            });
        }
        match event {
            // Nobody asks for citations here.
            Event::Start | Event::Usage { .. } | Event::Citation { .. } => {}
            Event::Text { text, .. } if text.is_empty() => {}
            Event::Text { text, .. } => self.chunk(out, None, |delta| delta.str("content", text)),
            Event::ToolStart { block, id, name } => self.start_tool(*block, id, name, out),
            Event::ToolInput { block, json } => self.tool_input(*block, json, out),
            Event::Reasoning { block, text } => {
                let index = self.thinking_index(*block);
                if !text.is_empty() {
                    self.chunk(out, None, |delta| {
                        delta.str("reasoning_content", text);
                        write_thinking(delta, index, "thinking", &[("thinking", text)]);
                    });
                }
            }
            Event::Signature { block, signature } => {
                let index = self.thinking_index(*block);
                self.thinking = None;
                self.chunk(out, None, |delta| {
                    // A block without a text has it empty.
                    let members = [("thinking", ""), ("signature", signature.as_ref())];
                    write_thinking(delta, index, "thinking", &members);
                });
            }
            Event::RedactedReasoning { data, .. } => {
                self.thinking = None;
                let index = self.next_thinking;
                self.next_thinking = index.saturating_add(1);
                self.chunk(out, None, |delta| {
                    write_thinking(delta, index, "redacted_thinking", &[("data", data)]);
                });
            }
            Event::BlockStop { block } => {
                self.thinking.take_if(|open| open.block == *block);
                if let Some(at) = self.tools.iter().position(|open| open.block == *block) {
                    let tool = self.tools.remove(at);
                    self.end_tool(&tool, out);
                }
            }
            Event::Stop { reason, .. } => {
                for tool in std::mem::take(&mut self.tools) {
                    self.end_tool(&tool, out);
                }
                let reason = finish_reason(*reason, self.next_tool > 0);
                self.chunk(out, Some(reason), |_| {});
                self.has_finished = true;
            }
        }
    }

    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    pub(crate) fn fail(&mut self, error: &DialectError, request_id: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(&error.body(Dialect::OpenAi, request_id));
        out.extend_from_slice(b"\n\n");
    }

    fn start_tool(&mut self, block: u32, id: &str, name: &str, out: &mut Vec<u8>) {
        let index = self.next_tool;
        self.next_tool = index.saturating_add(1);
        self.tools.push(OpenTool { block, index, has_input: false });
        self.chunk(out, None, |delta| {
            let mut calls = delta.array("tool_calls");
            let mut call = calls.object();
            call.number("index", index.into());
            call.str("id", id);
            call.str("type", "function");
            let mut function = call.object("function");
            function.str("name", name);
            function.str("arguments", "");
        });
    }

    fn tool_input(&mut self, block: u32, json: &str, out: &mut Vec<u8>) {
        let open = self.tools.iter_mut().rfind(|open| open.block == block);
        let Some(open) = open.filter(|_| !json.is_empty()) else { return };
        open.has_input = true;
        let index = open.index;
        self.arguments(index, json, out);
    }

    /// Clients parse what the pieces add up to, and nothing is no JSON.
    fn end_tool(&mut self, tool: &OpenTool, out: &mut Vec<u8>) {
        if !tool.has_input {
            self.arguments(tool.index, "{}", out);
        }
    }

    fn arguments(&mut self, index: u32, json: &str, out: &mut Vec<u8>) {
        self.chunk(out, None, |delta| {
            let mut calls = delta.array("tool_calls");
            let mut call = calls.object();
            call.number("index", index.into());
            call.object("function").str("arguments", json);
        });
    }

    /// The index of the thinking in a block. A signature ends one, and so does the end of its block.
    fn thinking_index(&mut self, block: u32) -> u32 {
        if let Some(open) = self.thinking.filter(|open| open.block == block) {
            return open.index;
        }
        let index = self.next_thinking;
        self.next_thinking = index.saturating_add(1);
        self.thinking = Some(OpenThinking { block, index });
        index
    }

    /// Writes a chunk with one choice.
    fn chunk(
        &self,
        out: &mut Vec<u8>,
        finish_reason: Option<&str>,
        delta: impl FnOnce(&mut Object<'_>),
    ) {
        out.extend_from_slice(&self.head);
        out.extend_from_slice(b",\"choices\":[{\"index\":0,\"delta\":");
        delta(&mut Object::new(out));
        out.extend_from_slice(b",\"logprobs\":null,\"finish_reason\":");
        match finish_reason {
            Some(reason) => write_str(out, reason),
            None => out.extend_from_slice(b"null"),
        }
        // OpenAI announces in each chunk that a usage will come.
        let end: &[u8] = if self.include_usage { b"}],\"usage\":null}\n\n" } else { b"}]}\n\n" };
        out.extend_from_slice(end);
    }
}

/// A piece of a block of thinking. The index lets clients add up the pieces, as OpenAI's own SDK does.
fn write_thinking(delta: &mut Object<'_>, index: u32, kind: &str, members: &[(&str, &str)]) {
    let mut blocks = delta.array("thinking_blocks");
    let mut block = blocks.object();
    block.number("index", index.into());
    block.str("type", kind);
    members.iter().for_each(|(name, piece)| block.str(name, piece));
}

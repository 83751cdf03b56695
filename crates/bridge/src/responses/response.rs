//! The response object and its items, as answers and the events of streams have them alike.
//!
//! Texts come as they stand between quotes in JSON: they are escaped once, when they arrive.

use sluice_bedrock::Usage;
use sluice_bedrock::dialect::DialectError;

use crate::answer::StopReason;
use crate::json::{Array, Object};
use crate::translation::{AnswerContext, Echo, EchoTool, Stamp};

/// The ids of a response and its items, made from the request's.
#[derive(Clone, Debug)]
pub(super) struct Ids(String);

impl Ids {
    pub(super) fn new(stamp: &Stamp) -> Ids {
        let letters = stamp.request_id.chars().filter(char::is_ascii_alphanumeric);
        Ids(letters.take(40).collect())
    }

    /// The response's.
    pub(super) fn response(&self) -> String {
        format!("resp_{}", self.0)
    }

    /// That of an item.
    pub(super) fn item(&self, kind: ItemKind, index: u32) -> String {
        format!("{}_{}{index:02x}", kind.prefix(), self.0)
    }
}

/// What an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ItemKind {
    Message,
    Reasoning,
    Function,
    Custom,
}

impl ItemKind {
    fn prefix(self) -> &'static str {
        match self {
            ItemKind::Message => "msg",
            ItemKind::Reasoning => "rs",
            ItemKind::Function => "fc",
            ItemKind::Custom => "ctc",
        }
    }
}

/// How a response, or an item, is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    InProgress,
    Completed,
    Incomplete,
    Failed,
}

impl Status {
    pub(super) fn name(self) -> &'static str {
        match self {
            Status::InProgress => "in_progress",
            Status::Completed => "completed",
            Status::Incomplete => "incomplete",
            Status::Failed => "failed",
        }
    }
}

/// Why a response is incomplete; `None` if it is not.
pub(super) fn incomplete_reason(stop: StopReason) -> Option<&'static str> {
    match stop {
        StopReason::MaxTokens | StopReason::ContextWindowExceeded => Some("max_output_tokens"),
        StopReason::GuardrailIntervened | StopReason::ContentFiltered | StopReason::Refusal => {
            Some("content_filter")
        }
        StopReason::EndTurn
        | StopReason::ToolUse
        | StopReason::StopSequence
        | StopReason::PauseTurn => None,
    }
}

/// The status of a response that ended so.
pub(super) fn status_of(stop: StopReason) -> Status {
    match incomplete_reason(stop) {
        Some(_) => Status::Incomplete,
        None => Status::Completed,
    }
}

/// The tokens and the tier of an answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Served {
    pub(super) usage: Usage,
    pub(super) reasoning_tokens: Option<u64>,
    pub(super) tier: Option<String>,
}

/// What response objects of one answer have in common.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) ids: Ids,
    created: u64,
    echo: Echo,
}

/// What a response object has of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct State<'s> {
    pub(super) status: Status,
    pub(super) incomplete: Option<&'static str>,
    pub(super) error: Option<&'s DialectError>,
    /// The JSON of its items, with commas between them.
    pub(super) output: &'s [u8],
    pub(super) served: Option<&'s Served>,
}

impl Frame {
    pub(super) fn new(context: &AnswerContext, stamp: &Stamp) -> Frame {
        Frame { ids: Ids::new(stamp), created: stamp.created, echo: context.echo.clone() }
    }

    /// Says in what follows whether the gateway keeps the response.
    pub(super) fn set_stored(&mut self, is_stored: bool) {
        self.echo.is_stored = is_stored;
    }

    /// How the client knows a tool.
    pub(super) fn tool(&self, name: &str) -> Option<&EchoTool> {
        self.echo.tools.iter().find(|tool| tool.name == name)
    }

    /// Writes the response object.
    pub(super) fn write(&self, state: &State<'_>, out: &mut Vec<u8>) {
        let mut response = Object::new(out);
        response.str("id", &self.ids.response());
        response.str("object", "response");
        response.number("created_at", self.created);
        response.str("status", state.status.name());
        response.bool("background", false);
        match state.error {
            Some(error) => {
                let mut object = response.object("error");
                object.str("code", error_code(error));
                object.str("message", &error.message);
            }
            None => response.raw("error", "null"),
        }
        match state.incomplete {
            Some(reason) => response.object("incomplete_details").str("reason", reason),
            None => response.raw("incomplete_details", "null"),
        }
        response.str("model", &self.echo.model);
        let output = response.key("output");
        output.push(b'[');
        output.extend_from_slice(state.output);
        output.push(b']');
        let previous = self.echo.previous_response_id.as_deref();
        response.str_or_null("previous_response_id", previous);
        response.bool("store", self.echo.is_stored);
        response.str("service_tier", state.served.map_or("auto", tier_name));
        match state.served {
            Some(served) => write_usage(served, response.object("usage")),
            None => response.raw("usage", "null"),
        }
        response.members(&self.echo.members);
    }
}

/// The code of a response's error: clients shorten a conversation, or wait, by it.
pub(super) fn error_code(error: &DialectError) -> &str {
    use sluice_bedrock::ErrorKind;
    match (error.code.as_deref(), error.kind) {
        (Some(code), _) => code,
        (None, ErrorKind::Throttling) => "rate_limit_exceeded",
        (None, ErrorKind::ServiceQuotaExceeded) => "insufficient_quota",
        (None, ErrorKind::Validation) => "invalid_prompt",
        (None, _) => "server_error",
    }
}

/// The tier that served it, by OpenAI's name: capacity that was paid ahead is `scale` there.
fn tier_name(served: &Served) -> &'static str {
    match served.tier.as_deref() {
        Some("flex") => "flex",
        Some("priority") => "priority",
        Some("reserved") => "scale",
        _ => "default",
    }
}

fn write_usage(served: &Served, mut object: Object<'_>) {
    let Usage { input, output, cache_read, cache_write, .. } = served.usage;
    let input = input.saturating_add(cache_read).saturating_add(cache_write);
    object.number("input_tokens", input);
    {
        let mut details = object.object("input_tokens_details");
        details.number("cached_tokens", cache_read);
        details.number("cache_write_tokens", cache_write);
    }
    object.number("output_tokens", output);
    let reasoning = served.reasoning_tokens.unwrap_or(0);
    object.object("output_tokens_details").number("reasoning_tokens", reasoning);
    object.number("total_tokens", input.saturating_add(output));
}

/// Writes a part of a message.
pub(super) fn write_text_part(escaped: &[u8], out: &mut Vec<u8>) {
    let mut part = Object::new(out);
    part.str("type", "output_text");
    part.raw("annotations", "[]");
    part.raw("logprobs", "[]");
    write_escaped_member(&mut part, "text", escaped);
}

/// Writes a message. `parts` are the JSON of its parts, with commas between them.
pub(super) fn write_message(id: &str, status: Status, parts: &[u8], out: &mut Vec<u8>) {
    let mut item = Object::new(out);
    item.str("id", id);
    item.str("type", "message");
    item.str("status", status.name());
    let content = item.key("content");
    content.push(b'[');
    content.extend_from_slice(parts);
    content.push(b']');
    item.str("role", "assistant");
}

/// Writes a reasoning item.
pub(super) fn write_reasoning(
    id: &str,
    escaped_summary: Option<&[u8]>,
    encrypted: Option<&str>,
    out: &mut Vec<u8>,
) {
    let mut item = Object::new(out);
    item.str("id", id);
    item.str("type", "reasoning");
    {
        let mut summary: Array<'_> = item.array("summary");
        if let Some(text) = escaped_summary {
            write_summary_part(text, summary.element());
        }
    }
    item.str_or_null("encrypted_content", encrypted);
}

/// Writes the part of a summary.
pub(super) fn write_summary_part(escaped: &[u8], out: &mut Vec<u8>) {
    let mut part = Object::new(out);
    part.str("type", "summary_text");
    write_escaped_member(&mut part, "text", escaped);
}

/// A call of a tool, without its input.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) id: String,
    pub(super) call_id: String,
    pub(super) name: String,
    pub(super) namespace: Option<String>,
    pub(super) is_custom: bool,
}

impl Call {
    /// The call of a tool by its name in the hub.
    pub(super) fn new(frame: &Frame, index: u32, call_id: &str, name: &str) -> Call {
        let tool = frame.tool(name);
        let is_custom = tool.is_some_and(|tool| tool.is_custom);
        let kind = if is_custom { ItemKind::Custom } else { ItemKind::Function };
        Call {
            id: frame.ids.item(kind, index),
            call_id: call_id.to_owned(),
            name: tool.map_or(name, |tool| &tool.client_name).to_owned(),
            namespace: tool.and_then(|tool| tool.namespace.clone()),
            is_custom,
        }
    }

    /// Writes it.
    pub(super) fn write(&self, status: Status, escaped_input: &[u8], out: &mut Vec<u8>) {
        let (kind, input) = match self.is_custom {
            true => ("custom_tool_call", "input"),
            false => ("function_call", "arguments"),
        };
        let mut item = Object::new(out);
        item.str("id", &self.id);
        item.str("type", kind);
        item.str("status", status.name());
        write_escaped_member(&mut item, input, escaped_input);
        item.str("call_id", &self.call_id);
        item.str("name", &self.name);
        if let Some(namespace) = &self.namespace {
            item.str("namespace", namespace);
        }
    }
}

/// Writes a text that is escaped already.
pub(super) fn write_escaped_member(object: &mut Object<'_>, name: &str, escaped: &[u8]) {
    let out = object.key(name);
    out.push(b'"');
    out.extend_from_slice(escaped);
    out.push(b'"');
}

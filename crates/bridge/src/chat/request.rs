//! Reads a request: each member at the top goes to its reader. What has no reader is refused by its name, or
//! left out by the operator's leave.

use std::borrow::Cow;

use crate::conversation::{CacheTtl, Conversation, Text};
use crate::fields;
use crate::report::Report;
use crate::translation::Echo;
use crate::value::{Members, Value};

/// A request while it is read. Readers return `None` once they have refused it.
pub(super) struct Reader<'r, 'p, 'a> {
    pub(super) conversation: Conversation<'a>,
    pub(super) report: &'r mut Report<'p>,
    /// The lifetime of the cache points that `prompt_cache_breakpoint` sets.
    pub(super) breakpoint_ttl: CacheTtl,
    /// Uses of tools by the last assistant that have no result so far.
    pub(super) unanswered: Vec<Cow<'a, str>>,
}

/// The members that are read after the others, whose values they need.
#[derive(Default)]
struct Later<'a> {
    messages: Option<Value<'a>>,
    tools: Option<Value<'a>>,
    tool_choice: Option<Value<'a>>,
    max_tokens: Option<Value<'a>>,
}

/// Reads the body of a request.
pub(crate) fn read_request<'a>(
    body: &'a [u8],
    echo: &mut Echo,
    report: &mut Report<'_>,
) -> Conversation<'a> {
    let mut reader = Reader {
        conversation: Conversation::default(),
        report,
        breakpoint_ttl: CacheTtl::default(),
        unanswered: Vec::new(),
    };
    // Whatever is missing has been refused.
    let _ = reader.read(body, echo);
    reader.conversation
}

impl<'a> Reader<'_, '_, 'a> {
    fn read(&mut self, body: &'a [u8], echo: &mut Echo) -> Option<()> {
        let members = match fields::body(body) {
            Ok(members) => members,
            Err(message) => {
                self.report.refuse(None, false, message);
                return None;
            }
        };
        let mut later = Later::default();
        for (name, value) in members {
            if !fields::is_null(value) {
                self.member(&name, value, &mut later, echo)?;
            }
        }
        if echo.model.is_empty() {
            return self.refuse("model", "must be a text that names the model");
        }
        // `max_completion_tokens` is newer and wins.
        if let (Some(value), None) = (later.max_tokens, self.conversation.max_tokens) {
            self.conversation.max_tokens = Some(self.max_tokens("max_tokens", value)?);
        }
        if let Some(tools) = later.tools {
            self.tools(tools)?;
        }
        if let Some(choice) = later.tool_choice {
            self.tool_choice(choice)?;
        }
        match later.messages {
            Some(messages) => self.messages(messages),
            None => self.refuse("messages", "must be a list of messages"),
        }
    }

    /// Reads a member that is not `null`.
    fn member(
        &mut self,
        name: &str,
        value: Value<'a>,
        later: &mut Later<'a>,
        echo: &mut Echo,
    ) -> Option<()> {
        match name {
            "model" => echo.model = self.text(name, value)?.into_owned(),
            "messages" => later.messages = Some(value),
            "tools" => later.tools = Some(value),
            "tool_choice" => later.tool_choice = Some(value),
            "max_tokens" => later.max_tokens = Some(value),
            "max_completion_tokens" => {
                self.conversation.max_tokens = Some(self.max_tokens(name, value)?);
            }
            "parallel_tool_calls" => {
                self.conversation.parallel_tools = Some(self.boolean(name, value)?);
            }
            "temperature" => {
                self.conversation.temperature = Some(self.number(name, value, 2.0)?);
            }
            "top_p" => self.conversation.top_p = Some(self.number(name, value, 1.0)?),
            "top_k" => match fields::count(value) {
                Some(_) => self.conversation.top_k = Some(Cow::Borrowed(value.get())),
                None => return self.refuse(name, "must be a whole number"),
            },
            "stop" => self.stop(value)?,
            "stream" => self.conversation.streams = self.boolean(name, value)?,
            "stream_options" => echo.include_usage = self.stream_options(value)?,
            "response_format" => self.response_format(value)?,
            "reasoning_effort" => self.reasoning_effort(value)?,
            "thinking" => self.thinking(value)?,
            "service_tier" => self.service_tier(value)?,
            "prompt_cache_options" => self.prompt_cache_options(value)?,
            _ => self.other(name, value)?,
        }
        Some(())
    }

    /// Refuses the request: `param` and what it must be.
    pub(super) fn refuse<T>(&mut self, param: impl Into<String>, why: &str) -> Option<T> {
        let param = param.into();
        let message = format!("`{param}` {why}");
        self.report.refuse(Some(param), false, message);
        None
    }

    /// A text.
    pub(super) fn text(&mut self, param: &str, value: Value<'a>) -> Option<Cow<'a, str>> {
        match fields::text(value) {
            Some(text) => Some(text),
            None => self.refuse(param, "must be a text"),
        }
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, param: &str, value: Value<'_>) -> Option<bool> {
        match fields::boolean(value) {
            Some(value) => Some(value),
            None => self.refuse(param, "must be `true` or `false`"),
        }
    }

    /// The members of an object; `param` is asked only for a refusal.
    pub(super) fn object(
        &mut self,
        value: Value<'a>,
        param: impl FnOnce() -> String,
    ) -> Option<Members<'a>> {
        match fields::members(value) {
            Some(members) => Some(members),
            None => self.refuse(param(), "must be an object"),
        }
    }

    /// The elements of a list; `param` is asked only for a refusal.
    pub(super) fn list(
        &mut self,
        value: Value<'a>,
        param: impl FnOnce() -> String,
    ) -> Option<Vec<Value<'a>>> {
        match fields::elements(value) {
            Some(elements) => Some(elements),
            None => self.refuse(param(), "must be a list"),
        }
    }

    /// A member that must be a text of the prompt; `place` names the object, and is asked only for a refusal.
    pub(super) fn prompt_text_in(
        &mut self,
        members: &Members<'a>,
        name: &str,
        place: impl FnOnce() -> String,
    ) -> Option<Text<'a>> {
        match members.get(name).and_then(fields::prompt_text) {
            Some(text) => Some(text),
            None => self.refuse(format!("{}.{name}", place()), "must be a text"),
        }
    }

    /// A member that must be a text; `place` names the object, and is asked only for a refusal.
    pub(super) fn text_in(
        &mut self,
        members: &Members<'a>,
        name: &str,
        place: impl FnOnce() -> String,
    ) -> Option<Cow<'a, str>> {
        match members.get(name).and_then(fields::text) {
            Some(text) => Some(text),
            None => self.refuse(format!("{}.{name}", place()), "must be a text"),
        }
    }

    /// Refuses an object that has a member beside these; `place` names it.
    pub(super) fn only(
        &mut self,
        members: &Members<'_>,
        names: &[&str],
        place: impl FnOnce() -> String,
    ) -> Option<()> {
        match members.beside(names) {
            None => Some(()),
            Some(name) => {
                let param = format!("{}.{name}", place());
                self.refuse(param, "is not known to this gateway; leave it out")
            }
        }
    }
}

//! Reads a request of Responses: each member of the body is carried, named as left out, or refused.

use std::borrow::Cow;

use super::items::Items;
use super::options;
use super::tools::{Tools, read_choice};
use crate::conversation::{At, Block, BlockKind, Conversation};
use crate::fields;
use crate::report::Report;
use crate::request_metadata::record;
use crate::translation::Echo;
use crate::value::Value;

/// What a response repeats of its request: JSON text by the member's name.
#[derive(Debug)]
struct Repeated<'a> {
    instructions: &'a str,
    max_output_tokens: &'a str,
    max_tool_calls: &'a str,
    metadata: &'a str,
    parallel_tool_calls: &'a str,
    prompt_cache_key: &'a str,
    reasoning: &'a str,
    safety_identifier: &'a str,
    temperature: &'a str,
    text: Cow<'a, str>,
    tool_choice: &'a str,
    top_p: &'a str,
    user: &'a str,
}

/// Reads the body.
pub(crate) fn read_request<'a>(
    body: &'a [u8],
    echo: &mut Echo,
    report: &mut Report<'_>,
) -> Conversation<'a> {
    let mut conversation = Conversation::default();
    let members = match fields::body(body) {
        Ok(members) => members,
        Err(error) => {
            report.refuse(None, false, error);
            return conversation;
        }
    };
    let mut repeated = Repeated::default();
    let mut tools = Tools::default();
    let mut written_tools = String::new();
    let mut input = None;
    for (name, value) in members.given() {
        match name {
            "input" => input = Some(value),
            "tools" => {
                tools.read(value, "tools", report);
                written_tools = std::mem::take(&mut tools.written);
            }
            // It is read before the input.
            "prompt_cache_options" => {}
            name => member(name, value, &mut conversation, echo, &mut repeated, report),
        }
    }
    match input {
        Some(input) => {
            let options = members.get("prompt_cache_options");
            let cache_ttl = options.map(|it| options::read_cache(it, report)).unwrap_or_default();
            let mut items = Items { conversation: &mut conversation, tools: &mut tools, cache_ttl };
            items.read(input, report);
        }
        None => report.refuse(Some("input".to_owned()), false, "`input` is missing"),
    }
    conversation.tools = tools.list;
    echo.tools = tools.echo;
    if !report.is_refused() {
        repeated.write(&written_tools, &mut echo.members);
    }
    conversation
}

/// Reads a member that has a value.
fn member<'a>(
    name: &str,
    value: Value<'a>,
    conversation: &mut Conversation<'a>,
    echo: &mut Echo,
    repeated: &mut Repeated<'a>,
    report: &mut Report<'_>,
) {
    let json = value.get();
    match name {
        "model" => match fields::text(value) {
            Some(model) => echo.model = model.into_owned(),
            None => malformed(name, "a string", report),
        },
        "instructions" => {
            let Some(text) = fields::prompt_text(value) else {
                return malformed(name, "a string", report);
            };
            repeated.instructions = json;
            let at = At { list: "instructions", index: None, part: None };
            conversation.system.insert(0, Block { at, kind: BlockKind::Text(text) });
        }
        "stream" => match fields::boolean(value) {
            Some(streams) => conversation.streams = streams,
            None => malformed(name, "a boolean", report),
        },
        "max_output_tokens" => match fields::count(value).filter(|count| *count > 0) {
            Some(count) => {
                repeated.max_output_tokens = json;
                conversation.max_tokens = Some(count);
            }
            None => malformed(name, "a whole number above 0", report),
        },
        "temperature" if fields::number(value).is_some() => {
            repeated.temperature = json;
            conversation.temperature = Some(Cow::Borrowed(json));
        }
        "top_p" if fields::number(value).is_some() => {
            repeated.top_p = json;
            conversation.top_p = Some(Cow::Borrowed(json));
        }
        "temperature" | "top_p" => malformed(name, "a number", report),
        "parallel_tool_calls" => match fields::boolean(value) {
            Some(is_parallel) => {
                repeated.parallel_tool_calls = json;
                conversation.parallel_tools = Some(is_parallel);
            }
            None => malformed(name, "a boolean", report),
        },
        "tool_choice" => {
            conversation.tool_choice = read_choice(value, report);
            if conversation.tool_choice.is_some() {
                repeated.tool_choice = json;
            }
        }
        "reasoning" => {
            repeated.reasoning = json;
            options::read_reasoning(value, conversation, report);
        }
        "text" => {
            let format = options::read_text(value, conversation, report);
            repeated.text = options::repeated_text(format, value);
        }
        "service_tier" => conversation.service_tier = options::read_tier(value, report),
        "include" => options::read_include(value, report),
        // It bounds the tools that OpenAI runs, and there are none.
        "max_tool_calls" if fields::count(value).is_some() => repeated.max_tool_calls = json,
        "max_tool_calls" => malformed(name, "a whole number", report),
        // What the gateway makes of it is its own affair; the answer says what it did.
        "store" if fields::boolean(value).is_some() => {}
        "metadata" if fields::is_object(value) => {
            repeated.metadata = json;
            if report.is_recorded(name) {
                for (key, value) in fields::members(value).unwrap_or_default() {
                    let (of, text) = (format!("{name}.{key}"), fields::text(value));
                    record(name, &of, key, text, &mut conversation.metadata, report);
                }
            } else if fields::members(value).is_some_and(|pairs| pairs.iter().next().is_some()) {
                report.dropped("metadata");
            }
        }
        "user" | "safety_identifier" | "prompt_cache_key" if fields::is_text(value) => {
            match name {
                "user" => repeated.user = json,
                "safety_identifier" => repeated.safety_identifier = json,
                _ => repeated.prompt_cache_key = json,
            }
            if name != "prompt_cache_key" && report.is_recorded(name) {
                let (key, text) = (Cow::Owned(name.to_owned()), fields::text(value));
                record(name, name, key, text, &mut conversation.metadata, report);
            } else {
                report.dropped(name.to_owned());
            }
        }
        "store" => malformed(name, "a boolean", report),
        "metadata" => malformed(name, "an object", report),
        "user" | "safety_identifier" | "prompt_cache_key" => malformed(name, "a string", report),
        name => options::read_other(name, value, report),
    }
}

fn malformed(name: &str, what: &str, report: &mut Report<'_>) {
    report.refuse(Some(name.to_owned()), false, format!("`{name}` must be {what}"));
}

impl Default for Repeated<'_> {
    fn default() -> Self {
        Repeated {
            instructions: "null",
            max_output_tokens: "null",
            max_tool_calls: "null",
            metadata: "{}",
            parallel_tool_calls: "true",
            prompt_cache_key: "null",
            reasoning: r#"{"effort":null,"summary":null}"#,
            safety_identifier: "null",
            temperature: "null",
            text: Cow::Borrowed(r#"{"format":{"type":"text"}}"#),
            tool_choice: "\"auto\"",
            top_p: "null",
            user: "null",
        }
    }
}

impl Repeated<'_> {
    fn write(&self, tools: &str, members: &mut String) {
        let tools = format!("[{tools}]");
        let values = [
            ("instructions", self.instructions),
            ("max_output_tokens", self.max_output_tokens),
            ("max_tool_calls", self.max_tool_calls),
            ("metadata", self.metadata),
            ("parallel_tool_calls", self.parallel_tool_calls),
            ("prompt_cache_key", self.prompt_cache_key),
            ("reasoning", self.reasoning),
            ("safety_identifier", self.safety_identifier),
            ("temperature", self.temperature),
            ("text", &self.text),
            ("tool_choice", self.tool_choice),
            ("tools", &tools),
            ("top_logprobs", "0"),
            ("top_p", self.top_p),
            ("truncation", "\"disabled\""),
            ("user", self.user),
        ];
        members.reserve(values.iter().map(|(name, json)| name.len() + json.len() + 4).sum());
        for (name, json) in values {
            if !members.is_empty() {
                members.push(',');
            }
            members.extend(["\"", name, "\":"]);
            // A line feed would end the data of an event. In JSON there is none but between values.
            match memchr::memchr2(b'\n', b'\r', json.as_bytes()) {
                None => members.push_str(json),
                Some(_) => {
                    members.extend(json.lines().map(str::trim).flat_map(|it| it.split('\r')))
                }
            }
        }
    }
}

//! The body of a Converse request, read for targets of which it was not written: all of it, or a refusal that
//! names what can't be read.
//!
//! What Converse alone has is kept as it was written, and goes on to Converse again. Whether the answer is a
//! stream stands in the path, not here.

use std::borrow::Cow;
use std::fmt;

use sluice_catalogue::Effort;

use crate::conversation::{
    AnswerFormat, At, Block, BlockKind, Conversation, Json, Role, Text, Tool, ToolChoice, Turn,
};
use crate::effort;
use crate::fields;
use crate::report::Report;
use crate::value::{Members, Value};

mod blocks;
mod model_fields;

/// Members that are kept as they were written.
const KEPT: [&str; 4] = [
    "additionalModelResponseFieldPaths",
    "performanceConfig",
    "promptVariables",
    "projectIdentifier",
];

/// Reads the body of a Converse request.
pub(crate) fn read_request<'a>(body: &'a [u8], report: &mut Report<'_>) -> Conversation<'a> {
    let mut conversation = Conversation::default();
    let members = match fields::body(body) {
        Ok(members) => members,
        Err(what) => {
            report.refuse(None, false, what);
            return conversation;
        }
    };
    for (name, value) in members.given() {
        if let Some(kept) = KEPT.iter().find(|kept| **kept == name) {
            conversation.of_converse.push((kept, fields::json(value)));
            continue;
        }
        match name {
            "messages" => conversation.turns = turns(value, report),
            "system" => {
                let at = |part| At { list: "system", index: Some(part), part: None };
                conversation.system = blocks::read(value, "system", &at, report);
            }
            "inferenceConfig" => inference(value, &mut conversation, report),
            "toolConfig" => tools(value, &mut conversation, report),
            "guardrailConfig" => conversation.guardrail = Some(fields::json(value)),
            "additionalModelRequestFields" => {
                model_fields::read(value, &mut conversation, report);
            }
            "requestMetadata" => metadata(value, &mut conversation, report),
            "serviceTier" => tier(value, &mut conversation, report),
            "outputConfig" => output(value, &mut conversation, report),
            _ => unknown(name, report),
        }
    }
    conversation
}

/// A member that no version of Converse known here has.
fn unknown(name: &str, report: &mut Report<'_>) {
    report.unsupported(
        name,
        false,
        "is not known here, so that it can't be carried to this target",
    );
}

/// A value of the wrong form.
fn wrong(param: impl Into<String>, what: &str, report: &mut Report<'_>) {
    let param = param.into();
    let message = format!("`{param}` must be {what}");
    report.refuse(Some(param), false, message);
}

/// The members of an object; another value is refused. The place is written for a refusal alone.
fn object<'a>(
    value: Value<'a>,
    param: impl fmt::Display,
    report: &mut Report<'_>,
) -> Option<Members<'a>> {
    let members = fields::members(value);
    if members.is_none() {
        wrong(param.to_string(), "an object", report);
    }
    members
}

/// The elements of an array; another value is refused.
fn array<'a>(
    value: Value<'a>,
    param: impl fmt::Display,
    report: &mut Report<'_>,
) -> Vec<Value<'a>> {
    let elements = fields::elements(value);
    if elements.is_none() {
        wrong(param.to_string(), "an array", report);
    }
    elements.unwrap_or_default()
}

/// Refuses each member with a value that is none of these.
fn only(members: &Members<'_>, known: &[&str], param: impl fmt::Display, report: &mut Report<'_>) {
    if let Some(name) = members.beside(known) {
        unknown(&format!("{param}.{name}"), report);
    }
}

fn turns<'a>(value: Value<'a>, report: &mut Report<'_>) -> Vec<Turn<'a>> {
    let mut turns = Vec::new();
    for (index, message) in (0_u32..).zip(array(value, "messages", report)) {
        let param = At { list: "messages", index: Some(index), part: None };
        let Some(members) = object(message, param, report) else { break };
        only(&members, &["role", "content"], param, report);
        let role = match members.get("role").and_then(fields::text).as_deref() {
            Some("user") => Role::User,
            Some("assistant") => Role::Assistant,
            Some("system") => Role::System,
            _ => {
                wrong(format!("{param}.role"), "`user`, `assistant` or `system`", report);
                break;
            }
        };
        let Some(content) = members.get("content") else {
            wrong(format!("{param}.content"), "an array", report);
            break;
        };
        let at = |part| At { list: "messages", index: Some(index), part: Some(part) };
        let blocks = blocks::read(content, format_args!("{param}.content"), &at, report);
        if blocks.is_empty() && role != Role::Assistant {
            wrong(format!("{param}.content"), "an array with a block", report);
        }
        turns.push(Turn { role, blocks });
    }
    turns
}

fn inference<'a>(value: Value<'a>, conversation: &mut Conversation<'a>, report: &mut Report<'_>) {
    let Some(members) = object(value, "inferenceConfig", report) else { return };
    only(
        &members,
        &["maxTokens", "temperature", "topP", "stopSequences"],
        "inferenceConfig",
        report,
    );
    if let Some(max) = members.get("maxTokens") {
        conversation.max_tokens = fields::count(max);
        if conversation.max_tokens.is_none() {
            wrong("inferenceConfig.maxTokens", "a whole number", report);
        }
    }
    let mut number = |name: &str| {
        let value = members.get(name)?;
        if fields::number(value).is_none() {
            wrong(format!("inferenceConfig.{name}"), "a number", report);
        }
        Some(Cow::Borrowed(value.get()))
    };
    conversation.temperature = number("temperature");
    conversation.top_p = number("topP");
    if let Some(stop) = members.get("stopSequences") {
        for text in array(stop, "inferenceConfig.stopSequences", report) {
            match fields::text(text) {
                Some(text) if !text.is_empty() => conversation.stop_sequences.push(text),
                Some(_) => {}
                None => wrong("inferenceConfig.stopSequences", "an array of texts", report),
            }
        }
    }
}

fn tools<'a>(value: Value<'a>, conversation: &mut Conversation<'a>, report: &mut Report<'_>) {
    let Some(members) = object(value, "toolConfig", report) else { return };
    only(&members, &["tools", "toolChoice"], "toolConfig", report);
    if let Some(list) = members.get("tools") {
        for (index, element) in (0_u32..).zip(array(list, "toolConfig.tools", report)) {
            let param = format!("toolConfig.tools[{index}]");
            let Some(members) = object(element, &param, report) else { break };
            if let Some(point) = members.get("cachePoint") {
                match conversation.tools.last_mut() {
                    Some(tool) => tool.cache_point = blocks::ttl(point),
                    None => report.dropped("cachePoint"),
                }
            } else if let Some(spec) = members.get("toolSpec") {
                let tool = tool(spec, index, &format!("{param}.toolSpec"), report);
                conversation.tools.extend(tool);
            } else {
                let message = format!(
                    "`{param}`: a tool of this kind is served by its own model alone, so that it can't be \
                     carried to this target"
                );
                report.refuse(Some(param), true, message);
            }
        }
    }
    if let Some(choice) = members.get("toolChoice") {
        conversation.tool_choice = choice_of(choice, report);
    }
}

fn tool<'a>(spec: Value<'a>, index: u32, param: &str, report: &mut Report<'_>) -> Option<Tool<'a>> {
    let members = object(spec, param, report)?;
    only(&members, &["name", "description", "inputSchema", "strict"], param, report);
    let Some(name) = members.get("name").and_then(fields::text) else {
        wrong(format!("{param}.name"), "a text", report);
        return None;
    };
    let schema = members.get("inputSchema").and_then(fields::members);
    let schema = schema.and_then(|schema| schema.get("json"));
    if schema.is_none() {
        wrong(format!("{param}.inputSchema"), "an object with the schema as `json`", report);
    }
    Some(Tool {
        name,
        description: members.get("description").and_then(fields::text).unwrap_or_default(),
        schema: schema.map(fields::json),
        strict: members.get("strict").and_then(fields::boolean),
        cache_point: None,
        index,
    })
}

fn choice_of<'a>(choice: Value<'a>, report: &mut Report<'_>) -> Option<ToolChoice<'a>> {
    let members = object(choice, "toolConfig.toolChoice", report)?;
    if members.get("auto").is_some() {
        return Some(ToolChoice::Auto);
    }
    if members.get("any").is_some() {
        return Some(ToolChoice::Any);
    }
    let tool = members.get("tool").and_then(fields::members);
    let name = tool.and_then(|tool| tool.get("name")).and_then(fields::text);
    if name.is_none() {
        wrong("toolConfig.toolChoice", "`auto`, `any`, or `tool` with a name", report);
    }
    name.map(ToolChoice::Tool)
}

fn metadata<'a>(value: Value<'a>, conversation: &mut Conversation<'a>, report: &mut Report<'_>) {
    let Some(members) = object(value, "requestMetadata", report) else { return };
    for (key, value) in members {
        match fields::text(value) {
            Some(text) => conversation.metadata.push((key, text)),
            None => wrong("requestMetadata", "an object of texts", report),
        }
    }
}

fn tier(value: Value<'_>, conversation: &mut Conversation<'_>, report: &mut Report<'_>) {
    let members = fields::members(value);
    let name = members.and_then(|members| members.get("type")).and_then(fields::text);
    let known = ["default", "priority", "flex", "reserved"];
    conversation.service_tier = known.into_iter().find(|it| name.as_deref() == Some(it));
    if conversation.service_tier.is_none() {
        let what = "an object with the type `default`, `priority`, `flex` or `reserved`";
        wrong("serviceTier", what, report);
    }
}

fn output<'a>(value: Value<'a>, conversation: &mut Conversation<'a>, report: &mut Report<'_>) {
    let Some(members) = object(value, "outputConfig", report) else { return };
    only(&members, &["textFormat", "effort"], "outputConfig", report);
    if let Some(value) = members.get("effort") {
        conversation.effort = effort(value, "outputConfig.effort", report);
    }
    let Some(format) = members.get("textFormat") else { return };
    let schema = fields::members(format).and_then(|format| format.get("structure"));
    let schema = schema.and_then(fields::members).and_then(|it| it.get("jsonSchema"));
    let Some(members) = schema.and_then(fields::members) else {
        wrong("outputConfig.textFormat", "an object with a `structure.jsonSchema`", report);
        return;
    };
    let Some(schema) = members.get("schema").and_then(fields::text) else {
        wrong("outputConfig.textFormat.structure.jsonSchema.schema", "a text", report);
        return;
    };
    conversation.format = Some(AnswerFormat::JsonSchema {
        name: members.get("name").and_then(fields::text),
        description: members.get("description").and_then(fields::text),
        schema: Json(schema),
        strict: true,
    });
}

/// An effort by its name.
fn effort(value: Value<'_>, param: &str, report: &mut Report<'_>) -> Option<Effort> {
    let effort = fields::text(value).as_deref().and_then(effort::by_name);
    if effort.is_none() {
        wrong(param, "`low`, `medium`, `high`, `xhigh` or `max`", report);
    }
    effort
}

/// A text as a block.
fn text_block(at: At, text: Text<'_>) -> Block<'_> {
    Block { at, kind: BlockKind::Text(text) }
}

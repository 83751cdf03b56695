//! The body of a Messages request, and of InvokeModel with Claude's schema, read into the hub's form.

use std::borrow::Cow;

use sluice_bedrock::json::{Scanner, Type};

use super::cache::{self, cache_all};
use super::content::{Within, content, turns};
use super::read::{Place, Read, count, flag, json, null, number, text};
use super::settings::{
    context_management, format, metadata, output_config, service_tier, texts, thinking,
};
use super::tools::{Tools, tool_choice, tools};
use crate::conversation::{At, Conversation, Json, Thinking};
use crate::report::Report;
use crate::translation::Echo;

/// Which of the two bodies it is. They differ in a few members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Messages,
    Invoke,
}

/// What is read before it can be judged.
#[derive(Debug, Default)]
struct Pending<'a> {
    tools: Tools<'a>,
    context_management: Option<Json<'a>>,
    cache_all: Option<crate::conversation::CacheTtl>,
    has_messages: bool,
}

/// Reads the body of a Messages request.
pub(crate) fn read_request<'a>(
    body: &'a [u8],
    echo: &mut Echo,
    report: &mut Report<'_>,
) -> Conversation<'a> {
    read(body, Form::Messages, echo, report)
}

/// Reads the body of InvokeModel for Claude. The operation says whether the answer is a stream.
pub(crate) fn read_invoke<'a>(body: &'a [u8], report: &mut Report<'_>) -> Conversation<'a> {
    read(body, Form::Invoke, &mut Echo::default(), report)
}

fn read<'a>(
    body: &'a [u8],
    form: Form,
    echo: &mut Echo,
    report: &mut Report<'_>,
) -> Conversation<'a> {
    let mut conversation = Conversation::default();
    if let Err(error) = read_body(body, form, echo, report, &mut conversation) {
        report.refuse(None, false, format!("the body is not valid JSON: {error}"));
    }
    conversation
}

fn read_body<'a>(
    body: &'a [u8],
    form: Form,
    echo: &mut Echo,
    report: &mut Report<'_>,
    conversation: &mut Conversation<'a>,
) -> Read {
    let mut scanner = Scanner::new(body);
    let mut pending = Pending::default();
    if scanner.peek()? != Type::Object {
        report.refuse(None, false, "the body must be a JSON object");
        return Ok(());
    }
    scanner.object(|key, scanner| match key {
        "model" if form == Form::Messages => {
            echo.model = text(scanner, Place::top(key), report)?.unwrap_or_default().into_owned();
            Ok(())
        }
        "stream" if form == Form::Messages => {
            conversation.streams = flag(scanner, Place::top(key), report)?.unwrap_or(false);
            Ok(())
        }
        "anthropic_version" if form == Form::Invoke => {
            text(scanner, Place::top(key), report).map(|_| ())
        }
        "anthropic_beta" if form == Form::Invoke => {
            conversation.betas = texts(scanner, key, report)?;
            Ok(())
        }
        key => member(key, scanner, report, conversation, &mut pending),
    })?;
    scanner.end()?;
    finish(pending, report, conversation)
}

fn member<'a>(
    key: &str,
    scanner: &mut Scanner<'a>,
    report: &mut Report<'_>,
    conversation: &mut Conversation<'a>,
    pending: &mut Pending<'a>,
) -> Read {
    let place = Place::top(key);
    match key {
        "messages" => {
            pending.has_messages = true;
            turns(scanner, report, &mut conversation.turns)?;
        }
        "system" => {
            let at = At { list: "system", ..At::default() };
            conversation.system.clear();
            content(scanner, Place::of(at, ""), Within::System, report, &mut conversation.system)?;
        }
        "max_tokens" => conversation.max_tokens = count(scanner, place, report)?,
        "tools" => tools(scanner, report, &mut pending.tools)?,
        "tool_choice" => {
            (conversation.tool_choice, conversation.parallel_tools) = tool_choice(scanner, report)?;
        }
        "temperature" => conversation.temperature = number(scanner, place, report)?,
        "top_p" => conversation.top_p = number(scanner, place, report)?,
        "top_k" => conversation.top_k = number(scanner, place, report)?,
        "stop_sequences" => {
            conversation.stop_sequences = texts(scanner, key, report)?;
            conversation.stop_sequences.retain(|sequence| !sequence.is_empty());
        }
        "thinking" => thinking(scanner, report, conversation)?,
        "output_config" => output_config(scanner, report, conversation)?,
        "output_format" => format(scanner, place, report, conversation)?,
        "context_management" => pending.context_management = json(scanner, place, report)?,
        "cache_control" => pending.cache_all = cache::read(scanner, place, report)?,
        "metadata" => metadata(scanner, report, &mut conversation.metadata)?,
        "service_tier" => conversation.service_tier = service_tier(scanner, report)?,
        key => of_anthropic(key, scanner, report)?,
    }
    Ok(())
}

/// Members that only Anthropic's own service takes, and those that are not known. Values that ask for nothing
/// pass.
fn of_anthropic(key: &str, scanner: &mut Scanner<'_>, report: &mut Report<'_>) -> Read {
    if null(scanner)? {
        return Ok(());
    }
    let (value, _) = scanner.value()?;
    let why = match (key, value) {
        ("mcp_servers", b"[]") | ("speed", b"\"standard\"") => return Ok(()),
        ("mcp_servers", _) => {
            "needs a connector that Bedrock does not have: call the servers yourself"
        }
        ("container", _) => "names a container at Anthropic, which Bedrock does not have",
        ("inference_geo", _) => "is decided by the target here, not by the request",
        ("speed", _) => "can only be `standard` on Bedrock",
        ("diagnostics", _) => "can't be had of Bedrock",
        ("billing_policy" | "fallback_credit_token" | "user_profile_id" | "workspace_id", _) => {
            "is taken by Anthropic's own service alone"
        }
        ("compaction" | "fallbacks" | "thread", _) => "can't be carried to this model here",
        _ => "is not known here: leave it out",
    };
    report.unsupported(key, key == "compaction", why);
    Ok(())
}

fn finish<'a>(
    pending: Pending<'a>,
    report: &mut Report<'_>,
    conversation: &mut Conversation<'a>,
) -> Read {
    let Pending { tools, context_management: edits, cache_all: ttl, has_messages } = pending;
    if !has_messages {
        Place::top("messages").refuse(report, "is required");
    } else if conversation.turns.is_empty() {
        Place::top("messages").refuse(report, "must hold at least one message");
    }
    match conversation.max_tokens {
        Some(0) => {
            let why = "of 0 only fills Claude's cache: it must be 1 or more here";
            Place::top("max_tokens").refuse_here(report, why);
        }
        Some(_) => {}
        None => Place::top("max_tokens").refuse(report, "is required"),
    }
    conversation.tools = tools.custom;
    if !tools.of_claude.is_empty() {
        let list: Vec<&str> = tools.of_claude.iter().map(|Json(tool)| tool.as_ref()).collect();
        let list = Json(Cow::Owned(format!("[{}]", list.join(","))));
        conversation.of_claude.push((Cow::Borrowed("tools"), list));
    }
    let is_steered = conversation.of_claude.iter().any(|(name, _)| name == "thinking");
    let thinks = is_steered
        || matches!(conversation.thinking, Some(Thinking::Adaptive | Thinking::Budget(_)));
    if let Some(edits) = edits
        && let Some(edits) = context_management(edits, thinks, report)?
    {
        conversation.of_claude.push((Cow::Borrowed("context_management"), edits));
    }
    if let Some(ttl) = ttl {
        cache_all(&mut conversation.turns, ttl);
    }
    Ok(())
}

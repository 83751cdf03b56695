//! Messages and their blocks, read into the hub's form.

use std::borrow::Cow;

use sluice_bedrock::json::{Scanner, Type};

use super::cache::cache_control;
use super::citations;
use super::media::{document, image, search_result};
use super::read::{
    self, Place, Read, ahead, elements, flag, kind, members, null, object, prompt_text, text,
    unknown,
};
use crate::conversation::{At, Block, BlockKind, CacheTtl, Json, Role, Turn};
use crate::report::Report;

/// Where blocks stand; not every block may stand everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Within {
    /// The system prompt, or a message of it.
    System,
    /// A message.
    Message,
    /// The result of a tool.
    Result,
}

/// Reads the messages.
pub(super) fn turns<'a>(
    scanner: &mut Scanner<'a>,
    report: &mut Report<'_>,
    turns: &mut Vec<Turn<'a>>,
) -> Read {
    turns.clear();
    elements(scanner, Place::top("messages"), report, |index, scanner, report| {
        let at = At { list: "messages", index: Some(index), part: None };
        let mut role = None;
        let mut blocks = Vec::new();
        // The role decides what the content may be.
        let is_system = ahead(scanner, "role")?.as_deref() == Some("system");
        let within = if is_system { Within::System } else { Within::Message };
        members(scanner, Place::of(at, ""), report, |key, scanner, report| match key {
            "role" => {
                role = text(scanner, Place::of(at, "role"), report)?;
                Ok(())
            }
            "content" => {
                blocks.clear();
                content(scanner, Place::of(at, "content"), within, report, &mut blocks)
            }
            "clear_at" if is_system => {
                let place = Place::of(at, "clear_at");
                match text(scanner, place, report)?.as_deref() {
                    None | Some("never") => {}
                    Some(_) => place.refuse_here(report, "is taken by Claude's own API alone"),
                }
                Ok(())
            }
            key => unknown(scanner, Place::of(at, key), report),
        })?;
        if blocks.is_empty() && role.as_deref() != Some("assistant") {
            Place::of(at, "content").refuse(report, "must have a block");
        }
        let place = Place::of(at, "role");
        match role.as_deref() {
            Some("user") => turns.push(Turn { role: Role::User, blocks }),
            Some("assistant") => turns.push(Turn { role: Role::Assistant, blocks }),
            Some("system") => turns.push(Turn { role: Role::System, blocks }),
            Some(_) => place.refuse(report, "must be `user`, `assistant` or `system`"),
            None => place.refuse(report, "is required"),
        }
        Ok(())
    })
}

/// Reads a text or a list of blocks.
pub(super) fn content<'a>(
    scanner: &mut Scanner<'a>,
    place: Place<'_>,
    within: Within,
    report: &mut Report<'_>,
    out: &mut Vec<Block<'a>>,
) -> Read {
    if scanner.peek()? == Type::String {
        let text = read::next_prompt_text(scanner)?;
        out.push(Block { at: place.at, kind: BlockKind::Text(text) });
        return Ok(());
    }
    if scanner.peek()? != Type::Array {
        if !null(scanner)? {
            place.refuse(report, "must be a string or an array of blocks");
            scanner.skip()?;
        }
        return Ok(());
    }
    elements(scanner, place, report, |part, scanner, report| {
        let at = match within {
            // Blocks within a result are known by its place.
            Within::Result => place.at,
            Within::System if place.at.list == "system" => At { index: Some(part), ..place.at },
            _ => At { part: Some(part), ..place.at },
        };
        block(scanner, at, within, report, out)
    })
}

fn block<'a>(
    scanner: &mut Scanner<'a>,
    at: At,
    within: Within,
    report: &mut Report<'_>,
    out: &mut Vec<Block<'a>>,
) -> Read {
    let place = Place::of(at, "");
    if scanner.peek()? != Type::Object {
        place.refuse(report, "must be an object");
        return scanner.skip();
    }
    let Some(name) = kind(scanner)? else {
        Place::of(at, "type").refuse(report, "is required");
        return scanner.skip();
    };
    let mut cache = None;
    let kind = match (within, name.as_ref()) {
        (_, "text") => text_block(scanner, at, report, &mut cache)?,
        (Within::Message | Within::Result, "image") => image(scanner, at, report, &mut cache)?,
        (Within::Message | Within::Result, "document") => {
            document(scanner, at, report, &mut cache)?
        }
        (Within::Message | Within::Result, "search_result") => {
            search_result(scanner, at, report, &mut cache)?
        }
        (Within::Message, "tool_use") => tool_use(scanner, at, report, &mut cache)?,
        (Within::Message, "tool_result") => tool_result(scanner, at, report, &mut cache)?,
        (Within::Message, "thinking") => thinking(scanner, at, report)?,
        (Within::Message, "redacted_thinking") => redacted_thinking(scanner, at, report)?,
        (_, name) => {
            let param = place.param();
            let message = format!("`{param}`: {}", why_refused(name));
            report.refuse(Some(param), true, message);
            return scanner.skip();
        }
    };
    out.extend(kind.map(|kind| Block { at, kind }));
    out.extend(cache.map(|ttl| Block { at, kind: BlockKind::CachePoint(ttl) }));
    Ok(())
}

/// Why a block can't be carried.
fn why_refused(name: &str) -> String {
    match name {
        "server_tool_use" | "mcp_tool_use" | "mcp_tool_listing" | "container_upload" => {
            format!(
                "`{name}` belongs to a tool that Anthropic's servers run, which this model does not have"
            )
        }
        name if name.ends_with("_tool_result") => {
            format!(
                "`{name}` belongs to a tool that Anthropic's servers run, which this model does not have"
            )
        }
        name => format!("a block of type `{name}` can't be sent to this model here"),
    }
}

fn text_block<'a>(
    scanner: &mut Scanner<'a>,
    at: At,
    report: &mut Report<'_>,
    cache: &mut Option<CacheTtl>,
) -> Read<Option<BlockKind<'a>>> {
    let (mut found, mut citations) = (None, None);
    members(scanner, Place::of(at, ""), report, |key, scanner, report| match key {
        "type" => Ok(()),
        "text" => {
            found = prompt_text(scanner, Place::of(at, "text"), report)?;
            Ok(())
        }
        "citations" => {
            citations = citations::read(scanner, Place::of(at, "citations"), report)?;
            Ok(())
        }
        "cache_control" => cache_control(scanner, at, report, cache),
        key => unknown(scanner, Place::of(at, key), report),
    })?;
    Ok(match (required(found, at, "text", report), citations) {
        (Some(text), Some(citations)) => Some(citations::cited_text(&text.as_str(), &citations)),
        (text, _) => text.map(BlockKind::Text),
    })
}

fn tool_use<'a>(
    scanner: &mut Scanner<'a>,
    at: At,
    report: &mut Report<'_>,
    cache: &mut Option<CacheTtl>,
) -> Read<Option<BlockKind<'a>>> {
    let (mut id, mut name, mut input) = (None, None, None);
    members(scanner, Place::of(at, ""), report, |key, scanner, report| {
        match key {
            "type" => {}
            "id" => id = text(scanner, Place::of(at, "id"), report)?,
            "name" => name = text(scanner, Place::of(at, "name"), report)?,
            "input" => input = object(scanner, Place::of(at, "input"), report)?,
            "cache_control" => cache_control(scanner, at, report, cache)?,
            "caller" => caller(scanner, Place::of(at, "caller"), report)?,
            key => unknown(scanner, Place::of(at, key), report)?,
        }
        Ok(())
    })?;
    let id = required(id, at, "id", report);
    let name = required(name, at, "name", report);
    let input = input.unwrap_or(Json(Cow::Borrowed("{}")));
    Ok(id.zip(name).map(|(id, name)| BlockKind::ToolUse { id, name, input }))
}

/// Who has used a tool: the model itself, or code of its own that Anthropic's servers run.
fn caller(scanner: &mut Scanner<'_>, place: Place<'_>, report: &mut Report<'_>) -> Read {
    if scanner.peek()? == Type::Object && kind(scanner)?.as_deref() == Some("direct") {
        return scanner.skip();
    }
    unknown(scanner, place, report)
}

fn tool_result<'a>(
    scanner: &mut Scanner<'a>,
    at: At,
    report: &mut Report<'_>,
    cache: &mut Option<CacheTtl>,
) -> Read<Option<BlockKind<'a>>> {
    let (mut id, mut is_error, mut parts) = (None, None, Vec::new());
    members(scanner, Place::of(at, ""), report, |key, scanner, report| {
        match key {
            "type" => {}
            "tool_use_id" => id = text(scanner, Place::of(at, "tool_use_id"), report)?,
            "is_error" => is_error = flag(scanner, Place::of(at, "is_error"), report)?,
            "content" => {
                parts.clear();
                content(scanner, Place::of(at, "content"), Within::Result, report, &mut parts)?;
            }
            "cache_control" => cache_control(scanner, at, report, cache)?,
            key => unknown(scanner, Place::of(at, key), report)?,
        }
        Ok(())
    })?;
    // A cache point has no place within a result: the nearest is behind it.
    parts.retain(|part| match part.kind {
        BlockKind::CachePoint(ttl) => {
            *cache = (*cache).max(Some(ttl));
            false
        }
        _ => true,
    });
    let id = required(id, at, "tool_use_id", report);
    let is_error = is_error.unwrap_or(false);
    Ok(id.map(|id| BlockKind::ToolResult { id, content: parts, is_error }))
}

fn thinking<'a>(
    scanner: &mut Scanner<'a>,
    at: At,
    report: &mut Report<'_>,
) -> Read<Option<BlockKind<'a>>> {
    let (mut thought, mut signature) = (None, None);
    members(scanner, Place::of(at, ""), report, |key, scanner, report| {
        match key {
            "type" => {}
            "thinking" => thought = text(scanner, Place::of(at, "thinking"), report)?,
            "signature" => signature = text(scanner, Place::of(at, "signature"), report)?,
            key => unknown(scanner, Place::of(at, key), report)?,
        }
        Ok(())
    })?;
    let thought = required(thought, at, "thinking", report);
    let signature = signature.filter(|signature| !signature.is_empty());
    Ok(thought.map(|text| BlockKind::Reasoning { text, signature }))
}

fn redacted_thinking<'a>(
    scanner: &mut Scanner<'a>,
    at: At,
    report: &mut Report<'_>,
) -> Read<Option<BlockKind<'a>>> {
    let mut data = None;
    members(scanner, Place::of(at, ""), report, |key, scanner, report| {
        match key {
            "type" => {}
            "data" => data = text(scanner, Place::of(at, "data"), report)?,
            key => unknown(scanner, Place::of(at, key), report)?,
        }
        Ok(())
    })?;
    Ok(required(data, at, "data", report).map(BlockKind::RedactedReasoning))
}

/// Refuses a block without a member that it needs.
pub(super) fn required<T>(
    value: Option<T>,
    at: At,
    key: &str,
    report: &mut Report<'_>,
) -> Option<T> {
    if value.is_none() {
        Place::of(at, key).refuse(report, "is required");
    }
    value
}

#[cfg(test)]
mod tests;

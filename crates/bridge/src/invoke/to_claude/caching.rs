//! Cache points in the body of Messages, by the operator's policy: as [`crate::caching`] has it for Converse. All
//! else keeps its bytes.

use std::ops::Range;

use memchr::memmem;
use sluice_bedrock::json::{JsonError, Scanner, Type};

use super::request::{Edit, object_without};
use crate::CachePolicy;
use crate::caching::{MESSAGES, Prefix, SYSTEM, TOOLS, TTL};
use crate::conversation::CacheTtl;
use crate::model::Model;

/// Applies the policy to a body for this model: the body, if it changes, and what was added. A body that is no JSON
/// stays, and is refused for it.
pub fn cached_by(
    body: &[u8],
    policy: CachePolicy,
    model: &Model,
) -> Option<(Vec<u8>, Vec<&'static str>)> {
    let mut added = Vec::new();
    let lengthens = policy.min_ttl == CacheTtl::Hour && model.takes_hour_cache;
    let has_points = memmem::find(body, b"\"cache_control\"").is_some();
    let edits = match (has_points, model.takes_cache_points) {
        (_, false) => return None,
        (true, true) if lengthens => lengthen(body, &mut added),
        (false, true) if policy.adds_points => {
            let ttl = if lengthens { CacheTtl::Hour } else { CacheTtl::FiveMinutes };
            add_points(body, ttl, model, &mut added)
        }
        (_, true) => return None,
    };
    let edits = edits.ok().filter(|edits| !edits.is_empty())?;
    let mut out = Vec::with_capacity(body.len() + 256);
    let mut at = 0;
    for Edit { place, with } in edits {
        out.extend_from_slice(body.get(at..place.start).unwrap_or_default());
        out.extend_from_slice(&with);
        at = place.end;
    }
    out.extend_from_slice(body.get(at..).unwrap_or_default());
    Some((out, added))
}

/// Lets each point last an hour.
fn lengthen(body: &[u8], added: &mut Vec<&'static str>) -> Result<Vec<Edit>, JsonError> {
    let mut edits = Vec::new();
    Scanner::new(body).object(|key, scanner| match key {
        "tools" | "system" | "messages" => lengthen_within(scanner, &mut edits),
        _ => Ok(()),
    })?;
    if !edits.is_empty() {
        added.push(TTL);
    }
    Ok(edits)
}

/// In tools and blocks, and in blocks within blocks.
fn lengthen_within(scanner: &mut Scanner<'_>, edits: &mut Vec<Edit>) -> Result<(), JsonError> {
    match scanner.peek()? {
        Type::Array => scanner.array(|scanner| lengthen_within(scanner, edits)),
        Type::Object => scanner.object(|key, scanner| match (key, scanner.peek()?) {
            ("cache_control", Type::Object) => lengthen_point(scanner, edits),
            ("content", _) => lengthen_within(scanner, edits),
            _ => Ok(()),
        }),
        Type::String | Type::Scalar => scanner.skip(),
    }
}

fn lengthen_point(scanner: &mut Scanner<'_>, edits: &mut Vec<Edit>) -> Result<(), JsonError> {
    let start = scanner.position();
    let (mut with, ttl) = object_without(scanner, "ttl")?;
    if ttl != Some(b"\"1h\"") {
        with.extend_from_slice(if with.is_empty() { b"{" } else { b"," });
        with.extend_from_slice(b"\"ttl\":\"1h\"}");
        edits.push(Edit { place: start..scanner.position(), with });
    }
    Ok(())
}

/// The last block of a list, or a text that stands for a list.
#[derive(Debug)]
struct Last {
    place: Range<usize>,
    is_text_alone: bool,
    can_be_cached: bool,
}

/// A list that may get a point at its end.
#[derive(Debug, Default)]
struct List {
    bytes: usize,
    last: Option<Last>,
}

/// A message.
#[derive(Debug, Default)]
struct Message {
    is_user: bool,
    content: List,
}

fn add_points(
    body: &[u8],
    ttl: CacheTtl,
    model: &Model,
    added: &mut Vec<&'static str>,
) -> Result<Vec<Edit>, JsonError> {
    let (mut tools, mut system, mut messages) = (List::default(), List::default(), Vec::new());
    Scanner::new(body).object(|key, scanner| {
        match key {
            "tools" => tools = list(scanner, false)?,
            "system" => system = list(scanner, true)?,
            "messages" => scanner.array(|scanner| {
                messages.push(message(scanner)?);
                Ok(())
            })?,
            _ => {}
        }
        Ok(())
    })?;
    let newest = messages.iter().rposition(|message| message.is_user).unwrap_or_default();
    messages.truncate(newest);
    while messages.last().is_some_and(|message| message.is_user) {
        messages.pop();
    }
    let mut prefix = Prefix::new(model);
    let mut edits = Vec::new();
    let of_messages = List {
        bytes: messages.iter().map(|message| message.content.bytes).sum(),
        last: messages.pop().and_then(|message| message.content.last),
    };
    for (list, name) in [(tools, TOOLS), (system, SYSTEM), (of_messages, MESSAGES)] {
        prefix += list.bytes;
        let Some(last) = list.last.filter(|last| last.can_be_cached) else { continue };
        if prefix.is_cacheable() {
            edits.push(point_behind(body, last, ttl));
            added.push(name);
        }
    }
    edits.sort_by_key(|edit| edit.place.start);
    Ok(edits)
}

fn message(scanner: &mut Scanner<'_>) -> Result<Message, JsonError> {
    let mut message = Message::default();
    scanner.object(|key, scanner| {
        match (key, scanner.peek()?) {
            ("role", Type::String) => message.is_user = scanner.string()? == "user",
            ("content", _) => message.content = list(scanner, true)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(message)
}

/// Reads a list of tools, or of blocks, for which a text may stand.
fn list(scanner: &mut Scanner<'_>, of_blocks: bool) -> Result<List, JsonError> {
    let mut list = List::default();
    match scanner.peek()? {
        Type::String => {
            let (value, place) = scanner.value()?;
            let is_blank = Scanner::new(value).string()?.trim().is_empty();
            list.bytes = value.len();
            list.last = Some(Last { place, is_text_alone: true, can_be_cached: !is_blank });
        }
        Type::Array => scanner.array(|scanner| {
            let can_be_cached = scanner.peek()? == Type::Object
                && (!of_blocks || block_can_be_cached(&mut scanner.clone())?);
            let (value, place) = scanner.value()?;
            list.bytes = list.bytes.saturating_add(value.len());
            list.last = Some(Last { place, is_text_alone: false, can_be_cached });
            Ok(())
        })?,
        Type::Object | Type::Scalar => scanner.skip()?,
    }
    Ok(list)
}

fn block_can_be_cached(scanner: &mut Scanner<'_>) -> Result<bool, JsonError> {
    let (mut can_be_cached, mut is_blank) = (false, false);
    scanner.object(|key, scanner| {
        match (key, scanner.peek()?) {
            ("type", Type::String) => {
                can_be_cached = matches!(
                    scanner.string()?.as_ref(),
                    "text" | "image" | "document" | "tool_use" | "tool_result" | "search_result"
                );
            }
            ("text", Type::String) => is_blank = scanner.string()?.trim().is_empty(),
            _ => {}
        }
        Ok(())
    })?;
    Ok(can_be_cached && !is_blank)
}

fn point_behind(body: &[u8], last: Last, ttl: CacheTtl) -> Edit {
    let point: &[u8] = match ttl {
        CacheTtl::FiveMinutes => br#","cache_control":{"type":"ephemeral"}}"#,
        CacheTtl::Hour => br#","cache_control":{"type":"ephemeral","ttl":"1h"}}"#,
    };
    let Last { place, is_text_alone, .. } = last;
    let value = body.get(place.clone()).unwrap_or_default();
    let mut with = Vec::with_capacity(value.len() + 80);
    if is_text_alone {
        with.extend_from_slice(br#"[{"type":"text","text":"#);
        with.extend_from_slice(value);
        with.extend_from_slice(point);
        with.push(b']');
    } else {
        // Without its closing brace.
        with.extend_from_slice(value.split_last().map_or(value, |(_, most)| most).trim_ascii_end());
        with.extend_from_slice(point);
    }
    Edit { place, with }
}

#[cfg(test)]
mod tests {
    use sluice_bedrock::ModelId;
    use sluice_catalogue::Catalogue;

    use super::*;

    const HOUR: CachePolicy = CachePolicy { adds_points: true, min_ttl: CacheTtl::Hour };
    const SHORT: CachePolicy = CachePolicy { adds_points: true, min_ttl: CacheTtl::FiveMinutes };

    fn model(id: &str) -> Model {
        let facts = Catalogue::shipped().facts(&ModelId::new(id).unwrap(), "us-east-1");
        Model { min_cache_tokens: Some(2), ..Model::of(id, &facts.unwrap_or_default()) }
    }

    fn changed(body: &str, policy: CachePolicy) -> Option<(String, Vec<&'static str>)> {
        let changed = cached_by(body.as_bytes(), policy, &model("anthropic.claude-sonnet-4-6"));
        changed.map(|(body, added)| (String::from_utf8(body).unwrap(), added))
    }

    #[test]
    fn points_are_added_behind_what_stays_and_all_else_keeps_its_bytes() {
        let body = r#"{ "messages":[{"role":"user","content":"why?"},{"role":"assistant","content":[
            {"type":"thinking","thinking":"x","signature":"s"},{"type":"text","text":"since"} ]},
            {"role":"user","content":"a"},{"role":"user","content":"b"}],
            "system":"be brief","tools":[{"name":"a","input_schema":{}},{"name":"b" }]}"#;
        let point = r#""cache_control":{"type":"ephemeral"}"#;
        let expected = body
            .replace(r#""text":"since"}"#, &format!(r#""text":"since",{point}}}"#))
            .replace(r#""be brief""#, &format!(r#"[{{"type":"text","text":"be brief",{point}}}]"#))
            .replace(r#"{"name":"b" }"#, &format!(r#"{{"name":"b",{point}}}"#));
        let (found, added) = changed(body, SHORT).unwrap();
        assert_eq!(found, expected);
        assert_eq!(added, [TOOLS, SYSTEM, MESSAGES]);
        let point = r#""cache_control":{"type":"ephemeral","ttl":"1h"}"#;
        assert_eq!(changed(body, HOUR).unwrap().0.matches(point).count(), 3);
    }

    #[test]
    fn no_point_is_added_where_there_is_one_or_nothing_that_stays() {
        for body in [
            r#"{"messages":[{"role":"user","content":"why do you ask me that?"}]}"#,
            r#"{"system":"  ","messages":[{"role":"user","content":"why?"}]}"#,
            r#"{"system":[{"type":"text","text":"be brief","cache_control":{"type":"ephemeral"}}],
                "messages":[{"role":"user","content":"why?"}]}"#,
            r#"{"messages":[{"role":"user","content":"why?"},{"role":"assistant","content":[
                {"type":"thinking","thinking":"x","signature":"s"}]},{"role":"user","content":"a"}]}"#,
            r#"{"system":"ab","messages":[{"role":"#,
            "[]",
        ] {
            assert_eq!(changed(body, SHORT), None, "{body}");
        }
        let body = br#"{"system":"be brief, please","messages":[]}"#;
        assert!(cached_by(body, SHORT, &model("anthropic.claude-sonnet-4-6")).is_some());
        assert_eq!(cached_by(body, SHORT, &model("meta.llama3-3-70b-instruct-v1:0")), None);
        let long = Model { min_cache_tokens: Some(20), ..model("anthropic.claude-sonnet-4-6") };
        assert_eq!(cached_by(body, SHORT, &long), None, "it is too short");
    }

    #[test]
    fn points_of_the_client_last_an_hour_each() {
        let body = r#"{"tools":[{"name":"a","cache_control":{"type":"ephemeral","ttl":"1h"}}],
            "system":[{"type":"text","text":"t","cache_control":{"ttl":"5m","type":"ephemeral"}}],
            "messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"u","content":[
                {"type":"text","text":"t","cache_control":{"type":"ephemeral"}}],"cache_control":{}}]}]}"#;
        let long = r#"{"type":"ephemeral","ttl":"1h"}"#;
        let expected = body
            .replace(r#"{"ttl":"5m","type":"ephemeral"}"#, long)
            .replace(
                r#""cache_control":{"type":"ephemeral"}}"#,
                &format!(r#""cache_control":{long}}}"#),
            )
            .replace(r#""cache_control":{}"#, r#""cache_control":{"ttl":"1h"}"#);
        assert_eq!(changed(body, HOUR), Some((expected, vec![TTL])));
        assert_eq!(changed(body, SHORT), None);
    }
}

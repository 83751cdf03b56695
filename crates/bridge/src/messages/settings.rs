//! How Claude is to think and answer: `thinking`, `output_config`, `context_management` and their like.

use std::borrow::Cow;

use sluice_bedrock::json::{Scanner, Type};
use sluice_catalogue::Effort;

use super::read::{Place, Read, count, elements, json, kind, members, null, object, text, unknown};
use crate::conversation::{AnswerFormat, Conversation, Json, Thinking, ThinkingDisplay};
use crate::report::Report;
use crate::request_metadata::{Pair, record};

/// Reads `thinking`.
pub(super) fn thinking<'a>(
    scanner: &mut Scanner<'a>,
    report: &mut Report<'_>,
    conversation: &mut Conversation<'a>,
) -> Read {
    let place = Place::top("thinking");
    (conversation.thinking, conversation.thinking_display) = (None, None);
    if null(scanner)? {
        return Ok(());
    }
    let mut ahead = scanner.clone();
    let (mut kind, mut budget, mut display) = (None, None, None);
    members(scanner, place, report, |key, scanner, report| {
        let place = place.member(key);
        match key {
            "type" => kind = text(scanner, place, report)?,
            "budget_tokens" => budget = count(scanner, place, report)?,
            "display" => match text(scanner, place, report)?.as_deref() {
                None => {}
                Some("summarized") => display = Some(ThinkingDisplay::Summarized),
                Some("omitted") => display = Some(ThinkingDisplay::Omitted),
                Some(_) => place.refuse(report, "must be `summarized` or `omitted`"),
            },
            _ => unknown(scanner, place, report)?,
        }
        Ok(())
    })?;
    conversation.thinking_display = display;
    conversation.thinking = match (kind.as_deref(), budget) {
        (Some("adaptive"), _) => Some(Thinking::Adaptive),
        (Some("disabled"), _) => Some(Thinking::Off),
        (Some("enabled"), Some(budget)) => Some(Thinking::Budget(budget)),
        (Some("enabled"), None) => {
            place.member("budget_tokens").refuse(report, "is required");
            None
        }
        // Only some of Claude's models have it, and take it as it is.
        (Some("between_tools"), _) => {
            let whole = json(&mut ahead, place, report)?;
            conversation.of_claude.extend(whole.map(|json| (Cow::Borrowed("thinking"), json)));
            None
        }
        _ => {
            let why = "must be `enabled`, `adaptive`, `between_tools` or `disabled`";
            place.member("type").refuse(report, why);
            None
        }
    };
    Ok(())
}

/// Reads `output_config`: how much the model is to do, and the form of its answer.
pub(super) fn output_config<'a>(
    scanner: &mut Scanner<'a>,
    report: &mut Report<'_>,
    conversation: &mut Conversation<'a>,
) -> Read {
    let place = Place::top("output_config");
    members(scanner, place, report, |key, scanner, report| match key {
        "effort" => {
            let place = place.member(key);
            conversation.effort = match text(scanner, place, report)?.as_deref() {
                None => None,
                Some("low") => Some(Effort::Low),
                Some("medium") => Some(Effort::Medium),
                Some("high") => Some(Effort::High),
                Some("xhigh") => Some(Effort::Xhigh),
                Some("max") => Some(Effort::Max),
                Some(_) => {
                    place.refuse(report, "must be `low`, `medium`, `high`, `xhigh` or `max`");
                    None
                }
            };
            Ok(())
        }
        "format" => format(scanner, place.member(key), report, conversation),
        key => {
            if !null(scanner)? {
                scanner.skip()?;
                let name = format!("output_config.{key}");
                report.unsupported(&name, true, "can't be sent to this model here");
            }
            Ok(())
        }
    })
}

/// Reads the form of the answer, in `output_config` or, as before, at the top.
pub(super) fn format<'a>(
    scanner: &mut Scanner<'a>,
    place: Place<'_>,
    report: &mut Report<'_>,
    conversation: &mut Conversation<'a>,
) -> Read {
    if null(scanner)? {
        return Ok(());
    }
    if conversation.format.is_some() {
        place.refuse(report, "is given twice: leave out `output_format`");
        return scanner.skip();
    }
    let is_schema =
        scanner.peek()? == Type::Object && kind(scanner)?.is_none_or(|kind| kind == "json_schema");
    if !is_schema {
        place.refuse(report, "must be an object of type `json_schema`");
        return scanner.skip();
    }
    let mut schema = None;
    members(scanner, place, report, |key, scanner, report| match key {
        "type" => Ok(()),
        "schema" => {
            schema = object(scanner, place.member(key), report)?;
            Ok(())
        }
        key => unknown(scanner, place.member(key), report),
    })?;
    match schema {
        Some(schema) => {
            let (name, description) = (None, None);
            conversation.format =
                Some(AnswerFormat::JsonSchema { name, description, schema, strict: true });
        }
        None => place.member("schema").refuse(report, "is required"),
    }
    Ok(())
}

/// Reads `metadata`. The user's id tells Anthropic about abuse; AWS has another way to know its callers, and would
/// show the id in logs and bills: only by the operator's leave.
pub(super) fn metadata<'a>(
    scanner: &mut Scanner<'a>,
    report: &mut Report<'_>,
    pairs: &mut Vec<Pair<'a>>,
) -> Read {
    let place = Place::top("metadata");
    members(scanner, place, report, |key, scanner, report| {
        if null(scanner)? {
            return Ok(());
        }
        match key {
            "user_id" => {
                let name = "metadata.user_id";
                match text(scanner, place.member(key), report)? {
                    Some(id) if report.is_recorded("metadata") => {
                        let key = Cow::Borrowed("user_id");
                        record("metadata", name, key, Some(id), pairs, report);
                    }
                    Some(_) => report.dropped(name),
                    None => {}
                }
            }
            key => {
                scanner.skip()?;
                let name = format!("metadata.{key}");
                report.unsupported(&name, false, "is not known here: leave it out");
            }
        }
        Ok(())
    })
}

/// Reads `service_tier`. Both of Anthropic's tiers are the standard one of Bedrock.
pub(super) fn service_tier(
    scanner: &mut Scanner<'_>,
    report: &mut Report<'_>,
) -> Read<Option<&'static str>> {
    let place = Place::top("service_tier");
    Ok(match text(scanner, place, report)?.as_deref() {
        None | Some("auto" | "standard_only" | "standard" | "default") => None,
        Some("priority") => Some("priority"),
        Some("flex") => Some("flex"),
        Some("reserved") => Some("reserved"),
        Some(_) => {
            report.unsupported("service_tier", false, "must be `auto` or `standard_only`");
            None
        }
    })
}

/// Why an edit of the context is left out, by its name in reports.
pub(crate) const CLEAR_THINKING: &str = "context_management.edits.clear_thinking_20251015";

/// Leaves the edit that clears thinking out of `context_management` where the model does not think: Claude refuses
/// it then. `None`: no edit is left.
pub(crate) fn without_clear_thinking(context_management: &[u8]) -> Read<Option<Vec<u8>>> {
    let mut kept = Vec::new();
    let mut has_edits = false;
    Scanner::new(context_management).object(|key, scanner| {
        let is_edits = key == "edits";
        let separator: &[u8] = if kept.is_empty() { b"{" } else { b"," };
        if !is_edits || scanner.peek()? != Type::Array {
            let (value, _) = scanner.value()?;
            kept.extend_from_slice(separator);
            crate::json::write_str(&mut kept, key);
            kept.push(b':');
            kept.extend_from_slice(value);
            return Ok(());
        }
        kept.extend_from_slice(separator);
        kept.extend_from_slice(b"\"edits\":[");
        scanner.array(|scanner| {
            let is_dropped = kind(scanner)?.is_some_and(|kind| kind.starts_with("clear_thinking_"));
            let (value, _) = scanner.value()?;
            if !is_dropped {
                if std::mem::replace(&mut has_edits, true) {
                    kept.push(b',');
                }
                kept.extend_from_slice(value);
            }
            Ok(())
        })?;
        kept.push(b']');
        Ok(())
    })?;
    kept.push(b'}');
    Ok(has_edits.then_some(kept))
}

/// Whether `context_management` has an edit that clears thinking.
pub(crate) fn clears_thinking(context_management: &[u8]) -> bool {
    let mut clears = false;
    each_edit(context_management, |kind| clears |= kind.starts_with("clear_thinking_"));
    clears
}

/// The beta flags that the edits of `context_management` need.
pub(crate) fn betas_of_edits(context_management: &[u8]) -> Vec<&'static str> {
    let mut betas = Vec::new();
    each_edit(context_management, |kind| {
        let beta = match kind {
            "compact_20260112" => "compact-2026-01-12",
            kind if kind.starts_with("clear_") => "context-management-2025-06-27",
            _ => return,
        };
        if !betas.contains(&beta) {
            betas.push(beta);
        }
    });
    betas
}

fn each_edit(context_management: &[u8], mut each: impl FnMut(&str)) {
    // What can't be read has no edits that are known.
    let _ = Scanner::new(context_management).object(|key, scanner| match key {
        "edits" => scanner.array(|scanner| {
            if let Some(kind) = kind(scanner)? {
                each(&kind);
            }
            Ok(())
        }),
        _ => Ok(()),
    });
}

/// Reads a list of texts.
pub(super) fn texts<'a>(
    scanner: &mut Scanner<'a>,
    name: &str,
    report: &mut Report<'_>,
) -> Read<Vec<Cow<'a, str>>> {
    let place = Place::top(name);
    let mut texts = Vec::new();
    elements(scanner, place, report, |_, scanner, report| {
        match text(scanner, place, report)? {
            Some(text) => texts.push(text),
            None => place.refuse(report, "must be an array of strings"),
        }
        Ok(())
    })?;
    Ok(texts)
}

/// `context_management` as Claude takes it.
pub(super) fn context_management<'a>(
    json: Json<'a>,
    thinks: bool,
    report: &mut Report<'_>,
) -> Read<Option<Json<'a>>> {
    if thinks || !clears_thinking(json.0.as_bytes()) {
        return Ok(Some(json));
    }
    report.dropped(CLEAR_THINKING);
    let kept = without_clear_thinking(json.0.as_bytes())?;
    Ok(kept.and_then(|kept| String::from_utf8(kept).ok()).map(|kept| Json(Cow::Owned(kept))))
}

//! Tools, and the choice among them.
//!
//! Tools of Anthropic's own that the client runs (`bash_20250124`..) go to Claude as they are. Those that
//! Anthropic's servers run are refused: Bedrock does not have them.

use std::borrow::Cow;
use std::ops::Range;

use sluice_bedrock::json::{Scanner, Type};

use super::cache::cache_control;
use super::content::required;
use super::read::{self, Place, Read, elements, flag, members, null, object, text, unknown};
use crate::conversation::{At, Json, Tool, ToolChoice};
use crate::report::Report;

/// The tools of a request.
#[derive(Debug, Default)]
pub(super) struct Tools<'a> {
    /// Those that any model may take.
    pub(super) custom: Vec<Tool<'a>>,
    /// Those that only Claude takes: each as it is written.
    pub(super) of_claude: Vec<Json<'a>>,
}

/// Reads the list of tools.
pub(super) fn tools<'a>(
    scanner: &mut Scanner<'a>,
    report: &mut Report<'_>,
    tools: &mut Tools<'a>,
) -> Read {
    *tools = Tools::default();
    elements(scanner, Place::top("tools"), report, |index, scanner, report| {
        let at = At { list: "tools", index: Some(index), part: None };
        let place = Place::of(at, "");
        let kind = match scanner.peek()? {
            Type::Object => read::kind(scanner)?,
            _ => None,
        };
        match kind.as_deref() {
            None | Some("custom") => tools.custom.extend(custom(scanner, at, index, report)?),
            Some(kind) if is_run_by_client(kind) => {
                tools.of_claude.extend(object(scanner, place, report)?);
            }
            Some(kind) => {
                let param = place.param();
                let message = why_refused(&param, kind);
                report.refuse(Some(param), true, message);
            }
        }
        Ok(())
    })
}

/// Why a tool of Anthropic's can't be carried.
pub(crate) fn why_refused(param: &str, kind: &str) -> String {
    format!(
        "`{param}` is the tool `{kind}`, which Anthropic's servers run and Bedrock does not have: leave it out, or \
         give a tool of your own that does the same"
    )
}

/// The types of tools of Anthropic's own, which a list of them has.
pub(crate) fn kinds(tools: &Json<'_>) -> Vec<String> {
    let mut kinds = Vec::new();
    // The list was read before.
    let _ = Scanner::new(tools.0.as_bytes()).array(|scanner| {
        if scanner.peek()? == Type::Object {
            kinds.extend(read::kind(scanner)?.map(Cow::into_owned));
        }
        Ok(())
    });
    kinds
}

/// The names of a list of Anthropic's own tools.
pub(crate) fn names(tools: &Json<'_>) -> Vec<String> {
    #[derive(serde::Deserialize)]
    struct Named {
        name: Option<String>,
    }
    let tools: Vec<Named> = serde_json::from_str(&tools.0).unwrap_or_default();
    tools.into_iter().filter_map(|tool| tool.name).collect()
}

/// Whether the client itself runs this tool of Anthropic's, or it only finds others among those of the request.
pub(crate) fn is_run_by_client(kind: &str) -> bool {
    const STARTS: [&str; 6] =
        ["bash_", "text_editor_", "computer_", "browser_", "memory_", "tool_search_tool_"];
    STARTS.iter().any(|start| kind.starts_with(start))
}

fn custom<'a>(
    scanner: &mut Scanner<'a>,
    at: At,
    index: u32,
    report: &mut Report<'_>,
) -> Read<Option<Tool<'a>>> {
    let (mut name, mut description, mut schema) = (None, None, None);
    let (mut strict, mut cache_point) = (None, None);
    members(scanner, Place::of(at, ""), report, |key, scanner, report| {
        let place = Place::of(at, key);
        match key {
            "type" => {}
            "name" => name = text(scanner, place, report)?,
            "description" => description = text(scanner, place, report)?,
            "input_schema" => schema = object(scanner, place, report)?.map(object_schema),
            "strict" => strict = flag(scanner, place, report)?,
            "cache_control" => cache_control(scanner, at, report, &mut cache_point)?,
            "defer_loading" => defer_loading(scanner, place, report)?,
            // Some clients put members of the tool into one of the name of its type.
            "custom" => members(scanner, place, report, |key, scanner, report| match key {
                "defer_loading" => defer_loading(scanner, place.member(key), report),
                key => unknown(scanner, place.member(key), report),
            })?,
            // How the input is streamed: other models have one way.
            "eager_input_streaming" => {
                if flag(scanner, place, report)? == Some(true) {
                    report.dropped("tools.eager_input_streaming");
                }
            }
            "input_examples" => {
                if !null(scanner)? {
                    scanner.skip()?;
                    let why =
                        "can't be sent to this model here: describe them in the `description`";
                    report.unsupported("tools.input_examples", true, why);
                }
            }
            "allowed_callers" => allowed_callers(scanner, place, report)?,
            _ => unknown(scanner, place, report)?,
        }
        Ok(())
    })?;
    let name = required(name, at, "name", report);
    let description = description.unwrap_or_default();
    Ok(name.map(|name| Tool { name, description, schema, strict, cache_point, index }))
}

/// A tool whose definition Claude looks up when it needs it. Other models get it at once, like all others.
fn defer_loading(scanner: &mut Scanner<'_>, place: Place<'_>, report: &mut Report<'_>) -> Read {
    if flag(scanner, place, report)? == Some(true) {
        report.dropped("tools.defer_loading");
    }
    Ok(())
}

/// Who may call the tool: the model itself always may.
fn allowed_callers(scanner: &mut Scanner<'_>, place: Place<'_>, report: &mut Report<'_>) -> Read {
    elements(scanner, place, report, |_, scanner, report| {
        if text(scanner, place, report)?.as_deref() != Some("direct") {
            place.refuse_here(report, "may name only `direct`: Bedrock runs no code of the model");
        }
        Ok(())
    })
}

/// The schema with `object` for the type `custom`, which some clients write.
fn object_schema(schema: Json<'_>) -> Json<'_> {
    match without_custom_types(schema.0.as_bytes()).map(String::from_utf8) {
        Some(Ok(fixed)) => Json(Cow::Owned(fixed)),
        _ => schema,
    }
}

/// A schema with `object` for the type `custom`, which is none of JSON Schema's. `None`: there is no such type.
pub(crate) fn without_custom_types(schema: &[u8]) -> Option<Vec<u8>> {
    memchr::memmem::find(schema, b"\"custom\"")?;
    let mut places = Vec::new();
    custom_types(&mut Scanner::new(schema), &mut places).ok()?;
    let mut fixed = Vec::with_capacity(schema.len());
    let mut at = 0;
    for Range { start, end } in &places {
        fixed.extend_from_slice(schema.get(at..*start)?);
        fixed.extend_from_slice(b"\"object\"");
        at = *end;
    }
    fixed.extend_from_slice(schema.get(at..)?);
    (!places.is_empty()).then_some(fixed)
}

/// Where a schema, or one within it, has the type `custom`.
fn custom_types(scanner: &mut Scanner<'_>, places: &mut Vec<Range<usize>>) -> Read {
    match scanner.peek()? {
        Type::Object => scanner.object(|key, scanner| match (key, scanner.peek()?) {
            ("type", Type::String) => {
                let (text, place) = scanner.value()?;
                if text == b"\"custom\"" {
                    places.push(place);
                }
                Ok(())
            }
            // Values, not schemas.
            ("default" | "const" | "enum" | "examples", _) => Ok(()),
            _ => custom_types(scanner, places),
        }),
        Type::Array => scanner.array(|scanner| custom_types(scanner, places)),
        Type::String | Type::Scalar => scanner.skip(),
    }
}

/// Reads the choice among the tools, and whether several may be used at once.
pub(super) fn tool_choice<'a>(
    scanner: &mut Scanner<'a>,
    report: &mut Report<'_>,
) -> Read<(Option<ToolChoice<'a>>, Option<bool>)> {
    let place = Place::top("tool_choice");
    if null(scanner)? {
        return Ok((None, None));
    }
    let (mut kind, mut name, mut is_serial) = (None, None, None);
    members(scanner, place, report, |key, scanner, report| {
        let place = place.member(key);
        match key {
            "type" => kind = text(scanner, place, report)?,
            "name" => name = text(scanner, place, report)?,
            "disable_parallel_tool_use" => is_serial = flag(scanner, place, report)?,
            _ => unknown(scanner, place, report)?,
        }
        Ok(())
    })?;
    let choice = match (kind.as_deref(), name) {
        (Some("auto"), _) => Some(ToolChoice::Auto),
        (Some("any"), _) => Some(ToolChoice::Any),
        (Some("none"), _) => Some(ToolChoice::None),
        (Some("tool"), Some(name)) => Some(ToolChoice::Tool(name)),
        (Some("tool"), None) => {
            place.member("name").refuse(report, "is required");
            None
        }
        _ => {
            place.member("type").refuse(report, "must be `auto`, `any`, `tool` or `none`");
            None
        }
    };
    Ok((choice, is_serial.map(|is_serial| !is_serial)))
}

#[cfg(test)]
mod tests;

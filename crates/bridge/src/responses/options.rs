//! Members of a request that are lists of choices: how the model is to think and to answer, what the answer is
//! to include, and what only OpenAI's service has.

use std::borrow::Cow;

use sluice_catalogue::Effort;

use super::parts::openai_ttl;
use crate::conversation::{AnswerFormat, CacheTtl, Conversation, Thinking, ThinkingDisplay};
use crate::effort;
use crate::fields;
use crate::report::Report;
use crate::value::{Members, Value};

/// Reads `reasoning`.
pub(super) fn read_reasoning(
    value: Value<'_>,
    conversation: &mut Conversation<'_>,
    report: &mut Report<'_>,
) {
    let Some(reasoning) = fields::members(value) else {
        return malformed("reasoning", "an object", report);
    };
    for (name, value) in reasoning.given() {
        let text = fields::text(value);
        match (name, text.as_deref()) {
            ("effort", Some(text)) => match effort::by_name(text) {
                Some(effort) => {
                    // An effort is also a wish to think, and `none` one not to.
                    let thinks = effort != Effort::None;
                    conversation.effort = Some(effort);
                    conversation.thinking =
                        Some(if thinks { Thinking::Adaptive } else { Thinking::Off });
                }
                None => {
                    let what = "`none`, `minimal`, `low`, `medium`, `high`, `xhigh` or `max`";
                    malformed("reasoning.effort", what, report);
                }
            },
            ("summary" | "generate_summary", Some("auto")) => {
                conversation.thinking_display = Some(ThinkingDisplay::Summarized);
            }
            ("summary" | "generate_summary", Some("concise" | "detailed")) => {
                conversation.thinking_display = Some(ThinkingDisplay::Summarized);
                // The model decides how long it is.
                report.dropped(format!("reasoning.{name}"));
            }
            // What the client sends of earlier thinking goes to the model.
            ("context", Some("auto" | "all_turns")) | ("mode", Some("standard")) => {}
            ("effort" | "summary" | "generate_summary", _) => {
                malformed(&format!("reasoning.{name}"), "one of OpenAI's values", report);
            }
            (name, _) => {
                let why = "has no like on Bedrock with this value; leave it out";
                report.unsupported(&format!("reasoning.{name}"), false, why);
            }
        }
    }
}

/// Reads `text`; returns the JSON of its format.
pub(super) fn read_text<'a>(
    value: Value<'a>,
    conversation: &mut Conversation<'a>,
    report: &mut Report<'_>,
) -> Option<&'a str> {
    let Some(text) = fields::members(value) else {
        malformed("text", "an object", report);
        return None;
    };
    let mut format = None;
    for (name, value) in text.given() {
        match name {
            "format" => {
                format = Some(value.get());
                conversation.format = read_format(value, report);
            }
            "verbosity" => match fields::text(value).as_deref() {
                Some("medium") => {}
                Some("low" | "high") => {
                    let why = "has no like on Bedrock; ask for short or long answers in the text";
                    report.unsupported("text.verbosity", false, why);
                }
                _ => malformed("text.verbosity", "`low`, `medium` or `high`", report),
            },
            name => report.unsupported(&format!("text.{name}"), false, UNKNOWN),
        }
    }
    format
}

/// `text` as a response has it: always with a format.
pub(super) fn repeated_text<'a>(format: Option<&'a str>, value: Value<'a>) -> Cow<'a, str> {
    match format {
        Some(_) => Cow::Borrowed(value.get()),
        None => Cow::Borrowed(r#"{"format":{"type":"text"}}"#),
    }
}

fn read_format<'a>(value: Value<'a>, report: &mut Report<'_>) -> Option<AnswerFormat<'a>> {
    let format = fields::members(value).unwrap_or_default();
    match format.get("type").and_then(fields::text).as_deref() {
        Some("text") => None,
        Some("json_object") => Some(AnswerFormat::JsonObject),
        Some("json_schema") => read_schema(&format, report),
        _ => {
            let what = "of the type `text`, `json_object` or `json_schema`";
            malformed("text.format", what, report);
            None
        }
    }
}

fn read_schema<'a>(format: &Members<'a>, report: &mut Report<'_>) -> Option<AnswerFormat<'a>> {
    if let Some(name) = format.beside(&["type", "name", "description", "schema", "strict"]) {
        report.unsupported(&format!("text.format.{name}"), false, UNKNOWN);
    }
    let schema = format.get("schema").filter(|schema| fields::is_object(*schema));
    let strict = format.get("strict").map(fields::boolean);
    let (Some(schema), None | Some(Some(_))) = (schema, strict) else {
        malformed("text.format", "an object with `schema`, and `strict` a boolean", report);
        return None;
    };
    Some(AnswerFormat::JsonSchema {
        name: format.get("name").and_then(fields::text),
        description: format.get("description").and_then(fields::text),
        schema: fields::json(schema),
        strict: strict.flatten().unwrap_or_default(),
    })
}

/// Reads `service_tier`: the name in Converse.
pub(super) fn read_tier(value: Value<'_>, report: &mut Report<'_>) -> Option<&'static str> {
    match fields::text(value).as_deref() {
        Some("auto") => None,
        Some("default") => Some("default"),
        Some("flex") => Some("flex"),
        Some("priority" | "fast") => Some("priority"),
        _ => {
            let why = "has no like on Bedrock with this value; use `auto`, `default`, `flex` or \
                       `priority`";
            report.unsupported("service_tier", false, why);
            None
        }
    }
}

/// Reads `include`.
pub(super) fn read_include(value: Value<'_>, report: &mut Report<'_>) {
    let Some(names) = fields::elements(value) else {
        return malformed("include", "a list", report);
    };
    for name in names {
        match fields::text(name).as_deref() {
            // Thinking always comes with what the model needs to go on.
            Some("reasoning.encrypted_content") => {}
            // Of tools that OpenAI runs, and there are none; of the input, which the client has.
            Some(
                "web_search_call.results"
                | "web_search_call.action.sources"
                | "file_search_call.results"
                | "code_interpreter_call.outputs"
                | "computer_call_output.output.image_url"
                | "message.input_image.image_url",
            ) => {}
            _ => report.unsupported("include", false, "has a value that is not served here"),
        }
    }
}

/// Reads a member that no bridge carries, unless its value says that it is not wanted.
pub(super) fn read_other(name: &str, value: Value<'_>, report: &mut Report<'_>) {
    let text = fields::text(value);
    let is_false = fields::boolean(value) == Some(false);
    let refuse = |report: &mut Report<'_>, why: &str| {
        report.refuse(Some(name.to_owned()), false, format!("`{name}` {why}"));
    };
    match (name, text.as_deref()) {
        ("background", _) if is_false => {}
        ("truncation", Some("disabled")) => {}
        ("top_logprobs", _) if fields::count(value) == Some(0) => {}
        ("context_management", _) if value.get() == "[]" => {}
        ("prompt_cache_retention", Some("in_memory")) => {}
        // For the client's own records.
        ("client_metadata", _) => report.dropped("client_metadata"),
        // Bedrock caches by the points in the prompt.
        ("prompt_cache_retention", _) => report.dropped("prompt_cache_retention"),
        ("stream_options", _) => stream_options(value, report),
        ("previous_response_id", _) => refuse(
            report,
            "names a response that is not stored here; send the whole conversation in `input`",
        ),
        ("conversation", _) => refuse(
            report,
            "names a conversation, and none are stored here; send its items in `input`",
        ),
        ("prompt", _) => {
            refuse(report, "names a template, and none are stored here; send its text");
        }
        ("background", _) => {
            report.unsupported(name, false, "is not served by this model; leave it out");
        }
        ("truncation", _) => {
            let why = "is not served by this model with this value; use `disabled`, and shorten \
                       the input";
            report.unsupported(name, false, why);
        }
        ("top_logprobs", _) => {
            report.unsupported(name, false, "can't be served: Bedrock gives none of this model");
        }
        _ => report.unsupported(name, false, UNKNOWN),
    }
}

/// Reads `prompt_cache_options`: how long a prompt is cached from a point that does not say it.
pub(super) fn read_cache(value: Value<'_>, report: &mut Report<'_>) -> CacheTtl {
    let mut usual = CacheTtl::default();
    let Some(options) = fields::members(value) else {
        malformed("prompt_cache_options", "an object", report);
        return usual;
    };
    for (name, value) in options.given() {
        match (name, fields::text(value).as_deref()) {
            ("mode", Some("explicit")) => {}
            // No point is set where the client sets none.
            ("mode", Some("implicit")) => report.dropped("prompt_cache_options.mode"),
            ("ttl", Some(ttl)) => usual = openai_ttl("prompt_cache_options.ttl", ttl, report),
            ("prewarm", _) if fields::boolean(value) == Some(false) => {}
            (name, _) => {
                let why = "asks for what only OpenAI's cache does; leave it out";
                report.unsupported(&format!("prompt_cache_options.{name}"), false, why);
            }
        }
    }
    usual
}

fn stream_options(value: Value<'_>, report: &mut Report<'_>) {
    let options = fields::members(value).unwrap_or_default();
    for (name, value) in options.given() {
        match (name, fields::boolean(value)) {
            ("include_obfuscation", Some(false)) => {}
            ("include_obfuscation", Some(true)) => {
                report.dropped("stream_options.include_obfuscation");
            }
            (name, _) => report.unsupported(&format!("stream_options.{name}"), false, UNKNOWN),
        }
    }
}

const UNKNOWN: &str = "is not carried to this model; leave it out";

fn malformed(name: &str, what: &str, report: &mut Report<'_>) {
    report.refuse(Some(name.to_owned()), false, format!("`{name}` must be {what}"));
}

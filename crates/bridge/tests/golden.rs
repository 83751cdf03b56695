//! Golden cases: one small file each, named by its symptom, below `golden/`.
//!
//! A case has the parts that it needs:
//!
//! | member | meaning |
//! | --- | --- |
//! | `source` | the client's form: `chat_completions`, `responses`, `messages`, `converse`, `invoke_claude` |
//! | `model` | the target's base id; its facts are those of the shipped catalogue at the runtime endpoint |
//! | `drop` | `true`, or a list of parameters that may be left out |
//! | `recorded` | parameters that become pairs of `requestMetadata` |
//! | `cache` | what the operator wants of prompt caches: `{"adds_points", "min_ttl"}` |
//! | `request` | the client's body |
//! | `upstream` | the body that the target gets, with the order of its keys |
//! | `refusal` | instead: `{"param", "message", "is_of_model"}`; `message` may be a part of it |
//! | `added` | the names of what was added to cache the prompt |
//! | `dropped` | the names of what was left out |
//! | `answer`, `client` | the target's answer, and what the client gets for it |
//! | `frames`, `events` | a stream: `[["messageStart", {..}], ..]`, an exception as `["!throttlingException", {..}]`; and the client's stream as a list of its lines without the blank ones (of event streams: `name {payload}`) |
//! | `answer_error` | instead: a part of the error's text |
//!
//! Run with `BRIDGE_GOLDEN=write` to fill in `upstream`, `client` and `events` where they are missing; read
//! what it writes before you commit it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::value::RawValue;
use sluice_bedrock::ModelId;
use sluice_bedrock::dialect::DialectError;
use sluice_bedrock::event_stream::{self, Frame, Kind};
use sluice_bridge::conversation::CacheTtl;
use sluice_bridge::{AnswerContext, CachePolicy, DropPolicy, Hub, Model, Source, Stamp};
use sluice_catalogue::Catalogue;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case<'a> {
    source: String,
    model: String,
    /// For the reader: what it shows.
    #[serde(default)]
    #[expect(dead_code, reason = "for the reader of the file")]
    about: Option<String>,
    #[serde(default)]
    drop: Option<Drop>,
    #[serde(default)]
    recorded: Vec<String>,
    cache: Option<Caching>,
    #[serde(default)]
    added: Vec<String>,
    #[serde(borrow)]
    request: &'a RawValue,
    #[serde(borrow)]
    upstream: Option<&'a RawValue>,
    refusal: Option<ExpectedRefusal>,
    #[serde(default)]
    dropped: Vec<String>,
    #[serde(borrow)]
    answer: Option<&'a RawValue>,
    #[serde(borrow)]
    client: Option<&'a RawValue>,
    #[serde(borrow)]
    frames: Option<Vec<(String, &'a RawValue)>>,
    events: Option<Vec<String>>,
    answer_error: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Drop {
    All(bool),
    Fields(Vec<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Caching {
    #[serde(default)]
    adds_points: bool,
    min_ttl: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedRefusal {
    param: Option<String>,
    message: String,
    #[serde(default)]
    is_of_model: bool,
}

#[test]
fn every_golden_case_holds() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let mut files = Vec::new();
    collect(&root, &mut files);
    // Those have a form of their own, and tests/golden_embeddings.rs checks them.
    files.retain(|file| !file.starts_with(root.join("embeddings")));
    files.sort();
    let mut failures = String::new();
    for file in &files {
        let text = std::fs::read_to_string(file).unwrap();
        if let Err(difference) = check(file, &text) {
            let name = file.strip_prefix(&root).unwrap().display();
            let _ = writeln!(failures, "--- {name}\n{difference}\n");
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|it| it == "json") {
            files.push(path);
        }
    }
}

fn check(file: &Path, text: &str) -> Result<(), String> {
    let case: Case<'_> =
        serde_json::from_str(text).map_err(|error| format!("the case: {error}"))?;
    let source = source(&case.source)?;
    let id = ModelId::new(&case.model).map_err(|error| error.to_string())?;
    let facts = Catalogue::shipped().facts(&id, "us-east-1").unwrap_or_default();
    let model = Model::of(&case.model, &facts);
    let mut policy = match &case.drop {
        None => DropPolicy::default(),
        Some(Drop::All(drops)) => DropPolicy { drops: *drops, ..DropPolicy::default() },
        Some(Drop::Fields(names)) => DropPolicy {
            fields: names.iter().map(|name| (name.clone(), true)).collect(),
            ..DropPolicy::default()
        },
    };
    policy.recorded = case.recorded.iter().cloned().collect();
    let request = case.request.get().as_bytes();
    let mut added = Vec::new();
    let translated = Hub::read(source, request, &policy).and_then(|mut hub| {
        if let Some(Caching { adds_points, min_ttl }) = &case.cache {
            let is_long = min_ttl.as_deref() == Some("1h");
            let min_ttl = if is_long { CacheTtl::Hour } else { CacheTtl::FiveMinutes };
            let policy = CachePolicy { adds_points: *adds_points, min_ttl };
            added = hub.conversation.cache_by(policy, &model);
        }
        hub.write(&model, &policy)
    });
    let translation = match (translated, &case.refusal) {
        (Err(refusal), Some(expected)) => {
            let is_same = refusal.param == expected.param
                && refusal.message.contains(&expected.message)
                && refusal.is_of_model == expected.is_of_model;
            return is_same.then_some(()).ok_or_else(|| format!("refused so: {refusal:?}"));
        }
        (Err(refusal), None) => return Err(format!("refused: {refusal:?}")),
        (Ok(it), Some(_)) => {
            let body = pretty(&String::from_utf8_lossy(&it.body));
            return Err(format!("not refused, but:\n{body}"));
        }
        (Ok(translation), None) => translation,
    };
    let mut missing = Vec::new();
    let body = String::from_utf8(translation.body.clone()).map_err(|error| error.to_string())?;
    serde_json::from_str::<&RawValue>(&body)
        .map_err(|error| format!("no JSON: {error}\n{body}"))?;
    match case.upstream {
        Some(expected) => same("upstream", expected.get(), &body)?,
        None => missing.push(("upstream", pretty(&body))),
    }
    if added != case.added {
        return Err(format!("added {added:?}, not {:?}", case.added));
    }
    let dropped: Vec<&str> = translation.dropped.iter().map(AsRef::as_ref).collect();
    if dropped != case.dropped {
        return Err(format!("dropped {dropped:?}, not {:?}", case.dropped));
    }
    let stamp = Stamp { request_id: "00000000-0000-4000-8000-000000000001".to_owned(), created: 1 };
    if let Some(answer) = case.answer {
        match (translation.answer.answer(answer.get().as_bytes(), &stamp), &case.answer_error) {
            (Err(error), Some(part)) if error.to_string().contains(part) => {}
            (Err(error), _) => return Err(format!("the answer fails: {error}")),
            (Ok(_), Some(_)) => return Err("the answer does not fail".to_owned()),
            (Ok(client), None) => {
                let client = String::from_utf8(client).map_err(|error| error.to_string())?;
                serde_json::from_str::<&RawValue>(&client)
                    .map_err(|error| format!("client: no JSON: {error}\n{client}"))?;
                match case.client {
                    Some(expected) => same("client", expected.get(), &client)?,
                    None => missing.push(("client", pretty(&client))),
                }
            }
        }
    }
    if let Some(frames) = &case.frames {
        let events = stream(&translation.answer, frames, &stamp)?;
        match &case.events {
            Some(expected) => {
                let (expected, events) = (expected.join("\n"), events.join("\n"));
                if expected != events {
                    return Err(difference("events", &expected, &events));
                }
            }
            None => missing.push(("events", serde_json::to_string_pretty(&events).unwrap())),
        }
    }
    match missing.is_empty() {
        true => Ok(()),
        false => fill_in(file, text, &missing),
    }
}

fn source(name: &str) -> Result<Source, String> {
    Ok(match name {
        "chat_completions" => Source::ChatCompletions,
        "responses" => Source::Responses,
        "messages" => Source::Messages,
        "converse" => Source::Converse,
        "invoke_claude" => Source::InvokeClaude,
        name => return Err(format!("no source `{name}`")),
    })
}

/// The lines of the client's stream. Frames come whole; that their split does not matter is a property test.
fn stream(
    context: &AnswerContext,
    frames: &[(String, &RawValue)],
    stamp: &Stamp,
) -> Result<Vec<String>, String> {
    let mut translator = context.clone().stream(stamp.clone());
    let mut out = Vec::new();
    let mut failed = None;
    for (name, payload) in frames {
        let payload = payload.get().to_owned();
        let bytes = match name.strip_prefix('!') {
            Some(name) => event_stream::exception(name, payload),
            None => event_stream::event(name, payload),
        };
        let frame = Frame::read(&bytes).unwrap().unwrap();
        if let Err(error) = translator.frame(&frame, &mut out) {
            failed = Some(error);
            break;
        }
    }
    if failed.is_none() {
        failed = translator.finish(&mut out).err();
    }
    if let Some(error) = failed {
        let error = DialectError::new(error.kind(), error.to_string());
        translator.fail(&error, &stamp.request_id, &mut out);
    }
    if matches!(context.source, Source::Converse | Source::InvokeClaude) {
        return Ok(frames_of(&out));
    }
    let text = String::from_utf8(out).map_err(|error| error.to_string())?;
    Ok(text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

fn frames_of(mut bytes: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    while let Some(frame) = Frame::read(bytes).unwrap() {
        let name = match frame.kind() {
            Kind::Event(name) => name.to_owned(),
            Kind::Exception(name) | Kind::Error(name) => format!("!{name}"),
            Kind::Other => "?".to_owned(),
        };
        let payload = String::from_utf8_lossy(frame.payload);
        lines.push(format!("{name} {payload}"));
        bytes = &bytes[frame.len..];
    }
    assert!(bytes.is_empty(), "bytes after the last frame");
    lines
}

fn same(what: &str, expected: &str, found: &str) -> Result<(), String> {
    let (expected, found) = (pretty(expected), pretty(found));
    if expected == found { Ok(()) } else { Err(difference(what, &expected, &found)) }
}

/// Lines that differ, with their neighbours.
fn difference(what: &str, expected: &str, found: &str) -> String {
    let (expected, found): (Vec<_>, Vec<_>) = (expected.lines().collect(), found.lines().collect());
    let start = expected.iter().zip(&found).take_while(|(one, other)| one == other).count();
    let (expected_rest, found_rest) = (&expected[start..], &found[start..]);
    let tail = expected_rest.iter().rev().zip(found_rest.iter().rev());
    let end = tail.take_while(|(one, other)| one == other).count();
    let mut text = format!("{what} differs from line {}:\n", start + 1);
    for line in &expected[start.saturating_sub(3)..start] {
        let _ = writeln!(text, "    {line}");
    }
    for line in &expected_rest[..expected_rest.len() - end] {
        let _ = writeln!(text, "  - {line}");
    }
    for line in &found_rest[..found_rest.len() - end] {
        let _ = writeln!(text, "  + {line}");
    }
    text
}

/// JSON with one member a line, in its own order, numbers and escapes as they are.
fn pretty(json: &str) -> String {
    let (mut text, mut depth, mut in_string, mut escaped) = (String::new(), 0_usize, false, false);
    let mut chars = json.chars().peekable();
    let line = |text: &mut String, depth: usize| {
        text.push('\n');
        text.push_str(&"  ".repeat(depth));
    };
    while let Some(char) = chars.next() {
        if in_string {
            text.push(char);
            in_string = escaped || char != '"';
            escaped = char == '\\' && !escaped;
            continue;
        }
        match char {
            ' ' | '\n' | '\r' | '\t' => {}
            '"' => {
                in_string = true;
                text.push(char);
            }
            '{' | '[' => {
                text.push(char);
                while chars.next_if(|it| it.is_ascii_whitespace()).is_some() {}
                if chars.peek().is_some_and(|it| matches!(it, '}' | ']')) {
                    continue;
                }
                depth += 1;
                line(&mut text, depth);
            }
            '}' | ']' => {
                if !text.ends_with(['{', '[']) {
                    depth -= 1;
                    line(&mut text, depth);
                }
                text.push(char);
            }
            ',' => {
                text.push(char);
                line(&mut text, depth);
            }
            ':' => text.push_str(": "),
            char => text.push(char),
        }
    }
    text
}

/// Puts the missing parts into the file, if that was asked for.
fn fill_in(file: &Path, text: &str, missing: &[(&str, String)]) -> Result<(), String> {
    if std::env::var("BRIDGE_GOLDEN").as_deref() != Ok("write") {
        let names: Vec<_> = missing.iter().map(|(name, _)| *name).collect();
        return Err(format!("no {} in the case; see the head of this test", names.join(", ")));
    }
    let mut filled = text.trim_end().strip_suffix('}').unwrap().trim_end().to_owned();
    for (name, json) in missing {
        let _ = write!(filled, ",\n  \"{name}\": {}", json.replace('\n', "\n  "));
    }
    filled.push_str("\n}\n");
    std::fs::write(file, filled).map_err(|error| error.to_string())
}

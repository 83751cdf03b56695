//! The tables of docs/translation-fields.md against the translations: each row has members of a request, and what
//! becomes of them for each target.
//!
//! The members are put into a small request of the section's API, which is translated. What the cells say is worked
//! out by comparing that with the translation of the small request alone.
//!
//! `UPDATE_DOCS=1` writes the cells anew; read what it writes before you commit it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Map, Value};
use sluice_bedrock::{ModelId, Operation};
use sluice_bridge::invoke::to_claude;
use sluice_bridge::{DropPolicy, Model, Refusal, Source, translate};
use sluice_catalogue::Catalogue;

const CLAUDE: &str = "anthropic.claude-sonnet-4-6";
const NOVA: &str = "amazon.nova-2-lite-v1:0";

/// What a column of a table is about.
#[derive(Clone, Copy, Debug)]
enum Target {
    /// A model by Converse.
    Converse(&'static str),
    /// Claude by InvokeModel.
    InvokeModel,
}

/// A section of the page.
struct Section {
    heading: &'static str,
    source: Source,
    /// The request that the members of a row are put into.
    base: &'static str,
    targets: &'static [Target],
}

const SECTIONS: [Section; 5] = [
    Section {
        heading: "## Chat Completions",
        source: Source::ChatCompletions,
        base: r#"{"model":"m","messages":[{"role":"user","content":"Hi"}],
            "tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}]}"#,
        targets: &[Target::Converse(CLAUDE), Target::Converse(NOVA)],
    },
    Section {
        heading: "## Responses",
        source: Source::Responses,
        base: r#"{"model":"m","input":"Hi",
            "tools":[{"type":"function","name":"f","parameters":{"type":"object"}}]}"#,
        targets: &[Target::Converse(CLAUDE), Target::Converse(NOVA)],
    },
    Section {
        heading: "## Messages",
        source: Source::Messages,
        base: r#"{"model":"m","max_tokens":9000,"messages":[{"role":"user","content":"Hi"}],
            "tools":[{"name":"f","input_schema":{"type":"object"}}]}"#,
        targets: &[Target::InvokeModel, Target::Converse(NOVA)],
    },
    Section {
        heading: "## Converse",
        source: Source::Converse,
        base: r#"{"messages":[{"role":"user","content":[{"text":"Hi"}]}],
            "toolConfig":{"tools":[{"toolSpec":{"name":"f","inputSchema":{"json":{"type":"object"}}}}]}}"#,
        targets: &[Target::Converse(CLAUDE), Target::Converse(NOVA)],
    },
    Section {
        heading: "## InvokeModel with a body for Claude",
        source: Source::InvokeClaude,
        base: r#"{"anthropic_version":"bedrock-2023-05-31","max_tokens":9000,"messages":[{"role":"user","content":"Hi"}],
            "tools":[{"name":"f","input_schema":{"type":"object"}}]}"#,
        targets: &[Target::Converse(NOVA)],
    },
];

#[test]
fn each_row_says_what_becomes_of_its_members() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/translation-fields.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let mut rows = BTreeMap::new();
    let mut written = String::with_capacity(page.len());
    let mut section = None;
    for line in page.lines() {
        if line.starts_with("## ") {
            section = SECTIONS.iter().find(|section| section.heading == line);
        }
        match (section, line.strip_prefix("| `\"")) {
            (Some(section), Some(_)) => {
                *rows.entry(section.heading).or_insert(0) += 1;
                written.push_str(&row(section, line));
            }
            _ => written.push_str(line),
        }
        written.push('\n');
    }
    for section in &SECTIONS {
        assert!(rows.contains_key(section.heading), "no row below {}", section.heading);
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, written).unwrap();
        return;
    }
    let mut wrong = String::new();
    for (line, wanted) in page.lines().zip(written.lines()).filter(|(line, wanted)| line != wanted)
    {
        let _ = writeln!(wrong, "- {line}\n+ {wanted}\n");
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Members that the two APIs have apart, each with a row in both sections.
const APART: [&str; 2] = ["model", "stream"];

#[test]
fn a_body_for_claude_becomes_the_same_for_nova_by_invoke_model_and_by_messages() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/translation-fields.md");
    let page = std::fs::read_to_string(path).unwrap();
    let [_, _, messages, _, invoke] = &SECTIONS;
    let (_, rows) = page.split_once(&format!("{}\n", messages.heading)).unwrap();
    let rows = rows.split("\n## ").next().unwrap();
    let mut compared = 0;
    for row in rows.lines().filter(|line| line.starts_with("| `\"")) {
        let snippet = row.split('`').nth(1).unwrap();
        if APART.iter().any(|name| snippet.starts_with(&format!("\"{name}\""))) {
            continue;
        }
        let nova = Target::Converse(NOVA);
        assert_eq!(cell(invoke, snippet, nova), cell(messages, snippet, nova), "{snippet}");
        compared += 1;
    }
    assert!(compared > 50, "{compared} rows");
}

/// A row with the cells that it must have: `| members | cell for each target | note |`.
fn row(section: &Section, line: &str) -> String {
    let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
    let (first, note) = (cells[0], cells.get(section.targets.len() + 1).copied().unwrap_or(""));
    let mut codes = first.split('`').skip(1).step_by(2);
    let snippet = codes.next().unwrap();
    let others: Vec<&str> = codes.collect();
    let mut row = format!("| {first} |");
    for target in section.targets {
        let cell = cell(section, snippet, *target);
        for other in &others {
            let (kind, changed) = with_type(snippet, other);
            let same = self::cell(section, &changed, *target).replace(other, kind);
            assert_eq!(cell, same, "{other} is not like {kind}: {line}");
        }
        let _ = write!(row, " {cell} |");
    }
    let _ = write!(row, " {note}");
    format!("{} |", row.trim_end())
}

/// Members with another type in the place of their only one; and that one.
fn with_type<'s>(snippet: &'s str, other: &str) -> (&'s str, String) {
    let (before, rest) = snippet.split_once("\"type\": \"").expect("a type");
    let (kind, after) = rest.split_once('"').unwrap();
    assert!(!after.contains("\"type\""), "more than one type: {snippet}");
    (kind, format!("{before}\"type\": \"{other}\"{after}"))
}

/// What becomes of members for a target.
fn cell(section: &Section, snippet: &str, target: Target) -> String {
    let more: Map<String, Value> =
        serde_json::from_str(&format!("{{{snippet}}}")).unwrap_or_else(|error| {
            panic!("{snippet}: {error}");
        });
    let mut body: Map<String, Value> = serde_json::from_str(section.base).unwrap();
    body.extend(more);
    let body = Value::Object(body).to_string();
    let plain = sent(section, section.base, target, false).expect("the base is carried");
    match sent(section, &body, target, false) {
        Ok(sent) => {
            let changes = changes(&plain, &sent);
            match (changes.is_empty(), sent.dropped.is_empty()) {
                (true, true) => "not sent".to_owned(),
                (true, false) => format!("left out: {}", codes(&sent.dropped)),
                (false, true) => codes(&changes),
                (false, false) => {
                    format!("{}; named: {}", codes(&changes), codes(&sent.dropped))
                }
            }
        }
        Err(refusal) => {
            let param = refusal.param.as_ref().map(|param| format!(": `{param}`"));
            let param = param.unwrap_or_default();
            match sent(section, &body, target, true) {
                Ok(_) => format!("refused, or left out by leave{param}"),
                Err(_) => format!("refused{param}"),
            }
        }
    }
}

fn codes(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

struct Sent {
    operation: Operation,
    body: Value,
    dropped: Vec<String>,
}

fn sent(section: &Section, body: &str, target: Target, drops: bool) -> Result<Sent, Refusal> {
    let policy = DropPolicy { drops, ..DropPolicy::default() };
    let (operation, written, dropped) = match target {
        Target::Converse(id) => {
            let facts = Catalogue::shipped().facts(&ModelId::new(id).unwrap(), "us-east-1");
            let model = Model::of(id, &facts.expect("a model of the catalogue"));
            let it = translate(section.source, body.as_bytes(), &model, &policy)?;
            (it.operation, it.body, it.dropped)
        }
        Target::InvokeModel => {
            let it = to_claude::request(body.as_bytes(), &[], &policy)?;
            (Operation::InvokeModel, it.body, it.dropped)
        }
    };
    let body = serde_json::from_slice(&written).unwrap();
    Ok(Sent { operation, body, dropped: dropped.iter().map(ToString::to_string).collect() })
}

/// What differs, by the names of the target's API: members two levels deep, and kinds of blocks.
fn changes(plain: &Sent, sent: &Sent) -> Vec<String> {
    let mut changes = Vec::new();
    if plain.operation != sent.operation {
        changes.push(format!("{:?}", sent.operation));
    }
    let members = sent.body.as_object().unwrap();
    let gone = plain.body.as_object().unwrap().keys().filter(|name| !members.contains_key(*name));
    changes.extend(gone.map(|name| format!("no {name}")));
    for (name, value) in members {
        let before = &plain.body[name];
        match value {
            value if value == before => {}
            Value::Object(members) => {
                let changed = members.iter().filter(|(key, value)| before[*key] != **value);
                changes.extend(changed.map(|(key, _)| format!("{name}.{key}")));
            }
            Value::Array(_) if name == "messages" => changes.extend(new_kinds(before, value)),
            _ => changes.push(name.clone()),
        }
    }
    changes
}

/// The kinds of blocks that a list of messages has and another has not, or `messages`.
fn new_kinds(before: &Value, after: &Value) -> Vec<String> {
    let (before, mut after) = (kinds(before), kinds(after));
    let mut left = before;
    after.retain(|kind| match left.iter().position(|it| it == kind) {
        Some(at) => {
            left.remove(at);
            false
        }
        None => true,
    });
    after.sort();
    after.dedup();
    if after.is_empty() { vec!["messages".to_owned()] } else { after }
}

fn kinds(messages: &Value) -> Vec<String> {
    let mut kinds = Vec::new();
    for message in messages.as_array().into_iter().flatten() {
        if message["role"] == "system" {
            kinds.push("role: system".to_owned());
        }
        for block in message["content"].as_array().into_iter().flatten() {
            match block["type"].as_str() {
                Some(kind) => kinds.push(kind.to_owned()),
                None => kinds.extend(block.as_object().unwrap().keys().cloned()),
            }
        }
    }
    kinds
}

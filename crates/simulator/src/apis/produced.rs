//! The parts of an answer: what the model thought, what it says, and the calls of functions.
//!
//! Text and tokens are those of every simulated answer (`answer`). More words in the last user text change
//! the answer here: `sim:tool_calls=2` has the model call so many of the functions that the request offers,
//! in their order, unless the conversation ends with the result of a call; `sim:reasoning_tokens=9` has it
//! think so long. A choice of tools that forces a call makes one. Arguments are made from the schema of the
//! function: its required members, texts with the last user text.

use serde_json::{Map, Value};

use super::super::answer::{Answer, ECHO, pieces, tokens};
use super::asked::{Asked, Tool, ToolChoice};
use super::model::Model;

/// Tokens that a model thinks if the text does not ask for a number.
const USUAL_REASONING: u64 = 4;
/// Most calls of one answer.
const MAX_CALLS: u64 = 64;
/// How deep arguments are made.
const MAX_DEPTH: usize = 8;

/// An answer and its parts in order.
#[derive(Debug, Clone)]
pub(super) struct Produced {
    /// Model, number, usage and tier.
    pub(super) answer: Answer,
    /// The parts.
    pub(super) parts: Vec<Part>,
    /// Tokens of the answer that were thought.
    pub(super) reasoning: u64,
}

/// A part of an answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Part {
    pub(super) kind: PartKind,
    /// What it says: the thought, the text, or the arguments as JSON.
    pub(super) text: String,
    /// How many tokens it is.
    pub(super) tokens: u64,
}

/// What a part is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PartKind {
    Reasoning,
    Text,
    /// The call of a function, with a number that no other call of the simulator has.
    Call {
        name: String,
        number: u64,
    },
}

impl Part {
    /// The text in as many pieces as it has tokens.
    pub(super) fn pieces(&self) -> Vec<String> {
        pieces(&self.text, self.tokens)
    }
}

impl Produced {
    /// The answer of a model, numbered `number`; `script` is its scripted text, if it has one.
    pub(super) fn to(asked: &Asked, script: Option<&str>, model: &Model, number: u64) -> Produced {
        let prompt = &asked.prompt;
        let cap = model.cap().min(prompt.max_output.unwrap_or(u64::MAX));
        let wanted = prompt.directive("reasoning_tokens").unwrap_or(USUAL_REASONING);
        // A token at least is left for the answer.
        let reasoning = if asked.thinks { wanted.min(cap.saturating_sub(1)) } else { 0 };
        let room = cap - reasoning;
        let of_schema = asked.json_schema.as_ref().filter(|_| script.is_none());
        let of_schema = of_schema.map(|schema| made(schema, &prompt.last_text, 0).to_string());
        let script = script.or(of_schema.as_deref());
        let mut answer = Answer::to(prompt, script, &model.name, room, number, Value::Null);
        let mut parts = Vec::new();
        if reasoning > 0 {
            let text = if asked.shows_thinking {
                "The user wants an echo.".to_owned()
            } else {
                String::new()
            };
            parts.push(Part { kind: PartKind::Reasoning, text, tokens: reasoning });
        }
        let calls = calls(asked, number);
        if calls.is_empty() {
            let text = std::mem::take(&mut answer.text);
            parts.push(Part { kind: PartKind::Text, text, tokens: answer.usage.output });
        } else {
            answer.at_maximum = false;
            answer.usage.output = 0;
            answer.text.clear();
            for mut call in calls {
                let left = room - answer.usage.output;
                if left == 0 {
                    answer.at_maximum = true;
                    break;
                }
                if call.tokens > left {
                    answer.at_maximum = true;
                    call.tokens = left;
                    let kept = usize::try_from(left.saturating_mul(4)).unwrap_or(usize::MAX);
                    call.text = call.text.chars().take(kept).collect();
                }
                answer.usage.output += call.tokens;
                parts.push(call);
            }
        }
        answer.usage.output += reasoning;
        Produced { answer, parts, reasoning }
    }

    /// Whether the answer has a call.
    pub(super) fn calls(&self) -> bool {
        self.parts.iter().any(|part| matches!(part.kind, PartKind::Call { .. }))
    }

    /// Input tokens with those that were cached, as OpenAI counts.
    pub(super) fn whole_input(&self) -> u64 {
        let usage = self.answer.usage;
        usage.input.saturating_add(usage.cache_read).saturating_add(usage.cache_write)
    }
}

fn calls(asked: &Asked, number: u64) -> Vec<Part> {
    let text = &asked.prompt.last_text;
    let wanted = match &asked.choice {
        ToolChoice::Off => 0,
        choice => {
            let asked_for = asked.prompt.directive("tool_calls").unwrap_or(0);
            let asked_for = if asked.ends_with_result { 0 } else { asked_for };
            asked_for.max(u64::from(choice.is_forced()))
        }
    };
    let wanted = wanted.min(if asked.one_call { 1 } else { MAX_CALLS });
    let fits = |tool: &&Tool| match &asked.choice {
        ToolChoice::Named(name) => tool.name == *name,
        _ => true,
    };
    let tools: Vec<&Tool> = asked.tools.iter().filter(fits).collect();
    let wanted = usize::try_from(wanted).unwrap_or(0);
    let called = tools.into_iter().cycle().take(wanted).zip(0..);
    let call = |(tool, at): (&Tool, u64)| {
        let arguments = made(&tool.schema, text, 0).to_string();
        let tokens = tokens(&arguments).max(1);
        let number = number.saturating_mul(MAX_CALLS) + at;
        Part { kind: PartKind::Call { name: tool.name.clone(), number }, text: arguments, tokens }
    };
    called.map(call).collect()
}

/// A value that fits a schema in its outline.
fn made(schema: &Value, text: &str, depth: usize) -> Value {
    if depth > MAX_DEPTH {
        return Value::Null;
    }
    if let Some(first) = schema.get("enum").and_then(|values| values.get(0)) {
        return first.clone();
    }
    if let Some(value) = schema.get("const") {
        return value.clone();
    }
    if let Some(first) =
        schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(|any| any.get(0))
    {
        return made(first, text, depth + 1);
    }
    let kind = match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str),
        kind => kind.and_then(Value::as_str),
    };
    match kind {
        Some("string") => Value::from(text.chars().take(ECHO).collect::<String>()),
        Some("integer" | "number") => {
            schema.get("minimum").cloned().unwrap_or_else(|| Value::from(1))
        }
        Some("boolean") => Value::Bool(true),
        Some("array") => {
            let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0);
            let item = schema.get("items").filter(|_| least > 0);
            Value::Array(item.map(|item| made(item, text, depth + 1)).into_iter().collect())
        }
        Some("null") => Value::Null,
        _ => {
            let properties = schema.get("properties");
            let required = schema.get("required").and_then(Value::as_array);
            let names = required.into_iter().flatten().filter_map(Value::as_str);
            let member = |name: &str| {
                let schema = properties.and_then(|properties| properties.get(name))?;
                Some((name.to_owned(), made(schema, text, depth + 1)))
            };
            Value::Object(names.filter_map(member).collect::<Map<_, _>>())
        }
    }
}

//! The parts of an answer: what the model thought, what it says, and the calls of functions.
//!
//! Text and tokens are those of every simulated answer (`answer`). More words in the last user text change
//! the answer here: `sim:tool_calls=2` has the model call so many of the tools that the request offers and that
//! need not be loaded first, in their order, unless the conversation ends with the result of a call; `sim:reasoning_tokens=9` has it
//! think so long; `sim:sealed=1` has it seal so many thoughts. A choice of tools that forces a call makes
//! one. Arguments are made from the schema of the function; a tool that takes a text gets the user's. A script may give the parts instead, and why
//! the answer stops.

mod calls;
mod made;
mod scripted;

use serde_json::Value;

use self::calls::calls;
use self::made::made;
use super::answer::{Answer, pieces, tokens};
use super::asked::Asked;
use super::scripted_answers::{OddStream, Script, StopReason};
use super::thoughts;

/// Tokens that a model thinks if the text does not ask for a number.
const USUAL_REASONING: u64 = 4;
/// Most sealed thoughts of an answer.
const MAX_SEALED: u64 = 8;

/// An answer and its parts in order.
#[derive(Debug, Clone)]
pub(super) struct Produced {
    /// Model, number, usage and tier.
    pub(super) answer: Answer,
    /// The parts.
    pub(super) parts: Vec<Part>,
    /// Tokens of the answer that were thought.
    pub(super) reasoning: u64,
    /// Why it stops.
    pub(super) stop: StopReason,
    /// The text that stopped it, of those that the request names.
    pub(super) stop_sequence: Option<String>,
    /// What is odd about its event streams.
    pub(super) odd_stream: Option<OddStream>,
}

/// A part of an answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Part {
    pub(super) kind: PartKind,
    /// What it says: the thought, the text, or the arguments as JSON.
    pub(super) text: String,
    /// How many tokens it is.
    pub(super) tokens: u64,
    /// The thought in a form that only the model reads; the text is empty then.
    pub(super) sealed: Option<String>,
    /// The signature of a thought, of models that sign.
    pub(super) signature: Option<String>,
}

/// What a part is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PartKind {
    Reasoning,
    Text,
    /// The call of a tool.
    Call {
        name: String,
        /// No other call of the simulator has it.
        number: u64,
        namespace: Option<String>,
        /// Whether its text is what the tool takes, and not arguments as JSON.
        takes_text: bool,
    },
}

impl Part {
    fn new(kind: PartKind, text: String, tokens: u64) -> Part {
        Part { kind, text, tokens, sealed: None, signature: None }
    }

    /// A thought, signed if the model signs.
    fn thought(asked: &Asked, text: String, tokens: u64) -> Part {
        let signature = asked.signs_thinking.then(|| thoughts::sign(&text));
        Part { signature, ..Part::new(PartKind::Reasoning, text, tokens) }
    }

    /// A sealed thought.
    fn sealed(thought: &str, tokens: u64) -> Part {
        let sealed = Some(thoughts::seal(thought));
        Part { sealed, ..Part::new(PartKind::Reasoning, String::new(), tokens) }
    }

    /// The text in as many pieces as it has tokens.
    pub(super) fn pieces(&self) -> Vec<String> {
        pieces(&self.text, self.tokens)
    }

    /// Keeps so many tokens.
    fn cut(&mut self, tokens: u64) {
        self.tokens = tokens;
        let kept = usize::try_from(tokens.saturating_mul(4)).unwrap_or(usize::MAX);
        self.text = self.text.chars().take(kept).collect();
        self.signature = self.signature.take().map(|_| thoughts::sign(&self.text));
    }
}

impl Produced {
    /// The answer of a model with this name and cap, numbered `number`; `script` is what it is told to
    /// answer, if anything.
    pub(super) fn to(
        asked: &Asked,
        script: Option<&Script>,
        name: &str,
        cap: u64,
        number: u64,
    ) -> Produced {
        match script {
            Some(Script::Parts(script)) => scripted::produced(asked, script, name, cap, number),
            Some(Script::Text(text)) => made_up(asked, Some(text), name, cap, number),
            None => made_up(asked, None, name, cap, number),
        }
    }

    /// Whether the answer has a call.
    pub(super) fn calls(&self) -> bool {
        self.parts.iter().any(|part| matches!(part.kind, PartKind::Call { .. }))
    }

    /// All that it says in words.
    pub(super) fn text(&self) -> String {
        let texts = self.parts.iter().filter(|part| part.kind == PartKind::Text);
        texts.map(|part| part.text.as_str()).collect()
    }

    /// The word for its stop in a schema that has two.
    pub(super) fn stop_word<'a>(&self, ended: &'a str, at_maximum: &'a str) -> &'a str {
        if self.answer.at_maximum { at_maximum } else { ended }
    }

    /// Input tokens with those that were cached, as OpenAI counts.
    pub(super) fn whole_input(&self) -> u64 {
        let usage = self.answer.usage;
        usage.input.saturating_add(usage.cache_read).saturating_add(usage.cache_write)
    }

    /// The answer with these parts, which stops for this reason, or for the one that they show.
    fn of(mut answer: Answer, parts: Vec<Part>, stop: Option<StopReason>) -> Produced {
        let is_reasoning = |part: &&Part| part.kind == PartKind::Reasoning;
        let reasoning = parts.iter().filter(is_reasoning).map(|part| part.tokens).sum();
        answer.usage.output = parts.iter().map(|part| part.tokens).sum();
        let mut produced = Produced {
            answer,
            parts,
            reasoning,
            stop: StopReason::EndTurn,
            stop_sequence: None,
            odd_stream: None,
        };
        produced.stop = stop.unwrap_or(match () {
            () if produced.answer.at_maximum => StopReason::MaxTokens,
            () if produced.calls() => StopReason::ToolUse,
            () => StopReason::EndTurn,
        });
        let is_cut = [StopReason::MaxTokens, StopReason::ModelContextWindowExceeded]
            .contains(&produced.stop);
        produced.answer.at_maximum = is_cut;
        produced
    }
}

/// An answer that echoes the request, or says this text.
fn made_up(asked: &Asked, text: Option<&str>, name: &str, cap: u64, number: u64) -> Produced {
    let prompt = &asked.prompt;
    let cap = cap.min(prompt.max_output.unwrap_or(u64::MAX));
    let wanted = prompt.directive("reasoning_tokens").unwrap_or(USUAL_REASONING);
    // A token at least is left for the answer.
    let reasoning = if asked.thinks { wanted.min(cap.saturating_sub(1)) } else { 0 };
    let mut parts = thoughts_of(asked, reasoning);
    let room = cap - reasoning;
    let of_schema = asked.json_schema.as_ref().filter(|_| text.is_none());
    let of_schema = of_schema.map(|schema| made(schema, &prompt.last_text, 0).to_string());
    let text = text.or(of_schema.as_deref());
    let mut answer = Answer::to(prompt, text, name, room, number, Value::Null);
    let calls = calls(asked, number);
    if calls.is_empty() {
        let said = std::mem::take(&mut answer.text);
        let stop =
            asked.stops.iter().filter_map(|stop| Some((said.find(stop.as_str())?, stop))).min();
        let (said, tokens) = match stop.and_then(|(at, _)| said.get(..at)) {
            Some(said) => (said.to_owned(), tokens(said).max(1).min(answer.usage.output)),
            None => (said.clone(), answer.usage.output),
        };
        let ended = stop.map(|(_, stop)| stop.clone());
        let reason = ended.as_ref().map(|_| StopReason::StopSequence);
        parts.push(Part::new(PartKind::Text, said, tokens));
        let produced = Produced::of(answer, parts, reason);
        return Produced { stop_sequence: ended, ..produced };
    }
    answer.at_maximum = false;
    answer.text.clear();
    answer.at_maximum = add(&mut parts, calls, room);
    Produced::of(answer, parts, None)
}

/// Adds parts as long as there is room for their tokens; tells whether there was not enough.
fn add(parts: &mut Vec<Part>, more: Vec<Part>, mut room: u64) -> bool {
    for mut part in more {
        if room == 0 {
            return true;
        }
        let is_cut = part.tokens > room;
        if is_cut {
            part.cut(room);
        }
        room -= part.tokens;
        parts.push(part);
        if is_cut {
            return true;
        }
    }
    false
}

/// What the model thought in so many tokens.
fn thoughts_of(asked: &Asked, tokens: u64) -> Vec<Part> {
    if tokens == 0 {
        return Vec::new();
    }
    let sealed = asked.prompt.directive("sealed").unwrap_or(0).min(MAX_SEALED).min(tokens);
    if sealed > 0 {
        let share = |at: u64| tokens * (at + 1) / sealed - tokens * at / sealed;
        let thought = |at: u64| Part::sealed(&format!("Thought {at}."), share(at));
        return (0..sealed).map(thought).collect();
    }
    let shown = asked.conceals_thinking.unwrap_or("The user wants an echo.");
    let text = if asked.shows_thinking { shown.to_owned() } else { String::new() };
    vec![Part::thought(asked, text, tokens)]
}

//! A model's answer, written in the schema that the request is in.
//!
//! An answer echoes the last user text, prefixed by the id of the model that answers, so that a
//! test can see which model answered. Words of the text can ask for more: `sim:tokens=200` for
//! the number of output tokens, `sim:token_ms=5` and `sim:head_ms=5` for latency,
//! `sim:cache_read=9` and `sim:cache_write=9` for input tokens that count as cached,
//! `sim:cache_write_1h=4` for how many of the written ones are for an hour. Tokens are
//! counted as four characters each. There are more such words for what is thought
//! and called (`produced`). The echo is never cut: a low maximum lowers the number of
//! tokens and with it the number of deltas of a stream, not the text. A test may script the text
//! instead, which is then counted by the same rule and ends at the maximum, as a model's does.

mod anthropic;
mod chat;
mod converse;
mod converse_request;
mod embed;
mod frames;
mod llama;
mod nova;
#[cfg(test)]
mod tests;
mod titan;

use serde_json::{Map, Value};

pub(super) use self::frames::Frames;
use super::asked::Asked;
use super::produced::{Part, Produced};
use super::validation::Model;
use sluice_bedrock::{Family, Usage};

/// Most output tokens of an answer when the text does not ask for a number.
const USUAL_TOKENS: u64 = 1024;
/// Most output tokens of any answer, whatever caps were set.
const MAX_TOKENS: u64 = 200_000;
/// Largest number that the text may ask for; keeps sums of tokens and times safe.
const MAX_DIRECTIVE: u64 = 1_000_000_000;
/// Most characters of the user's text that an answer echoes.
pub(super) const ECHO: usize = 4096;

/// Why a request is refused: the message of a ValidationException.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Invalid(String);

impl Invalid {
    /// A refusal with this message.
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// What a request asks of a model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Prompt {
    /// The text that is echoed: the last one of the user.
    pub(super) last_text: String,
    /// Characters of all text that the model reads.
    pub(super) characters: u64,
    /// The maximum of output tokens.
    pub(super) max_output: Option<u64>,
    /// Tokens set aside for thinking.
    pub(super) thinking_budget: Option<u64>,
}

impl Prompt {
    /// Input tokens: four characters each, at least one.
    pub(super) fn input_tokens(&self) -> u64 {
        self.characters.div_ceil(4).max(1)
    }

    /// The number after `sim:NAME=` in the last user text.
    pub(super) fn directive(&self, name: &str) -> Option<u64> {
        let (_, after) = self.last_text.split_once(&format!("sim:{name}="))?;
        let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        let number: u64 = after.get(..end)?.parse().ok()?;
        Some(number.min(MAX_DIRECTIVE))
    }

    /// Counts a text that the model reads.
    pub(super) fn read_text(&mut self, text: &str) {
        self.characters += text.chars().count() as u64;
    }

    /// Reads a string, or the `text` of each block of an array; the text is what the user said
    /// when `role` is `user`.
    fn read_content(&mut self, role: &str, content: &Value) {
        let mut texts: Vec<&str> = Vec::new();
        match content {
            Value::String(text) => texts.push(text),
            Value::Array(blocks) => {
                texts.extend(blocks.iter().filter_map(|block| block.get("text")?.as_str()));
            }
            _ => {}
        }
        for text in &texts {
            self.read_text(text);
        }
        if let (Some(last), "user") = (texts.last(), role) {
            self.last_text = (*last).to_owned();
        }
    }

    /// Reads `messages`, each with `role` and `content`.
    fn read_messages(&mut self, body: &Value) -> Result<(), Invalid> {
        let messages = body.get("messages").and_then(Value::as_array);
        let messages = messages.ok_or_else(|| Invalid::new("messages: Field required"))?;
        if messages.is_empty() {
            return Err(Invalid::new("messages: at least one message is required"));
        }
        for (at, message) in messages.iter().enumerate() {
            let role = message.get("role").and_then(Value::as_str);
            let role =
                role.ok_or_else(|| Invalid::new(format!("messages.{at}.role: Field required")))?;
            let content = message.get("content");
            let content = content
                .ok_or_else(|| Invalid::new(format!("messages.{at}.content: Field required")))?;
            self.read_content(role, content);
        }
        Ok(())
    }
}

/// One answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    /// The model that answers.
    pub(super) model: String,
    /// A number that no other answer has.
    pub(super) number: u64,
    /// The text.
    pub(super) text: String,
    /// Whether the maximum ended it.
    pub(super) at_maximum: bool,
    /// Its tokens.
    pub(super) usage: Usage,
    /// What an embedding model is asked for; empty otherwise.
    pub(super) request: Value,
    /// The service tier that Converse states, by its name on the wire.
    pub(super) tier: Option<String>,
}

impl Answer {
    /// The answer of `model` to `prompt`, with at most `cap` tokens: the `script` if there is one,
    /// else an echo.
    pub(super) fn to(
        prompt: &Prompt,
        script: Option<&str>,
        model: &str,
        cap: u64,
        number: u64,
        request: Value,
    ) -> Self {
        // An embedding has a maximum of none.
        let cap = cap.min(prompt.max_output.unwrap_or(cap)).min(MAX_TOKENS);
        let (text, wanted) = match script {
            Some(text) => scripted(text, cap),
            None => echo(prompt, model, cap),
        };
        let output = wanted.min(cap);
        let input = prompt.input_tokens();
        let cache_write = prompt.directive("cache_write").unwrap_or(0);
        let usage = Usage {
            input,
            output,
            cache_read: prompt.directive("cache_read").unwrap_or(0),
            cache_write,
            cache_write_1h: prompt.directive("cache_write_1h").unwrap_or(0).min(cache_write),
            tier: None,
        };
        let at_maximum = wanted > cap;
        Self { model: model.to_owned(), number, text, at_maximum, usage, request, tier: None }
    }
}

/// A text in so many pieces, at least one; some are empty when the text is short.
pub(super) fn pieces(text: &str, count: u64) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    let count = usize::try_from(count).unwrap_or(usize::MAX).max(1);
    let bound = |piece: usize| {
        let at = characters.len() as u128 * piece as u128 / count as u128;
        usize::try_from(at).unwrap_or(usize::MAX)
    };
    (0..count)
        .map(|piece| characters.get(bound(piece)..bound(piece + 1)))
        .map(|piece| piece.unwrap_or_default().iter().collect())
        .collect()
}

/// A scripted text, as much as `cap` tokens hold of it, and how many tokens all of it is.
fn scripted(script: &str, cap: u64) -> (String, u64) {
    let room = usize::try_from(cap.saturating_mul(4)).unwrap_or(usize::MAX);
    (script.chars().take(room).collect(), tokens(script).max(1))
}

/// The echo of the user's text, and how many tokens the answer has if `cap` allows.
fn echo(prompt: &Prompt, model: &str, cap: u64) -> (String, u64) {
    let echo: String = prompt.last_text.chars().take(ECHO).collect();
    let mut text = format!("[{model}] {echo}");
    let asked = prompt.directive("tokens");
    let natural = tokens(&text).min(USUAL_TOKENS);
    let wanted = asked.unwrap_or(natural).max(1);
    if asked.is_some() {
        // Four characters for each token that the echo does not fill.
        for _ in natural..wanted.min(cap) {
            text.push_str(" sim");
        }
    }
    (text, wanted)
}

/// Tokens of a text: four characters each.
pub(super) fn tokens(text: &str) -> u64 {
    (text.chars().count() as u64).div_ceil(4)
}

/// One event of a stream. In the Invoke operations its JSON is the model's own.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Event {
    /// The event's name in ConverseStream; `chunk` in the Invoke operations.
    pub(super) name: &'static str,
    /// The payload.
    pub(super) json: Value,
}

impl Event {
    fn chunk(json: Value) -> Self {
        Self { name: "chunk", json }
    }
}

/// The form of a request and of its answer.
pub(super) trait Schema: Sync {
    /// Reads a request.
    fn read(&self, body: &Value) -> Result<Prompt, Invalid>;
    /// Reads all that a request asks of a model.
    fn asked(&self, body: &Value, _model: &Model) -> Result<Asked, Invalid> {
        Ok(Asked { prompt: self.read(body)?, ..Asked::default() })
    }
    /// The refusal of a maximum above the model's cap.
    fn above_cap(&self, asked: u64, cap: u64, _model: &str) -> Invalid {
        Invalid(format!("the maximum of output tokens is {cap}, not {asked}"))
    }
    /// A whole answer.
    fn whole(&self, produced: &Produced, latency_ms: u64) -> Value;
    /// The form of streams; `None` where there are none, as for embeddings.
    fn stream(&self) -> Option<&dyn Streaming> {
        None
    }
}

/// The form of an answer's events. A schema that knows texts only has no events for other parts.
pub(super) trait Streaming: Sync {
    /// The events before the first part.
    fn opening(&self, _produced: &Produced) -> Vec<Event> {
        Vec::new()
    }
    /// The events at the beginning of the part at a place.
    fn begin(&self, _at: usize, _part: &Part) -> Vec<Event> {
        Vec::new()
    }
    /// A piece of a part, the `token`th output token (from 1).
    fn delta(
        &self,
        produced: &Produced,
        at: usize,
        part: &Part,
        text: &str,
        token: u64,
    ) -> Vec<Event>;
    /// The events at the end of a part.
    fn end(&self, _at: usize, _part: &Part) -> Vec<Event> {
        Vec::new()
    }
    /// The events after the last part. The Invoke operations' metrics are added to the last.
    fn closing(&self, produced: &Produced, latency_ms: u64) -> Vec<Event>;
}

/// The schema of Converse and ConverseStream.
pub(super) fn converse() -> &'static dyn Schema {
    &converse::Converse
}

/// The schema of the Invoke operations: the family's, or for a model whose family its id does
/// not tell, the one that the body looks like.
pub(super) fn invoke(family: Family, base: Option<&str>, body: &Value) -> &'static dyn Schema {
    let has = |key: &str| body.get(key).is_some();
    match family {
        Family::Anthropic => &anthropic::Anthropic,
        Family::Nova if base.is_some_and(|id| id.starts_with("amazon.nova-2-multimodal")) => {
            &embed::NovaEmbed
        }
        Family::Nova => &nova::Nova,
        Family::TitanText => &titan::Titan,
        Family::TitanEmbed => embed::TitanEmbed::of(base),
        Family::Llama => &llama::Llama,
        Family::Cohere if base.is_some_and(|id| id.starts_with("cohere.embed")) => {
            embed::CohereEmbed::of(base)
        }
        Family::Unknown if has("anthropic_version") => &anthropic::Anthropic,
        Family::Unknown if has("inferenceConfig") => &nova::Nova,
        Family::Unknown if has("inputText") => &titan::Titan,
        Family::Unknown if has("prompt") && !has("max_tokens") => &llama::Llama,
        _ => &chat::Chat,
    }
}

/// Adds `amazon-bedrock-invocationMetrics` to the last chunk of an Invoke stream.
fn add_metrics(last: &mut Value, usage: Usage, latency_ms: u64, first_ms: u64) {
    let Some(object) = last.as_object_mut() else { return };
    let mut metrics = Map::new();
    metrics.insert("inputTokenCount".to_owned(), usage.input.into());
    metrics.insert("outputTokenCount".to_owned(), usage.output.into());
    metrics.insert("invocationLatency".to_owned(), latency_ms.into());
    metrics.insert("firstByteLatency".to_owned(), first_ms.into());
    if usage.cache_read + usage.cache_write > 0 {
        metrics.insert("cacheReadInputTokenCount".to_owned(), usage.cache_read.into());
        metrics.insert("cacheWriteInputTokenCount".to_owned(), usage.cache_write.into());
    }
    object.insert("amazon-bedrock-invocationMetrics".to_owned(), Value::Object(metrics));
}

/// The number at `body.a.b` for the path `["a", "b"]`.
fn number_at(body: &Value, path: &[&str]) -> Option<u64> {
    path.iter().try_fold(body, |value, key| value.get(key))?.as_u64()
}

/// The text that a required string field holds.
fn required_text<'a>(body: &'a Value, key: &str) -> Result<&'a str, Invalid> {
    body.get(key).and_then(Value::as_str).ok_or_else(|| {
        Invalid::new(format!(
            "Malformed input request: #: required key [{key}] not found, please reformat your \
             input and try again."
        ))
    })
}

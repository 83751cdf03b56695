//! Scripted answers, which a model gives instead of echoing the user.
//!
//! An answer stays until it is replaced or removed. A model is known by its id as called or by the
//! last part of its ARN, as for faults and quotas.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Bytes of all scripted answers together, names included.
pub const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// No room for another answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the scripted answers would be longer than {MAX_ANSWER_BYTES} bytes together")]
pub struct TooManyAnswers;

/// What a model answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Script {
    /// A text, and beside it what the request makes the model think or call.
    Text(Arc<str>),
    /// These parts and nothing else.
    Parts(Arc<ScriptedAnswer>),
}

/// An answer in parts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptedAnswer {
    /// The parts in order, at most 64.
    pub parts: Vec<ScriptedPart>,
    /// Why it stops; the reason that the parts show if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<StopReason>,
    /// The text that stops it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_sequence: Option<String>,
    /// What is odd about its event streams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub odd_stream: Option<OddStream>,
}

/// What is odd about an event stream, though every frame of it is well formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OddStream {
    /// It ends well, but never says why the answer stops.
    WithoutStop,
    /// All blocks have the index 0.
    SharedIndex,
    /// Before each delta comes one with an empty text.
    EmptyDeltas,
}

/// A part of a scripted answer. In JSON an object such as `{"text": "All is well."}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ScriptedPart {
    /// A text.
    Text(String),
    /// A thought; Claude signs it.
    Thought(String),
    /// A thought that its reader can't read.
    Sealed(String),
    /// A call of a function.
    Call {
        /// Its name.
        name: String,
        /// Its input; a string is sent as it is.
        input: Value,
    },
}

/// Why an answer stops, by the name that Converse has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names of the service")]
pub enum StopReason {
    EndTurn,
    ToolUse,
    MaxTokens,
    StopSequence,
    GuardrailIntervened,
    ContentFiltered,
    MalformedModelOutput,
    MalformedToolUse,
    ModelContextWindowExceeded,
}

impl StopReason {
    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            StopReason::EndTurn => "end_turn",
            StopReason::ToolUse => "tool_use",
            StopReason::MaxTokens => "max_tokens",
            StopReason::StopSequence => "stop_sequence",
            StopReason::GuardrailIntervened => "guardrail_intervened",
            StopReason::ContentFiltered => "content_filtered",
            StopReason::MalformedModelOutput => "malformed_model_output",
            StopReason::MalformedToolUse => "malformed_tool_use",
            StopReason::ModelContextWindowExceeded => "model_context_window_exceeded",
        }
    }
}

/// The scripted answer of each model that has one. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    scripts: Arc<Mutex<BTreeMap<String, Script>>>,
}

impl Answers {
    /// Sets the text that `model` answers from now on.
    ///
    /// # Errors
    /// [`TooManyAnswers`] when all together would be longer than [`MAX_ANSWER_BYTES`].
    pub fn set(&self, model: &str, text: &str) -> Result<(), TooManyAnswers> {
        self.script(model, Script::Text(text.into()))
    }

    /// Sets the parts that `model` answers from now on.
    ///
    /// # Errors
    /// [`TooManyAnswers`] when all together would be longer than [`MAX_ANSWER_BYTES`].
    pub fn set_parts(&self, model: &str, answer: ScriptedAnswer) -> Result<(), TooManyAnswers> {
        self.script(model, Script::Parts(Arc::new(answer)))
    }

    fn script(&self, model: &str, script: Script) -> Result<(), TooManyAnswers> {
        let mut scripts = self.lock();
        let others = scripts.iter().filter(|(name, _)| *name != model);
        let others: usize = others.map(|(name, script)| name.len() + script.bytes()).sum();
        if others + model.len() + script.bytes() > MAX_ANSWER_BYTES {
            return Err(TooManyAnswers);
        }
        scripts.insert(model.to_owned(), script);
        Ok(())
    }

    /// Forgets all answers: models echo again.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// The scripted answers by model.
    pub fn all(&self) -> BTreeMap<String, Script> {
        self.lock().clone()
    }

    /// The scripted answer of a model with one of these names.
    pub(super) fn of(&self, names: &[&str]) -> Option<Script> {
        let scripts = self.lock();
        names.iter().find_map(|name| scripts.get(*name).cloned())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Script>> {
        self.scripts.lock()
    }
}

impl Script {
    /// How much room it takes.
    fn bytes(&self) -> usize {
        match self {
            Script::Text(text) => text.len(),
            Script::Parts(answer) => {
                let parts = answer.parts.iter().map(|part| match part {
                    ScriptedPart::Text(text)
                    | ScriptedPart::Thought(text)
                    | ScriptedPart::Sealed(text) => text.len(),
                    ScriptedPart::Call { name, input } => name.len() + input.to_string().len(),
                });
                parts.sum::<usize>() + answer.stop_sequence.as_ref().map_or(0, String::len)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Option<Script> {
        Some(Script::Text(text.into()))
    }

    #[test]
    fn a_model_says_what_it_was_told_last_until_it_is_forgotten() {
        let answers = Answers::default();
        answers.set("m", "one").unwrap();
        answers.set("m", "two").unwrap();
        assert_eq!(answers.of(&["arn:x/m", "m"]), text("two"));
        assert_eq!(answers.of(&["us.m"]), None);
        answers.set_parts("m", ScriptedAnswer::default()).unwrap();
        assert_eq!(answers.of(&["m"]), Some(Script::Parts(Arc::default())));
        answers.clear();
        assert_eq!(answers.of(&["m"]), None);
    }

    #[test]
    fn all_together_are_bounded() {
        let answers = Answers::default();
        let half = "x".repeat(MAX_ANSWER_BYTES / 2);
        answers.set("a", &half).unwrap();
        assert_eq!(answers.set("b", &half), Err(TooManyAnswers));
        let parts = vec![ScriptedPart::Thought(half.clone())];
        let as_parts = ScriptedAnswer { parts, ..ScriptedAnswer::default() };
        assert_eq!(answers.set_parts("b", as_parts), Err(TooManyAnswers));
        answers.set("a", &half).unwrap();
        answers.set("b", "short").unwrap();
    }

    #[test]
    fn a_stop_reason_has_one_name() {
        for reason in [StopReason::EndTurn, StopReason::ModelContextWindowExceeded] {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.name());
        }
    }
}

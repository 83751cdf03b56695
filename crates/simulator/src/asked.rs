//! What a request asks for, whatever its API.

use serde_json::Value;

use super::answer::Prompt;

/// What a request asks for.
#[derive(Debug, Clone, Default)]
pub(super) struct Asked {
    /// Its texts and maximum.
    pub(super) prompt: Prompt,
    /// Whether the answer is to be a stream.
    pub(super) stream: bool,
    /// Whether a stream of Chat Completions is to end with its usage.
    pub(super) include_usage: bool,
    /// The functions that the model may call.
    pub(super) tools: Vec<Tool>,
    /// Which of them it may or must call.
    pub(super) choice: ToolChoice,
    /// Whether it may call only one at a time.
    pub(super) one_call: bool,
    /// Whether the conversation ends with the result of a call.
    pub(super) ends_with_result: bool,
    /// Whether the model thinks before it answers.
    pub(super) thinks: bool,
    /// Whether the answer is to show what it thought.
    pub(super) shows_thinking: bool,
    /// Whether the model signs what it thought.
    pub(super) signs_thinking: bool,
    /// What the answer shows in place of each thought, if the model conceals them.
    pub(super) conceals_thinking: Option<&'static str>,
    /// The schema of an answer that is to be JSON.
    pub(super) json_schema: Option<Value>,
    /// Texts that end the answer.
    pub(super) stops: Vec<String>,
}

/// A tool that a model may call.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Tool {
    pub(super) name: String,
    /// The namespace that its calls name.
    pub(super) namespace: Option<String>,
    /// The schema of its arguments.
    pub(super) schema: Value,
    /// Whether it takes a text in place of arguments.
    pub(super) takes_text: bool,
    /// Whether the model can't call it before it has loaded it.
    pub(super) is_deferred: bool,
}

/// Which function a model may or must call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum ToolChoice {
    #[default]
    Auto,
    Off,
    Any,
    Named(String),
}

impl ToolChoice {
    pub(super) fn is_forced(&self) -> bool {
        matches!(self, ToolChoice::Any | ToolChoice::Named(_))
    }
}

//! The APIs that clients speak, and the dialects in which each of them writes its errors.

use serde::{Deserialize, Serialize};

/// An API. Serialized by its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Api {
    /// The native operations of Bedrock Runtime, and calls of its control plane.
    #[default]
    Bedrock,
    /// OpenAI's Chat Completions.
    ChatCompletions,
    /// OpenAI's Responses.
    Responses,
    /// Anthropic's Messages.
    Messages,
    /// The list of models, in OpenAI's or in Anthropic's form.
    Models,
    /// OpenAI's Embeddings.
    Embeddings,
}

impl Api {
    /// Every API.
    pub const ALL: [Api; 6] = [
        Api::Bedrock,
        Api::ChatCompletions,
        Api::Responses,
        Api::Messages,
        Api::Models,
        Api::Embeddings,
    ];

    /// The name in config, metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Api::Bedrock => "bedrock",
            Api::ChatCompletions => "chat_completions",
            Api::Responses => "responses",
            Api::Messages => "messages",
            Api::Models => "models",
            Api::Embeddings => "embeddings",
        }
    }
}

/// The form of errors and of the events that end a broken stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// A name in `x-amzn-errortype` and a JSON body with `message`; exception frames.
    #[default]
    Bedrock,
    /// `{"error":{"message","type","param","code"}}`.
    OpenAi,
    /// `{"type":"error","error":{"type","message"},"request_id"}`.
    Anthropic,
}

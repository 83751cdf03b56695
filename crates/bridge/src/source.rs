//! The forms in which requests come.

use sluice_bedrock::Api;

/// The form of a client's request, and of the answer that it expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// OpenAI's Chat Completions.
    ChatCompletions,
    /// OpenAI's Responses.
    Responses,
    /// Anthropic's Messages.
    Messages,
    /// Converse and ConverseStream.
    Converse,
    /// InvokeModel and InvokeModelWithResponseStream with a body for Claude.
    InvokeClaude,
}

impl Source {
    /// Every source.
    pub const ALL: [Source; 5] = [
        Source::ChatCompletions,
        Source::Responses,
        Source::Messages,
        Source::Converse,
        Source::InvokeClaude,
    ];

    /// The API that it belongs to.
    pub fn api(self) -> Api {
        match self {
            Source::ChatCompletions => Api::ChatCompletions,
            Source::Responses => Api::Responses,
            Source::Messages => Api::Messages,
            Source::Converse | Source::InvokeClaude => Api::Bedrock,
        }
    }
}

//! The parts of a request by the client's own names of them, so that a refusal speaks of what the client wrote.

use crate::source::Source;

/// A part of a request that a model may not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    /// The tools.
    Tools,
    /// Which of them to use.
    ToolChoice,
    /// Whether to use several at once.
    ParallelTools,
    /// Most tokens of the answer.
    MaxTokens,
    Temperature,
    TopP,
    TopK,
    Stop,
    /// Whether and how long to think.
    Thinking,
    /// How much to do.
    Effort,
    /// The form of the answer.
    Format,
    Metadata,
    /// Thinking in the history.
    PastThinking,
    CacheControl,
    /// Claude's beta flags.
    Betas,
}

impl Field {
    /// The name that the client knows.
    pub(super) fn name(self, source: Source) -> &'static str {
        let [chat, responses, messages, converse] = self.names();
        match source {
            Source::ChatCompletions => chat,
            Source::Responses => responses,
            // There they are in the body.
            Source::InvokeClaude if self == Field::Betas => "anthropic_beta",
            Source::Messages | Source::InvokeClaude => messages,
            Source::Converse => converse,
        }
    }

    /// In Chat Completions, Responses, Messages and Converse.
    fn names(self) -> [&'static str; 4] {
        match self {
            Field::Tools => ["tools", "tools", "tools", "toolConfig"],
            Field::ToolChoice => {
                ["tool_choice", "tool_choice", "tool_choice", "toolConfig.toolChoice"]
            }
            Field::ParallelTools => [
                "parallel_tool_calls",
                "parallel_tool_calls",
                "tool_choice.disable_parallel_tool_use",
                "additionalModelRequestFields.tool_choice.disable_parallel_tool_use",
            ],
            Field::MaxTokens => [
                "max_completion_tokens",
                "max_output_tokens",
                "max_tokens",
                "inferenceConfig.maxTokens",
            ],
            Field::Temperature => {
                ["temperature", "temperature", "temperature", "inferenceConfig.temperature"]
            }
            Field::TopP => ["top_p", "top_p", "top_p", "inferenceConfig.topP"],
            Field::TopK => ["top_k", "top_k", "top_k", "additionalModelRequestFields.top_k"],
            Field::Stop => ["stop", "stop", "stop_sequences", "inferenceConfig.stopSequences"],
            Field::Thinking => [
                "reasoning_effort",
                "reasoning.effort",
                "thinking",
                "additionalModelRequestFields.thinking",
            ],
            Field::Effort => [
                "reasoning_effort",
                "reasoning.effort",
                "output_config.effort",
                "outputConfig.effort",
            ],
            Field::Format => [
                "response_format",
                "text.format",
                "output_config.format",
                "outputConfig.textFormat",
            ],
            Field::Metadata => ["metadata", "metadata", "metadata", "requestMetadata"],
            Field::PastThinking => [
                "thinking_blocks",
                "input.reasoning",
                "messages.thinking",
                "messages.reasoningContent",
            ],
            Field::CacheControl => {
                ["cache_control", "cache_control", "cache_control", "cachePoint"]
            }
            Field::Betas => [
                "anthropic_beta",
                "anthropic_beta",
                "anthropic-beta",
                "additionalModelRequestFields.anthropic_beta",
            ],
        }
    }
}

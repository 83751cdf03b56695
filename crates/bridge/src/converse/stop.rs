//! Reasons for the end of an answer, by their names in Converse.

use crate::answer::{AnswerError, StopReason};

/// The reason behind a name.
///
/// # Errors
/// If the name says that the output is malformed, or is not known: that is never an ordinary end.
pub(super) fn of(name: &str) -> Result<StopReason, AnswerError> {
    Ok(match name {
        "end_turn" => StopReason::EndTurn,
        "tool_use" => StopReason::ToolUse,
        "max_tokens" => StopReason::MaxTokens,
        "stop_sequence" => StopReason::StopSequence,
        "guardrail_intervened" => StopReason::GuardrailIntervened,
        "content_filtered" => StopReason::ContentFiltered,
        "model_context_window_exceeded" => StopReason::ContextWindowExceeded,
        "refusal" => StopReason::Refusal,
        "pause_turn" => StopReason::PauseTurn,
        "malformed_model_output" | "malformed_tool_use" => return Err(AnswerError::Malformed),
        _ => return Err(AnswerError::Unreadable("its stop reason is not known")),
    })
}

/// The name of a reason. Those that Converse has not are what they come closest to.
pub(super) fn name(reason: StopReason) -> &'static str {
    match reason {
        StopReason::EndTurn | StopReason::PauseTurn => "end_turn",
        StopReason::ToolUse => "tool_use",
        StopReason::MaxTokens => "max_tokens",
        StopReason::StopSequence => "stop_sequence",
        StopReason::GuardrailIntervened => "guardrail_intervened",
        StopReason::ContentFiltered | StopReason::Refusal => "content_filtered",
        StopReason::ContextWindowExceeded => "model_context_window_exceeded",
    }
}

/// Whether the text of an answer that ends so is whole, so that it can be checked. Where it was cut or taken
/// back, the reason tells the client.
pub(super) fn is_whole_text(reason: StopReason) -> bool {
    matches!(reason, StopReason::EndTurn | StopReason::StopSequence)
}

//! The names of features, and which of them requests are routed by.

use sluice_bedrock::Features;

/// Every feature that a row may name. The first ten are those that requests are routed by.
pub const FEATURE_NAMES: [&str; 36] = [
    "images",
    "documents",
    "video",
    "audio",
    "tools",
    "thinking",
    "prompt_caching",
    "structured_output",
    "effort",
    "web_search",
    "adaptive_thinking",
    "assistant_prefill",
    "audio_output",
    "chat_completions_inline_reasoning",
    "chat_completions_response_format",
    "chat_completions_tools_with_reasoning",
    "compaction",
    "computer_use",
    "converse_json_schema",
    "embedding_images",
    "forced_tool_use",
    "image_input",
    "json_schema",
    "legacy_thinking",
    "mid_conversation_system",
    "native_streaming",
    "parallel_tool_control",
    "prompt_cache_breakpoint",
    "sampling",
    "strict_tools",
    "system",
    "thinking_always_on",
    "thinking_by_default",
    "tool_choice",
    "tool_result_images",
    "tool_search",
];

pub(super) fn is_known(name: &str) -> bool {
    FEATURE_NAMES.contains(&name)
}

/// Those of these features that requests are routed by.
pub(super) fn routed<'a>(names: impl Iterator<Item = &'a str>) -> Features {
    names.filter_map(Features::by_name).collect()
}

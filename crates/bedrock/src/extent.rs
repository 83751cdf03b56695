//! The parts of a request's size and price that its byte count does not show: content by reference, media,
//! tools that the service describes itself, several answers, a longer window, a dearer tier.
//!
//! Unknown content counts as content of any size. A request with a field that a model supports in the future
//! therefore looks too large, and never too small.

use super::service_tier::ServiceTier;

/// The parts that [`peek`](super::body::peek) found in a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Whether the body has content whose tokens its bytes do not bound: documents, video, audio,
    /// references, variables of a stored prompt, and unknown content.
    pub is_open: bool,
    /// Images whose bytes are in the body.
    pub images: usize,
    /// Bytes of the body that these take.
    pub image_bytes: usize,
    /// Tools that the request only names, and that the service describes to the model.
    pub built_in_tools: usize,
    /// The number of answers that the request asks for, if it names one.
    pub answers: Option<u64>,
    /// Whether the request asks for a longer context window than the model's usual one.
    pub has_long_window: bool,
    /// Whether the request writes to a prompt cache.
    pub writes_cache: bool,
    /// The service tier that the request asks for.
    pub tier: Option<ServiceTier>,
    /// Whether it asks for a latency that costs more.
    pub is_latency_optimized: bool,
}

impl Extent {
    /// The extent of a body that was not read.
    pub fn unread() -> Extent {
        Extent { is_open: true, ..Extent::default() }
    }

    /// Adds a service tier that the request names. Of several, the dearest counts.
    pub fn ask_tier(&mut self, tier: ServiceTier) {
        self.tier = Some(self.tier.map_or(tier, |other| other.dearer(tier)));
    }
}

/// Whether a latency costs more than the standard one.
pub fn is_dear_latency(name: &str) -> bool {
    name != "standard"
}

/// Whether a beta flag asks for a longer context window.
pub fn is_long_window(flag: &str) -> bool {
    flag.contains("context-")
}

/// Fields that bound the answer of one family or another.
pub(super) fn is_cap(key: &str) -> bool {
    matches!(
        key,
        "max_tokens"
            | "maxTokens"
            | "max_completion_tokens"
            | "max_output_tokens"
            | "max_new_tokens"
            | "max_gen_len"
            | "max_tokens_to_sample"
            | "maxTokenCount"
    )
}

/// Fields that ask for several answers.
pub(super) fn is_number_of_answers(key: &str) -> bool {
    matches!(key, "n" | "best_of" | "num_generations" | "numResults")
}

/// Fields whose text is all that they bring.
pub(super) fn is_text(key: &str) -> bool {
    matches!(
        key,
        "prompt"
            | "suffix"
            | "system"
            | "preamble"
            | "message"
            | "inputText"
            | "query"
            | "text"
            | "content"
            | "reasoning_content"
            | "name"
    )
}

/// Fields whose lists and objects hold text or settings, and nothing by reference.
pub(super) fn is_plain(key: &str) -> bool {
    matches!(
        key,
        "stop"
            | "stop_sequences"
            | "stopSequences"
            | "logit_bias"
            | "response_format"
            | "tool_choice"
            | "tool_calls"
            | "tool_results"
            | "texts"
            | "chat_history"
            | "documents"
            | "embedding_types"
            | "embeddingTypes"
            | "metadata"
            | "requestMetadata"
            | "guardrailConfig"
            | "amazon-bedrock-guardrailConfig"
            | "outputConfig"
            | "output_config"
            | "output_format"
            | "additionalModelResponseFieldPaths"
            | "countPenalty"
            | "presencePenalty"
            | "frequencyPenalty"
            | "chat_template_kwargs"
            | "stream_options"
            | "thinking"
            | "reasoning"
            | "reasoningConfig"
            | "reasoning_config"
    )
}

/// Whether a text in a field that is not known may stand for something larger.
pub(super) fn may_refer(text: &str) -> bool {
    /// Names of modes and formats are shorter, and no medium is.
    const SHORT: usize = 64;
    text.len() > SHORT || text.contains(':') || text.contains('/')
}

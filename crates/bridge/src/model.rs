//! What a translation must know of the model that it writes for. Worked out once for each target.

use sluice_bedrock::Family;
use sluice_catalogue::{Effort, ModelFacts};

/// A model, as far as translations depend on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// Its base id, such as `anthropic.claude-opus-5-5`.
    pub id: String,
    /// Its family.
    pub family: Family,
    /// Whether it takes system texts.
    pub takes_system: bool,
    /// Whether it takes system texts between other messages.
    pub takes_mid_conversation_system: bool,
    /// Whether it takes tools.
    pub takes_tools: bool,
    /// Whether it takes a choice of tools at all.
    pub takes_tool_choice: bool,
    /// Whether it can be made to use a tool.
    pub takes_forced_tool: bool,
    /// Whether it can be kept from using several tools at once.
    pub takes_parallel_control: bool,
    /// Whether it takes `strict` at a tool.
    pub takes_strict_tools: bool,
    /// Whether results of tools may have images.
    pub takes_tool_result_images: bool,
    /// Whether it takes images.
    pub takes_images: bool,
    /// Whether it takes documents.
    pub takes_documents: bool,
    /// Whether it takes audio.
    pub takes_audio: bool,
    /// Whether it takes video.
    pub takes_video: bool,
    /// Whether it takes cache points.
    pub takes_cache_points: bool,
    /// Whether a prompt may stay cached for an hour.
    pub takes_hour_cache: bool,
    /// Fewest tokens of a cached prefix; `None` if that is not known.
    pub min_cache_tokens: Option<u32>,
    /// Whether it takes `temperature`, `top_p` and `top_k`.
    pub takes_sampling: bool,
    /// Whether Converse enforces a JSON schema for its answer.
    pub takes_json_schema: bool,
    /// Whether an answer may be begun for it.
    pub takes_prefill: bool,
    /// How it thinks.
    pub thinking: ThinkingForm,
    /// Whether it thinks unless it is told not to.
    pub thinks_by_default: bool,
    /// Whether it takes a budget of tokens for its thinking.
    pub takes_thinking_budget: bool,
    /// The efforts that it takes, ascending; empty if it takes none.
    pub efforts: Vec<Effort>,
    /// Largest answer, in tokens; `None` if that is not known.
    pub max_output_tokens: Option<u32>,
}

/// In which form a model takes a wish for thinking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThinkingForm {
    /// It does not think, or takes no wish.
    None,
    /// Claude with a budget of tokens.
    Budget,
    /// Claude that decides by itself, steered by an effort.
    Adaptive,
    /// The same, and it can't be turned off.
    Always,
    /// Nova's `reasoningConfig`.
    Nova,
    /// `reasoning_effort`, as OpenAI's and xAI's models have it.
    Effort,
}

impl Model {
    /// A model with these facts. What is not known of it is taken to be there where its absence would refuse
    /// usual requests, and not where its presence would send what the model refuses.
    pub fn of(base_id: &str, facts: &ModelFacts) -> Model {
        let family = Family::of(base_id);
        let is_claude = family == Family::Anthropic;
        let has = |feature| facts.has(feature).unwrap_or(false);
        // Of a model that the catalogue does not list nothing can be said.
        let unless_known = |feature| facts.has(feature).unwrap_or(!facts.is_listed);
        let standard = facts.prices.standard.as_ref();
        let has_hour_price = standard.is_some_and(|tier| tier.base.cache_write_1h.is_some());
        let thinking = match family {
            _ if !unless_known("thinking") => ThinkingForm::None,
            Family::Anthropic if has("thinking_always_on") => ThinkingForm::Always,
            Family::Anthropic if has("adaptive_thinking") => ThinkingForm::Adaptive,
            Family::Anthropic => ThinkingForm::Budget,
            Family::Nova => ThinkingForm::Nova,
            _ if facts.effort_levels.is_empty() => ThinkingForm::None,
            _ => ThinkingForm::Effort,
        };
        Model {
            id: base_id.to_owned(),
            family,
            takes_system: facts.has("system").unwrap_or(true),
            takes_mid_conversation_system: has("mid_conversation_system"),
            takes_tools: unless_known("tools"),
            takes_tool_choice: unless_known("tool_choice"),
            takes_forced_tool: unless_known("forced_tool_use"),
            takes_parallel_control: is_claude && has("parallel_tool_control"),
            takes_strict_tools: has("strict_tools"),
            takes_tool_result_images: unless_known("tool_result_images"),
            takes_images: unless_known("images"),
            takes_documents: unless_known("documents"),
            takes_audio: unless_known("audio"),
            takes_video: unless_known("video"),
            takes_cache_points: has("prompt_caching")
                && matches!(family, Family::Anthropic | Family::Nova),
            takes_hour_cache: is_claude && has_hour_price,
            min_cache_tokens: facts.min_cache_tokens,
            takes_sampling: facts.has("sampling").unwrap_or(true),
            // Some models have it by both names, older ones by that of every API alone.
            takes_json_schema: has("converse_json_schema") || has("structured_output"),
            takes_prefill: has("assistant_prefill"),
            thinking,
            thinks_by_default: has("thinking_by_default") || has("thinking_always_on"),
            takes_thinking_budget: thinking == ThinkingForm::Budget || has("legacy_thinking"),
            efforts: facts.effort_levels.clone(),
            max_output_tokens: facts.max_output_tokens,
        }
    }

    /// Whether it is one of Anthropic's.
    pub fn is_claude(&self) -> bool {
        self.family == Family::Anthropic
    }

    /// Whether a message with results of tools may have nothing else for it.
    pub fn takes_results_alone(&self) -> bool {
        const ALONE: [&str; 6] =
            ["amazon.nova", "meta.llama", "mistral.", "cohere.", "ai21.", "writer."];
        ALONE.iter().any(|family| self.id.starts_with(family))
    }

    /// The highest effort that it takes up to this one, or its lowest; `None` if it takes no effort.
    pub fn effort_up_to(&self, wanted: Effort) -> Option<Effort> {
        let highest = self.efforts.iter().copied().filter(|effort| *effort <= wanted).max();
        highest.or_else(|| self.efforts.first().copied())
    }
}

//! What a target's model can take: the schema of its bodies, its features and its cap on output.

use crate::bedrock::body::Peek;
use crate::bedrock::{Api, Family, Features, ModelId, Operation};
use crate::catalogue::{Endpoint, ModelFacts, Surface, Surfaces};
use crate::config;

/// Output tokens that are assumed of a model that is not in the catalogue, for a request without a maximum.
const DEFAULT_MAX_OUTPUT: u64 = 4096;

/// What a target can take. It never changes, is small and has no pointers, so that those of a route stand
/// side by side in the route and a request need not look at each target.
#[derive(Clone, Copy, Debug)]
pub struct Capabilities {
    /// The schema of the model's InvokeModel bodies.
    pub family: Family,
    /// Whether not even the maker of its model is known: the id is an ARN that does not show it.
    pub is_opaque: bool,
    pub(super) configured_cap: Option<u32>,
    /// The model's own cap, by the catalogue.
    pub(super) known_cap: Option<u32>,
    features: Option<Features>,
    /// The endpoint that it is called at.
    pub service: Endpoint,
    /// What it serves.
    pub surfaces: Surfaces,
    /// Whether the config says what it serves.
    has_configured_surfaces: bool,
    /// Whether its model takes the form of an answer in Chat Completions and answers as if it were not there.
    pub ignores_chat_formats: bool,
    /// Whether the mantle endpoint counts the tokens of its requests, since its own endpoint does not.
    pub counts_at_mantle: bool,
}

impl Capabilities {
    pub(super) fn new(
        config: &config::Target,
        base_model: &ModelId,
        model_info: Option<&ModelFacts>,
    ) -> Capabilities {
        let known = model_info.and_then(ModelFacts::features);
        // The config names some features; the others are the model's own.
        let of_unknown = match config.service {
            Endpoint::Runtime => Features::UNNAMED.without(Features::WEB_SEARCH),
            Endpoint::Mantle => Features::UNNAMED,
        };
        let unnamed = known.map_or(of_unknown, |known| known.common(Features::UNNAMED));
        Capabilities {
            family: base_model.family(),
            is_opaque: base_model.base().is_none(),
            configured_cap: config.max_output_tokens,
            known_cap: model_info.and_then(|info| info.max_output_tokens),
            features: config.features.map(|named| [named, unnamed].into_iter().collect()).or(known),
            service: config.service,
            surfaces: config
                .surfaces
                .or_else(|| {
                    let known: Surfaces = model_info?.surfaces.iter().copied().collect();
                    Some(known).filter(|known| !known.is_empty())
                })
                .unwrap_or_else(|| Surfaces::of_unknown_model(config.service)),
            has_configured_surfaces: config.surfaces.is_some(),
            ignores_chat_formats: config.service == Endpoint::Runtime
                && model_info.and_then(|info| info.has("chat_completions_response_format"))
                    == Some(false),
            counts_at_mantle: config.service == Endpoint::Runtime
                && config.surfaces.is_none()
                && model_info.is_some_and(|info| {
                    let counter = info.count_tokens_with.as_ref();
                    counter.is_some_and(|counter| counter.endpoint == Endpoint::Mantle)
                }),
        }
    }

    /// Whether the target serves an operation. What the catalogue does not say of native operations is
    /// Bedrock's to say.
    pub fn serves(&self, operation: Operation) -> bool {
        let Some(surface) = Surface::of(operation) else { return true };
        match operation.api() {
            Api::Bedrock if !self.has_configured_surfaces => self.service == Endpoint::Runtime,
            Api::Bedrock => self.service == Endpoint::Runtime && self.surfaces.contains(surface),
            _ => {
                let is_elsewhere =
                    operation == Operation::CountMessageTokens && self.counts_at_mantle;
                is_elsewhere || self.surfaces.contains(surface)
            }
        }
    }

    /// Whether requests can be translated for it: into Converse.
    pub fn takes_translations(&self) -> bool {
        self.service == Endpoint::Runtime && self.surfaces.contains(Surface::Converse)
    }

    /// Whether it is a Claude that InvokeModel reaches, in whose schema Messages is.
    pub fn is_invoked_claude(&self) -> bool {
        self.service == Endpoint::Runtime
            && self.family == Family::Anthropic
            && self.surfaces.contains(Surface::InvokeModel)
    }

    /// Whether bodies in the schema of Claude go to it as they are. An ARN that does not show its model is taken for
    /// Claude's.
    pub fn takes_claude_bodies(&self) -> bool {
        self.is_opaque || self.family == Family::Anthropic
    }

    /// Largest answer, in tokens: what the target lowers maxima to, or the model's own, if one is known.
    pub fn max_output_tokens(&self) -> Option<u32> {
        [self.configured_cap, self.known_cap].into_iter().flatten().min()
    }

    /// The features of these that the target's endpoint does not have, whatever its model is. Only OpenAI's and
    /// Anthropic's APIs are at both endpoints.
    pub fn lacks_at_endpoint(&self, operation: Operation, used: Features) -> Features {
        let is_elsewhere = operation == Operation::CountMessageTokens && self.counts_at_mantle;
        let lacked = match self.service {
            _ if operation.api() == Api::Bedrock => return Features::default(),
            // Source: AWS's pages on inference with Responses and with Messages.
            Endpoint::Runtime if !is_elsewhere => {
                let known = self.features.unwrap_or_default().common(Features::WEB_SEARCH);
                let of_service = [Features::WEB_SEARCH, Features::SERVER_TOOLS];
                let all = of_service.into_iter().chain([Features::BACKGROUND]);
                all.collect::<Features>().without(known)
            }
            _ => Features::OUTPUT_CONFIG_FORMAT,
        };
        used.common(lacked)
    }

    /// The features that the target's model lacks for a request; none if it can take the request. It lacks thinking if
    /// its cap leaves no room for the thinking budget; the model's own cap does not apply if
    /// `is_requested_model`.
    pub fn lacks(&self, peek: &Peek, is_requested_model: impl FnOnce() -> bool) -> Features {
        let fits = |cap| peek.fits(cap);
        let used = peek.features.without(Features::OF_ENDPOINTS);
        let missing = self.features.map(|features| used.without(features)).unwrap_or_default();
        let has_room = || match self.configured_cap {
            Some(cap) => fits(cap),
            None => self.known_cap.is_none_or(fits) || is_requested_model(),
        };
        if missing.is_empty() && !has_room() { Features::REASONING } else { missing }
    }
}

/// The most output tokens of an answer to a request that names no maximum.
pub(super) fn default_max_output(target: &config::Target, model_info: Option<&ModelFacts>) -> u64 {
    let unknown = target.max_output_tokens.map_or(DEFAULT_MAX_OUTPUT, u64::from);
    model_info.map_or(unknown, |info| info.most_output(unknown))
}

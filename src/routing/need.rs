//! What a request is to a target: its operation, its size, and what it takes of the quota.

use crate::bedrock::catalogue::{self, ModelFacts};
use crate::bedrock::extent::Extent;
use crate::bedrock::{ModelId, Operation};
use crate::config::{self, Config};

/// Output tokens of a model that nothing is known of, for a request that names no maximum.
const DEFAULT_MAX_OUTPUT: u64 = 4096;

/// What a request needs of a target's quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Need {
    /// Estimated input tokens.
    pub input: u64,
    /// The most output tokens that the answer may have.
    pub max_output: u64,
    /// The operation on the model; `None` for what names none.
    pub operation: Option<Operation>,
    /// The most tokens that the request can have, where the target reserves those.
    pub most: Option<u64>,
}

impl Need {
    /// Whether the operation draws on the quota. Counting tokens draws on none.
    pub fn is_counted(&self) -> bool {
        self.operation.is_some_and(|operation| operation != Operation::CountTokens)
    }

    /// Whether the operation stands beside inference: counting tokens. What it meets at a target says
    /// nothing of inference there, nor the other way round.
    pub fn is_side(&self) -> bool {
        self.operation == Some(Operation::CountTokens)
    }

    /// Tokens that are taken at the start.
    pub fn tokens(&self) -> u64 {
        self.most.unwrap_or_else(|| self.expected())
    }

    /// Estimated input and maximum output.
    pub fn expected(&self) -> u64 {
        self.input.saturating_add(self.max_output)
    }
}

/// The size of a request, as far as it decides a [`Need`] and a [`Bound`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Size {
    /// Bytes of the whole body.
    pub body_bytes: usize,
    /// Bytes of text and JSON.
    pub text_bytes: usize,
    /// Images, documents and the like.
    pub media: usize,
    /// The maximum that the request names.
    pub max_output: Option<u64>,
    /// The tokens for thinking that it names.
    pub thinking: Option<u64>,
    /// What of its size the bytes do not tell.
    pub extent: Extent,
}

/// By how much a request is larger than a whole quota, in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excess {
    /// What the request takes at its start.
    pub tokens: u64,
    /// The input of that.
    pub input: u64,
    /// What the quota has in a minute.
    pub quota: u64,
    /// Whether the output is the model's own maximum, since the request names none.
    pub is_own: bool,
}

/// What an answer to a request without a maximum may have of a target's model.
pub(super) fn own_output(target: &config::Target, facts: Option<&ModelFacts>) -> u64 {
    let unknown = target.max_output_tokens.map_or(DEFAULT_MAX_OUTPUT, u64::from);
    facts.map_or(unknown, |facts| facts.most_output(unknown))
}

/// Warnings of quotas that are below what a request without a maximum takes at its start: it never fits.
pub fn short_quotas(config: &Config) -> Vec<String> {
    let short = config.targets.iter().filter_map(|target| {
        let shared = target.quota.and_then(|at| config.quotas.get(at));
        let quota = shared.map_or(target.tpm, |shared| shared.tpm)?;
        let model = ModelId::new(target.base_model.as_deref().unwrap_or(&target.model)).ok()?;
        let own = own_output(target, catalogue::lookup(&model));
        let assumed = target.assumed_max_output_tokens.map_or(own, |most| own.min(u64::from(most)));
        let name = &target.name;
        (assumed > quota).then(|| {
            format!(
                "target '{name}': a request without a maximum of output tokens takes {assumed} tokens of its quota \
                 and never fits into {quota} a minute: have clients name a maximum, or set \
                 assumed_max_output_tokens"
            )
        })
    });
    short.collect()
}

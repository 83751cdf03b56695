//! What a request is to a target: its operation, its size, and what it takes of the quota.

use crate::bedrock::Operation;
use crate::bedrock::extent::Extent;

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

/// The size of a request, as far as it decides a [`Need`] and a [`Bound`](super::Bound).
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

//! What a request asks of a target: its operation, its size and the quota that it takes.

use crate::bedrock::Operation;
use crate::bedrock::extent::Extent;

/// What a request takes of one target's quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaDemand {
    /// Estimated input tokens.
    pub input: u64,
    /// The most output tokens that the answer may have.
    pub max_output: u64,
    /// The operation on the model; `None` for an operation without a model.
    pub operation: Option<Operation>,
    /// An upper bound of input and output, where the target reserves that instead of the estimate.
    pub upper_bound: Option<u64>,
    /// Whether the request asks for the service tier `reserved`.
    pub is_reserved_tier: bool,
}

impl QuotaDemand {
    /// Whether the operation draws on the quota. Counting tokens and operations without a model do not.
    pub fn draws_on_quota(&self) -> bool {
        self.operation.is_some_and(|operation| !operation.counts_tokens())
    }

    /// Whether the operation counts tokens, which Bedrock throttles and fails apart from inference.
    pub fn is_count_tokens(&self) -> bool {
        self.operation.is_some_and(Operation::counts_tokens)
    }

    /// Tokens that are reserved before the request is sent.
    pub fn tokens(&self) -> u64 {
        self.upper_bound.unwrap_or_else(|| self.expected())
    }

    /// Estimated input plus maximum output.
    pub fn expected(&self) -> u64 {
        self.input.saturating_add(self.max_output)
    }
}

/// The size of a request: the basis of its [`QuotaDemand`] and its [`Bound`](super::Bound) at each
/// target.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestSize {
    /// Bytes of the whole body.
    pub body_bytes: usize,
    /// Bytes of text and JSON.
    pub text_bytes: usize,
    /// Images, documents and other media.
    pub media: usize,
    /// The maximum of output tokens that the request names.
    pub max_output: Option<u64>,
    /// The thinking budget that it names, in tokens.
    pub thinking: Option<u64>,
    /// What makes it larger or more expensive than its size suggests.
    pub extent: Extent,
}

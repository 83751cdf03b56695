//! What the gateway reads of a request body: the caps on output tokens, and the features used.
//!
//! Each model family keeps its cap in a field of its own; Converse has one for all. A body may
//! carry more than one cap, so all are found, with their place, and [`clamp`] replaces just
//! those digits. Keys behind JSON escapes and repeated keys are found too: what the model would
//! read, the gateway has read. The APIs of OpenAI and Anthropic also have the model in the body, and settings that
//! [`change`] can replace likewise. Each schema has a file of its own in `body/`.

mod anthropic;
mod api;
mod change;
mod chat;
mod converse;
mod flat;
mod members;
mod openai;
mod responses;

use std::ops::Range;

use smallvec::SmallVec;

pub use self::api::Parameters;
use self::api::Places;
pub use self::change::{Changes, change, clamp};
use super::betas::FlaggedMembers;
use super::cached_prompt::{CachedPrompt, Part};
use super::extent::Extent;
use super::features::Features;
use super::json::{JsonError, Scanner};
use super::model_id::Family;
use super::operation::Operation;

/// What [`peek`] found in a body.
#[derive(Clone, Debug, Default)]
pub struct Peek {
    caps: SmallVec<[(u64, Range<usize>); 2]>,
    /// Tokens the request sets aside for thinking; must stay below the cap.
    pub thinking_budget: Option<u64>,
    /// Features the request uses.
    pub features: Features,
    /// The members that count beside a beta flag only, of a body in Anthropic's schema.
    pub flagged: FlaggedMembers,
    /// Whether it carries fields of its model's own beside those that all models have.
    pub has_model_fields: bool,
    /// Images, documents, videos and recordings in the messages.
    pub media: usize,
    /// Bytes of the body that they take.
    pub media_bytes: usize,
    /// The key of the prompt cache that the request can use, if it has a cache point or names its cache.
    pub cached_prefix: Option<u64>,
    /// The part of its size that does not follow from the bytes alone.
    pub extent: Extent,
    /// What an API with the model in the body says of the call there.
    pub parameters: Parameters,
    places: Places,
    prompt: CachedPrompt,
    part: Part,
}

impl Peek {
    /// The largest cap on output tokens that the body carries.
    pub fn max_output_tokens(&self) -> Option<u64> {
        self.caps.iter().map(|(value, _)| *value).max()
    }

    /// What is known of a body that was not read.
    pub fn unread() -> Peek {
        Peek { extent: Extent::unread(), ..Peek::default() }
    }

    /// Whether a model with this cap can take the request once it is clamped: Anthropic's models
    /// refuse a thinking budget that is not below `max_tokens`.
    pub fn fits(&self, cap: u32) -> bool {
        self.thinking_budget.is_none_or(|budget| budget < u64::from(cap))
    }
}

/// Reads a request body. `family` is that of the requested model and counts for the Invoke
/// operations only. Of the body of an unknown family nothing counts but how many answers it asks for,
/// and that of CountTokens, which has no cap, is not read at all.
///
/// # Errors
/// When the body is not JSON.
pub fn peek(operation: Operation, family: Family, body: &[u8]) -> Result<Peek, JsonError> {
    let mut peek = Peek::default();
    let mut scanner = Scanner::new(body);
    match operation {
        Operation::Converse | Operation::ConverseStream => peek.converse(&mut scanner)?,
        Operation::CountTokens => return Ok(peek),
        Operation::CreateChatCompletion => peek.chat_completion(&mut scanner)?,
        Operation::CreateResponse => peek.response(&mut scanner)?,
        // The bridge reads the rest.
        Operation::CreateEmbeddings => peek.api_body(&mut scanner, |_, _, _| Ok(()))?,
        Operation::CreateMessage | Operation::CountMessageTokens => peek.message(&mut scanner)?,
        _ => match family {
            Family::Unknown => {
                peek.extent.is_open = true;
                // The upstream decides whether the body is valid JSON.
                let _ = peek.only_answers(&mut scanner);
                return Ok(peek);
            }
            Family::Anthropic => peek.anthropic(&mut scanner)?,
            Family::Nova => peek.converse(&mut scanner)?,
            Family::TitanEmbed => peek.flat(&mut scanner, &[])?,
            Family::TitanText => peek.titan(&mut scanner)?,
            Family::Llama => peek.flat(&mut scanner, &["max_gen_len"])?,
            Family::Mistral
            | Family::DeepSeek
            | Family::Ai21
            | Family::Cohere
            | Family::Qwen
            | Family::OpenAi => {
                peek.flat(&mut scanner, &["max_tokens", "max_completion_tokens"])?;
            }
        },
    }
    scanner.end()?;
    peek.cached_prefix = peek.prompt.key(body).or(peek.cached_prefix);
    Ok(peek)
}

#[cfg(test)]
mod tests;

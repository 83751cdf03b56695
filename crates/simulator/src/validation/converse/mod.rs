//! What a request to Converse or ConverseStream must be.
//!
//! First the shapes of the service model, then the rules for the conversation, its tools, cache points,
//! media and thinking, and what the model takes at all. Messages are those of Bedrock, as far as they are
//! known.

pub(super) mod additional_fields;
mod blocks;
mod cache_points;
mod conversation;
mod inference;
mod media;
mod media_shapes;
mod reasoning;
mod shapes;
#[cfg(test)]
mod tests;
pub(super) mod thinking;
mod tool_turns;
mod tools;

use serde_json::Value;

use super::Model;
use super::shape;
use crate::answer::Invalid;

/// Which request a body is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Kind {
    Converse,
    ConverseStream,
    /// What CountTokens counts.
    Counted,
}

/// Refuses a body that Bedrock or the model would refuse.
///
/// # Errors
/// When there is a reason.
pub(in super::super) fn check(body: &Value, model: &Model, kind: Kind) -> Result<(), Invalid> {
    let shape = match kind {
        Kind::Converse => &shapes::CONVERSE,
        Kind::ConverseStream => &shapes::CONVERSE_STREAM,
        Kind::Counted => &shapes::COUNTED,
    };
    shape::check(body, shape)?;
    conversation::check(body, model)?;
    tools::check(body, model)?;
    tool_turns::check(body, model)?;
    cache_points::check(body, model)?;
    media::check(body, model)?;
    reasoning::check(body, model)?;
    additional_fields::check(body, model)?;
    thinking::check(body, model)?;
    inference::check(body, model)
}

/// What a model says, as Bedrock passes it on.
pub(super) fn of_model(message: impl std::fmt::Display) -> Invalid {
    Invalid::new(format!("The model returned the following errors: {message}"))
}

/// The refusal of a member that this model does not take.
fn unsupported(member: &str) -> Invalid {
    Invalid::new(format!(
        "This model doesn't support the {member} field. Remove {member} and try again."
    ))
}

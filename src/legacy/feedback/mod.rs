//! Feedback items: the result of an analysis of a section.
//!
//! A model's answer is read leniently ([`read`]), so that a slip of the model costs a field and
//! not the answer, and then cut down to what is worth showing ([`dedupe`]). Whatever the model
//! wrote, an item that comes out of here keeps the bounds that clients of the legacy application
//! rely on.

mod dedupe;
mod read;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use dedupe::{MIN_CONFIDENCE, dedupe};
pub use read::{MAX_ANSWER_BYTES, MAX_ITEMS, Unreadable, read};

/// Most characters of a description.
pub const MAX_DESCRIPTION: usize = 1000;
/// Most characters of a suggestion.
pub const MAX_SUGGESTION: usize = 500;
/// Most characters of an example.
pub const MAX_EXAMPLE: usize = 300;
/// Most questions of an item.
pub const MAX_QUESTIONS: usize = 2;
/// Most references of an item to the checklist.
pub const MAX_REFS: usize = 3;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Must be mended.
    Critical,
    /// Should be mended.
    Important,
    /// Could be better.
    #[default]
    Suggestion,
}

/// The risk of leaving a section as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Risk {
    /// A wrong decision, or harm.
    High,
    /// Doubt or rework.
    Medium,
    /// Little.
    #[default]
    Low,
}

/// One finding, with the names and values that clients know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// Tells the item from the others of its answer.
    pub id: String,
    /// How much it matters.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// What it is about, usually a topic of the checklist.
    pub category: String,
    /// The finding, at most [`MAX_DESCRIPTION`] characters; never blank.
    pub description: String,
    /// What to do about it, at most [`MAX_SUGGESTION`] characters.
    pub suggestion: String,
    /// How that could read, at most [`MAX_EXAMPLE`] characters.
    pub example: String,
    /// Questions for the author, at most [`MAX_QUESTIONS`].
    pub questions: Vec<String>,
    /// Numbers of checklist topics, distinct, at most [`MAX_REFS`].
    pub hawkeye_refs: Vec<u8>,
    /// The risk of leaving it.
    pub risk_level: Risk,
    /// How sure the model is, 0.0 to 1.0.
    pub confidence: f64,
}

/// The one item in place of an analysis that is unavailable, with a confidence
/// below what [`dedupe`] lets through, so it belongs after that step.
pub fn unavailable() -> Item {
    Item {
        id: new_id(),
        kind: Kind::Suggestion,
        category: "Analysis Status".to_owned(),
        description: "The automatic analysis of this section is temporarily unavailable. The \
                      section itself was not judged."
            .to_owned(),
        suggestion: "Analyze the section again in a few minutes, or review it by hand against \
                     the checklist."
            .to_owned(),
        example: String::new(),
        questions: Vec::new(),
        hawkeye_refs: vec![13],
        risk_level: Risk::Low,
        confidence: 0.5,
    }
}

fn new_id() -> String {
    Uuid::new_v4().to_string()
}

//! What is known of the models of Amazon Bedrock: surfaces, limits, features, prices, names, lifecycles.
//!
//! Facts are data, in layers: the shipped file is the lowest, a file of the operator's lies on top of it
//! and corrects it row by row and field by field. [`Catalogue::facts`] gives what counts for a model,
//! [`Catalogue::explain`] where each value came from. A model that no layer knows is refused nowhere.
//!
//! Everything here is pure but for a bounded memory of what was looked up: text in, facts out.

mod betas;
mod catalogue;
mod diff;
mod facts;
mod feature;
mod file;
mod layer;
pub mod lifecycle;
mod merge;
mod price;
mod surface;
#[cfg(test)]
mod tests;
mod typo;

pub use betas::{BetaSurface, BetaTable};
pub use catalogue::{Catalogue, ExplainedFact, Origin};
pub use diff::{Difference, differences};
pub use facts::{Effort, ModelFacts, TokenCounter};
pub use feature::FEATURE_NAMES;
pub use file::{FORMAT, FileError, MAX_FILE_BYTES, Mode};
pub use layer::Layer;
pub use lifecycle::{Lifecycle, NoSuccessor};
pub use price::{Prices, TierPrice, TokenPrice};
pub use surface::{Surface, Surfaces};

use serde::{Deserialize, Serialize};

/// Where a model is called.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Endpoint {
    /// Bedrock Runtime.
    #[default]
    Runtime,
    /// Bedrock's endpoint for the APIs of OpenAI and Anthropic.
    Mantle,
}

impl Endpoint {
    /// Both.
    pub const ALL: [Endpoint; 2] = [Endpoint::Runtime, Endpoint::Mantle];

    /// Its name in the file.
    pub fn name(self) -> &'static str {
        match self {
            Endpoint::Runtime => "runtime",
            Endpoint::Mantle => "mantle",
        }
    }
}

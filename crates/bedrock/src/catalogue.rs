//! What is publicly known of each model: limits, features and list prices.
//!
//! The table is data (`catalogue.json`), read once. A model that is not in it is not refused
//! anywhere; the gateway then just knows nothing of its limits.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde::{Deserialize, Deserializer};

use super::features::Features;
use super::model_id::ModelId;

/// Facts of one model.
#[derive(Clone, Debug, Deserialize)]
pub struct ModelFacts {
    /// What the model does: `chat`, `embedding`, `image_generation`...
    pub mode: &'static str,
    /// Largest input, in tokens.
    pub max_input_tokens: Option<u32>,
    /// Largest answer, in tokens.
    pub max_output_tokens: Option<u32>,
    /// List prices.
    #[serde(rename = "usd_per_million_tokens")]
    pub price: Option<Price>,
    #[serde(default, deserialize_with = "by_names")]
    features: Features,
}

/// List prices in USD per million tokens.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct Price {
    /// Fresh input.
    #[serde(default)]
    pub input: f64,
    /// Output.
    #[serde(default)]
    pub output: f64,
    /// Input read from a prompt cache.
    #[serde(default)]
    pub cache_read: Option<f64>,
    /// Input written to a prompt cache.
    #[serde(default)]
    pub cache_write: Option<f64>,
}

impl ModelFacts {
    /// The most output tokens an answer can have: none for a model that writes no text, `unknown`
    /// if the catalogue does not have it.
    pub fn most_output(&self, unknown: u64) -> u64 {
        if self.mode == "chat" { self.max_output_tokens.map_or(unknown, u64::from) } else { 0 }
    }
    /// The request features that the model takes.
    pub fn features(&self) -> Features {
        self.features
    }
}

/// Reads features by the catalogue's own names.
fn by_names<'de, D: Deserializer<'de>>(names: D) -> Result<Features, D::Error> {
    Ok(Features::from_catalogue_names(Vec::<&'de str>::deserialize(names)?.into_iter()))
}

// Names are those of the text itself.
static CATALOGUE: LazyLock<HashMap<&str, ModelFacts>> = LazyLock::new(|| {
    let facts = serde_json::from_str(include_str!("catalogue.json"));
    #[expect(clippy::expect_used, reason = "the text is compiled in, and the tests read it")]
    facts.expect("the built-in catalogue is readable")
});

/// What an output token of the model costs of its quota, unless the account has it otherwise: 5
/// for Claude 3.7 Sonnet, Claude 4 and later Claude models, 1 for all else (AWS user guide, "How
/// tokens are counted in Amazon Bedrock").
pub fn burndown(model: &ModelId) -> u32 {
    const EARLIER: [&str; 6] = [
        "anthropic.claude-v",
        "anthropic.claude-instant",
        "anthropic.claude-3-opus",
        "anthropic.claude-3-sonnet",
        "anthropic.claude-3-haiku",
        "anthropic.claude-3-5-",
    ];
    match model.base() {
        Some(base) if base.starts_with("anthropic.claude-") => {
            if EARLIER.iter().any(|earlier| base.starts_with(earlier)) { 1 } else { 5 }
        }
        _ => 1,
    }
}

/// What input beyond a number of tokens does to the price of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongContext {
    /// Input tokens from which on it costs more.
    pub above: u64,
    /// The price of input then, in per cent of the list price.
    pub input_percent: u64,
    /// The price of output.
    pub output_percent: u64,
}

/// What long contexts cost with a model; `None` if they cost what others do.
pub fn long_context(model: &ModelId) -> Option<LongContext> {
    let of = |above, input_percent, output_percent| {
        Some(LongContext { above, input_percent, output_percent })
    };
    let base = model.base()?;
    let is = |start| base.starts_with(start);
    if is("anthropic.claude-haiku-5-5") {
        of(100_000, 500, 500)
    } else if is("anthropic.claude-sonnet-4-2") || is("anthropic.claude-sonnet-4-5") {
        of(200_000, 200, 150)
    } else if is("openai.gpt-5") || is("openai.gpt-6") {
        of(272_000, 200, 150)
    } else {
        None
    }
}

/// The id that was probably meant by one that is not in the catalogue: that lacks its `:0`, has another
/// date, or differs in a letter or two. One that differs in other numbers alone may well be a newer
/// model.
pub fn probably_meant(model: &ModelId) -> Option<&'static str> {
    const MOST_TYPOS: usize = 2;
    let base = model.base().filter(|base| base.contains('.') && lookup(model).is_none())?;
    let with_version = format!("{base}:0");
    let (words, dateless) = (without_digits(base), without_date(base));
    let distance = |id: &str| {
        if id == with_version || dateless.is_some() && without_date(id) == dateless {
            return 0;
        }
        // The difference in length bounds the distance, and spares nearly all ids the comparison.
        if id.len().abs_diff(base.len()) > MOST_TYPOS || without_digits(id) == words {
            return usize::MAX;
        }
        strsim::osa_distance(id, base)
    };
    let nearest = CATALOGUE.keys().map(|id| (distance(id), *id)).min()?;
    (nearest.0 <= MOST_TYPOS).then_some(nearest.1)
}

fn without_digits(id: &str) -> String {
    id.chars().filter(|c| !c.is_ascii_digit()).collect()
}

/// An id without its date, which is a part of eight digits.
fn without_date(id: &str) -> Option<String> {
    let is_date = |part: &str| part.len() == 8 && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = id.split('-').collect();
    let has_date = parts.iter().any(|part| is_date(part));
    let rest: Vec<&str> = parts.into_iter().filter(|part| !is_date(part)).collect();
    has_date.then(|| rest.join("-"))
}

/// Whether a model takes `temperature`, `top_p` and `top_k`. Claude models do not from Opus 4.7, Sonnet 5 and
/// Haiku 5.5 on: they refuse a request that has one.
pub fn takes_sampling(model: &ModelId) -> bool {
    const WITHOUT: [&str; 7] = [
        "anthropic.claude-opus-4-7",
        "anthropic.claude-opus-4-8",
        "anthropic.claude-opus-5",
        "anthropic.claude-sonnet-5",
        "anthropic.claude-haiku-5",
        "anthropic.claude-fable-5",
        "anthropic.claude-mythos-5",
    ];
    model.base().is_none_or(|base| !WITHOUT.iter().any(|without| base.starts_with(without)))
}

/// The ids of all models and inference profiles that are known, in no order.
pub fn ids() -> impl Iterator<Item = &'static str> {
    CATALOGUE.keys().copied()
}

/// Whether this very id is in the catalogue.
pub fn is_listed(id: &str) -> bool {
    CATALOGUE.contains_key(id)
}

/// The facts of a model: by its id as it stands, else by its base id.
pub fn lookup(model: &ModelId) -> Option<&'static ModelFacts> {
    CATALOGUE.get(model.as_str()).or_else(|| CATALOGUE.get(model.base()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read_whole() {
        assert!(CATALOGUE.len() > 300);
    }

    #[test]
    fn a_profile_has_its_models_facts() {
        let facts = |id: &str| lookup(&ModelId::new(id).unwrap());
        let haiku = facts("us.anthropic.claude-3-haiku-20240307-v1:0").unwrap();
        assert_eq!(haiku.max_output_tokens, Some(4096));
        assert_eq!(haiku.price.unwrap().output, 1.25);
        assert!(haiku.features().contains(Features::VISION));
        assert!(!haiku.features().contains(Features::REASONING));
        assert!(facts("nobody.knows-this-v1:0").is_none());
    }

    #[test]
    fn later_claudes_burn_output_five_times() {
        for (id, wanted) in [
            ("anthropic.claude-3-5-sonnet-20241022-v2:0", 1),
            ("anthropic.claude-3-haiku-20240307-v1:0", 1),
            ("us.anthropic.claude-3-7-sonnet-20250219-v1:0", 5),
            ("anthropic.claude-sonnet-4-20250514-v1:0", 5),
            ("anthropic.claude-opus-5", 5),
            ("amazon.nova-lite-v1:0", 1),
        ] {
            assert_eq!(burndown(&ModelId::new(id).unwrap()), wanted, "{id}");
        }
    }

    #[test]
    fn the_newest_claudes_take_no_temperature() {
        for (id, wanted) in [
            ("us.anthropic.claude-sonnet-4-6", true),
            ("anthropic.claude-haiku-4-5-20251001-v1:0", true),
            ("eu.anthropic.claude-sonnet-5-5", false),
            ("anthropic.claude-haiku-5-5", false),
            ("anthropic.claude-opus-4-7", false),
            ("amazon.nova-lite-v1:0", true),
        ] {
            assert_eq!(takes_sampling(&ModelId::new(id).unwrap()), wanted, "{id}");
        }
    }
}

//! What models cost, by service tier and by the length of the prompt.
//!
//! A price is a whole number of pico-dollars for one token. The file has dollars for a million tokens.

#[cfg(test)]
use schemars::JsonSchema;
use serde::Deserialize;
#[cfg(test)]
use serde::Serialize;

use super::money::TokenPrice;

/// Prices of the models that match, in USD for a million tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
#[cfg_attr(test, schemars(extend("required" = ["input", "output"])))]
pub struct Price {
    /// An exact id, or a valid glob.
    #[serde(skip)]
    pub models: String,
    /// Fresh input.
    #[serde(deserialize_with = "TokenPrice::deserialize")]
    #[cfg_attr(test, schemars(with = "f64", range(min = 0.0, max = 1_000_000.0), example = 3.0))]
    pub input: u64,
    /// Output.
    #[serde(deserialize_with = "TokenPrice::deserialize")]
    #[cfg_attr(test, schemars(with = "f64", range(min = 0.0, max = 1_000_000.0), example = 15.0))]
    pub output: u64,
    /// Input read from a prompt cache. Default: as fresh input.
    #[serde(deserialize_with = "TokenPrice::deserialize_option")]
    #[cfg_attr(test, schemars(with = "Option<f64>", range(min = 0.0, max = 1_000_000.0)))]
    pub cache_read: Option<u64>,
    /// Input written to a prompt cache. Default: as fresh input.
    #[serde(deserialize_with = "TokenPrice::deserialize_option")]
    #[cfg_attr(test, schemars(with = "Option<f64>", range(min = 0.0, max = 1_000_000.0)))]
    pub cache_write: Option<u64>,
    /// Input written to a prompt cache for an hour. Default: twice fresh input, or as `cache_write` if
    /// that is more.
    #[serde(deserialize_with = "TokenPrice::deserialize_option")]
    #[cfg_attr(test, schemars(with = "Option<f64>", range(min = 0.0, max = 1_000_000.0)))]
    pub cache_write_1h: Option<u64>,
    /// Prices that differ by service tier or by the length of the prompt.
    #[cfg_attr(test, schemars(length(max = 16)))]
    pub rates: Vec<PriceRate>,
}

/// Prices of a service tier, of long prompts, or of both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
#[cfg_attr(test, schemars(extend("required" = ["input", "output"])))]
pub struct PriceRate {
    /// The service tier that served the request.
    pub tier: PriceTier,
    /// The prices count for requests whose whole input, cached or not, has more tokens than this.
    /// Default: for all that no other entry of the tier is for.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000_000), example = 200_000))]
    pub above: Option<u64>,
    /// Fresh input.
    #[serde(deserialize_with = "TokenPrice::deserialize")]
    #[cfg_attr(test, schemars(with = "f64", range(min = 0.0, max = 1_000_000.0), example = 3.0))]
    pub input: u64,
    /// Output.
    #[serde(deserialize_with = "TokenPrice::deserialize")]
    #[cfg_attr(test, schemars(with = "f64", range(min = 0.0, max = 1_000_000.0), example = 15.0))]
    pub output: u64,
    /// Input read from a prompt cache. Default: in the proportion to fresh input that
    /// the model has otherwise.
    #[serde(deserialize_with = "TokenPrice::deserialize_option")]
    #[cfg_attr(test, schemars(with = "Option<f64>", range(min = 0.0, max = 1_000_000.0)))]
    pub cache_read: Option<u64>,
    /// Input written to a prompt cache. Default: in the proportion to fresh input that
    /// the model has otherwise.
    #[serde(deserialize_with = "TokenPrice::deserialize_option")]
    #[cfg_attr(test, schemars(with = "Option<f64>", range(min = 0.0, max = 1_000_000.0)))]
    pub cache_write: Option<u64>,
    /// Input written to a prompt cache for an hour. Default: in the proportion to fresh input that
    /// the model has otherwise.
    #[serde(deserialize_with = "TokenPrice::deserialize_option")]
    #[cfg_attr(test, schemars(with = "Option<f64>", range(min = 0.0, max = 1_000_000.0)))]
    pub cache_write_1h: Option<u64>,
}

/// A service tier that has prices of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum PriceTier {
    /// The default tier.
    #[default]
    Standard,
    /// For work that can wait.
    Flex,
    /// Served before the others.
    Priority,
}

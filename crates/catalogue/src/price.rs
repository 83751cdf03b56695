//! List prices: by service tier, by the length of the prompt, and by how input meets the prompt cache.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::file::RawPrices;

/// Dearest price that a file may have, in USD per million tokens.
const MAX_PRICE: f64 = 1e6;

/// Prices in USD per million tokens; `None` where none is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct TokenPrice {
    /// Fresh input.
    pub input: Option<f64>,
    /// Output.
    pub output: Option<f64>,
    /// Input read from a prompt cache.
    pub cache_read: Option<f64>,
    /// Input written to a prompt cache for five minutes.
    pub cache_write_5m: Option<f64>,
    /// Input written to a prompt cache for an hour.
    pub cache_write_1h: Option<f64>,
}

/// The prices of one service tier.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TierPrice {
    /// The price of short prompts, or of all.
    pub base: TokenPrice,
    /// The prices of requests whose whole input is longer than so many tokens, ascending.
    pub above: Vec<(u64, TokenPrice)>,
}

/// The prices of one model.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Prices {
    /// The default tier.
    pub standard: Option<TierPrice>,
    /// The tier for work that can wait.
    pub flex: Option<TierPrice>,
    /// The tier that goes first.
    pub priority: Option<TierPrice>,
    /// Batch jobs.
    pub batch: Option<TierPrice>,
}

/// Prices as they are written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawPrice {
    input: Option<f64>,
    output: Option<f64>,
    cache_read: Option<f64>,
    cache_write_5m: Option<f64>,
    cache_write_1h: Option<f64>,
    above: Option<BTreeMap<String, RawBand>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawBand {
    input: Option<f64>,
    output: Option<f64>,
    cache_read: Option<f64>,
    cache_write_5m: Option<f64>,
    cache_write_1h: Option<f64>,
}

impl RawPrice {
    /// Checks all that the types do not.
    pub(super) fn check(&self) -> Result<(), String> {
        let own =
            [self.input, self.output, self.cache_read, self.cache_write_5m, self.cache_write_1h];
        let bands = self.above.iter().flatten();
        for (tokens, _) in bands.clone() {
            if tokens.parse::<u64>().is_err() {
                return Err(format!("`above` has '{tokens}', which is no number of tokens"));
            }
        }
        let longer = bands.flat_map(|(_, it)| {
            [it.input, it.output, it.cache_read, it.cache_write_5m, it.cache_write_1h]
        });
        match own
            .into_iter()
            .chain(longer)
            .flatten()
            .find(|price| !(0.0..=MAX_PRICE).contains(price))
        {
            Some(price) => Err(format!("{price} is no price in USD per million tokens")),
            None => Ok(()),
        }
    }
}

impl From<RawPrice> for TierPrice {
    fn from(raw: RawPrice) -> TierPrice {
        let RawPrice { input, output, cache_read, cache_write_5m, cache_write_1h, above } = raw;
        let base = TokenPrice { input, output, cache_read, cache_write_5m, cache_write_1h };
        // A band's price that is not stated is that of short prompts.
        let band = |band: RawBand| TokenPrice {
            input: band.input.or(input),
            output: band.output.or(output),
            cache_read: band.cache_read.or(cache_read),
            cache_write_5m: band.cache_write_5m.or(cache_write_5m),
            cache_write_1h: band.cache_write_1h.or(cache_write_1h),
        };
        let bands = above.into_iter().flatten();
        let bands = bands.filter_map(|(tokens, raw)| Some((tokens.parse().ok()?, band(raw))));
        let mut above: Vec<(u64, TokenPrice)> = bands.collect();
        above.sort_by_key(|(tokens, _)| *tokens);
        TierPrice { base, above }
    }
}

impl From<RawPrices> for Prices {
    fn from(raw: RawPrices) -> Prices {
        Prices {
            standard: raw.standard.map(TierPrice::from),
            flex: raw.flex.map(TierPrice::from),
            priority: raw.priority.map(TierPrice::from),
            batch: raw.batch.map(TierPrice::from),
        }
    }
}

//! What tokens cost: by the config's prices, else by the catalogue's.
//!
//! Prices are whole pico-dollars for a token and costs whole nano-dollars, so that sums over many
//! requests are exact; a request's cost is rounded once.

use std::collections::HashMap;

use crate::bedrock::{ModelId, Usage};
use crate::catalogue;
use crate::config::{self, Glob, GlobError};
use crate::routing::Bound;

/// The pattern whose price counts for models that nothing else has a price for.
const REST: &str = "*";

const PICO_PER_NANO: u128 = 1000;

/// What a cache write for an hour costs, in per cent of fresh input (AWS list prices).
const HOUR_OF_INPUT: u64 = 200;

/// Lists of prices round what a service tier costs on top: by so many per cent at most.
const ROUNDING_PERCENT: u64 = 10;

/// The prices of one model, in pico-dollars for a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenPrices {
    /// Fresh input.
    pub input: u64,
    /// Output.
    pub output: u64,
    /// Input read from a prompt cache.
    pub cache_read: u64,
    /// Input written to a prompt cache.
    pub cache_write: u64,
    /// Input written to a prompt cache for an hour.
    pub cache_write_1h: u64,
}

impl TokenPrices {
    /// What these tokens cost, in nano-dollars.
    pub fn cost(&self, usage: &Usage) -> u64 {
        let parts = [
            (usage.input, self.input),
            (usage.output, self.output),
            (usage.cache_read, self.cache_read),
            (usage.cache_write.saturating_sub(usage.cache_write_1h), self.cache_write),
            (usage.cache_write_1h.min(usage.cache_write), self.cache_write_1h),
        ];
        let part = |(count, rate)| u128::from(count).saturating_mul(u128::from(rate));
        let total = parts.into_iter().map(part).fold(0, u128::saturating_add);
        u64::try_from(total.saturating_add(PICO_PER_NANO / 2) / PICO_PER_NANO).unwrap_or(u64::MAX)
    }

    /// The same at a service tier that costs so many per cent on top.
    pub fn cost_with(&self, usage: &Usage, surcharge: u64) -> u64 {
        percent(self.cost(usage), 100 + surcharge)
    }

    /// The most that a request can cost, in nano-dollars: all of its input at the dearest rate.
    /// What nothing bounds costs more than any budget has.
    pub fn most(&self, bound: &Bound) -> u64 {
        let mut input = self.input.max(self.cache_write).max(self.cache_read);
        if bound.writes_cache {
            input = input.max(self.cache_write_1h);
        }
        let mut output = self.output;
        if let Some(long) = bound.long_context {
            input = percent(input, long.input_percent);
            output = percent(output, long.output_percent);
        }
        if bound.surcharge > 0 {
            let dearer = |rate| percent(rate, 100 + bound.surcharge + ROUNDING_PERCENT);
            (input, output) = (dearer(input), dearer(output));
        }
        if bound.input.is_none() && input > 0 || bound.output.is_none() && output > 0 {
            return u64::MAX;
        }
        let usage = Usage {
            input: bound.input.unwrap_or(0),
            output: bound.output.unwrap_or(0),
            ..Usage::default()
        };
        TokenPrices { input, output, ..*self }.cost(&usage)
    }
}

impl From<&config::Price> for TokenPrices {
    fn from(price: &config::Price) -> TokenPrices {
        let cache_write = price.cache_write.unwrap_or(price.input);
        TokenPrices {
            input: price.input,
            output: price.output,
            cache_read: price.cache_read.unwrap_or(price.input),
            cache_write,
            cache_write_1h: price.cache_write_1h.unwrap_or_else(|| hour(price.input, cache_write)),
        }
    }
}

impl From<&catalogue::TokenPrice> for TokenPrices {
    fn from(price: &catalogue::TokenPrice) -> TokenPrices {
        // A dollar for a million tokens is a million pico-dollars for one.
        let rate = |usd: f64| (usd * 1e6).round() as u64;
        let of = |price: Option<f64>| rate(price.unwrap_or(0.0));
        let (input, cache_write) = (of(price.input), of(price.cache_write_5m.or(price.input)));
        TokenPrices {
            input,
            output: of(price.output),
            cache_read: of(price.cache_read.or(price.input)),
            cache_write,
            cache_write_1h: price.cache_write_1h.map_or_else(|| hour(input, cache_write), rate),
        }
    }
}

/// What a cache write for an hour costs where no price of it is stated.
fn hour(input: u64, cache_write: u64) -> u64 {
    percent(input, HOUR_OF_INPUT).max(cache_write)
}

/// The prices of one config.
#[derive(Debug, Default)]
pub struct Prices {
    exact: HashMap<String, TokenPrices>,
    globs: Vec<(Glob, TokenPrices)>,
    rest: Option<TokenPrices>,
}

impl Prices {
    /// The prices that a config states.
    ///
    /// # Errors
    /// When a pattern is invalid, which the config has checked.
    pub fn new(config: &[config::Price]) -> Result<Prices, GlobError> {
        let mut prices = Prices::default();
        for price in config {
            let pattern = price.models.as_str();
            if pattern == REST {
                prices.rest = Some(price.into());
            } else if Glob::describes(pattern) {
                prices.globs.push((Glob::new(pattern)?, price.into()));
            } else {
                prices.exact.insert(pattern.to_owned(), price.into());
            }
        }
        Ok(prices)
    }

    /// The prices of a model: by the id that goes on the wire or the id of `base_model`, as they
    /// stand or without ARN and geography. An exact id counts before a glob, that before the
    /// catalogue, whose facts of `base_model` are `known`. `None` if there is no price.
    pub fn of(
        &self,
        model: &ModelId,
        base_model: &ModelId,
        known: Option<&catalogue::ModelFacts>,
    ) -> Option<TokenPrices> {
        // Prices are rarely configured, so their text is seldom in a cache.
        let is_stated = !self.exact.is_empty() || !self.globs.is_empty();
        let stated = || if is_stated { self.stated(model, base_model) } else { None };
        let of_catalogue = || {
            let standard = known?.prices.standard.as_ref()?;
            Some(TokenPrices::from(&standard.base)).filter(is_by_token)
        };
        stated().or_else(of_catalogue).or(self.rest)
    }

    fn stated(&self, model: &ModelId, base_model: &ModelId) -> Option<TokenPrices> {
        let ids = [
            Some(model.as_str()),
            model.arn_resource(),
            Some(base_model.as_str()),
            base_model.base(),
        ];
        let ids = || ids.into_iter().flatten();
        let glob = |id: &str| self.globs.iter().find(|(glob, _)| glob.is_match(id));
        ids()
            .find_map(|id| self.exact.get(id).copied())
            .or_else(|| ids().find_map(|id| glob(id).map(|(_, rates)| *rates)))
    }
}

fn percent(rate: u64, percent: u64) -> u64 {
    // The nearest whole one, as a cost is.
    let exact = (u128::from(rate) * u128::from(percent) + 50) / 100;
    u64::try_from(exact).unwrap_or(u64::MAX)
}

/// Whether a model of the catalogue is paid by its tokens; one that costs nothing by them is paid by
/// something else.
fn is_by_token(rates: &TokenPrices) -> bool {
    *rates != TokenPrices::default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn price(models: &str, input: u64) -> config::Price {
        let models = models.to_owned();
        config::Price {
            models,
            input,
            output: 5 * input,
            cache_read: None,
            cache_write: None,
            cache_write_1h: None,
        }
    }

    fn input(prices: &Prices, model: &str) -> Option<u64> {
        let model = ModelId::new(model).unwrap();
        let known = catalogue::Catalogue::shipped().facts(&model, "");
        prices.of(&model, &model, known.as_deref()).map(|rates| rates.input)
    }

    #[test]
    fn a_more_specific_price_takes_precedence() {
        let sonnet = "anthropic.claude-3-sonnet-20240229-v1:0";
        let haiku = "anthropic.claude-3-haiku-20240307-v1:0";
        let none = Prices::new(&[]).unwrap();
        assert_eq!(input(&none, haiku), Some(250_000));
        assert_eq!(input(&none, &format!("us.{haiku}")), Some(250_000));
        assert_eq!(input(&none, "nobody.knows"), None);
        assert_eq!(input(&none, "amazon.rerank-v1:0"), None, "is paid by the query");
        let prices = [price("*", 4), price("anthropic.*", 1), price(haiku, 2)];
        let prices = Prices::new(&prices).unwrap();
        assert_eq!(input(&prices, haiku), Some(2));
        assert_eq!(input(&prices, &format!("eu.{haiku}")), Some(2));
        assert_eq!(input(&prices, sonnet), Some(1));
        // The catalogue counts before "*".
        assert_eq!(input(&prices, "amazon.nova-2-lite-v1:0"), Some(300_000));
        assert_eq!(input(&prices, "nobody.knows"), Some(4));
    }

    #[test]
    fn a_cost_is_exact_and_rounded_once() {
        let rates = TokenPrices {
            input: 37,
            output: 1500,
            cache_read: 3,
            cache_write: 300,
            cache_write_1h: 480,
        };
        let usage =
            Usage { input: 1000, output: 10, cache_read: 100, cache_write: 7, cache_write_1h: 0 };
        // 37,000 + 15,000 + 300 + 2,100 pico-dollars.
        assert_eq!(rates.cost(&usage), 54);
        let of_an_hour = Usage { cache_write: 1007, cache_write_1h: 1000, ..usage };
        assert_eq!(rates.cost(&of_an_hour), 534);
        let bound = Bound { input: Some(1000), output: Some(10), ..Bound::of_stream() };
        assert_eq!(rates.most(&bound), 315);
        assert_eq!(rates.most(&Bound { input: None, ..bound }), u64::MAX);
        let hour = Bound { writes_cache: true, ..bound };
        assert_eq!(rates.most(&hour), 480 + 15, "a write for an hour costs 480");
        assert_eq!(TokenPrices::default().most(&Bound { output: None, ..bound }), 0);
        let huge = Usage { input: u64::MAX, ..Usage::default() };
        assert_eq!(TokenPrices { input: u64::MAX, ..rates }.cost(&huge), u64::MAX);
    }

    proptest! {
        /// By whatever kinds of tokens, for an hour in the cache, at whatever tier and length.
        #[test]
        fn no_usage_within_a_bound_costs_more_than_the_most(
            input in 0u64..2_000_000, output in 0u64..200_000,
            shares in (0.0..=1.0f64, 0.0..=1.0f64, 0.0..=1.0f64, 0.0..=1.0f64),
            prices in (0u64..90_000_000, 0u64..90_000_000),
            surcharge in prop::sample::select(vec![0u64, 25, 75]), writes_cache: bool, is_long: bool,
        ) {
            let long = catalogue::LongContext { above: 0, input_percent: 200, output_percent: 150 };
            let bound = Bound {
                input: Some(input),
                output: Some(output),
                writes_cache,
                surcharge,
                long_context: is_long.then_some(long),
                ..Bound::of_stream()
            };
            let of = |whole: u64, share: f64| (whole as f64 * share) as u64;
            let cache_write = of(input, shares.0);
            let cache_read = of(input - cache_write, shares.1);
            let usage = Usage {
                input: input - cache_write - cache_read,
                output: of(output, shares.2),
                cache_read,
                cache_write,
                cache_write_1h: if writes_cache { of(cache_write, shares.3) } else { 0 },
            };
            let (input, output) = prices;
            // Even prices, of which no per cent is rounded.
            let (input, output) = (input / 100 * 100, output / 100 * 100);
            let rates = TokenPrices {
                input,
                output,
                cache_read: input / 10,
                cache_write: input * 5 / 4,
                cache_write_1h: input * 2,
            };
            let most = rates.most(&bound);
            let mut dearest = rates;
            if is_long {
                dearest = TokenPrices {
                    input: dearest.input * 2,
                    output: dearest.output * 3 / 2,
                    cache_read: dearest.cache_read * 2,
                    cache_write: dearest.cache_write * 2,
                    cache_write_1h: dearest.cache_write_1h * 2,
                };
            }
            prop_assert!(dearest.cost_with(&usage, surcharge) <= most);
        }
    }
}

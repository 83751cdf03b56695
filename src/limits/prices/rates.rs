//! The prices of one service tier at one length of the prompt, and what tokens cost by them.
//!
//! Prices are whole pico-dollars for a token and costs whole nano-dollars, so that sums over many requests
//! are exact. A request's cost is rounded once.

use crate::bedrock::Usage;
use crate::catalogue;

const PICO_PER_NANO: u128 = 1000;

/// What a cache write for an hour costs, in per cent of fresh input (AWS list prices).
const HOUR_OF_INPUT: u64 = 200;

/// Prices in pico-dollars for a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TokenPrices {
    /// Fresh input.
    pub(super) input: u64,
    /// Output.
    pub(super) output: u64,
    /// Input read from a prompt cache.
    pub(super) cache_read: u64,
    /// Input written to a prompt cache.
    pub(super) cache_write: u64,
    /// Input written to a prompt cache for an hour.
    pub(super) cache_write_1h: u64,
}

/// Prices as they are stated: those of the cache may be left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct StatedRates {
    pub(super) input: u64,
    pub(super) output: u64,
    pub(super) cache_read: Option<u64>,
    pub(super) cache_write: Option<u64>,
    pub(super) cache_write_1h: Option<u64>,
}

impl TokenPrices {
    /// What these tokens cost, in nano-dollars.
    pub(super) fn cost(&self, usage: &Usage) -> u64 {
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

    /// The dearest rate for input.
    pub(super) fn dearest_input(&self, writes_cache: bool) -> u64 {
        let usual = self.input.max(self.cache_write).max(self.cache_read);
        if writes_cache { usual.max(self.cache_write_1h) } else { usual }
    }

    /// Each rate of these or the others, whichever is dearer.
    pub(super) fn max(&self, other: &TokenPrices) -> TokenPrices {
        self.zip(other, u64::max)
    }

    /// Each rate in per cent.
    pub(super) fn percent(&self, factor: u64) -> TokenPrices {
        self.zip(self, |rate, _| percent(rate, factor))
    }

    /// The price of these in the proportion that `long` has to `short`.
    pub(super) fn in_proportion(&self, long: &TokenPrices, short: &TokenPrices) -> TokenPrices {
        let like = |own, long, short| if short == 0 { own } else { scale(own, long, short) };
        TokenPrices {
            input: like(self.input, long.input, short.input),
            output: like(self.output, long.output, short.output),
            cache_read: like(self.cache_read, long.cache_read, short.cache_read),
            cache_write: like(self.cache_write, long.cache_write, short.cache_write),
            cache_write_1h: like(self.cache_write_1h, long.cache_write_1h, short.cache_write_1h),
        }
    }

    fn zip(&self, other: &TokenPrices, each: impl Fn(u64, u64) -> u64) -> TokenPrices {
        TokenPrices {
            input: each(self.input, other.input),
            output: each(self.output, other.output),
            cache_read: each(self.cache_read, other.cache_read),
            cache_write: each(self.cache_write, other.cache_write),
            cache_write_1h: each(self.cache_write_1h, other.cache_write_1h),
        }
    }
}

impl StatedRates {
    /// The prices of a model's standard tier. What is read from a cache or written to one costs as fresh
    /// input, and a write for an hour twice as much, where nothing else is stated.
    pub(super) fn of_model(&self) -> TokenPrices {
        let cache_write = self.cache_write.unwrap_or(self.input);
        let hour = percent(self.input, HOUR_OF_INPUT).max(cache_write);
        TokenPrices {
            input: self.input,
            output: self.output,
            cache_read: self.cache_read.unwrap_or(self.input),
            cache_write,
            cache_write_1h: self.cache_write_1h.unwrap_or(hour),
        }
    }

    /// The prices of another tier or of a longer prompt. What is not stated has the proportion to fresh
    /// input that it has in the model's `usual` prices.
    pub(super) fn beside(&self, usual: &TokenPrices) -> TokenPrices {
        let like = |rate: u64| match usual.input {
            0 => rate,
            input => scale(self.input, rate, input),
        };
        TokenPrices {
            input: self.input,
            output: self.output,
            cache_read: self.cache_read.unwrap_or_else(|| like(usual.cache_read)),
            cache_write: self.cache_write.unwrap_or_else(|| like(usual.cache_write)),
            cache_write_1h: self.cache_write_1h.unwrap_or_else(|| like(usual.cache_write_1h)),
        }
    }
}

impl From<&catalogue::TokenPrice> for StatedRates {
    fn from(price: &catalogue::TokenPrice) -> StatedRates {
        // A dollar for a million tokens is a million pico-dollars for one.
        let rate = |usd: f64| (usd * 1e6).round() as u64;
        StatedRates {
            input: price.input.map_or(0, rate),
            output: price.output.map_or(0, rate),
            cache_read: price.cache_read.map(rate),
            cache_write: price.cache_write_5m.map(rate),
            cache_write_1h: price.cache_write_1h.map(rate),
        }
    }
}

/// The nearest whole number, as a cost is.
pub(super) fn percent(rate: u64, percent: u64) -> u64 {
    scale(rate, percent, 100)
}

/// `rate` times `factor`, divided by `divisor`, which is not 0; the nearest whole number.
fn scale(rate: u64, factor: u64, divisor: u64) -> u64 {
    let divisor = u128::from(divisor.max(1));
    let exact = (u128::from(rate) * u128::from(factor) + divisor / 2) / divisor;
    u64::try_from(exact).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

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
            Usage { input: 1000, output: 10, cache_read: 100, cache_write: 7, ..Usage::default() };
        // 37,000 + 15,000 + 300 + 2,100 pico-dollars.
        assert_eq!(rates.cost(&usage), 54);
        let of_an_hour = Usage { cache_write: 1007, cache_write_1h: 1000, ..usage };
        assert_eq!(rates.cost(&of_an_hour), 534);
        let huge = Usage { input: u64::MAX, ..Usage::default() };
        assert_eq!(TokenPrices { input: u64::MAX, ..rates }.cost(&huge), u64::MAX);
    }

    #[test]
    fn cache_prices_that_are_not_stated_follow_fresh_input() {
        let stated = StatedRates { input: 3000, output: 15_000, ..StatedRates::default() };
        let usual = stated.of_model();
        assert_eq!((usual.cache_read, usual.cache_write, usual.cache_write_1h), (3000, 3000, 6000));
        let usual =
            StatedRates { cache_read: Some(300), cache_write: Some(3750), ..stated }.of_model();
        assert_eq!(usual.cache_write_1h, 6000);
        let half =
            StatedRates { input: 1500, output: 7500, ..StatedRates::default() }.beside(&usual);
        assert_eq!((half.cache_read, half.cache_write, half.cache_write_1h), (150, 1875, 3000));
    }
}

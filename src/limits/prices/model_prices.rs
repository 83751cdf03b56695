//! The prices of one model: by the service tier that served a request, and by the length of its prompt.
//!
//! The rules where a price is not stated:
//!
//! - A tier's prices for long prompts have the proportion to its prices for short ones that those of the
//!   standard tier have.
//! - A tier's prices of the cache have the proportion to its fresh input that those of the standard tier
//!   have.
//! - A tier without any price costs as the standard tier. `priority` costs 75 per cent more, which is what
//!   AWS states for it. Such a cost is marked as assumed.

use smallvec::SmallVec;

use super::rates::{StatedRates, TokenPrices, percent};
use crate::bedrock::{ServiceTier, Usage};
use crate::catalogue;
use crate::config;
use crate::routing::Bound;

/// What the tier `priority` costs, in per cent of the standard tier, if it has no price of its own.
const PRIORITY_PERCENT: u64 = 175;

/// What the optimized latency costs, in per cent of the standard one.
const OPTIMIZED_LATENCY_PERCENT: u64 = 125;

/// The prices of a service tier.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct TierPrices {
    /// Those of short prompts, or of all.
    short: TokenPrices,
    /// Those of prompts longer than so many tokens, ascending.
    above: SmallVec<[(u64, TokenPrices); 1]>,
}

/// The prices of one model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelPrices {
    standard: TierPrices,
    flex: Option<TierPrices>,
    priority: Option<TierPrices>,
}

/// What the prices of a request depend on, beside its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceLevel {
    /// The service tier.
    pub tier: ServiceTier,
    /// Whether the latency is the optimized one.
    pub is_latency_optimized: bool,
}

/// What a request cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Nano-dollars.
    pub nanos: u64,
    /// The length of the prompt above which its prices count, if there is one.
    pub above: Option<u64>,
    /// Why its price is an assumption, if it is one.
    pub assumed: Option<AssumedPrice>,
}

/// Why the price of a request is not stated for its service tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssumedPrice {
    /// The model has no price for the tier.
    TierWithoutPrice,
    /// The tier has a name that is not known.
    UnknownTier,
    /// Reserved capacity is paid by the hour.
    ReservedTier,
}

impl AssumedPrice {
    /// Its name in records and metrics.
    pub fn name(self) -> &'static str {
        match self {
            AssumedPrice::TierWithoutPrice => "tier_without_price",
            AssumedPrice::UnknownTier => "unknown_tier",
            AssumedPrice::ReservedTier => "reserved_tier",
        }
    }
}

impl ModelPrices {
    /// What these tokens cost.
    pub fn cost(&self, usage: &Usage, level: ServiceLevel) -> Cost {
        let (tier, factor, assumed) = self.tier(level.tier);
        let (above, rates) = tier.at(usage.whole_input());
        let nanos = rates.percent(factor).cost(usage);
        let nanos = if level.is_latency_optimized {
            percent(nanos, OPTIMIZED_LATENCY_PERCENT)
        } else {
            nanos
        };
        Cost { nanos, above, assumed }
    }

    /// The most that a request can cost, in nano-dollars: all of its input at the dearest rate, at the
    /// tier that it asks for or the standard one. What nothing bounds costs more than any budget has.
    pub fn most(&self, bound: &Bound) -> u64 {
        // What is served may be dearer than what a name that is not known looks like.
        let asked: &[ServiceTier] = match bound.tier {
            None | Some(ServiceTier::Standard) => &[],
            Some(ServiceTier::Unknown) => &[ServiceTier::Flex, ServiceTier::Priority],
            Some(ServiceTier::Flex) => &[ServiceTier::Flex],
            Some(ServiceTier::Priority) => &[ServiceTier::Priority],
            Some(ServiceTier::Reserved) => &[ServiceTier::Reserved],
        };
        let tiers = asked.iter().chain(&[ServiceTier::Standard]);
        let dearest = tiers.fold(TokenPrices::default(), |dearest, tier| {
            let (prices, factor, _) = self.tier(*tier);
            dearest.max(&prices.dearest(bound.input).percent(factor))
        });
        let (input, output) = (dearest.dearest_input(bound.writes_cache), dearest.output);
        if bound.input.is_none() && input > 0 || bound.output.is_none() && output > 0 {
            return u64::MAX;
        }
        let usage = Usage {
            input: bound.input.unwrap_or(0),
            output: bound.output.unwrap_or(0),
            ..Usage::default()
        };
        let nanos = TokenPrices { input, output, ..dearest }.cost(&usage);
        match bound.is_latency_optimized {
            true => percent(nanos, OPTIMIZED_LATENCY_PERCENT),
            false => nanos,
        }
    }

    /// Whether the model is paid by its tokens; one that costs nothing by them is paid by something
    /// else.
    pub(super) fn is_by_token(&self) -> bool {
        self.standard.short != TokenPrices::default()
    }

    /// The prices of a tier, what they cost of themselves in per cent, and why they are assumed.
    fn tier(&self, tier: ServiceTier) -> (&TierPrices, u64, Option<AssumedPrice>) {
        let own = match tier {
            ServiceTier::Flex => self.flex.as_ref(),
            ServiceTier::Priority => self.priority.as_ref(),
            ServiceTier::Standard => Some(&self.standard),
            ServiceTier::Reserved | ServiceTier::Unknown => None,
        };
        if let Some(own) = own {
            return (own, 100, None);
        }
        let (factor, assumed) = match tier {
            ServiceTier::Priority => (PRIORITY_PERCENT, AssumedPrice::TierWithoutPrice),
            ServiceTier::Reserved => (100, AssumedPrice::ReservedTier),
            ServiceTier::Unknown => (100, AssumedPrice::UnknownTier),
            ServiceTier::Flex | ServiceTier::Standard => (100, AssumedPrice::TierWithoutPrice),
        };
        (&self.standard, factor, Some(assumed))
    }

    /// The list prices of the catalogue, if it has any for the standard tier.
    pub(super) fn listed(prices: &catalogue::Prices) -> Option<ModelPrices> {
        let listed = prices.standard.as_ref()?;
        let short = StatedRates::from(&listed.base).of_model();
        let above = listed.above.iter();
        let above = above.map(|(above, long)| (*above, StatedRates::from(long).beside(&short)));
        let standard = TierPrices { short, above: above.collect() };
        let tier = |tier: &Option<catalogue::TierPrice>| {
            let tier = tier.as_ref()?;
            let short = StatedRates::from(&tier.base).beside(&standard.short);
            let above = tier.above.iter();
            let above = above.map(|(above, long)| (*above, StatedRates::from(long).beside(&short)));
            Some(standard.other(short, above.collect()))
        };
        let (flex, priority) = (tier(&prices.flex), tier(&prices.priority));
        Some(ModelPrices { flex, priority, standard })
    }
}

impl From<&config::Price> for ModelPrices {
    fn from(price: &config::Price) -> ModelPrices {
        let short = StatedRates {
            input: price.input,
            output: price.output,
            cache_read: price.cache_read,
            cache_write: price.cache_write,
            cache_write_1h: price.cache_write_1h,
        };
        let short = short.of_model();
        let bands = |tier: config::PriceTier, short: &TokenPrices| {
            let of_tier = price.rates.iter().filter(|it| it.tier == tier);
            let bands = of_tier.filter_map(|it| Some((it.above?, stated(it).beside(short))));
            let mut bands: SmallVec<[(u64, TokenPrices); 1]> = bands.collect();
            bands.sort_by_key(|(above, _)| *above);
            bands
        };
        let standard = TierPrices { short, above: bands(config::PriceTier::Standard, &short) };
        let tier = |tier: config::PriceTier| {
            let own = price.rates.iter().find(|it| it.tier == tier && it.above.is_none())?;
            let short = stated(own).beside(&standard.short);
            Some(standard.other(short, bands(tier, &short)))
        };
        let (flex, priority) = (tier(config::PriceTier::Flex), tier(config::PriceTier::Priority));
        ModelPrices { flex, priority, standard }
    }
}

fn stated(rate: &config::PriceRate) -> StatedRates {
    StatedRates {
        input: rate.input,
        output: rate.output,
        cache_read: rate.cache_read,
        cache_write: rate.cache_write,
        cache_write_1h: rate.cache_write_1h,
    }
}

impl TierPrices {
    /// The prices of a prompt of so many tokens, and the length above which they count.
    fn at(&self, whole_input: u64) -> (Option<u64>, &TokenPrices) {
        let long = self.above.iter().rev().find(|(above, _)| whole_input > *above);
        long.map_or((None, &self.short), |(above, long)| (Some(*above), long))
    }

    /// The dearest prices of a prompt of at most so many tokens.
    fn dearest(&self, most_input: Option<u64>) -> TokenPrices {
        let reached =
            self.above.iter().filter(|(above, _)| most_input.is_none_or(|most| most > *above));
        reached.fold(self.short, |dearest, (_, long)| dearest.max(long))
    }

    /// Another tier of the same model. Without prices for long prompts of its own it has those of this
    /// one, in proportion.
    fn other(&self, short: TokenPrices, above: SmallVec<[(u64, TokenPrices); 1]>) -> TierPrices {
        if !above.is_empty() {
            return TierPrices { short, above };
        }
        let own = self.above.iter();
        let above = own.map(|(above, long)| (*above, short.in_proportion(long, &self.short)));
        TierPrices { short, above: above.collect() }
    }
}

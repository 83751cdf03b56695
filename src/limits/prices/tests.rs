use std::borrow::Cow;

use proptest::prelude::*;

use super::*;
use crate::bedrock::{ServiceTier, Usage};
use crate::catalogue::Catalogue;
use crate::config::{PriceRate, PriceTier};
use crate::routing::Bound;

fn price(models: &str, input: u64) -> config::Price {
    config::Price {
        models: models.to_owned(),
        input,
        output: 5 * input,
        ..config::Price::default()
    }
}

fn rate(tier: PriceTier, above: Option<u64>, input: u64) -> PriceRate {
    PriceRate { tier, above, input, output: 5 * input, ..PriceRate::default() }
}

fn at(tier: ServiceTier) -> ServiceLevel {
    ServiceLevel { tier, is_latency_optimized: false }
}

fn list_price(model: &str) -> ModelPrices {
    let model = ModelId::new(model).unwrap();
    let known = Catalogue::shipped().facts(&model, "us-east-1");
    Prices::default().of(&model, &model, known.as_deref()).map(Cow::into_owned).unwrap()
}

const MILLION: u64 = 1_000_000;

/// What a million tokens of fresh input cost, in micro-dollars.
fn million(prices: &ModelPrices, tier: ServiceTier) -> (u64, Option<AssumedPrice>) {
    // In many requests, so that no prompt is long.
    let usage = Usage { input: 1000, ..Usage::default() };
    let cost = prices.cost(&usage, at(tier));
    (cost.nanos, cost.assumed)
}

#[test]
fn a_more_specific_price_takes_precedence() {
    let sonnet = "anthropic.claude-3-sonnet-20240229-v1:0";
    let haiku = "anthropic.claude-3-haiku-20240307-v1:0";
    let input = |prices: &Prices, model: &str| {
        let model = ModelId::new(model).unwrap();
        let known = Catalogue::shipped().facts(&model, "");
        let usage = Usage { input: MILLION, ..Usage::default() };
        let prices = prices.of(&model, &model, known.as_deref())?;
        Some(prices.cost(&usage, at(ServiceTier::Standard)).nanos / 1000)
    };
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
fn prices_that_were_found_beforehand_are_those_that_a_search_finds() {
    let haiku = "anthropic.claude-3-haiku-20240307-v1:0";
    let profile = "arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/abc";
    let id = |text: &str| ModelId::new(text).unwrap();
    let stated = [price("anthropic.*", 1), price(haiku, 2), price("*", 4)];
    let searching = Prices::new(&stated).unwrap();
    // Two targets can name other base models for the same profile.
    let targets = [
        (id(haiku), id(haiku)),
        (id("us.anthropic.claude-sonnet-5-5"), id("us.anthropic.claude-sonnet-5-5")),
        (id(profile), id(haiku)),
        (id(profile), id("nobody.knows")),
        (id("nobody.knows"), id("nobody.knows")),
    ];
    let models = targets.iter().map(|(model, base_model)| (model, base_model));
    let found = Prices::new(&stated).unwrap().for_targets(models);
    assert_eq!(found.of_targets.len(), 4);
    let other = (id("eu.anthropic.claude-sonnet-5"), id("eu.anthropic.claude-sonnet-5"));
    for (model, base_model) in targets.iter().chain([&other]) {
        let [found, searched] = [&found, &searching].map(|it| it.of(model, base_model, None));
        assert_eq!(found, searched, "{model} as {base_model}");
    }
    let of = |base_model: &str| {
        million(&found.of(&id(profile), &id(base_model), None).unwrap(), ServiceTier::Standard).0
    };
    assert_eq!((of(haiku), of("nobody.knows")), (2, 4));
}

#[test]
fn each_tier_of_the_catalogue_has_its_price() {
    let gpt = list_price("openai.gpt-oss-120b-1:0");
    for (tier, nanos) in [
        (ServiceTier::Standard, 150_000),
        (ServiceTier::Flex, 75_000),
        (ServiceTier::Priority, 262_500),
    ] {
        assert_eq!(million(&gpt, tier), (nanos, None), "{tier:?}");
    }
}

#[test]
fn a_tier_without_a_price_is_never_guessed_in_silence() {
    let haiku = list_price("anthropic.claude-3-haiku-20240307-v1:0");
    for (tier, nanos, assumed) in [
        (ServiceTier::Flex, 250_000, AssumedPrice::TierWithoutPrice),
        (ServiceTier::Priority, 437_500, AssumedPrice::TierWithoutPrice),
        (ServiceTier::Reserved, 250_000, AssumedPrice::ReservedTier),
        (ServiceTier::Unknown, 250_000, AssumedPrice::UnknownTier),
    ] {
        assert_eq!(million(&haiku, tier), (nanos, Some(assumed)), "{tier:?}");
    }
}

#[test]
fn the_whole_input_decides_which_prices_count() {
    let sonnet = list_price("anthropic.claude-sonnet-4-5-20250929-v1:0");
    let cost = |input, cache_read| {
        let usage = Usage { input, cache_read, ..Usage::default() };
        let cost = sonnet.cost(&usage, at(ServiceTier::Standard));
        (cost.nanos, cost.above)
    };
    assert_eq!(cost(200_000, 0), (600_000_000, None));
    assert_eq!(cost(200_001, 0), (1_200_006_000, Some(200_000)));
    // What is read from a cache is input, too.
    assert_eq!(cost(1000, 200_000), (6_000_000 + 120_000_000, Some(200_000)));
}

#[test]
fn a_tier_has_its_long_prompts_and_its_cache_in_the_standard_tiers_proportion() {
    let mut stated = price("m", 1000);
    stated.cache_read = Some(100);
    stated.rates = vec![
        rate(PriceTier::Flex, None, 500),
        rate(PriceTier::Standard, Some(10_000), 2000),
        rate(PriceTier::Priority, None, 2000),
        rate(PriceTier::Priority, Some(10_000), 3000),
    ];
    let prices = ModelPrices::from(&stated);
    let cost = |tier, usage: &Usage| prices.cost(usage, at(tier)).nanos;
    let long = Usage { input: 20_000, ..Usage::default() };
    let read = Usage { cache_read: 10_000, ..Usage::default() };
    for (tier, of_long, of_read) in [
        (ServiceTier::Standard, 40_000, 1000),
        (ServiceTier::Flex, 20_000, 500),
        (ServiceTier::Priority, 60_000, 2000),
    ] {
        assert_eq!((cost(tier, &long), cost(tier, &read)), (of_long, of_read), "{tier:?}");
    }
}

#[test]
fn the_most_a_request_can_cost_is_that_of_the_dearest_tier_and_length() {
    let mut stated = price("m", 1000);
    stated.cache_write_1h = Some(4000);
    stated.rates =
        vec![rate(PriceTier::Flex, None, 500), rate(PriceTier::Standard, Some(100), 2000)];
    let prices = ModelPrices::from(&stated);
    let bound = Bound { input: Some(100), output: Some(10), ..Bound::of_stream() };
    assert_eq!(prices.most(&bound), 100 + 50);
    let flex = Bound { tier: Some(ServiceTier::Flex), ..bound };
    assert_eq!(prices.most(&flex), 100 + 50, "the standard tier may serve it");
    let priority = Bound { tier: Some(ServiceTier::Priority), ..bound };
    assert_eq!(prices.most(&priority), 175 + 88);
    assert_eq!(prices.most(&Bound { input: Some(101), ..bound }), 202 + 100);
    assert_eq!(prices.most(&Bound { writes_cache: true, ..bound }), 400 + 50);
    assert_eq!(prices.most(&Bound { input: None, ..bound }), u64::MAX);
    assert_eq!(ModelPrices::default().most(&Bound { output: None, ..bound }), 0);
}

proptest! {
    /// By whatever kinds of tokens, for an hour in the cache, at whatever tier and length.
    #[test]
    fn no_usage_within_a_bound_costs_more_than_the_most(
        input in 0u64..2_000_000, output in 0u64..200_000,
        shares in (0.0..=1.0f64, 0.0..=1.0f64, 0.0..=1.0f64, 0.0..=1.0f64),
        model in prop::sample::select(vec![
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "amazon.nova-2-lite-v1:0",
            "openai.gpt-oss-120b-1:0", "us.openai.gpt-5.6-sol", "us.xai.grok-4.7",
            "us.anthropic.claude-haiku-5-5",
        ]),
        tiers in prop::sample::select(vec![
            (None, ServiceTier::Standard),
            (Some(ServiceTier::Flex), ServiceTier::Flex),
            (Some(ServiceTier::Flex), ServiceTier::Standard),
            (Some(ServiceTier::Priority), ServiceTier::Priority),
            (Some(ServiceTier::Priority), ServiceTier::Standard),
            (Some(ServiceTier::Reserved), ServiceTier::Standard),
            (Some(ServiceTier::Unknown), ServiceTier::Unknown),
            (Some(ServiceTier::Unknown), ServiceTier::Priority),
        ]),
        writes_cache: bool, is_latency_optimized: bool,
    ) {
        let (asked, tier) = tiers;
        let bound = Bound {
            input: Some(input),
            output: Some(output),
            writes_cache,
            tier: asked,
            is_latency_optimized,
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
            tier: Some(tier),
        };
        let prices = list_price(model);
        let level = ServiceLevel { tier, is_latency_optimized };
        prop_assert!(prices.cost(&usage, level).nanos <= prices.most(&bound));
    }
}

//! The shipped file, and the rules of layers.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};
use sluice_bedrock::{Features, ModelId};

use super::*;

fn id(text: &str) -> ModelId {
    ModelId::new(text).unwrap()
}

fn layer(name: &str, runtime: &Value) -> Arc<Layer> {
    let text = json!({ "format": 1, "date": "2026-11-28", "runtime": runtime }).to_string();
    Arc::new(Layer::read(name, &text).unwrap())
}

fn one(runtime: &Value) -> Catalogue {
    Catalogue::of(vec![layer("one", runtime)])
}

fn refused(runtime: &Value) -> String {
    let text = json!({ "format": 1, "date": "2026-11-28", "runtime": runtime }).to_string();
    Layer::read("bad", &text).unwrap_err().to_string()
}

#[test]
fn every_shipped_row_is_valid_and_every_model_has_facts() {
    let text = include_str!("shipped.json");
    let layer = Layer::read("shipped", text).unwrap();
    assert!(layer.len() > 150, "{}", layer.len());
    let catalogue = Catalogue::shipped();
    for endpoint in Endpoint::ALL {
        let ids = catalogue.ids_with_profiles(endpoint);
        assert!(ids.len() > 30, "{}", ids.len());
        for id in ids {
            let facts = catalogue.facts_at(endpoint, &self::id(&id), "us-east-1");
            let facts = facts.unwrap_or_else(|| panic!("{id}"));
            assert!(facts.mode.is_some() && !facts.surfaces.is_empty(), "{id}");
            if let Some(counter) = &facts.count_tokens_with {
                let counter = catalogue.facts_at(counter.endpoint, &self::id(&counter.model), "");
                assert!(counter.is_some(), "{id}");
            }
        }
    }
}

#[test]
fn a_profile_has_its_models_facts() {
    let facts = |text: &str| Catalogue::shipped().facts(&id(text), "us-east-1");
    let haiku = facts("us.anthropic.claude-3-haiku-20240307-v1:0").unwrap();
    assert_eq!(haiku.max_output_tokens, Some(4096));
    assert_eq!(haiku.prices.standard.as_ref().unwrap().base.output, Some(1.25));
    let features = haiku.features().unwrap();
    assert!(features.contains(Features::VISION) && !features.contains(Features::REASONING));
    assert!(facts("nobody.knows-this-v1:0").is_none());
    let regional = facts("us.anthropic.claude-sonnet-4-6").unwrap();
    let global = facts("global.anthropic.claude-sonnet-4-6").unwrap();
    let input = |facts: &ModelFacts| facts.prices.standard.as_ref().unwrap().base.input;
    assert_eq!((input(&regional), input(&global)), (Some(3.3), Some(3.0)));
}

#[test]
fn later_claudes_burn_output_five_times() {
    for (model, wanted) in [
        ("anthropic.claude-3-5-sonnet-20241022-v2:0", 1),
        ("anthropic.claude-3-haiku-20240307-v1:0", 1),
        ("us.anthropic.claude-3-7-sonnet-20250219-v1:0", 5),
        ("anthropic.claude-sonnet-4-20250514-v1:0", 5),
        ("anthropic.claude-opus-5", 5),
        ("anthropic.claude-that-comes-later", 5),
        ("amazon.nova-lite-v1:0", 1),
    ] {
        assert_eq!(Catalogue::shipped().burndown(&id(model)), wanted, "{model}");
    }
}

#[test]
fn the_newest_claudes_take_no_temperature() {
    for (model, wanted) in [
        ("us.anthropic.claude-sonnet-4-6", true),
        ("anthropic.claude-haiku-4-5-20251001-v1:0", true),
        ("eu.anthropic.claude-sonnet-5-5", false),
        ("anthropic.claude-haiku-5-5", false),
        ("anthropic.claude-opus-4-7", false),
        ("amazon.nova-lite-v1:0", true),
    ] {
        let facts = Catalogue::shipped().facts(&id(model), "").unwrap();
        assert_eq!(facts.takes_sampling(), wanted, "{model}");
    }
}

#[test]
fn an_id_of_the_mantle_endpoint_stands_for_the_same_model_at_the_runtime() {
    let catalogue = Catalogue::shipped();
    for (model, at_runtime) in [
        ("openai.gpt-oss-20b", Some("openai.gpt-oss-20b-1:0")),
        ("anthropic.claude-haiku-4-5", Some("anthropic.claude-haiku-4-5-20251001-v1:0")),
        ("openai.gpt-oss-20b-1:0", None),
        ("openai.gpt-5.6-sol", None),
        ("google.gemma-4-31b", None),
        ("acme.new", None),
    ] {
        assert_eq!(catalogue.id_at_runtime(&id(model)), at_runtime, "{model}");
        if let Some(at_runtime) = at_runtime {
            let profile = id(&format!("us.{at_runtime}"));
            assert_eq!(catalogue.id_at_mantle(&profile), Some(model), "{at_runtime}");
        }
    }
}

#[test]
fn a_model_with_one_id_has_no_other_at_the_mantle_endpoint() {
    let catalogue = Catalogue::shipped();
    for model in ["openai.gpt-oss-20b", "openai.gpt-5.6-sol", "amazon.nova-lite-v1:0", "acme.new"] {
        assert_eq!(catalogue.id_at_mantle(&id(model)), None, "{model}");
    }
}

#[test]
fn a_first_party_name_stands_for_its_model() {
    let catalogue = Catalogue::shipped();
    let sonnet = "anthropic.claude-sonnet-4-5-20250929-v1:0";
    assert_eq!(catalogue.model_named("claude-sonnet-4-5-20250929"), Some(sonnet));
    assert_eq!(catalogue.model_named("gpt-5.6-sol"), Some("openai.gpt-5.6-sol"));
    assert_eq!(catalogue.model_named("nobody"), None);
    // At the mantle endpoint this model has another id, and the next one is there alone.
    assert_eq!(catalogue.model_named("gpt-oss-20b"), Some("openai.gpt-oss-20b-1:0"));
    assert_eq!(catalogue.model_named("gemma-4-31b"), Some("google.gemma-4-31b"));
    let corrected = catalogue.below(&one(&json!({
        sonnet: { "names": ["sonnet-of-mine"] }, "anthropic.claude-opus-5-5": { "names": null },
        "anthropic.claude-sonnet-5-5": { "burndown": 5 },
    })));
    assert_eq!(corrected.model_named("sonnet-of-mine"), Some(sonnet));
    assert_eq!(corrected.model_named("claude-sonnet-4-5-20250929"), None);
    assert_eq!(corrected.model_named("claude-opus-5-5"), None);
    assert_eq!(corrected.model_named("claude-sonnet-5-5"), Some("anthropic.claude-sonnet-5-5"));
}

#[test]
fn the_more_specific_row_counts_and_a_later_layer_before_all() {
    let below = json!({
        "acme.*": { "burndown": 2, "max_output_tokens": 10 },
        "acme.big-*": { "burndown": 3 },
        "acme.big-1": { "max_output_tokens": 20, "variants": {
            "eu": { "max_output_tokens": 30 }, "eu-west-1": { "max_output_tokens": 40 } } },
        "eu.acme.big-1": { "min_cache_tokens": 7 },
    });
    let below = one(&below);
    let facts = |catalogue: &Catalogue, model: &str, region: &str| {
        let facts = catalogue.facts(&id(model), region).unwrap();
        (facts.burndown, facts.max_output_tokens, facts.min_cache_tokens)
    };
    assert_eq!(facts(&below, "acme.small", "eu-west-1"), (Some(2), Some(10), None));
    assert_eq!(facts(&below, "acme.big-1", "us-east-1"), (Some(3), Some(20), None));
    assert_eq!(facts(&below, "eu.acme.big-1", "eu-west-3"), (Some(3), Some(30), Some(7)));
    assert_eq!(facts(&below, "eu.acme.big-1", "eu-west-1"), (Some(3), Some(40), Some(7)));
    let above = one(&json!({ "acme.*": { "max_output_tokens": 50, "burndown": null } }));
    let both = below.below(&above);
    assert_eq!(facts(&both, "eu.acme.big-1", "eu-west-1"), (None, Some(50), Some(7)));
}

#[test]
fn each_value_says_where_it_came_from() {
    let shipped = Catalogue::shipped();
    let file = json!({ "format": 1, "date": "2026-12-01", "runtime": {
        "us.anthropic.claude-sonnet-4-6": { "prices": { "standard": { "input": 2.5 } } } } });
    let catalogue = shipped.with_file("models.json", &file.to_string()).unwrap();
    let facts = catalogue.explain(Endpoint::Runtime, &id("us.anthropic.claude-sonnet-4-6"), "");
    let of = |field: &str| facts.iter().find(|fact| fact.field == field).unwrap();
    let input = of("prices.standard.input");
    assert_eq!(input.value, json!(2.5));
    assert_eq!(&*input.origin.layer, "models.json");
    assert_eq!(input.origin.row, "us.anthropic.claude-sonnet-4-6");
    let output = of("prices.standard.output");
    assert_eq!((&*output.origin.layer, output.value.clone()), ("shipped", json!(16.5)));
    assert_eq!(output.origin.row, "anthropic.claude-sonnet-4-6");
}

#[test]
fn what_the_format_does_not_have_is_refused_by_name() {
    for (row, named) in [
        (json!({ "max_tokens": 1 }), "max_tokens"),
        (json!({ "features": { "telepathy": true } }), "telepathy"),
        (json!({ "prices": { "gold": {} } }), "gold"),
        (json!({ "prices": { "standard": { "inptu": 1 } } }), "inptu"),
        (json!({ "prices": { "standard": { "above": { "many": {} } } } }), "many"),
        (json!({ "prices": { "standard": { "input": -1 } } }), "-1"),
        (json!({ "variants": { "eu": { "variants": {} } } }), "variants"),
        (json!({ "variants": { "eu": { "mood": 1 } } }), "mood"),
        (json!({ "surfaces": ["telnet"] }), "telnet"),
        (json!({ "retires": "soon" }), "no day"),
        (json!({ "burndown": 0 }), "burndown"),
    ] {
        let error = refused(&json!({ "acme.model": row }));
        assert!(error.contains(named) && error.contains("acme.model"), "{error}");
    }
    let wrong = |text: &str| Layer::read("bad", text).unwrap_err().to_string();
    assert!(wrong(r#"{"format":2,"date":"2026-11-28","novel":1}"#).contains("format is 2"));
    assert!(wrong(r#"{"format":1,"date":"2026-11-28","models":{}}"#).contains("models"));
    assert!(
        wrong(r#"{"format":1,"date":"2026-11-28","runtime":{"a":{},"a":{}}}"#).contains("twice")
    );
    assert!(wrong("[]").contains("not a catalogue"));
}

fn row() -> impl Strategy<Value = Value> {
    let number = || prop::option::of(prop::option::of(1u32..5));
    let price = prop::option::of(prop::option::of(0u32..4));
    (number(), number(), price, prop::option::of(number())).prop_map(
        |(burndown, output, price, variant)| {
            let mut row = json!({});
            let mut set = |key: &str, value: Value| row[key] = value;
            if let Some(burndown) = burndown {
                set("burndown", json!(burndown));
            }
            if let Some(output) = output {
                set("max_output_tokens", json!(output));
            }
            if let Some(price) = price {
                set("prices", json!({ "standard": { "input": price } }));
            }
            if let Some(Some(variant)) = variant {
                set("variants", json!({ "eu": { "max_output_tokens": variant } }));
            }
            row
        },
    )
}

fn rows() -> impl Strategy<Value = Value> {
    let keys = prop::sample::select(vec!["acme.*", "acme.m-*", "acme.m-1", "eu.acme.m-1", "*"]);
    prop::collection::btree_map(keys, row(), 0..4).prop_map(|rows| json!(rows))
}

proptest! {
    #[test]
    fn layering_is_associative(a in rows(), b in rows(), c in rows()) {
        let [a, b, c] = [a, b, c].map(|rows| one(&rows));
        let (left, right) = (a.below(&b).below(&c), a.below(&b.below(&c)));
        for model in ["acme.m-1", "eu.acme.m-1", "acme.other", "else.where"] {
            let model = id(model);
            prop_assert_eq!(left.facts(&model, "x"), right.facts(&model, "x"));
            let explained = |it: &Catalogue| it.explain(Endpoint::Runtime, &model, "x");
            prop_assert_eq!(explained(&left), explained(&right));
        }
    }

    #[test]
    fn an_empty_layer_changes_nothing(a in rows()) {
        let a = one(&a);
        let model = id("eu.acme.m-1");
        let facts = a.facts(&model, "x");
        prop_assert_eq!(a.below(&Catalogue::default()).facts(&model, "x"), facts.clone());
        prop_assert_eq!(Catalogue::default().below(&a).facts(&model, "x"), facts);
    }

    #[test]
    fn explained_values_are_the_values_that_count(a in rows(), b in rows()) {
        let both = one(&a).below(&one(&b));
        let model = id("eu.acme.m-1");
        let explained = both.explain(Endpoint::Runtime, &model, "x");
        let output = explained.iter().find(|fact| fact.field == "max_output_tokens");
        let counts = both.facts(&model, "x").and_then(|facts| facts.max_output_tokens);
        prop_assert_eq!(output.and_then(|fact| fact.value.as_u64()), counts.map(u64::from));
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,80}", key in "\\PC{0,12}") {
        let _ = Layer::read("any", &text);
        let file = json!({ "format": 1, "date": "2026-11-28", "runtime": { key: {} } });
        let _ = Layer::read("any", &file.to_string());
    }
}

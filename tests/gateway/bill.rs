//! A bill that was worked out by hand, and the gateway's figures for the same requests.
//!
//! Prices are the shipped list prices in USD per million tokens, but for Qwen's, which the config states.
//! A price of 1 USD is 1,000 nano-dollars for a token. Each request has 100 tokens of fresh input (400
//! characters), the last one 200.
//!
//! | request | tokens x nano-dollars | nano-dollars |
//! | --- | --- | --- |
//! | cache | 100 x 3,300 + 50 x 16,500 + 2,000 x 4,125 (5 min) + 1,000 x 6,600 (1 h) | 16,005,000 |
//! | long stream | above 200,000: 100 x 6,600 + 250,000 x 660 (read) + 20 x 24,750 | 166,155,000 |
//! | just short | exactly 200,000: 100 x 3,300 + 199,900 x 330 (read) + 20 x 16,500 | 66,627,000 |
//! | flex | 100 x 75 + 40 x 300 | 19,500 |
//! | priority stream | 100 x 262.5 + 40 x 1,050 | 68,250 |
//! | priority, served as standard | 100 x 396 + 400 x 99 (read) + 30 x 3,311 | 178,530 |
//! | invoke, no flex price | 100 x 1,100 + 16 x 5,500 + 400 x 1,375 (5 min) + 200 x 2,200 (1 h) | 1,188,000 |
//! | invoke, long stream | above 100,000: 100 x 550 + 150,000 x 55 (read) + 10 x 2,750 | 8,332,500 |
//! | invoke, flex | 100 x 165 + 25 x 1,375 | 50,875 |
//! | unknown tier | 100 x 35 + 10 x 140 | 4,900 |
//! | stated flex | 100 x 400 + 10 x 900 | 49,000 |
//! | stated flex, long | above 150: 200 x (400 x 2) + 10 x (900 x 3/2) | 173,500 |
//! | **sum** | | **258,852,055** |

use serde_json::{Value, json};
use sluice::simulator::{ModelSettings, ServedTier};

use crate::support::patience::eventually;
use crate::support::{Ask, Config, Gateway, Simulator, http};

const KEY: &str = "team-a-bearer-key-0123456789";
const BUDGET: f64 = 100.0;
const SUM: u64 = 258_852_055;

const SONNET_46: &str = "us.anthropic.claude-sonnet-4-6";
const SONNET: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
const HAIKU_45: &str = "us.anthropic.claude-haiku-4-5-20251001-v1:0";
const HAIKU_55: &str = "us.anthropic.claude-haiku-5-5";
const GPT: &str = "openai.gpt-oss-120b-1:0";
const NOVA: &str = "us.amazon.nova-2-lite-v1:0";
const NOVA_APAC: &str = "apac.amazon.nova-2-lite-v1:0";
const MICRO: &str = "amazon.nova-micro-v1:0";
const QWEN: &str = "qwen.qwen3-32b-v1:0";

/// One line of the bill.
struct Line {
    name: &'static str,
    model: &'static str,
    operation: &'static str,
    /// The tier that is asked for.
    tier: Option<&'static str>,
    /// What the simulator is told to answer.
    directives: &'static str,
    /// Fresh input, in tokens.
    input: usize,
    nanos: u64,
    /// The tier in the record, the length above which its prices count, and why they are assumed.
    record: (&'static str, Value, Value),
}

fn bill() -> Vec<Line> {
    let line = |name, model, operation, tier, directives, nanos, record| Line {
        name,
        model,
        operation,
        tier,
        directives,
        input: 100,
        nanos,
        record,
    };
    let standard = || ("standard", Value::Null, Value::Null);
    let plain = |tier| (tier, Value::Null, Value::Null);
    let (converse, stream) = ("converse", "converse-stream");
    let (invoke, invoke_stream) = ("invoke", "invoke-with-response-stream");
    let cache = "sim:tokens=50 sim:cache_write=3000 sim:cache_write_1h=1000";
    let invoked = "sim:tokens=16 sim:cache_write=600 sim:cache_write_1h=200";
    let long = "sim:tokens=20 sim:cache_read=250000";
    let short = "sim:tokens=20 sim:cache_read=199900";
    let read = "sim:tokens=30 sim:cache_read=400";
    let long_invoke = "sim:tokens=10 sim:cache_read=150000";
    let (forty, ten, flex) = ("sim:tokens=40", "sim:tokens=10", Some("flex"));
    let priority = Some("priority");
    let above = |tokens: u64| ("standard", json!(tokens), Value::Null);
    let unpriced = ("flex", Value::Null, json!("tier_without_price"));
    let unknown = ("unknown", Value::Null, json!("unknown_tier"));
    vec![
        line("cache", SONNET_46, converse, None, cache, 16_005_000, standard()),
        line("long stream", SONNET, stream, None, long, 166_155_000, above(200_000)),
        line("just short", SONNET, converse, None, short, 66_627_000, standard()),
        line("flex", GPT, converse, flex, forty, 19_500, plain("flex")),
        line("priority stream", GPT, stream, priority, forty, 68_250, plain("priority")),
        line("served as standard", NOVA_APAC, converse, priority, read, 178_530, standard()),
        line("no flex price", HAIKU_45, invoke, flex, invoked, 1_188_000, unpriced),
        line("long invoke", HAIKU_55, invoke_stream, None, long_invoke, 8_332_500, above(100_000)),
        line("invoke flex", NOVA, invoke, flex, "sim:tokens=25", 50_875, plain("flex")),
        line("unknown tier", MICRO, invoke, Some("express"), ten, 4_900, unknown),
        line("stated flex", QWEN, stream, flex, ten, 49_000, plain("flex")),
        Line {
            input: 200,
            ..line(
                "stated long",
                QWEN,
                converse,
                flex,
                ten,
                173_500,
                ("flex", json!(150), Value::Null),
            )
        },
    ]
}

fn ask(gateway: &Gateway, line: &Line) -> Ask {
    let padding = "x".repeat(line.input * 4 - line.directives.len() - 1);
    let text = format!("{} {padding}", line.directives);
    let is_converse = line.operation.starts_with("converse");
    let mut body = match (is_converse, line.model) {
        (false, HAIKU_45 | HAIKU_55) => json!({
            "anthropic_version": "bedrock-2023-05-31",
            "max_tokens": 64,
            "messages": [{ "role": "user", "content": text }],
        }),
        _ => json!({
            "messages": [{ "role": "user", "content": [{ "text": text }] }],
            "inferenceConfig": { "maxTokens": 64 },
        }),
    };
    if let (true, Some(tier)) = (is_converse, line.tier) {
        body["serviceTier"] = json!({ "type": tier });
    }
    let ask = Ask::new(gateway, "").of(line.model).bearer(KEY);
    let ask = ask.operation(line.operation, body.to_string());
    match line.tier.filter(|_| !is_converse) {
        Some(tier) => ask.header("x-amzn-bedrock-service-tier", tier),
        None => ask,
    }
}

fn nanos(usd: &Value) -> u64 {
    (usd.as_f64().unwrap() * 1e9).round() as u64
}

#[tokio::test(flavor = "multi_thread")]
async fn records_metrics_budgets_and_the_status_show_the_sum_of_a_bill_worked_by_hand() {
    let simulator = Simulator::start().await;
    let served =
        ModelSettings { service_tier: Some(ServedTier::Default), ..ModelSettings::default() };
    simulator.limits(NOVA_APAC, served);
    let qwen: toml::Table = "input = 1\noutput = 2\n\
                             rates = [{ tier = 'flex', input = 0.4, output = 0.9 },\
                             { above = 150, input = 2, output = 3 }]"
        .parse()
        .unwrap();
    let config = Config::without_routes(&simulator)
        .set("usage_log.enabled", true)
        .set("state.budget_flush", "50ms")
        .set_within("prices", QWEN, qwen.into())
        .client("team-a", "env:TEAM_A_KEY")
        .of_client("daily_budget_usd", BUDGET);
    let gateway = Gateway::start_with(&config, &[("TEAM_A_KEY", KEY)]).await;
    let bill = bill();
    assert_eq!(bill.iter().map(|line| line.nanos).sum::<u64>(), SUM);
    for (number, line) in bill.iter().enumerate() {
        let answer = ask(&gateway, line).send().await;
        assert_eq!(answer.status, 200, "{}: {}", line.name, answer.text());
        let written = async || gateway.usage_records().lines().count();
        eventually("its record", written, |lines| *lines == number + 1).await;
        let records = gateway.usage_records();
        let record: Value = serde_json::from_str(records.lines().last().unwrap()).unwrap();
        assert_eq!(nanos(&record["cost_usd"]), line.nanos, "{}: {record}", line.name);
        let (tier, above, assumed) = &line.record;
        let shown = (&record["service_tier"], &record["price_above"], &record["price_assumed"]);
        assert_eq!(shown, (&json!(tier), above, assumed), "{}: {record}", line.name);
    }

    let records = gateway.usage_records();
    let records = records.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    assert_eq!(records.map(|record| nanos(&record["cost_usd"])).sum::<u64>(), SUM);

    let metrics = gateway.metrics().await;
    let cost = metrics.sum("sluice_cost_usd_total", &[("client", "team-a")]);
    assert_eq!((cost * 1e9).round() as u64, SUM);
    let labels = [("client", "team-a"), ("period", "daily")];
    let used = metrics.sum("sluice_client_budget_used_ratio", &labels);
    assert_eq!((used * BUDGET * 1e9).round() as u64, SUM);
    let tiers = |requested, served| {
        let labels = [("requested", requested), ("served", served)];
        metrics.sum("sluice_service_tiers_total", &labels)
    };
    assert_eq!((tiers("flex", "flex"), tiers("priority", "standard")), (5.0, 1.0));
    for reason in ["tier_without_price", "unknown_tier"] {
        assert_eq!(metrics.sum("sluice_assumed_prices_total", &[("reason", reason)]), 1.0);
    }

    let status = http::get(&format!("{}/admin/status", gateway.admin_url())).await.json();
    let clients = status["clients"].as_array().unwrap();
    let client = clients.iter().find(|client| client["name"] == "team-a").unwrap();
    assert_eq!(nanos(&client["cost_usd"]), SUM, "{client}");
    let used = client["budgets"][0]["used"].as_f64().unwrap();
    assert_eq!((used * BUDGET * 1e9).round() as u64, SUM, "{client}");
    let models = status["model_usage"].as_array().unwrap().iter();
    assert_eq!(models.map(|model| nanos(&model["cost_usd"])).sum::<u64>(), SUM, "{status}");
}

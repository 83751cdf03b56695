//! Targets of the same model in two regions: which of them a request goes to.

use serde_json::json;
use sluice::simulator::{Latency, ModelSettings};

use crate::support::patience::eventually;
use crate::support::{Ask, Config, Gateway, Simulator};

/// A model that caches prompts.
const MODEL: &str = "anthropic.claude-3-7-sonnet-20250219-v1:0";
const REGIONS: [&str; 2] = ["us-east-1", "eu-west-3"];

/// The same model in two regions, each a simulator of its own.
async fn two_regions(balance: &str) -> ([Simulator; 2], Config) {
    let simulators = [Simulator::start().await, Simulator::start().await];
    let mut config = Config::without_routes(&simulators[0]);
    for ((name, region), simulator) in ["here", "there"].iter().zip(REGIONS).zip(&simulators) {
        config = config
            .set(&format!("targets.{name}.model"), MODEL)
            .set(&format!("targets.{name}.region"), region)
            .set(&format!("targets.{name}.rpm"), 100)
            .set(&format!("targets.{name}.endpoint_url"), simulator.url());
    }
    (simulators, config.route(MODEL, &["here", "there"]).balance(balance))
}

/// Sends so many requests one after the other and gives how many each region got.
async fn spread(gateway: &Gateway, simulators: &[Simulator; 2], count: usize) -> [usize; 2] {
    for _ in 0..count {
        let answer = Ask::new(gateway, "hello").of(MODEL).send().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    simulators.each_ref().map(|simulator| simulator.calls_to(MODEL).len())
}

#[tokio::test(flavor = "multi_thread")]
async fn by_default_the_first_has_all_until_it_has_no_room() {
    let (simulators, config) = two_regions("priority").await;
    let gateway = Gateway::start(&config.set("targets.here.rpm", 10)).await;
    let [here, there] = spread(&gateway, &simulators, 30).await;
    assert!((9..=14).contains(&here), "{here} and {there}");
    assert_eq!(simulators[0].log()[0].region.as_deref(), Some(REGIONS[0]));
    assert_eq!(simulators[1].log()[0].region.as_deref(), Some(REGIONS[1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn headroom_spreads_by_free_quota() {
    let (simulators, config) = two_regions("headroom").await;
    let gateway = Gateway::start(&config.set("targets.there.rpm", 25)).await;
    let [here, there] = spread(&gateway, &simulators, 50).await;
    // Quotas of 100 and 25 are used up at the same pace.
    assert!((36..=44).contains(&here), "{here} and {there}");
}

#[tokio::test(flavor = "multi_thread")]
async fn latency_prefers_the_faster() {
    let (simulators, config) = two_regions("latency").await;
    let gateway = Gateway::start(&config).await;
    let slow = Latency { head_ms: 80, ..Latency::default() };
    let settings = ModelSettings { latency: Some(slow), ..ModelSettings::default() };
    simulators[0].limits(MODEL, settings);
    let [here, there] = spread(&gateway, &simulators, 30).await;
    assert!(here >= 1 && there >= 25, "{here} and {there}");
    assert!(gateway.target("here").await["latency_ms"].as_f64().unwrap() >= 75.0);
}

/// A turn of an InvokeModel conversation whose system prompt is cached.
fn cached_messages(system: &str, turn: usize) -> String {
    json!({
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 16,
        "system": [{"type": "text", "text": system, "cache_control": {"type": "ephemeral"}}],
        "messages": [{"role": "user", "content": format!("turn {turn}")}],
    })
    .to_string()
}

/// The same of a Converse conversation.
fn cached_conversation(system: &str, turn: usize) -> String {
    json!({
        "system": [{"text": system}, {"cachePoint": {"type": "default"}}],
        "messages": [{"role": "user", "content": [{"text": format!("turn {turn}")}]}],
        "inferenceConfig": {"maxTokens": 16},
    })
    .to_string()
}

/// A turn of a conversation whose cache points move on with its last messages, with its members in
/// either order.
fn rolling(name: &str, turn: usize, is_system_first: bool) -> String {
    let mut messages = Vec::new();
    for number in 0..=turn {
        let mut content = vec![json!({"text": format!("{name}: question {number}")})];
        if number + 2 > turn {
            content.push(json!({"cachePoint": {"type": "default"}}));
        }
        messages.push(json!({"role": "user", "content": content}));
        if number < turn {
            messages.push(json!({"role": "assistant", "content": [{"text": "an answer"}]}));
        }
    }
    let system = json!([{"text": "common to all"}]);
    let messages = json!(messages);
    let settings = r#""inferenceConfig":{"maxTokens":16}"#;
    if is_system_first {
        format!(r#"{{"system":{system},"messages":{messages},{settings}}}"#)
    } else {
        format!(r#"{{{settings},"messages":{messages},"system":{system}}}"#)
    }
}

async fn region(ask: Ask) -> String {
    let answer = ask.of(MODEL).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.header("x-sluice-region").unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_stays_where_its_prompt_is_cached() {
    for balance in ["headroom", "latency"] {
        let (_simulators, config) = two_regions(balance).await;
        let gateway = Gateway::start(&config).await;
        let mut used = [Vec::new(), Vec::new()];
        for number in 0..12 {
            let system = format!("the system prompt {number}");
            let ask = || Ask::new(&gateway, "");
            let invoked = region(ask().body(cached_messages(&system, 0))).await;
            let conversed = region(ask().converse(cached_conversation(&system, 0))).await;
            for turn in 1..4 {
                let body = cached_messages(&system, turn);
                assert_eq!(region(ask().body(body)).await, invoked, "{balance} {number}");
                let body = cached_conversation(&system, turn);
                assert_eq!(region(ask().converse(body)).await, conversed, "{balance} {number}");
            }
            used[0].push(invoked);
            used[1].push(conversed);
        }
        for (used, known) in used.iter().flat_map(|used| REGIONS.map(|region| (used, region))) {
            assert!(used.iter().any(|region| region == known), "{known} is not used: {used:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_stays_as_its_cache_points_move_on_in_any_order_of_members() {
    let (_simulators, config) = two_regions("headroom").await;
    let gateway = Gateway::start(&config).await;
    let mut used = Vec::new();
    for number in 0..12 {
        let name = format!("conversation {number}");
        let ask = |turn, order| Ask::new(&gateway, "").converse(rolling(&name, turn, order));
        let home = region(ask(0, true)).await;
        for turn in 0..6 {
            for is_system_first in [true, false] {
                let region = region(ask(turn, is_system_first)).await;
                assert_eq!(region, home, "{name}, turn {turn}, system first: {is_system_first}");
            }
        }
        used.push(home);
    }
    for known in REGIONS {
        assert!(used.iter().any(|region| region == known), "{known} is not used: {used:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_moves_while_its_target_cools_and_then_returns() {
    let (simulators, config) = two_regions("headroom").await;
    let config = config.every_target("cooldown", "600ms");
    let gateway = Gateway::start(&config).await;
    let turn = |turn| Ask::new(&gateway, "").body(cached_messages("the system prompt", turn));
    let home = region(turn(0)).await;
    let simulator = &simulators[usize::from(home == REGIONS[1])];
    simulator.throttles(MODEL, 1);
    assert_ne!(region(turn(1)).await, home);
    assert_ne!(region(turn(2)).await, home, "it cools");
    let next = async || region(turn(3)).await;
    eventually("the conversation comes home", next, |region| *region == home).await;
}

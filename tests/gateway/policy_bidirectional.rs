//! What a client may ask for and spend by the bidirectional stream, which no SDK for Python has: so by
//! the errors on the wire. No policy has a way around it there.

use serde_json::Value;
use sluice::simulator::{Ending, Entry};

use crate::bidirectional::Conversation;
use crate::budgets::{KEY, start, used, with_budget};
use crate::support::patience::eventually;
use crate::support::{Config, Gateway, MODELS, PRIMARY, Simulator};

const OPERATION: &str = "InvokeModelWithBidirectionalStream";

fn team_a(simulator: &Simulator) -> Config {
    Config::four_models(simulator).client("team-a", "env:TEAM_A_KEY")
}

async fn open(
    gateway: &Gateway,
    headers: &[(&'static str, &str)],
) -> Result<Conversation, (u16, String, String)> {
    let bearer = format!("Bearer {KEY}");
    let mut headers = headers.to_vec();
    headers.push(("authorization", &bearer));
    Conversation::of(gateway, PRIMARY, &headers).await
}

async fn is_refused(
    gateway: &Gateway,
    headers: &[(&'static str, &str)],
    wanted: (u16, &str, &str),
) {
    let (status, error, text) = open(gateway, headers).await.unwrap_err();
    assert_eq!((status, error.as_str()), (wanted.0, wanted.1), "{text}");
    assert!(text.contains(wanted.2), "{text}");
}

/// It is broken off there: seen by the events or by the answer, whichever the target looks at first.
async fn ends_at_the_target(simulator: &Simulator) {
    let is_broken_off =
        |entry: &Entry| matches!(entry.ending, Ending::Broken | Ending::Disconnected);
    simulator.sees("the end", is_broken_off).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_without_a_key_are_refused() {
    let simulator = Simulator::start().await;
    let gateway = start(&team_a(&simulator)).await;
    let refused = Conversation::of(&gateway, PRIMARY, &[]).await.unwrap_err();
    assert_eq!((refused.0, refused.1.as_str()), (403, "MissingAuthenticationTokenException"));
    assert!(simulator.log().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operation_the_model_and_the_target_must_be_allowed() {
    let simulator = Simulator::start().await;
    let denied = "AccessDeniedException";
    for (key, value, part) in [
        ("allowed_operations", vec!["Converse", "InvokeModel"], OPERATION),
        ("allowed_models", vec![MODELS[1]], "allowed_models"),
    ] {
        let gateway = start(&team_a(&simulator).of_client(key, value)).await;
        is_refused(&gateway, &[], (403, denied, part)).await;
    }
    // An alias is allowed, and what it leads to first is not; nobody stands in for that.
    let config = Config::four_models(&simulator)
        .route("alias", &["sonnet-35", "haiku-3"])
        .client("team-a", "env:TEAM_A_KEY")
        .of_client("allowed_models", vec!["alias", MODELS[3]]);
    let gateway = start(&config).await;
    let bearer = format!("Bearer {KEY}");
    let refused = Conversation::of(&gateway, "alias", &[("authorization", &bearer)]).await;
    let (status, error, text) = refused.unwrap_err();
    assert_eq!((status, error.as_str()), (403, denied), "{text}");
    assert!(text.contains("no target of its route"), "{text}");
    assert!(simulator.log().is_empty());

    let allowed = team_a(&simulator).of_client("allowed_operations", vec![OPERATION]);
    let gateway = start(&allowed).await;
    let mut conversation = open(&gateway, &[]).await.unwrap();
    conversation.tries_to_say("one").await.unwrap();
    assert!(conversation.next().await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_has_no_place_for_a_guardrail() {
    let simulator = Simulator::start().await;
    let mut guardrail = toml::Table::new();
    guardrail.insert("identifier".to_owned(), "grforced".into());
    guardrail.insert("version".to_owned(), "7".into());
    let gateway = start(&team_a(&simulator).of_client("guardrail", guardrail)).await;
    let forced = [
        ("x-amzn-bedrock-guardrailidentifier", "grforced"),
        ("x-amzn-bedrock-guardrailversion", "7"),
    ];
    is_refused(&gateway, &[], (403, "AccessDeniedException", OPERATION)).await;
    is_refused(&gateway, &forced, (403, "AccessDeniedException", OPERATION)).await;
    let gateway = start(&team_a(&simulator).of_client("allowed_guardrails", vec!["gr1"])).await;
    is_refused(&gateway, &forced, (400, "ValidationException", "allowed_guardrails")).await;
    assert!(simulator.log().is_empty());
    assert!(open(&gateway, &[]).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_counts_against_rates_and_requests_at_once() {
    let simulator = Simulator::start().await;
    let config = team_a(&simulator).of_client("rpm", 2).of_client("max_concurrent", 1);
    let gateway = start(&config).await;
    let throttled = "ThrottlingException";
    let open_one = open(&gateway, &[]).await.unwrap();
    is_refused(&gateway, &[], (429, throttled, "max_concurrent")).await;
    is_refused(&gateway, &[], (429, throttled, "rpm")).await;
    drop(open_one);
    ends_at_the_target(&simulator).await;
    assert_eq!(simulator.log().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_no_more_urgent_than_its_policy_allows() {
    let simulator = Simulator::start().await;
    // What a stream reserves is more than half of the quota, so one is served at a time.
    let config = Config::models(&simulator, 1)
        .set("targets.sonnet-35.tpm", 7_000)
        .set("targets.sonnet-35.max_output_tokens", 4_000)
        .set("queue.max_wait", "20s")
        .client("team-a", "env:TEAM_A_KEY")
        .of_client("max_priority", "low");
    let gateway = start(&config).await;
    let first = open(&gateway, &[]).await.unwrap();
    let usual = crate::support::Ask::new(&gateway, "usual").max_tokens(4_000).bearer(KEY).start();
    gateway.has_waiting(1).await;
    let urgent = open(&gateway, &[("x-sluice-priority", "high")]);
    let last = async {
        gateway.has_waiting(2).await;
        drop(first);
        simulator.sees("the last", |entry: &Entry| entry.seq == 3).await
    };
    let (urgent, _) = tokio::join!(urgent, last);
    urgent.unwrap();
    assert_eq!(usual.await.unwrap().status, 200);
    let operations: Vec<_> = simulator.log().iter().map(|entry| entry.operation).collect();
    assert_eq!(operations, [Some(OPERATION), Some("InvokeModel"), Some(OPERATION)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_no_longer_than_a_body_of_its_client_may_be() {
    let simulator = Simulator::start().await;
    let gateway = start(&team_a(&simulator).of_client("max_body", "2KB")).await;
    let mut conversation = open(&gateway, &[]).await.unwrap();
    conversation.tries_to_say("one").await.unwrap();
    assert!(conversation.next().await.unwrap().is_some());
    let _ = conversation.tries_to_say(&"x".repeat(4_000)).await;
    ends_at_the_target(&simulator).await;
    assert!(!simulator.only_call().body.contains("xxx"));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_when_it_has_used_up_the_budget() {
    let simulator = Simulator::start().await;
    // Each event counts as a token of output until the model tells what it has used.
    let gateway = start(&with_budget(&simulator, 0.05)).await;
    let mut conversation = open(&gateway, &[]).await.unwrap();
    // What is left is held, as long as it may cost all of it.
    is_refused(&gateway, &[], (429, "ThrottlingException", "daily budget")).await;
    let mut events = 0;
    let last: Value = loop {
        // When it is over there is nobody to hear more.
        let _ = conversation.tries_to_say("more").await;
        let event = conversation.next().await.unwrap().expect("an exception before the end");
        if event["exception"].is_string() {
            break event;
        }
        events += 1;
    };
    assert_eq!(last["exception"], "validationException");
    let message = last["message"].as_str().unwrap();
    assert!(message.contains("daily budget of this client is used up: 0.05 of 0.05"), "{message}");
    assert_eq!(events, 50);
    assert_eq!(conversation.next().await.unwrap(), None);
    drop(conversation);
    ends_at_the_target(&simulator).await;
    eventually("the charge", async || used(&gateway).await, |used| *used >= 1.0).await;
    is_refused(&gateway, &[], (403, "AccessDeniedException", "daily budget")).await;
    let log = gateway.access_log(3).await;
    let outcomes: Vec<_> = log.iter().map(|line| line["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["client_limited", "client_denied", "client_denied"]);
    assert_eq!(simulator.log().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_is_what_the_model_reports_at_the_end() {
    let simulator = Simulator::start().await;
    let gateway = start(&with_budget(&simulator, 1.0)).await;
    let mut conversation = open(&gateway, &[]).await.unwrap();
    for _ in 0..3 {
        conversation.tries_to_say("more").await.unwrap();
        conversation.next().await.unwrap();
    }
    conversation.says_no_more();
    while conversation.next().await.unwrap().is_some() {}
    drop(conversation);
    gateway.access_log(1).await;
    crate::budgets::is_about(used(&gateway).await, 0.003);
}

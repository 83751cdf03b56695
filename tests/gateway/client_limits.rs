//! What one client may ask for: each limit, by each way to tell clients apart. Who runs into one
//! is told which and until when, and costs nobody anything.

use std::time::Duration;

use serde_json::json;

use crate::support::clients::Job;
use crate::support::http::{Response, post};
use crate::support::{Answer, Ask, Call, Client, Config, Gateway, PRIMARY, Simulator};

fn limited(simulator: &Simulator) -> Config {
    Config::models(simulator, 1)
}

async fn refusals(gateway: &Gateway, limit: &str) -> f64 {
    gateway.metrics().await.sum("sluice_client_limited_total", &[("limit", limit)])
}

#[track_caller]
fn is_refused(answer: &Response, limit: &str) -> u64 {
    assert_eq!(answer.status, 429, "{}", answer.text());
    let name = answer.header("x-amzn-errortype").unwrap();
    assert!(name.starts_with("ThrottlingException"), "{name}");
    assert!(answer.text().contains(limit), "{}", answer.text());
    answer.header("retry-after").unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_per_second_count_by_access_key() {
    let simulator = Simulator::start().await;
    let config = limited(&simulator).set("limits.requests_per_second", 1).set("limits.burst", 3);
    let gateway = Gateway::start(&config).await;
    let calls: Vec<Call> = (0..10).map(|_| Call::converse(PRIMARY, "hello")).collect();
    let answers = Client::Boto3.run(Job::at_once(&gateway.url(), calls)).await;
    let (answered, refused): (Vec<&Answer>, Vec<&Answer>) =
        answers.iter().partition(|answer| answer.error.is_none());
    assert!((3..=6).contains(&answered.len()), "{answers:#?}");
    for answer in &refused {
        let raised = answer.raised();
        assert!(raised.is("ThrottlingException"), "{raised:?}");
        assert!(raised.message.contains("requests_per_second"), "{raised:?}");
        assert_eq!(answer.status, Some(429));
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    assert_eq!(simulator.log().len(), answered.len(), "what is refused reaches no upstream");
    assert_eq!(refusals(&gateway, "requests_per_second").await, refused.len() as f64);
    // Another client is none the worse.
    assert_eq!(Ask::new(&gateway, "hello").key("AKIDOTHER").send().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_is_true_for_a_rate() {
    let simulator = Simulator::start().await;
    let config = limited(&simulator).set("limits.requests_per_second", 1);
    let gateway = Gateway::start(&config).await;
    assert_eq!(Ask::new(&gateway, "hello").send().await.status, 200);
    let after = is_refused(&Ask::new(&gateway, "hello").send().await, "requests_per_second");
    tokio::time::sleep(Duration::from_secs(after)).await;
    assert_eq!(Ask::new(&gateway, "hello").send().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_openais_and_anthropics_apis_see_what_is_left_of_their_rate() {
    let simulator = Simulator::start().await;
    let config = limited(&simulator).set("limits.requests_per_second", 1).set("limits.burst", 3);
    for (path, limit, remaining, reset) in [
        (
            "/v1/chat/completions",
            "x-ratelimit-limit-requests",
            "x-ratelimit-remaining-requests",
            "x-ratelimit-reset-requests",
        ),
        (
            "/v1/messages",
            "anthropic-ratelimit-requests-limit",
            "anthropic-ratelimit-requests-remaining",
            "anthropic-ratelimit-requests-reset",
        ),
    ] {
        let body = json!({
            "model": PRIMARY,
            "max_tokens": 10,
            "messages": [{"role": "user", "content": "Hello"}],
        });
        let gateway = Gateway::start(&config).await;
        let url = format!("{}{path}", gateway.url());
        let mut left = Vec::new();
        let last = loop {
            let got = post(&url, &[], body.to_string()).await;
            left.push(got.header(remaining).unwrap().to_owned());
            assert_eq!(got.header(limit), Some("60"), "{path}");
            if got.status != 200 || left.len() == 20 {
                break got;
            }
            assert!(got.header(reset).is_some(), "{path}");
        };
        assert_eq!(left.first().map(String::as_str), Some("2"), "{path}: {left:?}");
        assert_eq!((last.status, left.last().map(String::as_str)), (429, Some("0")), "{path}");
    }
    // Bedrock's own clients don't know such headers.
    let gateway = Gateway::start(&config).await;
    let native = Ask::new(&gateway, "hello").send().await;
    assert!(
        native.headers.keys().all(|name| !name.as_str().starts_with("x-ratelimit")),
        "{native:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_can_be_limited_by_address() {
    let simulator = Simulator::start().await;
    let config = limited(&simulator)
        .set("limits.key", "ip")
        .set("limits.requests_per_second", 1)
        .set("limits.burst", 1);
    let gateway = Gateway::start(&config).await;
    assert_eq!(Ask::new(&gateway, "hello").key("AKIDONE").send().await.status, 200);
    let same = Ask::new(&gateway, "hello").key("AKIDTWO").send().await;
    is_refused(&same, "requests_per_second");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_can_be_limited_by_a_header() {
    let simulator = Simulator::start().await;
    let config = limited(&simulator)
        .set("limits.key", "header:x-team")
        .set("limits.requests_per_second", 1)
        .set("limits.burst", 1);
    let gateway = Gateway::start(&config).await;
    let ask = |team| Ask::new(&gateway, "hello").key("AKIDSHARED").header("x-team", team);
    assert_eq!(ask("red").send().await.status, 200);
    is_refused(&ask("red").send().await, "requests_per_second");
    assert_eq!(ask("blue").send().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_per_minute_are_reserved_and_settled() {
    let simulator = Simulator::start().await;
    let config = limited(&simulator).set("limits.tokens_per_minute", 2_000);
    let gateway = Gateway::start(&config).await;
    let ask = |prompt| Ask::new(&gateway, prompt).key("AKIDONE").max_tokens(1_500);
    let first = ask("first sim:head_ms=700").start();
    simulator.sees("the first", |_| true).await;
    let after = is_refused(&ask("second").send().await, "tokens_per_minute");
    assert!((20..=60).contains(&after), "{after}");
    let other = Ask::new(&gateway, "other").key("AKIDTWO").max_tokens(1_500).send().await;
    assert_eq!(other.status, 200);
    assert_eq!(first.await.unwrap().status, 200);
    gateway.access_log(3).await;
    // The first used next to nothing of what it had reserved.
    assert_eq!(ask("third").send().await.status, 200);
    assert_eq!(refusals(&gateway, "tokens_per_minute").await, 1.0);
    assert_eq!(simulator.log().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_at_once_are_bounded_and_streams_count_until_their_end() {
    let simulator = Simulator::start().await;
    let config = limited(&simulator).set("limits.max_concurrent", 2);
    let gateway = Gateway::start(&config).await;
    let slow = "hello sim:tokens=60 sim:token_ms=15";
    let ask = |prompt| Ask::new(&gateway, prompt).key("AKIDONE").max_tokens(100);
    let open = [ask(slow).start(), ask(slow).stream().start()];
    simulator.sees("the stream", |entry| entry.frames >= 3).await;
    simulator.sees("both", |entry| entry.seq == 2).await;
    is_refused(&ask("hello").send().await, "max_concurrent");
    assert_eq!(Ask::new(&gateway, "hello").key("AKIDTWO").send().await.status, 200);
    for asked in open {
        assert_eq!(asked.await.unwrap().status, 200);
    }
    gateway.access_log(4).await;
    assert_eq!(ask("hello").send().await.status, 200);
    assert_eq!(refusals(&gateway, "max_concurrent").await, 1.0);
}

//! One bill, whoever makes it: metrics, records of use, budgets and the simulator's own books, after
//! a run with faults, fallbacks, retries and streams that were left.

use futures_util::future::join_all;
use serde_json::{Value, json};
use sluice::simulator::{Ending, Fault, FaultRule};

use crate::budgets::{KEY, ask, start, used, with_budget};
use crate::support::http::request;
use crate::support::patience::eventually;
use crate::support::raw::Connection;
use crate::support::{Ask, Gateway, PRIMARY, SECOND, Simulator, bodies};

const BUDGET_USD: f64 = 1000.0;
const LEFT: usize = 3;

/// The records, once there are so many.
async fn records(gateway: &Gateway, count: usize) -> Vec<Value> {
    let look = async || {
        let text = std::fs::read_to_string(gateway.folder().join("usage.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
    };
    eventually("the records", look, |records| records.len() >= count).await
}

fn requests(gateway: &Gateway) -> Vec<Ask> {
    let converse = |operation: &'static str, tokens: u64| {
        let mut body = bodies::conversation(&format!("hello sim:tokens={tokens}"), tokens);
        body["inferenceConfig"]["maxTokens"] = tokens.into();
        ask(gateway, tokens).operation(operation, body.to_string())
    };
    (1..=60)
        .map(|tokens| match tokens % 4 {
            0 => ask(gateway, tokens),
            1 => ask(gateway, tokens).stream(),
            2 => converse("converse", tokens),
            _ => converse("converse-stream", tokens),
        })
        .collect()
}

/// A stream whose client goes when some of it has come.
async fn leave(simulator: &Simulator, gateway: &Gateway, number: usize) {
    let body = bodies::messages(&format!("left {number} sim:tokens=4000 sim:token_ms=20"), 4000);
    let request = ask(gateway, 4000).body(body).stream().into_http1();
    let request =
        request.replace("host: x\r\n", &format!("host: x\r\nauthorization: Bearer {KEY}\r\n"));
    let mut leaving = Connection::open(gateway.address()).await;
    leaving.send(request.as_bytes()).await;
    let own = format!("left {number} ");
    let is_own = |body: &str| body.contains(&own);
    simulator.sees("some frames", |entry| is_own(&entry.body) && entry.frames >= 5).await;
    drop(leaving);
    simulator.sees("the end", |it| is_own(&it.body) && it.ending == Ending::Disconnected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_books_agree() {
    let simulator = Simulator::start().await;
    let config = with_budget(&simulator, BUDGET_USD)
        .set("prices.*claude*.input", 7)
        .set("retry.base_delay", "5ms")
        .set("retry.max_delay", "5ms")
        .set("usage_log.enabled", true);
    let gateway = start(&config).await;
    let frame = |name: &str| Fault::ExceptionFrame { name: name.to_owned(), frame: 4 };
    for (model, skip, times, fault) in [
        (PRIMARY, 2, 2, Fault::Internal),
        (PRIMARY, 9, 2, Fault::ServiceUnavailable),
        (PRIMARY, 15, 2, Fault::Validation),
        (PRIMARY, 20, 2, frame("modelStreamErrorException")),
        (PRIMARY, 24, 2, Fault::ResetAfterFrames { frames: 2 }),
        (PRIMARY, 30, 1, Fault::Throttle),
        (SECOND, 3, 1, Fault::ModelError),
        (SECOND, 6, 1, Fault::Internal),
    ] {
        simulator.add(FaultRule::next(times, fault).on(model).after(skip));
    }
    let asked = requests(&gateway);
    let count = asked.len();
    let answers = join_all(asked.into_iter().map(Ask::send)).await;
    assert!(answers.iter().filter(|answer| answer.status == 200).count() > count / 2);
    let refused = answers.iter().filter(|answer| answer.status == 400);
    assert!(refused.count() <= 2, "only what the fault says is invalid");
    // Whatever has not struck by now must not strike these.
    simulator.recovers();
    join_all((0..LEFT).map(|number| leave(&simulator, &gateway, number))).await;

    let records = records(&gateway, count + LEFT).await;
    assert_eq!(records.len(), count + LEFT, "one for each request");
    let sum = |key: &str, of: &dyn Fn(&Value) -> bool| {
        let counted = records.iter().filter(|record| of(record));
        counted.filter_map(|record| record[key].as_f64()).sum::<f64>()
    };
    let all = |_: &Value| true;
    let metrics = gateway.metrics().await;
    for kind in ["input", "output", "cache_read", "cache_write"] {
        let labels = [("client", "team-a"), ("kind", kind)];
        let counted = metrics.sum("sluice_tokens_total", &labels);
        assert_eq!(sum(&format!("{kind}_tokens"), &all), counted, "{kind}");
    }
    let cost = sum("cost_usd", &all);
    assert!(cost > 0.0);
    let near = |other: f64| (cost - other).abs() < 1e-6;
    let counted = metrics.sum("sluice_cost_usd_total", &[("client", "team-a")]);
    assert!(near(counted), "{cost} and {counted}");
    let spent = used(&gateway).await * BUDGET_USD;
    assert!(near(spent), "{cost} and {spent}");

    // What the simulator sent whole is what was told; the rest is about what had come.
    let told = |record: &Value| record["outcome"] == "success";
    assert!(records.iter().all(|record| !told(record) || record["estimated"] == false));
    let whole = simulator.log().into_iter().filter(|entry| {
        entry.status == Some(200) && entry.ending == Ending::Finished && entry.fault.is_none()
    });
    let (input, output) = whole.fold((0, 0), |(input, output), entry| {
        (input + entry.input_tokens, output + entry.output_tokens)
    });
    assert_eq!(sum("input_tokens", &told), input as f64);
    assert_eq!(sum("output_tokens", &told), output as f64);
    let left = records.iter().filter(|record| record["outcome"] == "client_gone");
    assert_eq!(left.filter(|record| record["output_tokens"].as_u64() > Some(3)).count(), LEFT);
    assert_eq!(metrics.sum("sluice_usage_log_dropped_total", &[]), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_estimate_of_a_streams_output_is_at_most_what_the_request_allows() {
    let simulator = Simulator::start().await;
    let config = with_budget(&simulator, BUDGET_USD).set("usage_log.enabled", true);
    let gateway = start(&config).await;
    // Without its last frame a stream reports no usage. Its text is long for its tokens.
    simulator.add(FaultRule::next(1, Fault::EndBeforeLastFrame).on(PRIMARY));
    let body = bodies::conversation(&"long ".repeat(500), 10);
    let answer = ask(&gateway, 10).operation("converse-stream", body.to_string()).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let record = &records(&gateway, 1).await[0];
    assert_eq!((&record["estimated"], &record["output_tokens"]), (&true.into(), &10.into()));
    let log = gateway.output();
    assert!(!log.contains("cost more than was reserved"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_any_api_that_breaks_costs_what_came_of_it() {
    let simulator = Simulator::start().await;
    let config = with_budget(&simulator, BUDGET_USD).set("usage_log.enabled", true);
    let gateway = start(&config).await;
    let bearer = format!("Bearer {KEY}");
    let said = json!([{"role": "user", "content": "hello sim:tokens=4000"}]);
    for (number, path, maximum) in [
        (1, "/v1/chat/completions", "max_completion_tokens"),
        (2, "/v1/messages", "max_tokens"),
        (3, "/v1/responses", "max_output_tokens"),
    ] {
        simulator.add(FaultRule::next(1, Fault::ResetAfterFrames { frames: 6 }).on(PRIMARY));
        let key = if number == 3 { "input" } else { "messages" };
        let body = json!({"model": PRIMARY, "stream": true, maximum: 4000, key: said});
        let url = format!("{}{path}", gateway.url());
        let headers = [("authorization", bearer.as_str())];
        request("POST", &url, &headers, body.to_string()).await;
        let record = &records(&gateway, number).await[number - 1];
        let output = record["output_tokens"].as_u64().unwrap();
        assert_eq!(record["outcome"], "stream_broken", "{record}");
        assert!((1..100).contains(&output), "{path}: {record}");
    }
}

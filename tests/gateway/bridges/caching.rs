//! What the operator has added to translated requests: cache points, their lifetime, and pairs for AWS's records.

use super::*;

/// A text that is longer than the shortest prefix that models cache.
fn rules() -> String {
    "Each rule of the house must be read before an answer is given. ".repeat(80)
}

fn messages(path: &str) -> Value {
    let turns = json!([
        { "role": "user", "content": "Why?" },
        { "role": "assistant", "content": "Since." },
        { "role": "user", "content": "Since?" },
    ]);
    match path {
        MESSAGES => with(with(message(), "system", rules()), "messages", turns),
        _ => {
            let mut all = vec![json!({ "role": "system", "content": rules() })];
            all.extend(turns.as_array().unwrap().iter().cloned());
            with(chat(), "messages", all)
        }
    }
}

async fn policy_gateway(upstream: &Bedrock, model: &str) -> Gateway {
    gateway(upstream, &[("model", model)], |config| {
        config
            .set("apis.prompt_caching.add_points", true)
            .set("apis.prompt_caching.min_ttl", "1h")
            .every_target("surfaces", vec!["invoke_model", "converse"])
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn cache_points_are_added_to_translated_requests_and_named() {
    let upstream = Bedrock::start(|_, _| converse_text("hello")).await;
    let gateway = policy_gateway(&upstream, NOVA).await;
    let got = post(&gateway, CHAT, &messages(CHAT)).await;
    assert_eq!(got.status, 200, "{}", got.text());
    let added = "cache_control.system, cache_control.messages";
    assert_eq!(got.header("x-sluice-added"), Some(added));
    assert_eq!(got.header("x-sluice-dropped"), None);
    assert_eq!(gateway.access_log(1).await[0]["added"], added);
    let body = &upstream.seen()[0].body;
    let point = json!({ "cachePoint": { "type": "default" } });
    assert_eq!(body["system"][1], point);
    assert_eq!(body["messages"][1]["content"][1], point);
    assert_eq!(body["messages"][2]["content"], json!([{ "text": "Since?" }]));
}

#[tokio::test(flavor = "multi_thread")]
async fn claude_gets_them_by_invoke_model_too() {
    let upstream = Bedrock::start(|_, _| {
        let body = json!({ "type": "message", "role": "assistant", "stop_reason": "end_turn",
            "content": [{ "type": "text", "text": "hello" }],
            "usage": { "input_tokens": 11, "output_tokens": 7 } });
        say(200, "application/json", body.to_string().as_bytes())
    })
    .await;
    let gateway = policy_gateway(&upstream, CLAUDE).await;
    let got = post(&gateway, MESSAGES, &messages(MESSAGES)).await;
    assert_eq!(got.status, 200, "{}", got.text());
    assert_eq!(got.header("x-sluice-added"), Some("cache_control.system, cache_control.messages"));
    let body = &upstream.seen()[0].body;
    let hour = json!({ "type": "ephemeral", "ttl": "1h" });
    assert_eq!(body["system"][0]["cache_control"], hour);
    assert_eq!(body["system"][0]["text"], rules());
    assert_eq!(body["messages"][1]["content"][0]["cache_control"], hour);
    assert_eq!(body["messages"][2]["content"], "Since?");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_a_target_takes_as_it_came_gets_no_cache_point() {
    let upstream = Bedrock::start(|_, _| converse_text("hello")).await;
    let gateway = policy_gateway(&upstream, CLAUDE).await;
    let body = json!({ "system": [{ "text": rules() }],
        "messages": [{ "role": "user", "content": [{ "text": "Why?" }] }] });
    let got = post(&gateway, "/model/m/converse", &body).await;
    assert_eq!(got.status, 200, "{}", got.text());
    assert_eq!(got.header("x-sluice-added"), None);
    assert_eq!(upstream.seen()[0].body, body);
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_are_recorded_by_leave_alone() {
    let upstream = Bedrock::start(|_, _| converse_text("hello")).await;
    let body = with(with(chat(), "user", "u-1"), "metadata", json!({ "team": "a", "x": "{}" }));
    let gateway = gateway(&upstream, &[("nova", NOVA)], |config| {
        config.set("apis.request_metadata", vec!["metadata"])
    })
    .await;
    let got = post(&gateway, CHAT, &body).await;
    assert_eq!(got.status, 200, "{}", got.text());
    assert_eq!(upstream.seen()[0].body["requestMetadata"], json!({ "team": "a" }));
    let dropped = got.header("x-sluice-dropped").unwrap();
    assert_eq!(dropped, "metadata.x, user");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_budget_holds_covers_the_cache_writes_that_are_added() {
    // 200,000 tokens at most: 0.75 USD as they are, 1.20 USD if they are written for an hour.
    let text = "x ".repeat(100_000);
    let body = with(chat(), "messages", json!([{ "role": "user", "content": text }]));
    let body = with(body, "max_completion_tokens", 10);
    let key = "a-long-enough-key-of-one";
    let bearer = format!("Bearer {key}");
    for (adds, status) in [(false, 200), (true, 429)] {
        let upstream = Bedrock::start(|number, _| {
            let whole = converse_text("hello");
            let (most, rest) = whole.split_at(whole.len() - 10);
            if number == 1 { [most, PAUSE, rest].concat() } else { whole.clone() }
        })
        .await;
        let gateway = gateway(&upstream, &[("claude", CLAUDE)], |config| {
            let digest = format!("sha256:{}", sluice::simulator::sha256_hex(key.as_bytes()));
            config
                .set("apis.prompt_caching.add_points", adds)
                .set("apis.prompt_caching.min_ttl", "1h")
                .set("prices.*a*.input", 3.0)
                .set("prices.*a*.output", 3.0)
                .every_target("surfaces", vec!["converse"])
                .client("one", &digest)
                .of_client("daily_budget_usd", 1.0)
        })
        .await;
        let (url, first) = (format!("{}{CHAT}", gateway.url()), body.to_string());
        let of_client = bearer.clone();
        let first = tokio::spawn(async move {
            let headers = [("authorization", of_client.as_str())];
            crate::support::http::post(&url, &headers, first).await
        });
        let seen = async || upstream.seen().len();
        crate::support::patience::eventually("the first", seen, |seen| *seen == 1).await;
        let headers = [("authorization", bearer.as_str())];
        let second = post_with(&gateway, CHAT, &headers, &body).await;
        assert_eq!(second.status, status, "{adds} {}", second.text());
        upstream.go_on();
        assert_eq!(first.await.unwrap().status, 200);
    }
}

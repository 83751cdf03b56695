//! Stored responses: each stays at its place, and with the client that made it.

use serde_json::Value;

use super::{APIS, Upstream, digest, gateway, json, post, streamed};
use crate::support::http::request;
use crate::support::{Config, Gateway};

const KEYS: [&str; 2] = ["a-long-enough-key-of-one", "a-long-enough-key-of-two"];

fn two_clients(config: Config) -> Config {
    config
        .client("one", &digest(KEYS[0]))
        .client("two", &digest(KEYS[1]))
        .set("apis.responses.store", "allow")
}

/// An upstream that stores a response as `resp_1` and continues, gives, cancels and deletes it.
async fn store() -> Upstream {
    Upstream::start(|_, _, _| json(200, &APIS[1].answer())).await
}

async fn ask(gateway: &Gateway, key: &str, method: &str, path: &str, body: &str) -> (u16, Value) {
    let url = format!("{}{path}", gateway.url());
    let bearer = format!("Bearer {key}");
    let got = request(method, &url, &[("authorization", bearer.as_str())], body.to_owned()).await;
    (got.status, got.json())
}

async fn create(gateway: &Gateway, key: &str, more: &str) -> (u16, Value) {
    let body = format!(r#"{{"model":"m","input":"hi"{more}}}"#);
    ask(gateway, key, "POST", "/v1/responses", &body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_is_continued_read_cancelled_and_deleted_where_it_is() {
    let upstream = store().await;
    let gateway = gateway(&upstream, two_clients).await;
    // The first target is out, so the response is made at the second one.
    request(
        "POST",
        &format!("{}/admin/targets/first/drain", gateway.admin_url()),
        &[("x-sluice-admin-key", crate::support::gateway::ADMIN_KEY)],
        "",
    )
    .await;
    let (status, made) = create(&gateway, KEYS[0], "").await;
    let id = made["id"].as_str().unwrap().to_owned();
    assert!(status == 200 && id.starts_with("resp_") && id.len() > 40, "{made}");
    request(
        "POST",
        &format!("{}/admin/targets/first/resume", gateway.admin_url()),
        &[("x-sluice-admin-key", crate::support::gateway::ADMIN_KEY)],
        "",
    )
    .await;

    let (status, next) =
        create(&gateway, KEYS[0], &format!(r#","previous_response_id":"{id}""#)).await;
    assert_eq!(status, 200, "{next}");
    for (method, path) in [
        ("GET", format!("/v1/responses/{id}")),
        ("POST", format!("/openai/v1/responses/{id}/cancel")),
        ("GET", format!("/v1/responses/{id}/input_items?limit=2")),
        ("DELETE", format!("/v1/responses/{id}")),
    ] {
        let (status, answer) = ask(&gateway, KEYS[0], method, &path, "").await;
        assert_eq!((status, &answer["id"]), (200, &id.as_str().into()), "{method} {path}");
    }
    let seen = upstream.seen();
    assert!(
        seen[1].body.contains("maker.two") && seen[1].body.contains(r#""resp_1""#),
        "{:?}",
        seen[1]
    );
    let paths: Vec<&str> = seen[2..].iter().map(|it| it.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "/openai/v1/responses/resp_1",
            "/openai/v1/responses/resp_1/cancel",
            "/openai/v1/responses/resp_1/input_items?limit=2",
            "/openai/v1/responses/resp_1",
        ]
    );
    assert!(seen.iter().all(|it| it.head.contains("us-west-2")), "all at the second target");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tokens_of_a_stored_response_count_once_however_often_it_is_read() {
    let upstream = store().await;
    let gateway = gateway(&upstream, two_clients).await;
    let (_, made) = create(&gateway, KEYS[0], "").await;
    let path = format!("/v1/responses/{}", made["id"].as_str().unwrap());
    for (method, path) in [
        ("GET", path.clone()),
        ("GET", format!("{path}/input_items")),
        ("POST", format!("{path}/cancel")),
        ("GET", path.clone()),
        ("DELETE", path),
    ] {
        let (status, answer) = ask(&gateway, KEYS[0], method, &path, "").await;
        assert_eq!((status, &answer["usage"]["input_tokens"]), (200, &4.into()), "{method} {path}");
    }
    let log = gateway.access_log(6).await;
    assert_eq!((&log[0]["usage"]["input"], &log[0]["usage"]["output"]), (&4.into(), &2.into()));
    assert!(log[1..].iter().all(|line| line["usage"].is_null()), "{log:?}");
    let metrics = gateway.metrics().await;
    for (kind, tokens) in [("input", 4.0), ("output", 2.0)] {
        assert_eq!(metrics.sum("sluice_tokens_total", &[("kind", kind)]), tokens, "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_client_can_use_an_id_and_none_can_make_one_up() {
    let upstream = store().await;
    let gateway = gateway(&upstream, two_clients).await;
    let (_, made) = create(&gateway, KEYS[0], "").await;
    let id = made["id"].as_str().unwrap();
    let mut forged = id.to_owned();
    let last = if forged.ends_with('A') { 'B' } else { 'A' };
    forged.pop();
    forged.push(last);
    for (key, id) in [(KEYS[1], id), (KEYS[0], &*forged), (KEYS[0], "resp_1"), (KEYS[0], "")] {
        let (status, refused) =
            create(&gateway, key, &format!(r#","previous_response_id":"{id}""#)).await;
        assert_eq!(status, 404, "{id} {refused}");
        let error = &refused["error"];
        assert_eq!(
            (&error["type"], &error["code"]),
            (&"invalid_request_error".into(), &"previous_response_not_found".into())
        );
        assert_eq!(error["param"], "previous_response_id");
        if !id.is_empty() {
            let (status, refused) =
                ask(&gateway, key, "GET", &format!("/v1/responses/{id}"), "").await;
            assert_eq!(status, 404, "{refused}");
            let (status, _) =
                ask(&gateway, key, "DELETE", &format!("/v1/responses/{id}"), "").await;
            assert_eq!(status, 404);
        }
    }
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ids_in_a_stream_are_the_ones_that_can_be_used() {
    let upstream = Upstream::start(|number, _, _| match number {
        1 => streamed(&APIS[1].stream()),
        _ => json(200, &APIS[1].answer()),
    })
    .await;
    let gateway = gateway(&upstream, two_clients).await;
    let bearer = format!("Bearer {}", KEYS[0]);
    let body = r#"{"model":"m","input":"hi","stream":true}"#;
    let got = post(&gateway, "/v1/responses", &[("authorization", &bearer)], body).await;
    let text = got.text();
    assert!(!text.contains(r#""resp_1""#), "{text}");
    let ids: Vec<Value> = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok())
        .filter_map(|event| Some(event.get("response")?["id"].clone()))
        .collect();
    assert_eq!(ids.len(), 2);
    assert_eq!(ids[0], ids[1]);
    let (status, _) =
        ask(&gateway, KEYS[0], "GET", &format!("/v1/responses/{}", ids[0].as_str().unwrap()), "")
            .await;
    assert_eq!(status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_over_several_regions_stores_only_what_the_client_asks_to_store() {
    let upstream = store().await;
    let gateway = gateway(&upstream, |config| config.client("one", &digest(KEYS[0]))).await;
    let stored = |index: usize| {
        let body: Value = serde_json::from_str(&upstream.seen()[index].body).unwrap();
        body["store"].clone()
    };
    create(&gateway, KEYS[0], "").await;
    assert_eq!(stored(0), false);
    create(&gateway, KEYS[0], r#","store":true"#).await;
    assert_eq!(stored(1), true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_can_forbid_to_store() {
    let upstream = store().await;
    let gateway =
        gateway(&upstream, |config| two_clients(config).of_client("stored_responses", false)).await;
    // `of_client` is about the last one.
    let (status, made) = create(&gateway, KEYS[1], r#","store":true"#).await;
    assert_eq!(
        (status, &made["id"]),
        (200, &"resp_1".into()),
        "nothing is stored, so nothing is sealed"
    );
    let body: Value = serde_json::from_str(&upstream.seen()[0].body).unwrap();
    assert_eq!(body["store"], false);
    let (_, made) = create(&gateway, KEYS[0], "").await;
    let id = made["id"].as_str().unwrap();
    let (status, _) =
        create(&gateway, KEYS[1], &format!(r#","previous_response_id":"{id}""#)).await;
    assert_eq!(status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_can_forbid_to_store_a_chat() {
    let upstream = Upstream::start(|_, _, _| json(200, &APIS[0].answer())).await;
    let gateway =
        gateway(&upstream, |config| two_clients(config).of_client("stored_responses", false)).await;
    let body = r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"store":true}"#;
    for (key, stored) in [(KEYS[0], true), (KEYS[1], false)] {
        ask(&gateway, key, "POST", "/v1/chat/completions", body).await;
        let sent: Value = serde_json::from_str(&upstream.seen().last().unwrap().body).unwrap();
        assert_eq!(sent["store"], stored);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn conversations_of_the_upstream_are_refused() {
    let upstream = store().await;
    let gateway = gateway(&upstream, two_clients).await;
    let (status, refused) = create(&gateway, KEYS[0], r#","conversation":"conv_1""#).await;
    assert_eq!((status, &refused["error"]["param"]), (400, &"conversation".into()));
    assert!(upstream.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_stored_names_the_response_it_continues_by_its_sealed_id() {
    let answer = r#"{"id":"resp_2","object":"response","status":"completed","previous_response_id":"resp_1"}"#;
    let upstream = Upstream::start(move |number, _, body| match number {
        1 => json(200, &APIS[1].answer()),
        _ if body.contains(r#""stream":true"#) => streamed(&format!(
            "data: {{\"type\":\"response.completed\",\"response\":{answer}}}\n\n"
        )),
        _ => json(200, answer),
    })
    .await;
    let gateway = gateway(&upstream, two_clients).await;
    let (_, made) = create(&gateway, KEYS[0], "").await;
    let id = made["id"].as_str().unwrap();
    let more = format!(r#","store":false,"previous_response_id":"{id}""#);
    let (_, next) = create(&gateway, KEYS[0], &more).await;
    assert_eq!(next["previous_response_id"], id, "{next}");
    let bearer = format!("Bearer {}", KEYS[0]);
    let body = format!(r#"{{"model":"m","input":"hi","stream":true{more}}}"#);
    let got = post(&gateway, "/v1/responses", &[("authorization", &bearer)], body).await;
    let text = got.text();
    assert!(text.contains(id) && !text.contains(r#""resp_1""#), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_only_names_what_is_stored_is_refused() {
    let upstream = store().await;
    let gateway = gateway(&upstream, two_clients).await;
    for item in [
        r#"{"type":"item_reference","id":"msg_1"}"#,
        r#"{"id":"msg_1"}"#,
        r#"{"id":"msg_1","type":null}"#,
        r#"{"t\u0079pe":"item_reference","id":"msg_1","content":"x"}"#,
        r#"{"type":"image_generation_call","id":"ig_1","status":"completed"}"#,
        r#"{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":null}"#,
    ] {
        let body = format!(r#"{{"model":"m","input":[{{"role":"user","content":"hi"}},{item}]}}"#);
        let (status, refused) = ask(&gateway, KEYS[0], "POST", "/v1/responses", &body).await;
        assert_eq!((status, &refused["error"]["param"]), (400, &"input[1]".into()), "{item}");
        let message = refused["error"]["message"].as_str().unwrap();
        assert!(message.contains("previous_response_id"), "{message}");
    }
    assert!(upstream.seen().is_empty());
    // What an earlier answer had, sent again with its content.
    let replayed = r#"{"model":"m","input":[
        {"type":"message","id":"msg_1","role":"assistant","content":[{"type":"output_text","text":"x"}]},
        {"type":"function_call","id":"fc_1","call_id":"c","name":"f","arguments":"{}"},
        {"type":"function_call_output","call_id":"c","output":""},
        {"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"gAAA"}]}"#;
    let (status, answer) = ask(&gateway, KEYS[0], "POST", "/v1/responses", replayed).await;
    assert_eq!(status, 200, "{answer}");
}

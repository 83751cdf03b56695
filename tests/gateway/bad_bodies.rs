//! Bodies that no SDK sends, at OpenAI's and Anthropic's APIs: a 4xx in the form of the API, on a connection that
//! stays open, and no target is blamed for it.

use serde_json::Value;

use crate::support::raw::{Connection, RawResponse};
use crate::support::{Config, Gateway, Simulator, http};

/// The APIs with a valid request's members beside the model.
const APIS: [(&str, &str); 4] = [
    ("/openai/v1/chat/completions", r#""messages":[{"role":"user","content":"hello"}]"#),
    ("/openai/v1/responses", r#""store":false,"input":"hello""#),
    ("/anthropic/v1/messages", r#""max_tokens":9,"messages":[{"role":"user","content":"hello"}]"#),
    ("/anthropic/v1/messages/count_tokens", r#""messages":[{"role":"user","content":"hello"}]"#),
];

async fn gateway(simulator: &Simulator) -> Gateway {
    let surfaces = vec!["chat_completions", "responses", "messages", "count_tokens"];
    let config = Config::without_routes(simulator)
        .set("targets.one.model", "us.maker.one")
        .set("targets.one.surfaces", surfaces)
        .set("upstream.first_byte_timeout", "5s")
        .route("m", &["one"]);
    simulator.limits("us.maker.one", sluice::simulator::ModelSettings::default());
    Gateway::start(&config).await
}

async fn post(connection: &mut Connection, path: &str, body: &str) -> RawResponse {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         anthropic-version: 2023-06-01\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    connection.send(&[head.as_bytes(), body.as_bytes()].concat()).await;
    connection.response().await.unwrap_or_else(|| panic!("{path} {body:.60}: no answer"))
}

/// The same with any answer, streams too.
async fn post_whole(gateway: &Gateway, path: &str, body: &str) -> RawResponse {
    let headers = [("anthropic-version", "2023-06-01")];
    let url = format!("{}{path}", gateway.url());
    let response = http::post(&url, &headers, body.to_owned()).await;
    assert!(!response.broken, "{path} {body:.60}: closed");
    let head = response
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {}\r\n", value.to_str().unwrap()));
    RawResponse { status: response.status, head: head.collect(), body: response.text() }
}

#[track_caller]
fn is_refused(path: &str, response: &RawResponse, what: &str) {
    let what = format!("{path} {what:.60}: {response:?}");
    assert!((400..500).contains(&response.status), "{what}");
    assert_eq!(response.header("content-type"), Some("application/json"), "{what}");
    assert!(response.header("x-amzn-errortype").is_none(), "{what}");
    assert_ne!(response.header("connection"), Some("close"), "{what}");
    let body: Value = serde_json::from_str(&response.body).unwrap();
    assert_eq!(body["type"] == "error", path.starts_with("/anthropic"), "{what}");
    assert!(body["error"]["type"].is_string(), "{what}");
    assert!(body["error"]["message"].as_str().is_some_and(|it| !it.is_empty()), "{what}");
}

/// Sends each body to each API on one connection, and asserts that it stays usable.
async fn are_refused(bodies: impl Fn(&str) -> Vec<String>) {
    let simulator = Simulator::start().await;
    let gateway = gateway(&simulator).await;
    let mut connection = Connection::open(gateway.address()).await;
    for (path, members) in APIS {
        for body in bodies(members) {
            let response = post(&mut connection, path, &body).await;
            is_refused(path, &response, &body);
        }
        let target = gateway.target("one").await;
        assert_eq!(target["state"], "available", "{path}");
    }
    for (path, members) in &APIS[..3] {
        let good = post(&mut connection, path, &format!(r#"{{"model":"m",{members}}}"#)).await;
        assert_eq!(good.status, 200, "{path}: {good:?}");
    }
    gateway.is_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_no_json_object_are_refused() {
    are_refused(|members| {
        let cut = format!(r#"{{"model":"m",{members}"#);
        let deep = format!("{}{}", r#"{"model":"m","a":"#, "[".repeat(100_000));
        let more = format!(r#"{{"model":"m",{members}}}{{}}"#);
        let comma = format!(r#"{{"model":"m",{members},}}"#);
        let escape = format!(r#"{{"model":"m","x":"\ud800",{members},"y":"\q"}}"#);
        let texts =
            ["", " ", "{", "[]", "null", "7", "\"m\"", "\u{0}", "{\"model\":}", "{'model':1}"];
        let made = [cut, deep, more, comma, escape];
        texts.into_iter().map(str::to_owned).chain(made).collect()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_is_missing_or_no_name_is_refused() {
    are_refused(|members| {
        let long = format!("\"{}\"", "m".repeat(5000));
        let models =
            ["null", "7", "true", "[]", "[\"m\"]", "{}", "\"\"", "\"\\u0000\"", "\" \"", &long];
        let mut bodies = vec![format!("{{{members}}}"), format!(r#"{{"Model":"m",{members}}}"#)];
        bodies.extend(models.map(|model| format!(r#"{{"model":{model},{members}}}"#)));
        bodies
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_is_named_twice_is_refused() {
    are_refused(|members| {
        vec![
            format!(r#"{{"model":"m",{members},"model":"other"}}"#),
            format!(r#"{{"model":"m","\u006dodel":"other",{members}}}"#),
        ]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_wrong_types_and_huge_numbers_fail_no_target_and_no_connection() {
    let simulator = Simulator::start().await;
    let gateway = gateway(&simulator).await;
    let values =
        ["null", "\"x\"", "[]", "{}", "true", "-1", "1.5", "1e999", "-0", "18446744073709551616"];
    let names = [
        "max_tokens",
        "max_completion_tokens",
        "max_output_tokens",
        "stream",
        "stream_options",
        "store",
        "previous_response_id",
        "messages",
        "input",
        "tools",
        "service_tier",
    ];
    for (path, members) in APIS {
        for name in names {
            for value in values {
                let body = format!(r#"{{"model":"m",{members},"{name}":{value}}}"#);
                let response = post_whole(&gateway, path, &body).await;
                if response.status != 200 {
                    is_refused(path, &response, &body);
                }
            }
        }
        assert_eq!(gateway.target("one").await["state"], "available", "{path}");
    }
    let digits = "9".repeat(10_000);
    for (path, members) in APIS {
        let body = format!(r#"{{"model":"m",{members},"seed":{digits}}}"#);
        let response = post_whole(&gateway, path, &body).await;
        assert!(response.status < 500, "{path}: {response:?}");
    }
    gateway.is_healthy().await;
}

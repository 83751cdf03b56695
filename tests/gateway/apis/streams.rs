//! Streams of server-sent events: relayed as they come, never ended by a failure as if they were whole.

use std::time::Duration;

use super::{APIS, Upstream, gateway, json, post, streamed};
use crate::support::raw::Connection;

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_passes_as_it_came() {
    for api in APIS {
        let upstream = Upstream::start(move |_, _, _| streamed(&api.stream())).await;
        let gateway = gateway(&upstream, |config| config).await;
        let got = post(&gateway, api.path, &[], api.body(true)).await;
        assert_eq!(got.text(), api.stream(), "{}", api.name);
        assert_eq!(got.header("content-type"), Some("text/event-stream"));
        assert_eq!(gateway.access_log(1).await[0]["outcome"], "success", "{}", api.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_usage_of_a_chat_is_asked_for_and_kept_from_a_client_that_did_not_ask() {
    let usage = "data: {\"id\":\"c\",\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3,\"prompt_tokens_details\":{\"cached_tokens\":2}}}\n\n";
    let mut events = APIS[0].events();
    events.insert(3, usage);
    let whole = events.concat();
    let upstream = Upstream::start(move |_, _, _| streamed(&whole)).await;
    let gateway = gateway(&upstream, |config| config).await;
    let got = post(&gateway, APIS[0].path, &[], APIS[0].body(true)).await;
    assert_eq!(got.text(), APIS[0].stream());
    assert!(upstream.seen()[0].body.contains(r#""stream_options":{"include_usage":true}"#));
    let log = gateway.access_log(1).await;
    assert_eq!((&log[0]["usage"]["input"], &log[0]["usage"]["output"]), (&5.into(), &3.into()));
    assert_eq!(log[0]["usage"]["cache_read"], 2);

    let asks = APIS[0]
        .body(true)
        .replace(r#""stream":true"#, r#""stream":true,"stream_options":{"include_usage":true}"#);
    let got = post(&gateway, APIS[0].path, &[], asks.clone()).await;
    assert!(got.text().contains(usage));
    assert_eq!(upstream.seen()[1].body, asks.replace("\"m\"", "\"maker.one\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_in_the_first_event_falls_back() {
    let errors = [
        "data: {\"error\":{\"message\":\"slow down\",\"type\":\"rate_limit_error\",\"code\":\"rate_limit_exceeded\"}}\n\n",
        "event: error\ndata: {\"type\":\"error\",\"code\":\"rate_limit_exceeded\",\"message\":\"slow down\"}\n\n",
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"rate_limit_error\",\"message\":\"slow down\"}}\n\n",
    ];
    for (api, error) in APIS.into_iter().zip(errors) {
        let upstream = Upstream::start(move |number, _, _| match number {
            1 => streamed(&format!(": a comment\n\n{error}")),
            _ => streamed(&api.stream()),
        })
        .await;
        let gateway = gateway(&upstream, |config| config).await;
        let got = post(&gateway, api.path, &[], api.body(true)).await;
        assert_eq!(got.text(), api.stream(), "{}", api.name);
        assert_eq!(got.header("x-sluice-attempts"), Some("2"));
        assert_eq!(gateway.target("first").await["state"], "cooling");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_in_the_first_event_of_all_targets_has_its_own_status() {
    let upstream = Upstream::start(|_, _, _| {
        streamed("event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"bad roles\"}}\n\n")
    })
    .await;
    let gateway = gateway(&upstream, |config| config).await;
    let got = post(&gateway, APIS[2].path, &[], APIS[2].body(true)).await;
    assert_eq!((got.status, got.header("content-type")), (400, Some("application/json")));
    let error = APIS[2].error(&got);
    assert_eq!(
        (&error["type"], &error["message"]),
        (&"invalid_request_error".into(), &"bad roles".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_ends_without_its_last_event_ends_with_an_error() {
    for api in APIS {
        let events = api.events();
        for (cut, tail) in [(1, ""), (2, ""), (2, "data: {\"half\":")] {
            let begun = events[..cut].concat();
            let sent = format!("{begun}{tail}");
            let upstream = Upstream::start(move |_, _, _| streamed(&sent)).await;
            let gateway = gateway(&upstream, |config| config).await;
            let got = post(&gateway, api.path, &[], api.body(true)).await;
            let text = got.text();
            let last = text.strip_prefix(&begun).unwrap_or_else(|| panic!("{text}"));
            assert!(last.contains("\"error\""), "{}: {last}", api.name);
            assert!(!text.contains("[DONE]") && !text.contains("message_stop"), "{text}");
            assert!(!text.contains("half"), "{text}");
            assert!(last.ends_with("\n\n"), "{last}");
            assert_eq!(gateway.access_log(1).await[0]["outcome"], "stream_broken", "{}", api.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_event_of_the_upstream_passes_and_nothing_follows_it() {
    let error = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";
    let sent = format!("{}{error}", APIS[2].events()[..2].concat());
    let wanted = sent.clone();
    let upstream = Upstream::start(move |_, _, _| streamed(&sent)).await;
    let gateway = gateway(&upstream, |config| config).await;
    let got = post(&gateway, APIS[2].path, &[], APIS[2].body(true)).await;
    assert_eq!(got.text(), wanted);
    assert_eq!(gateway.access_log(1).await[0]["outcome"], "stream_exception");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_in_another_form_becomes_one_of_the_api_and_ends_the_stream() {
    for (error, outcome, wanted) in [
        ("event: error\ndata: {\"message\":\"it broke\"}\n\n", "stream_exception", "it broke"),
        (
            "event: throttlingException\ndata: {\"message\":\"slow down\"}\n\n",
            "stream_exception",
            "slow down",
        ),
        ("data: {\"error\":\"it broke\"}\n\n", "stream_exception", "it broke"),
        ("data: {\"half\":\n\n", "stream_broken", "not JSON"),
        ("event: message_stop\ndata: gone\n\n", "stream_broken", "not JSON"),
    ] {
        for api in APIS {
            let events = api.events();
            let begun = events[..2].concat();
            // What the upstream says after the error must not make the stream look whole.
            let sent = format!("{begun}{error}{}", events[2..].concat());
            let upstream = Upstream::start(move |_, _, _| streamed(&sent)).await;
            let gateway = gateway(&upstream, |config| config).await;
            let got = post(&gateway, api.path, &[], api.body(true)).await;
            let text = got.text();
            let last = text.strip_prefix(&begun).unwrap_or_else(|| panic!("{}: {text}", api.name));
            assert_eq!(last.matches("data: ").count(), 1, "{}: {last}", api.name);
            assert!(last.contains(wanted) && !last.contains("half"), "{}: {last}", api.name);
            let named = last.starts_with("event: error\n");
            assert_eq!(named, api.name != "chat_completions", "{last}");
            let data = last.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
            let data: serde_json::Value = serde_json::from_str(data).unwrap();
            assert!(data["error"]["message"].as_str().unwrap().contains(wanted), "{data}");
            if error.contains("throttling") {
                assert_eq!(data["error"]["type"], "rate_limit_error", "{data}");
            }
            assert!(!got.broken, "{text}");
            assert_eq!(gateway.access_log(1).await[0]["outcome"], outcome, "{}", api.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_whose_first_event_is_no_json_falls_back() {
    for api in APIS {
        let upstream = Upstream::start(move |number, _, _| match number {
            1 => streamed(&format!("data: {{\"half\":\n\n{}", api.stream())),
            _ => streamed(&api.stream()),
        })
        .await;
        let gateway = gateway(&upstream, |config| config.set("retry.attempts", 1)).await;
        let got = post(&gateway, api.path, &[], api.body(true)).await;
        assert_eq!(got.text(), api.stream(), "{}", api.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_the_end_of_a_stream_does_not_make_it_fail() {
    for api in APIS {
        let sent = format!("{}data: {{\"half\":\n\n", api.stream());
        let upstream = Upstream::start(move |_, _, _| streamed(&sent)).await;
        let gateway = gateway(&upstream, |config| config).await;
        let got = post(&gateway, api.path, &[], api.body(true)).await;
        assert_eq!(got.text(), api.stream(), "{}", api.name);
        assert_eq!(gateway.access_log(1).await[0]["outcome"], "success", "{}", api.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_asked_for_and_is_none_falls_back() {
    for api in APIS {
        let upstream = Upstream::start(move |number, _, _| match number {
            1 => json(200, "{}"),
            _ => streamed(&api.stream()),
        })
        .await;
        let gateway = gateway(&upstream, |config| config.set("retry.attempts", 1)).await;
        let got = post(&gateway, api.path, &[], api.body(true)).await;
        assert_eq!(got.text(), api.stream(), "{}", api.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_stream_ends_with_an_error_in_its_dialect() {
    for api in APIS {
        let begun = api.events()[..2].concat();
        let head =
            "HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\ncontent-length: 9000\r\n\r\n";
        let answer = format!("{head}{begun}");
        let upstream = Upstream::start(move |_, _, _| answer.clone()).await;
        let gateway =
            gateway(&upstream, |config| config.set("upstream.idle_timeout", "300ms")).await;
        let got = post(&gateway, api.path, &[], api.body(true)).await;
        let text = got.text();
        assert!(text.starts_with(&begun) && text.contains("stalled"), "{}: {text}", api.name);
        assert_eq!(gateway.access_log(1).await[0]["outcome"], "stream_idle");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_pass_while_the_stream_is_open() {
    let begun = APIS[0].events()[..2].concat();
    let head = "HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\ncontent-length: 9000\r\n\r\n";
    // The last bytes are the start of an event that never becomes whole.
    let answer = format!("{head}{begun}data: {{\"id\":");
    let upstream = Upstream::start(move |_, _, _| answer.clone()).await;
    let gateway = gateway(&upstream, |config| config).await;
    let mut connection = Connection::open(gateway.address()).await;
    let body = APIS[0].body(true);
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}",
        APIS[0].path,
        body.len()
    );
    connection.send(head.as_bytes()).await;
    let mut text = String::new();
    while !text.contains("yes") {
        text.push_str(&String::from_utf8_lossy(&connection.some(4096).await));
    }
    drop(connection);
    let log = gateway.access_log(1).await;
    assert_eq!(log[0]["outcome"], "client_gone");
    assert!(log[0]["duration_ms"].as_u64().unwrap() < Duration::from_secs(20).as_millis() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_in_another_form_does_not_show_the_credentials_that_it_quotes() {
    for error in [
        "event: error\ndata: {\"message\":\"bad request: Authorization: Bearer s3cret\"}\n\n",
        "data: {\"error\":\"it broke; cookie: s3cret\"}\n\n",
        "event: expiredTokenException\ndata: {\"message\":\"the token s3cret has expired\"}\n\n",
    ] {
        for api in APIS {
            let sent = format!("{}{error}", api.events()[..2].concat());
            let upstream = Upstream::start(move |_, _, _| streamed(&sent)).await;
            let gateway = gateway(&upstream, |config| config).await;
            let text = post(&gateway, api.path, &[], api.body(true)).await.text();
            assert!(text.contains("\"error\"") && !text.contains("s3cret"), "{}: {text}", api.name);
            let log = gateway.access_log(1).await;
            assert_eq!(log[0]["outcome"], "stream_exception", "{}", api.name);
            assert!(!log[0].to_string().contains("s3cret"), "{}", log[0]);
        }
    }
}

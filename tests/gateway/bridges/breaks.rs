//! Streams that fail: before the client got a byte another target answers; later the client gets an error of its
//! API, and never an ordinary end.

use super::*;
use crate::support::raw::Connection;

/// What follows the first text of a stream that goes wrong, and what the log says of it.
fn endings() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let half = frames(&["hel", "lo"])[2].slice(..20);
    vec![
        ("it breaks off", Vec::new(), "stream_broken"),
        ("it breaks off within a frame", half.to_vec(), "stream_broken"),
        ("an exception", exception("modelStreamErrorException").to_vec(), "stream_exception"),
        (
            "a bit is flipped on the way",
            flipped(&frames(&["hel", "lo"])[2..].concat()),
            "stream_broken",
        ),
        ("garbage", b"this is no frame at all".to_vec(), "stream_broken"),
    ]
}

/// Frames of which the first has another text than was sent.
fn flipped(frames: &[u8]) -> Vec<u8> {
    let text = frames.windows(6).position(|it| it == br#""text""#).unwrap_or(20);
    let mut frames = frames.to_vec();
    frames[text + 9] ^= 1;
    frames
}

/// A stream whose connection closes behind these bytes.
fn open(bytes: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 X\r\ncontent-type: {}\r\n\r\n", event_stream::CONTENT_TYPE);
    [head.as_bytes(), bytes].concat()
}

/// All that a client gets of a stream that goes wrong once the client has its first text.
async fn broken(upstream: &Bedrock, gateway: &Gateway, path: &str, body: Value) -> String {
    let body = with(body, "stream", true).to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut connection = Connection::open(gateway.address()).await;
    connection.send(format!("{head}{body}").as_bytes()).await;
    let mut text = String::new();
    while !text.contains("hel") {
        text.push_str(&String::from_utf8_lossy(&connection.some(4096).await));
    }
    upstream.go_on();
    text.push_str(&String::from_utf8_lossy(&connection.rest().await));
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_fails_ends_with_an_error_of_the_clients_api() {
    let begun = frames(&["hel", "lo"])[..2].concat();
    for (path, body) in [(CHAT, chat()), (MESSAGES, message())] {
        for (how, ending, outcome) in endings() {
            let bytes = open(&[&begun[..], PAUSE, &ending].concat());
            let upstream = Bedrock::start(move |_, _| bytes.clone()).await;
            let gateway = gateway(&upstream, &[("nova", NOVA)], |config| config).await;
            let text = broken(&upstream, &gateway, path, body.clone()).await;
            assert!(!text.contains("[DONE]") && !text.contains("message_stop"), "{how}: {text}");
            assert!(events(&text).last().unwrap()["error"]["message"].is_string(), "{how}: {text}");
            assert_eq!(gateway.access_log(1).await[0]["outcome"], outcome, "{how}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_before_the_client_got_a_byte_falls_back() {
    let begun = frames(&["hel", "lo"])[..1].concat();
    for failed in [
        stream(&[exception("throttlingException")]),
        stream(&[begun.clone().into(), exception("serviceUnavailableException")]),
        stream(&[b"this is no frame at all".as_slice().into()]),
        stream(&[flipped(&begun).into(), frames(&["hello"])[1..].concat().into()]),
    ] {
        let upstream = Bedrock::start(move |number, _| match number {
            1 => failed.clone(),
            _ => stream(&frames(&["hello"])),
        })
        .await;
        let targets = [("claude", CLAUDE), ("nova", NOVA)];
        let gateway = gateway(&upstream, &targets, |config| config.set("retry.attempts", 1)).await;
        let got = post(&gateway, CHAT, &with(chat(), "stream", true)).await;
        assert_eq!(got.header("x-sluice-model"), Some(NOVA), "{}", got.text());
        assert!(got.text().contains("hello") && got.text().ends_with("[DONE]\n\n"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exception_does_not_show_the_credentials_that_it_quotes() {
    let said =
        json!({ "message": "Authorization: AWS4-HMAC-SHA256 Credential=s3cret" }).to_string();
    let exception = event_stream::exception("internalServerException", said);
    let begun = frames(&["hel", "lo"])[..2].concat();
    let bytes = open(&[&begun[..], PAUSE, &exception].concat());
    for (path, body) in [(CHAT, chat()), (MESSAGES, message())] {
        let bytes = bytes.clone();
        let upstream = Bedrock::start(move |_, _| bytes.clone()).await;
        let gateway = gateway(&upstream, &[("nova", NOVA)], |config| config).await;
        let text = broken(&upstream, &gateway, path, body).await;
        assert!(events(&text).last().unwrap()["error"]["message"].is_string(), "{text}");
        assert!(!text.contains("s3cret"), "{text}");
        let log = gateway.access_log(1).await;
        assert_eq!(log[0]["outcome"], "stream_exception");
        assert!(!log[0].to_string().contains("s3cret"), "{}", log[0]);
    }
}

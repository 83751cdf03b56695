//! Streams: frames of Converse become the events of the client's API, one by one.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_streams_from_claude_and_nova() {
    for (name, model) in [("claude", CLAUDE), ("nova", NOVA)] {
        let upstream = Bedrock::start(|_, _| stream(&frames(&["hel", "lo"]))).await;
        let gateway = gateway(&upstream, &[(name, model)], |config| config).await;
        let body =
            with(with(chat(), "stream", true), "stream_options", json!({ "include_usage": true }));
        let got = post(&gateway, CHAT, &body).await;
        let text = got.text();
        assert_eq!(
            (got.status, got.header("content-type")),
            (200, Some("text/event-stream")),
            "{text}"
        );
        assert_eq!(got.header("x-sluice-translated"), Some("converse"));
        let all = events(&text);
        let content: String =
            all.iter().filter_map(|it| it["choices"][0]["delta"]["content"].as_str()).collect();
        assert_eq!(content, "hello");
        assert!(all.iter().any(|it| it["usage"]["prompt_tokens"] == 11), "{text}");
        assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
        assert_eq!(upstream.seen()[0].path, format!("/model/{model}/converse-stream"));
        let log = gateway.access_log(1).await;
        assert_eq!(
            (&log[0]["outcome"], &log[0]["usage"]["input"]),
            (&"success".into(), &11.into())
        );
        assert_eq!(log[0]["usage"]["output"], 7);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_streams_from_nova() {
    let upstream = Bedrock::start(|_, _| stream(&frames(&["hel", "lo"]))).await;
    let gateway = gateway(&upstream, &[("nova", NOVA)], |config| config).await;
    let got = post(&gateway, MESSAGES, &with(message(), "stream", true)).await;
    let text = got.text();
    let kinds: Vec<Value> = events(&text).iter().map(|it| it["type"].clone()).collect();
    assert_eq!(kinds.first(), Some(&"message_start".into()), "{text}");
    assert_eq!(kinds.last(), Some(&"message_stop".into()), "{text}");
    assert_eq!(gateway.access_log(1).await[0]["outcome"], "success");
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_come_in_pieces_are_translated_whole() {
    // One byte a chunk.
    let upstream = Bedrock::start(|_, _| {
        let mut answer = format!(
            "HTTP/1.1 200 X\r\ncontent-type: {}\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n",
            event_stream::CONTENT_TYPE
        )
        .into_bytes();
        for byte in frames(&["hel", "lo"]).concat() {
            answer.extend_from_slice(b"1\r\n");
            answer.push(byte);
            answer.extend_from_slice(b"\r\n");
        }
        answer.extend_from_slice(b"0\r\n\r\n");
        answer
    })
    .await;
    let gateway = gateway(&upstream, &[("nova", NOVA)], |config| config).await;
    let text = post(&gateway, CHAT, &with(chat(), "stream", true)).await.text();
    let content: String = events(&text)
        .iter()
        .filter_map(|it| it["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(content, "hello", "{text}");
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
}

//! Streams that fail: before the client got a byte another target answers; later the client gets an error of its
//! API, and never an ordinary end.

use super::*;

/// Streams that go wrong behind the first text, and what the log says of them.
fn broken() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let all = frames(&["hel", "lo"]);
    let begun = all[..2].concat();
    let with = |more: &[u8]| [&begun[..], more].concat();
    let half = &all[2][..all[2].len() / 2];
    vec![
        ("it ends", stream(&[Bytes::from(begun.clone())]), "stream_broken"),
        ("it ends within a frame", stream(&[with(half).into()]), "stream_broken"),
        (
            "it breaks off",
            {
                let head = format!(
                    "HTTP/1.1 200 X\r\ncontent-type: {}\r\ncontent-length: 9000\r\n\r\n",
                    event_stream::CONTENT_TYPE
                );
                [head.as_bytes(), &begun].concat()
            },
            "stream_broken",
        ),
        (
            "an exception",
            stream(&[with(&exception("modelStreamErrorException")).into()]),
            "stream_exception",
        ),
        ("garbage", stream(&[with(b"this is no frame at all").into()]), "stream_broken"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_fails_ends_with_an_error_of_the_clients_api() {
    for (path, body) in [(CHAT, chat()), (MESSAGES, message())] {
        for (how, bytes, outcome) in broken() {
            let upstream = Bedrock::start(move |_, _| bytes.clone()).await;
            let gateway = gateway(&upstream, &[("nova", NOVA)], |config| config).await;
            let got = post(&gateway, path, &with(body.clone(), "stream", true)).await;
            let text = got.text();
            assert!(text.contains("hel"), "{how}: {text}");
            assert!(!text.contains("[DONE]") && !text.contains("message_stop"), "{how}: {text}");
            assert!(events(&text).last().unwrap()["error"]["message"].is_string(), "{how}: {text}");
            assert!(text.ends_with("\n\n"), "{how}: {text}");
            assert_eq!(gateway.access_log(1).await[0]["outcome"], outcome, "{how}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exception_in_the_first_frame_falls_back() {
    let upstream = Bedrock::start(|number, _| match number {
        1 => stream(&[exception("throttlingException")]),
        _ => stream(&frames(&["hello"])),
    })
    .await;
    let targets = [("claude", CLAUDE), ("nova", NOVA)];
    let gateway = gateway(&upstream, &targets, |config| config).await;
    let got = post(&gateway, CHAT, &with(chat(), "stream", true)).await;
    assert_eq!(got.header("x-sluice-model"), Some(NOVA), "{}", got.text());
    assert!(got.text().contains("hello") && got.text().ends_with("[DONE]\n\n"));
}

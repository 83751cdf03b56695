//! Fallback: what is translated falls from target to target as any request does.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_target_is_followed_by_a_model_of_another_family() {
    for streams in [false, true] {
        let upstream = Bedrock::start(move |number, _| match (number, streams) {
            (1, _) => throttle(),
            (_, false) => converse_text("hello"),
            (_, true) => stream(&frames(&["hello"])),
        })
        .await;
        let targets = [("claude", CLAUDE), ("nova", NOVA)];
        let gateway = gateway(&upstream, &targets, |config| config).await;
        let got = post(&gateway, CHAT, &with(chat(), "stream", streams)).await;
        assert_eq!(
            (got.status, got.header("x-sluice-attempts")),
            (200, Some("2")),
            "{}",
            got.text()
        );
        assert_eq!(got.header("x-sluice-model"), Some(NOVA));
        assert!(got.text().contains("hello"));
        assert_eq!(gateway.target("claude").await["state"], "cooling");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_passes_through_falls_back_to_a_translation() {
    let upstream = Bedrock::start(|number, seen| match number {
        1 => {
            assert_eq!(seen.path, "/openai/v1/chat/completions");
            throttle()
        }
        _ => converse_text("hello"),
    })
    .await;
    let targets = [("gpt", "us.openai.gpt-5.6-sol"), ("claude", CLAUDE)];
    let gateway = gateway(&upstream, &targets, |config| config).await;
    let got = post(&gateway, CHAT, &chat()).await;
    assert_eq!(got.json()["choices"][0]["message"]["content"], "hello", "{}", got.text());
    assert_eq!(got.header("x-sluice-translated"), Some("converse"));
    assert_eq!(upstream.seen()[1].path, format!("/model/{CLAUDE}/converse"));
}

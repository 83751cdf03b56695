//! Streams of server-sent events.

use super::*;

#[tokio::test]
async fn a_stream_of_chat_completions_ends_with_done() {
    let simulator = start().await;
    let events = simulator.events(CHAT, &chat(GPT, "hello")).await;
    assert_eq!(events.first().unwrap().json()["choices"][0]["delta"]["role"], "assistant");
    let (last, before) = events.split_last().unwrap();
    assert_eq!(last.data, "[DONE]");
    let text: String = before
        .iter()
        .filter_map(|event| {
            Some(event.json()["choices"][0]["delta"]["content"].as_str()?.to_owned())
        })
        .collect();
    assert_eq!(text, format!("[{GPT}] hello"));
    assert_eq!(before.last().unwrap().json()["choices"][0]["finish_reason"], "stop");
    assert!(before.iter().all(|event| event.json().get("usage").is_none()));
    let asked = with(&chat(GPT, "hello"), json!({"stream_options": {"include_usage": true}}));
    let events = simulator.events(CHAT, &asked).await;
    let usage = events[events.len() - 2].json();
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(usage["usage"]["prompt_tokens"], 2);
}

#[tokio::test]
async fn a_stream_of_messages_has_every_event_in_order() {
    let simulator = start().await;
    let events = simulator.events(MESSAGES, &message(HAIKU_5, "hello")).await;
    let mut names = names(&events);
    names.dedup();
    assert_eq!(
        names,
        [
            "message_start",
            "ping",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop",
        ]
    );
}

#[tokio::test]
async fn a_stream_of_responses_is_numbered_and_ends_with_the_response() {
    let simulator = start().await;
    let events = simulator.events(RESPONSES, &response(GPT, "hello")).await;
    for (event, number) in events.iter().zip(0..) {
        assert_eq!(event.json()["sequence_number"], number);
        assert_eq!(event.json()["type"].as_str(), event.name.as_deref());
    }
    let mut names = names(&events);
    names.dedup();
    assert_eq!(
        names,
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.output_item.done",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
    );
    let complete = &events.last().unwrap().json()["response"];
    assert_eq!(complete["output"][1]["content"][0]["text"], format!("[{GPT}] hello"));
    let path = format!("{RESPONSES}/{}", complete["id"].as_str().unwrap());
    assert_eq!(&simulator.call("GET", &path, &[], &Value::Null).await.json(), complete);
}

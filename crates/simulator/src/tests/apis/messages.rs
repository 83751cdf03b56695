//! Messages.

use super::*;

#[tokio::test]
async fn an_answer_has_the_form_of_messages_on_both_endpoints() {
    let simulator = start().await;
    for model in [HAIKU_5, HAIKU_AT_MANTLE] {
        let answer = simulator.json(MESSAGES, &message(model, "hello")).await;
        assert_eq!((&answer["type"], &answer["role"]), (&json!("message"), &json!("assistant")));
        let text = format!("[{model}] hello");
        assert_eq!(answer["content"], json!([{"type": "text", "text": text}]));
        assert_eq!(answer["stop_reason"], "end_turn");
        assert_eq!(answer["usage"]["input_tokens"], 2);
        assert_eq!(simulator.last().await.operation, Some("CreateMessage"));
    }
}

#[tokio::test]
async fn a_model_that_always_thinks_signs_a_thought_that_it_shows_only_when_asked() {
    let simulator = start().await;
    let thought = |answer: &Value| {
        let thought = &answer["content"][0];
        assert_eq!(thought["type"], "thinking");
        assert!(!thought["signature"].as_str().unwrap().is_empty());
        thought["thinking"].as_str().unwrap().to_owned()
    };
    let request = message(OPUS, "hello");
    let answer = simulator.json(MESSAGES, &request).await;
    assert_eq!(thought(&answer), "");
    assert_eq!(answer["content"][1]["text"], format!("[{OPUS}] hello"));
    let shown = json!({"thinking": {"type": "adaptive", "display": "summarized"}});
    let answer = simulator.json(MESSAGES, &with(&request, shown)).await;
    assert!(!thought(&answer).is_empty());
}

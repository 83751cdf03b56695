//! Chat Completions.

use super::*;

#[tokio::test]
async fn an_answer_has_the_form_of_chat_completions_on_both_endpoints() {
    let simulator = start().await;
    for (path, model) in
        [(CHAT, GPT), (CHAT, GPT_AT_MANTLE), (CHAT, OSS), ("/v1/chat/completions", OSS_AT_MANTLE)]
    {
        let answer = simulator.json(path, &chat(model, "hello")).await;
        assert_eq!(answer["object"], "chat.completion");
        let content = answer["choices"][0]["message"]["content"].as_str().unwrap();
        assert!(content.ends_with(&format!("[{model}] hello")), "{content}");
        assert_eq!(answer["choices"][0]["finish_reason"], "stop");
        let usage = &answer["usage"];
        assert_eq!(usage["prompt_tokens"], 2);
        let total = usage["total_tokens"].as_u64().unwrap();
        assert_eq!(total, 2 + usage["completion_tokens"].as_u64().unwrap());
        let entry = simulator.last().await;
        assert_eq!(entry.operation, Some("CreateChatCompletion"));
        assert_eq!(entry.model.as_deref(), Some(model));
    }
}

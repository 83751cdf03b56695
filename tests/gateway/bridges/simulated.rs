//! Every API on models of other makers, at a simulator that is as strict as Bedrock.

use super::*;

fn bodies() -> [(&'static str, Value); 3] {
    let tool = json!({ "type": "object", "properties": { "city": { "type": "string" } } });
    let chat = json!({ "model": "m", "max_completion_tokens": 40,
        "messages": [{ "role": "system", "content": "be brief" }, { "role": "user", "content": "hi" }],
        "tools": [{ "type": "function", "function": { "name": "weather", "parameters": tool } }] });
    let responses = json!({ "model": "m", "instructions": "be brief", "input": "hi", "store": false,
        "max_output_tokens": 40,
        "tools": [{ "type": "function", "name": "weather", "parameters": tool }] });
    let messages = json!({ "model": "m", "max_tokens": 40, "system": "be brief",
        "messages": [{ "role": "user", "content": [{ "type": "text", "text": "hi" }] }],
        "tools": [{ "name": "weather", "input_schema": tool }] });
    [(CHAT, chat), ("/openai/v1/responses", responses), (MESSAGES, messages)]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_api_is_answered_by_models_of_every_family() {
    let simulator = Simulator::start().await;
    for model in [CLAUDE, NOVA, "us.meta.llama3-3-70b-instruct-v1:0", "us.openai.gpt-5.6-sol"] {
        let config =
            Config::without_routes(&simulator).set("targets.one.model", model).route("m", &["one"]);
        let gateway = Gateway::start(&config).await;
        // GPT has OpenAI's APIs itself.
        let is_translated = |path: &str| !model.contains("gpt") || path == MESSAGES;
        let asked = bodies().into_iter().filter(|(path, _)| is_translated(path));
        let asked: Vec<_> = asked.collect();
        let count = asked.len() * 2;
        for (path, body) in asked {
            let got = post(&gateway, path, &body).await;
            assert_eq!(got.status, 200, "{model} {path} {}", got.text());
            assert_eq!(got.header("x-sluice-model"), Some(model));
            let got = post(&gateway, path, &with(body, "stream", true)).await;
            let text = got.text();
            assert_eq!(
                got.header("content-type"),
                Some("text/event-stream"),
                "{model} {path} {text}"
            );
            let end = match path {
                CHAT => "data: [DONE]",
                MESSAGES => "message_stop",
                _ => "response.completed",
            };
            assert!(text.contains(end), "{model} {path} {text}");
        }
        let log = gateway.access_log(count).await;
        for line in &log {
            assert_eq!(line["outcome"], "success", "{line}");
            assert!(line["translated"].is_string() || model == CLAUDE, "{line}");
            assert!(line["usage"]["input"].as_u64().unwrap() > 0, "{line}");
            assert!(line["usage"]["output"].as_u64().unwrap() > 0, "{line}");
        }
    }
}

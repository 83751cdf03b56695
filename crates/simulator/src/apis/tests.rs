//! Any JSON at the readers and writers of the three APIs.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::settings::Latency;
use super::super::stream::Step;
use super::asked::Asked;
use super::chat_completions::{self, ChatCompletions};
use super::messages::{self, Messages};
use super::model::Model;
use super::produced::{PartKind, Produced};
use super::responses::{self, ResponseWriter};
use super::writer::{self, Writer};
use sluice_catalogue::Endpoint;

fn any_json() -> impl Strategy<Value = Value> {
    let keys = prop::sample::select(vec![
        "messages",
        "input",
        "role",
        "content",
        "type",
        "text",
        "system",
        "tools",
        "tool_choice",
        "function",
        "name",
        "parameters",
        "input_schema",
        "properties",
        "required",
        "items",
        "tool_calls",
        "tool_call_id",
        "id",
        "call_id",
        "max_tokens",
        "max_completion_tokens",
        "max_output_tokens",
        "thinking",
        "budget_tokens",
        "reasoning",
        "effort",
        "stream",
        "image_url",
        "url",
        "arguments",
        "output",
        "stop",
        "temperature",
        "cache_control",
        "tool_use_id",
        "signature",
        "background",
        "store",
        "service_tier",
    ]);
    let texts = prop::sample::select(vec![
        "user",
        "assistant",
        "tool",
        "system",
        "developer",
        "text",
        "message",
        "function",
        "function_call",
        "function_call_output",
        "input_text",
        "output_text",
        "tool_use",
        "tool_result",
        "thinking",
        "enabled",
        "adaptive",
        "auto",
        "any",
        "required",
        "none",
        "low",
        "call_1",
        "object",
        "string",
        "array",
        "sim:tool_calls=99999",
        "sim:reasoning_tokens=9",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0_u64..5000).prop_map(Value::from),
        texts.prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(keys.clone().prop_map(str::to_owned), inner, 0..7)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// A request that is right in its outline, with anything in its members.
fn any_request() -> impl Strategy<Value = Value> {
    let message = (any_json(), prop::sample::select(vec!["user", "assistant", "tool"]));
    let messages = prop::collection::vec(message, 1..4).prop_map(|messages| {
        let messages = messages.into_iter();
        messages
            .map(|(content, role)| json!({"role": role, "content": content}))
            .collect::<Vec<_>>()
    });
    (any_json(), messages, any_json()).prop_map(|(body, messages, tools)| {
        let mut body = if body.is_object() { body } else { json!({}) };
        body["messages"] = json!(messages);
        body["input"] = json!(messages);
        body["tools"] = json!([tools]);
        body
    })
}

fn tokens_of(writer: impl Writer + 'static, produced: Produced) -> u64 {
    let rng = fastrand::Rng::with_seed(1);
    let script = writer::events(writer, produced, Latency::default(), rng);
    script.map(|step| if let Step::Send { tokens, .. } = step { tokens } else { 0 }).sum()
}

fn check(asked: &Asked, model: &Model) -> Result<Produced, TestCaseError> {
    let produced = Produced::to(asked, None, &model.name, model.cap(), 7);
    let output = produced.answer.usage.output;
    prop_assert!(output <= asked.prompt.max_output.unwrap_or(u64::MAX).max(1));
    prop_assert_eq!(produced.parts.iter().map(|part| part.tokens).sum::<u64>(), output);
    for part in &produced.parts {
        prop_assert_eq!(part.pieces().concat(), part.text.clone());
        let is_call = matches!(part.kind, PartKind::Call { takes_text: false, .. });
        if is_call && !produced.answer.at_maximum {
            prop_assert!(serde_json::from_str::<Value>(&part.text).is_ok());
        }
    }
    Ok(produced)
}

proptest! {
    #[test]
    fn any_json_is_read_and_answered_without_panic(body in prop_oneof![any_json(), any_request()]) {
        let models = [
            Model::listed(Endpoint::Runtime, "us.openai.gpt-5.6-sol"),
            Model::listed(Endpoint::Runtime, "openai.gpt-oss-120b-1:0"),
            Model::listed(Endpoint::Mantle, "openai.gpt-oss-120b"),
            Model::listed(Endpoint::Runtime, "us.anthropic.claude-opus-5-5"),
            Model::listed(Endpoint::Mantle, "anthropic.claude-haiku-5-5"),
        ];
        for model in models {
            if let Ok(asked) = chat_completions::read(&body, &model) {
                let produced = check(&asked, &model)?;
                let output = produced.answer.usage.output;
                let writer = ChatCompletions { created: 1, include_usage: true, tier: String::new() };
                prop_assert!(writer.whole(&produced).is_object());
                prop_assert_eq!(tokens_of(writer, produced), output);
            }
            if let Ok(wanted) = responses::read(&body, &model, None) {
                let produced = check(&wanted.asked, &model)?;
                let output = produced.answer.usage.output;
                let writer = ResponseWriter {
                    unique: "1".to_owned(),
                    created: 1,
                    tier: String::new(),
                    encrypted: wanted.encrypted,
                    body: body.clone(),
                    storing: None,
                    sequence: 0,
                };
                prop_assert!(writer.clone().whole(&produced).is_object());
                prop_assert_eq!(tokens_of(writer, produced), output);
            }
            if let Ok(asked) = messages::read(&body, &model, false) {
                let produced = check(&asked, &model)?;
                let output = produced.answer.usage.output;
                let writer = Messages { tier: None };
                prop_assert!(writer.whole(&produced).is_object());
                prop_assert_eq!(tokens_of(writer, produced), output);
            }
        }
    }
}

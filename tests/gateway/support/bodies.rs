//! Request bodies of the families that the tests use, as their SDKs would send them.

use serde_json::{Value, json};

/// A Messages API body with one user message.
pub fn messages(prompt: &str, max_tokens: u64) -> String {
    json!({
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": max_tokens,
        "messages": [{"role": "user", "content": prompt}],
    })
    .to_string()
}

/// Converse's parameters, without the model id, with one user message.
pub fn conversation(prompt: &str, max_tokens: u64) -> Value {
    json!({
        "messages": [{"role": "user", "content": [{"text": prompt}]}],
        "inferenceConfig": {"maxTokens": max_tokens},
    })
}

//! Anthropic's count of tokens, by Bedrock Runtime's CountTokens: the request and the answer of one in the form of
//! the other.
//!
//! Both count exactly what the model would read. Source: the service model of `bedrock-runtime`, CountTokens with
//! the member `invokeModel`, and AWS's page on counting tokens.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::value::RawValue;

/// The version of the schema that a body of InvokeModel names.
const ANTHROPIC_VERSION: &str = "bedrock-2023-05-31";

/// The body of CountTokens for a body of `/messages/count_tokens`, with the beta flags of the request's headers;
/// `None` if that is not a JSON object. Members keep their order and their text.
pub fn request(body: &[u8], betas: &[String]) -> Option<Bytes> {
    let members: Members<'_> = serde_json::from_slice(body).ok()?;
    let mut native = String::with_capacity(body.len() + 128);
    native.push('{');
    native.push_str(&format!("\"anthropic_version\":\"{ANTHROPIC_VERSION}\""));
    let has = |wanted: &str| members.0.iter().any(|(key, _)| key == wanted);
    if !has("max_tokens") {
        // A body of InvokeModel must have a maximum. It does not change the count.
        native.push_str(",\"max_tokens\":1");
    }
    if !betas.is_empty() && !has("anthropic_beta") {
        native.push_str(",\"anthropic_beta\":");
        native.push_str(&serde_json::to_string(betas).ok()?);
    }
    for (key, value) in &members.0 {
        if matches!(key.as_str(), "model" | "stream" | "anthropic_version") {
            continue;
        }
        native.push(',');
        native.push_str(&serde_json::to_string(key).ok()?);
        native.push(':');
        native.push_str(value.get());
    }
    native.push('}');
    let encoded = STANDARD.encode(native);
    Some(Bytes::from(format!("{{\"input\":{{\"invokeModel\":{{\"body\":\"{encoded}\"}}}}}}")))
}

/// The answer in Anthropic's form for one of CountTokens; `None` if that has no count.
pub fn answer(body: &[u8]) -> Option<Bytes> {
    #[derive(serde::Deserialize)]
    struct Count {
        #[serde(rename = "inputTokens")]
        input_tokens: u64,
    }
    let Count { input_tokens } = serde_json::from_slice(body).ok()?;
    Some(Bytes::from(format!("{{\"input_tokens\":{input_tokens}}}")))
}

/// The members of an object in their order, repeated ones too.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for Members<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry::<String, &'de RawValue>()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn native(body: &str, betas: &[&str]) -> Value {
        let betas: Vec<String> = betas.iter().map(|it| (*it).to_owned()).collect();
        let request = request(body.as_bytes(), &betas).unwrap();
        let request: Value = serde_json::from_slice(&request).unwrap();
        let encoded = request["input"]["invokeModel"]["body"].as_str().unwrap();
        serde_json::from_slice(&STANDARD.decode(encoded).unwrap()).unwrap()
    }

    #[test]
    fn the_request_has_all_that_counts_and_what_invoke_model_needs() {
        let body = r#"{"model":"m","messages":[{"role":"user","content":"a"}],"system":"s"}"#;
        assert_eq!(
            native(body, &["b-1"]),
            json!({"anthropic_version": ANTHROPIC_VERSION, "max_tokens": 1, "anthropic_beta": ["b-1"],
                "messages": [{"role": "user", "content": "a"}], "system": "s"})
        );
        let own = native(r#"{"max_tokens":9,"anthropic_version":"x","n":1.50}"#, &[]);
        assert_eq!(
            own,
            json!({"anthropic_version": ANTHROPIC_VERSION, "max_tokens": 9, "n": 1.50})
        );
        assert_eq!(request(b"[1]", &[]), None);
    }

    #[test]
    fn the_answer_has_the_same_count() {
        assert_eq!(answer(br#"{"inputTokens":12}"#).unwrap(), r#"{"input_tokens":12}"#);
        assert_eq!(answer(br#"{"message":"no"}"#), None);
    }
}

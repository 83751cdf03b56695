//! What a request asks for besides its model: that it is denied may be for that alone.
//!
//! A request without extras has nothing but what every model takes, and nothing by reference. What
//! is not known to be so counts as an extra.

use http::HeaderMap;

use super::json::{JsonError, Scanner, Type};
use super::operation::Operation;

/// Larger bodies are not read for this, in bytes.
const MAX_READ: usize = 1024 * 1024;

/// Objects and arrays within one another that are read.
const MAX_DEPTH: usize = 16;

/// What a request asks for besides its model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extras {
    /// Nothing: a denial is a matter of the model, the operation and the gateway's credentials.
    None,
    /// Something that is not known, or that can't be read.
    Unknown,
    /// Something that takes a permission, or is not everywhere: a guardrail, an object of S3, a
    /// stored prompt, a service tier.
    Resources,
}

impl Extras {
    /// The extras of a request, by the headers and the body that are sent upstream.
    pub fn of(operation: Operation, headers: &HeaderMap, body: &[u8]) -> Extras {
        let in_headers =
            headers.iter().map(|(name, value)| of_header(name.as_str(), value.as_bytes())).max();
        in_headers.unwrap_or(Extras::None).max(of_body(operation, body))
    }
}

fn of_header(name: &str, value: &[u8]) -> Extras {
    match name {
        // The service may not know another form, and may then deny the request because of it.
        "content-type" | "accept" | "x-amzn-bedrock-accept" => match is_usual_form(value) {
            true => Extras::None,
            false => Extras::Unknown,
        },
        "accept-encoding" | "content-length" | "host" => Extras::None,
        _ if is_about_caller(name) => Extras::None,
        _ if name.starts_with("x-amzn-bedrock-") => Extras::Resources,
        _ => Extras::Unknown,
    }
}

/// Whether a header describes the caller and its call, and nothing of the answer that it wants: what
/// SDKs send about themselves, and the ids of traces.
pub fn is_about_caller(name: &str) -> bool {
    matches!(
        name,
        "user-agent"
            | "x-amz-user-agent"
            | "amz-sdk-invocation-id"
            | "amz-sdk-request"
            | "traceparent"
            | "tracestate"
            | "x-amzn-trace-id"
    )
}

fn is_usual_form(value: &[u8]) -> bool {
    const FORMS: [&[u8]; 4] =
        [b"application/json", b"*/*", b"application/vnd.amazon.eventstream", b""];
    FORMS.iter().any(|form| value.eq_ignore_ascii_case(form))
}

fn of_body(operation: Operation, body: &[u8]) -> Extras {
    if body.len() > MAX_READ {
        return Extras::Unknown;
    }
    let (mut scanner, mut found) = (Scanner::new(body), Extras::None);
    let read = match operation {
        // What is counted is a request itself.
        Operation::CountTokens => scanner.object(|key, scanner| match key {
            "input" => scanner.object(|key, scanner| match key {
                "converse" => walk(scanner, 0, &mut found),
                // Its body is within a text.
                _ => {
                    found = found.max(Extras::Unknown);
                    Ok(())
                }
            }),
            _ => {
                found = found.max(Extras::Unknown);
                Ok(())
            }
        }),
        _ if matches!(scanner.peek(), Ok(Type::Object)) => walk(&mut scanner, 0, &mut found),
        _ => return Extras::Unknown,
    };
    match read.and_then(|()| scanner.end()) {
        Ok(()) => found,
        Err(_) => found.max(Extras::Unknown),
    }
}

fn walk(scanner: &mut Scanner<'_>, depth: usize, found: &mut Extras) -> Result<(), JsonError> {
    if depth > MAX_DEPTH {
        *found = (*found).max(Extras::Unknown);
        return Ok(());
    }
    match scanner.peek()? {
        Type::Object => scanner.object(|key, scanner| {
            // What a tool takes and gives is the client's own.
            if depth > 0 && is_free(key) {
                return Ok(());
            }
            *found = (*found).max(of_key(key));
            walk(scanner, depth + 1, found)
        }),
        Type::Array => scanner.array(|scanner| walk(scanner, depth + 1, found)),
        Type::String | Type::Scalar => Ok(()),
    }
}

/// Members whose content no service looks into.
fn is_free(key: &str) -> bool {
    matches!(key, "input" | "json" | "inputSchema" | "input_schema" | "parameters" | "arguments")
}

fn of_key(key: &str) -> Extras {
    match key {
        // The request and its settings.
        "messages" | "system" | "inferenceConfig" | "toolConfig" | "prompt" | "inputText"
        | "texts" | "textGenerationConfig" | "anthropic_version" | "schemaVersion"
        | "max_tokens" | "maxTokens" | "max_new_tokens" | "max_gen_len" | "maxTokenCount"
        | "max_completion_tokens" | "max_tokens_to_sample" | "temperature" | "top_p" | "topP"
        | "top_k" | "topK" | "stop" | "stop_sequences" | "stopSequences" | "dimensions"
        | "normalize" | "input_type"
        // Messages and their content.
        | "role" | "content" | "type" | "text" | "image" | "document" | "video" | "audio" | "name"
        | "format" | "source" | "bytes" | "data" | "media_type" | "id" | "toolUse" | "toolUseId"
        | "tool_use_id" | "toolResult" | "status" | "is_error" | "reasoningContent"
        | "reasoningText" | "redactedContent" | "signature" | "thinking" | "budget_tokens"
        // Tools.
        | "tools" | "toolSpec" | "description" | "toolChoice" | "tool_choice" | "auto" | "any"
        | "tool" | "function" => Extras::None,
        // A model without prompt caching denies the request with 403, too.
        "cachePoint" | "cache_control" => Extras::Resources,
        "guardrailConfig" | "guardContent" | "promptVariables" | "performanceConfig"
        | "serviceTier" | "service_tier" => Extras::Resources,
        _ if key.starts_with("amazon-bedrock-") || key.starts_with("s3") => Extras::Resources,
        _ => Extras::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn of(operation: Operation, body: &str) -> Extras {
        Extras::of(operation, &HeaderMap::new(), body.as_bytes())
    }

    #[test]
    fn parameters_of_every_model_are_no_extras() {
        let converse = r#"{"messages":[{"role":"user","content":[{"text":"guardrailConfig"},
            {"image":{"format":"png","source":{"bytes":"aa"}}},{"toolResult":{"toolUseId":"t",
            "content":[{"json":{"s3Location":{"uri":"mine"}}}]}},{"text":"cachePoint"}]}],
            "system":[{"text":"s"}],"inferenceConfig":{"maxTokens":5,"stopSequences":["x"]},
            "toolConfig":{"tools":[{"toolSpec":{"name":"t","description":"d","inputSchema":{"json":
            {"properties":{"guardrailConfig":{}}}}}}],"toolChoice":{"auto":{}}}}"#;
        let anthropic = r#"{"anthropic_version":"bedrock-2023-05-31","max_tokens":5,"messages":
            [{"role":"user","content":"hi"},{"role":"assistant","content":[{"type":"tool_use",
            "id":"1","name":"t","input":{"url":"s3://x"}}]}],"system":"s","tools":[{"name":"t",
            "input_schema":{}}],"temperature":0.5}"#;
        for (operation, body) in [
            (Operation::Converse, converse.to_owned()),
            (Operation::InvokeModel, anthropic.to_owned()),
            (Operation::InvokeModel, r#"{"inputText":"x"}"#.to_owned()),
            (Operation::CountTokens, format!(r#"{{"input":{{"converse":{converse}}}}}"#)),
        ] {
            assert_eq!(of(operation, &body), Extras::None, "{body}");
        }
    }

    #[test]
    fn resources_that_need_a_permission_are_found_anywhere() {
        for (operation, body) in [
            (Operation::Converse, r#"{"messages":[],"guardrailConfig":{}}"#),
            (Operation::Converse, r#"{"messages":[],"guardrail\u0043onfig":{}}"#),
            (
                Operation::Converse,
                r#"{"messages":[{"content":[{"video":{"source":{"s3Location":{"uri":"s3://b/k"}}}}]}]}"#,
            ),
            (Operation::Converse, r#"{"messages":[],"promptVariables":{}}"#),
            (Operation::ConverseStream, r#"{"performanceConfig":{"latency":"optimized"}}"#),
            (Operation::InvokeModel, r#"{"prompt":"x","amazon-bedrock-guardrailConfig":{}}"#),
            (Operation::CountTokens, r#"{"input":{"converse":{"guardrailConfig":{}}}}"#),
            (Operation::Converse, r#"{"system":[{"text":"s"},{"cachePoint":{"type":"default"}}]}"#),
            (
                Operation::InvokeModel,
                r#"{"system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral"}}]}"#,
            ),
        ] {
            assert_eq!(of(operation, body), Extras::Resources, "{body}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(
            HeaderName::from_static("x-amzn-bedrock-guardrailidentifier"),
            HeaderValue::from_static("gr-1"),
        );
        assert_eq!(Extras::of(Operation::InvokeModel, &headers, b"{}"), Extras::Resources);
    }

    #[test]
    fn unknown_parameters_are_extras() {
        let deep = format!("{{\"content\":{}{}}}", "[".repeat(100), "]".repeat(100));
        let large = format!("{{\"prompt\":\"{}\"}}", "x".repeat(MAX_READ));
        for body in [
            "",
            "nonsense",
            "[]",
            r#"{"messages":[]} x"#,
            r#"{"new_field":1}"#,
            &deep,
            &large,
            r#"{"messages":[{"content":[{"type":"image","source":{"type":"url","url":"x"}}]}]}"#,
            r#"{"additionalModelRequestFields":{"anthropic_beta":["x"]}}"#,
        ] {
            assert_eq!(of(Operation::Converse, body), Extras::Unknown, "{body:.80}");
        }
        let invoke = r#"{"input":{"invokeModel":{"body":"e30="}}}"#;
        assert_eq!(of(Operation::CountTokens, invoke), Extras::Unknown);
        let mut headers = HeaderMap::new();
        for (name, value, wanted) in [
            ("x-custom", "1", Extras::Unknown),
            ("content-type", "text/plain", Extras::Unknown),
            ("accept", "application/json, x/y", Extras::Unknown),
            ("accept", "Application/JSON", Extras::None),
            ("user-agent", "anything", Extras::None),
        ] {
            headers.clear();
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
            assert_eq!(Extras::of(Operation::Converse, &headers, b"{}"), wanted, "{name}: {value}");
        }
    }
}

//! The APIs of OpenAI and Anthropic over real sockets. Here is what these tests use.

mod chat_completions;
mod endpoints;
mod messages;
mod responses;
mod streams;

use std::time::{SystemTime, UNIX_EPOCH};

use super::*;
use sluice_bedrock::sigv4::amz_date::amz_date;
use sluice_bedrock::sigv4::{PayloadHash, Scope, SigningKey, string_to_sign};

/// GPT at Bedrock Runtime and at mantle.
const GPT: &str = "us.openai.gpt-5.6-sol";
const GPT_AT_MANTLE: &str = "openai.gpt-5.6-sol";
/// An open-weight model at Bedrock Runtime and at mantle.
const OSS: &str = "openai.gpt-oss-120b-1:0";
const OSS_AT_MANTLE: &str = "openai.gpt-oss-120b";
/// Claude at Bedrock Runtime and at mantle.
const OPUS: &str = "us.anthropic.claude-opus-5-5";
const HAIKU_5: &str = "us.anthropic.claude-haiku-5-5";
const HAIKU_AT_MANTLE: &str = "anthropic.claude-haiku-5-5";

const CHAT: &str = "/openai/v1/chat/completions";
const RESPONSES: &str = "/openai/v1/responses";
const MESSAGES: &str = "/anthropic/v1/messages";

impl Running {
    /// Sends a request with these headers beside the usual ones.
    async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Answered {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        if !headers.iter().any(|(name, _)| ["authorization", "x-api-key"].contains(name)) {
            request = request.header("authorization", format!("Bearer {DEFAULT_BEARER_TOKEN}"));
        }
        if !headers.iter().any(|(name, _)| *name == "anthropic-version") {
            request = request.header("anthropic-version", "2023-06-01");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = if body.is_null() { String::new() } else { body.to_string() };
        answered(send(request.body(Full::from(body)).unwrap(), false).await).await
    }

    /// Sends a request that is signed for a region and a service.
    async fn signed(
        &self,
        method: &str,
        path: &str,
        region: &str,
        service: &str,
        body: &Value,
    ) -> Answered {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let date = amz_date(i64::try_from(now).unwrap());
        let date = date.as_str();
        let canonical = format!(
            "{method}\n{path}\n\nhost:{}\nx-amz-date:{date}\n\nhost;x-amz-date\n{}",
            self.addr,
            sha256_hex(text.as_bytes())
        );
        let scope = Scope { date: &date[..8], region, service, terminator: "aws4_request" };
        let to_sign = string_to_sign(date, &scope, &PayloadHash::of(canonical.as_bytes()));
        let key = SigningKey::derive(DEFAULT_SECRET_ACCESS_KEY, &scope);
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={DEFAULT_ACCESS_KEY_ID}/{}/{region}/{service}/aws4_request, \
             SignedHeaders=host;x-amz-date, Signature={}",
            &date[..8],
            key.sign(&to_sign).as_str()
        );
        let headers = [("x-amz-date", date), ("authorization", authorization.as_str())];
        self.call(method, path, &headers, body).await
    }

    async fn ask(&self, path: &str, body: &Value) -> Answered {
        self.call("POST", path, &[], body).await
    }

    /// Sends a request of an API that must be answered.
    async fn json(&self, path: &str, body: &Value) -> Value {
        let answered = self.ask(path, body).await;
        let text = String::from_utf8_lossy(&answered.body).into_owned();
        assert_eq!(answered.status, 200, "{path} {body}: {text}");
        answered.json()
    }

    /// The events of a stream that must begin.
    async fn events(&self, path: &str, body: &Value) -> Vec<Event> {
        let answered = self.ask(path, &with(body, json!({"stream": true}))).await;
        let text = String::from_utf8_lossy(&answered.body).into_owned();
        assert_eq!(answered.status, 200, "{path} {body}: {text}");
        assert_eq!(answered.headers["content-type"], "text/event-stream");
        events(&answered.body)
    }
}

/// A server-sent event.
#[derive(Debug, Clone, PartialEq)]
struct Event {
    name: Option<String>,
    data: String,
}

impl Event {
    fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_default()
    }
}

fn events(body: &[u8]) -> Vec<Event> {
    let text = std::str::from_utf8(body).unwrap();
    let blocks = text.split("\n\n").filter(|block| !block.is_empty());
    blocks
        .map(|block| Event {
            name: block.lines().find_map(|line| line.strip_prefix("event: ")).map(str::to_owned),
            data: block.lines().filter_map(|line| line.strip_prefix("data: ")).collect(),
        })
        .collect()
}

fn names(events: &[Event]) -> Vec<&str> {
    events.iter().filter_map(|event| event.name.as_deref()).collect()
}

fn with(body: &Value, more: Value) -> Value {
    let mut body = body.clone();
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn chat(model: &str, text: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": text}]})
}

fn response(model: &str, text: &str) -> Value {
    json!({"model": model, "input": text})
}

fn message(model: &str, text: &str) -> Value {
    json!({"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": text}]})
}

/// Status, type and message of an error, and its code in OpenAI's dialect.
fn error_of(answered: &Answered) -> (u16, String, String, Value) {
    let error = &answered.json()["error"];
    let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
    (answered.status.as_u16(), text("type"), text("message"), error["code"].clone())
}

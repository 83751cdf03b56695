//! Requests by plain HTTP, for tests with many clients and many requests, which need no SDK.

use tokio::task::JoinHandle;

use super::{Gateway, PRIMARY, bodies, http};

/// An InvokeModel request.
#[derive(Clone, Debug)]
pub struct Ask {
    gateway: String,
    model: String,
    operation: &'static str,
    prompt: String,
    max_tokens: u64,
    body: Option<String>,
    headers: Vec<(&'static str, String)>,
}

impl Ask {
    /// Asks for at most 16 tokens of the first model.
    pub fn new(gateway: &Gateway, prompt: &str) -> Ask {
        Ask {
            gateway: gateway.url(),
            model: PRIMARY.to_owned(),
            operation: "invoke",
            prompt: prompt.to_owned(),
            max_tokens: 16,
            body: None,
            headers: Vec::new(),
        }
    }

    /// The same of another model.
    pub fn of(self, model: &str) -> Ask {
        Ask { model: model.to_owned(), ..self }
    }

    /// The same for at most so many tokens.
    pub fn max_tokens(self, max_tokens: u64) -> Ask {
        Ask { max_tokens, ..self }
    }

    /// The same as a stream.
    pub fn stream(self) -> Ask {
        Ask { operation: "invoke-with-response-stream", ..self }
    }

    /// Converse with this body.
    pub fn converse(self, body: String) -> Ask {
        Ask { operation: "converse", body: Some(body), ..self }
    }

    /// Another operation, by the end of its path, with this body.
    pub fn operation(self, operation: &'static str, body: String) -> Ask {
        Ask { operation, body: Some(body), ..self }
    }

    /// InvokeModel with this body.
    pub fn body(self, body: String) -> Ask {
        Ask { body: Some(body), ..self }
    }

    /// The same with a header.
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Ask {
        self.headers.push((name, value.into()));
        self
    }

    /// The same by the client with this access key.
    pub fn key(self, access_key_id: &str) -> Ask {
        let scope = "20261124/us-east-1/bedrock/aws4_request";
        let signed = format!(
            "AWS4-HMAC-SHA256 Credential={access_key_id}/{scope}, SignedHeaders=host, Signature=00"
        );
        self.header("authorization", signed)
    }

    /// The same with this bearer token.
    pub fn bearer(self, token: &str) -> Ask {
        self.header("authorization", format!("Bearer {token}"))
    }

    /// The path and the body, for a connection of one's own.
    pub fn into_http1(self) -> String {
        let (path, body) = (self.path(), self.to_body());
        let length = body.len();
        format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}")
    }

    /// Sends it and reads the answer.
    pub async fn send(self) -> http::Response {
        let url = format!("{}{}", self.gateway, self.path());
        let headers: Vec<(&str, &str)> =
            self.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        http::post(&url, &headers, self.to_body()).await
    }

    /// The same in the background.
    pub fn start(self) -> JoinHandle<http::Response> {
        tokio::spawn(self.send())
    }

    /// The path.
    pub fn path(&self) -> String {
        format!("/model/{}/{}", self.model, self.operation)
    }

    /// The body.
    pub fn to_body(&self) -> String {
        let usual = || bodies::messages(&self.prompt, self.max_tokens);
        self.body.clone().unwrap_or_else(usual)
    }
}

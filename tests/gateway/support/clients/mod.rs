//! The SDKs of the gateway's users behind one interface: a [`Client`] makes [`Call`]s and returns
//! [`Answer`]s.
//!
//! Two clients are drivers in `tests/clients`, which read a [`Job`] as JSON on stdin and print one JSON line
//! with an [`Answer`] for each call. The others are the `aws` command, and the Rust SDK in this process. The
//! SDKs' own retries are off, so that the tests see those of the gateway.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::bodies;

mod cli;
mod driver;
mod rust;

pub use driver::{fed, script};
pub use rust::converse_both_ways;

/// An SDK as its users run it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// boto3, over HTTP/1.1.
    Boto3,
    /// `@aws-sdk/client-bedrock-runtime` as it comes: cleartext HTTP/2 to an `http` endpoint.
    JavaScript,
    /// The same with its HTTP/1.1 handler.
    JavaScriptHttp1,
    /// `aws-sdk-bedrockruntime`, over HTTP/1.1.
    Rust,
    /// `aws bedrock-runtime`, a process for each call.
    Cli,
}

impl Client {
    /// All of them.
    pub const ALL: [Client; 5] =
        [Client::Boto3, Client::JavaScript, Client::JavaScriptHttp1, Client::Rust, Client::Cli];

    /// All clients with streams and response headers, which are all but the command.
    pub const SDKS: [Client; 4] =
        [Client::Boto3, Client::JavaScript, Client::JavaScriptHttp1, Client::Rust];

    /// Makes one call.
    pub async fn call(self, endpoint: &str, call: Call) -> Answer {
        let mut answers = self.run(Job::new(endpoint, vec![call])).await;
        assert_eq!(answers.len(), 1, "{self:?} gave {answers:?}");
        answers.remove(0)
    }

    /// Makes one call in a task of its own.
    pub async fn call_owned(self, endpoint: String, call: Call) -> Answer {
        self.call(&endpoint, call).await
    }

    /// Makes all calls of a job; the answers come in the order of the calls.
    pub async fn run(self, job: Job) -> Vec<Answer> {
        let calls = job.calls.len();
        let work = async {
            match self {
                Client::Boto3 => driver::run(driver::boto3(), &job).await,
                Client::JavaScript => driver::run(driver::javascript(), &job).await,
                Client::JavaScriptHttp1 => {
                    driver::run(driver::javascript(), &Job { http1: true, ..job }).await
                }
                Client::Rust => rust::run(job).await,
                Client::Cli => cli::run(job).await,
            }
        };
        let answers = super::patience::within(Duration::from_secs(120), "a client", work).await;
        assert_eq!(answers.len(), calls, "{self:?} gave {answers:?}");
        answers
    }
}

/// Calls for one client with one set of keys, against one endpoint.
#[derive(Clone, Debug, Serialize)]
pub struct Job {
    /// The URL of the gateway.
    pub endpoint: String,
    /// The client's region.
    pub region: String,
    /// The client's access key; the gateway signs upstream requests with another one.
    pub access_key_id: String,
    /// See `access_key_id`.
    pub secret_access_key: String,
    /// See `access_key_id`.
    pub session_token: Option<String>,
    /// A bearer key in a header of unsigned requests, without the TLS that an SDK requires for it.
    /// boto3 alone.
    pub bearer: Option<String>,
    /// The authority that the client trusts, for an endpoint with TLS. All but the command.
    pub ca: Option<PathBuf>,
    /// The client's certificate and its key. boto3 alone.
    pub client_cert: Option<[String; 2]>,
    /// A Bedrock API key instead of the access key above. All but the command.
    #[serde(skip)]
    pub bearer_token: Option<String>,
    /// Most calls at once.
    pub concurrency: usize,
    /// Whether an SDK that would speak HTTP/2 speaks HTTP/1.1.
    pub http1: bool,
    /// How long the client waits for bytes.
    pub read_timeout_s: u64,
    /// Headers added to each request. All but the command.
    pub headers: HashMap<String, String>,
    /// The calls.
    pub calls: Vec<Call>,
}

impl Job {
    /// Calls one after the other, with an access key that no client has.
    pub fn new(endpoint: &str, calls: Vec<Call>) -> Job {
        Job {
            endpoint: endpoint.to_owned(),
            region: "us-east-1".to_owned(),
            access_key_id: "AKIDCLIENT".to_owned(),
            secret_access_key: "client-secret-key".to_owned(),
            session_token: None,
            bearer: None,
            ca: None,
            client_cert: None,
            bearer_token: None,
            concurrency: 1,
            http1: false,
            read_timeout_s: 60,
            headers: HashMap::new(),
            calls,
        }
    }

    /// The same, all calls at once.
    pub fn at_once(endpoint: &str, calls: Vec<Call>) -> Job {
        Job { concurrency: calls.len(), ..Job::new(endpoint, calls) }
    }

    /// The same with a bearer token instead of keys.
    pub fn bearer(self, token: &str) -> Job {
        Job { bearer: Some(token.to_owned()), ..self }
    }

    /// The same with this key pair.
    pub fn signed_by(self, access_key_id: &str, secret_access_key: &str) -> Job {
        Job {
            access_key_id: access_key_id.to_owned(),
            secret_access_key: secret_access_key.to_owned(),
            ..self
        }
    }

    /// The same over TLS with this authority, and with this token instead of an access key.
    pub fn bearing(self, token: &str, ca: &Path) -> Job {
        Job { bearer_token: Some(token.to_owned()), ca: Some(ca.to_owned()), ..self }
    }

    /// Adds a header to each request.
    pub fn header(mut self, name: &str, value: &str) -> Job {
        self.headers.insert(name.to_owned(), value.to_owned());
        self
    }
}

/// One call of an operation.
#[derive(Clone, Debug, Serialize)]
pub struct Call {
    /// The operation's name in the service model.
    pub operation: &'static str,
    /// The model id, for the operations that take one.
    pub model: String,
    /// The body of InvokeModel; the parameters of other operations, as the service model has them.
    pub body: String,
    /// More parameters of InvokeModel (`guardrailIdentifier`...), as the service model has them.
    pub options: Value,
    /// Closes the stream after so many events.
    pub abandon_after: Option<usize>,
}

impl Call {
    /// InvokeModel of an Anthropic model with one user message.
    pub fn invoke(model: &str, prompt: &str) -> Call {
        Call::new("InvokeModel", model, bodies::messages(prompt, 64))
    }

    /// The same, streamed.
    pub fn invoke_stream(model: &str, prompt: &str) -> Call {
        Call { operation: "InvokeModelWithResponseStream", ..Call::invoke(model, prompt) }
    }

    /// Converse with one user message.
    pub fn converse(model: &str, prompt: &str) -> Call {
        Call::new("Converse", model, bodies::conversation(prompt, 64).to_string())
    }

    /// The same, streamed.
    pub fn converse_stream(model: &str, prompt: &str) -> Call {
        Call { operation: "ConverseStream", ..Call::converse(model, prompt) }
    }

    /// CountTokens of a conversation with one user message.
    pub fn count_tokens(model: &str, prompt: &str) -> Call {
        let mut conversation = bodies::conversation(prompt, 64);
        conversation.as_object_mut().unwrap().remove("inferenceConfig");
        Call::new("CountTokens", model, conversation.to_string())
    }

    /// The five operations that are routed, each with one user message.
    pub fn routed(model: &str, prompt: &str) -> [Call; 5] {
        [
            Call::invoke(model, prompt),
            Call::invoke_stream(model, prompt),
            Call::converse(model, prompt),
            Call::converse_stream(model, prompt),
            Call::count_tokens(model, prompt),
        ]
    }

    /// ApplyGuardrail to one text.
    pub fn apply_guardrail(text: &str) -> Call {
        let parameters = json!({
            "guardrailIdentifier": "gr1234567890",
            "guardrailVersion": "1",
            "source": "INPUT",
            "content": [{"text": {"text": text}}],
        });
        Call::new("ApplyGuardrail", "", parameters.to_string())
    }

    /// StartAsyncInvoke with an answer in a bucket.
    pub fn start_async_invoke(model: &str) -> Call {
        let parameters = json!({
            "modelId": model,
            "modelInput": {"taskType": "TEXT_VIDEO"},
            "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://bucket/answers"}},
        });
        Call::new("StartAsyncInvoke", "", parameters.to_string())
    }

    /// GetAsyncInvoke.
    pub fn get_async_invoke(arn: &str) -> Call {
        Call::new("GetAsyncInvoke", "", json!({ "invocationArn": arn }).to_string())
    }

    /// ListAsyncInvokes.
    pub fn list_async_invokes() -> Call {
        Call::new("ListAsyncInvokes", "", "{}".to_owned())
    }

    /// A call of the control plane with these parameters; for boto3 alone.
    pub fn control_plane(operation: &'static str, parameters: &Value) -> Call {
        Call::new(operation, "", parameters.to_string())
    }

    fn new(operation: &'static str, model: &str, body: String) -> Call {
        Call { operation, model: model.to_owned(), body, options: json!({}), abandon_after: None }
    }

    /// The same with this body.
    pub fn body(self, body: impl Into<String>) -> Call {
        Call { body: body.into(), ..self }
    }

    /// The same, closed after `events` events.
    pub fn abandon_after(self, events: usize) -> Call {
        Call { abandon_after: Some(events), ..self }
    }

    /// The same with these further parameters of InvokeModel.
    pub fn options(self, options: Value) -> Call {
        Call { options, ..self }
    }

    /// Whether it is a stream.
    pub fn is_stream(&self) -> bool {
        matches!(self.operation, "InvokeModelWithResponseStream" | "ConverseStream")
    }
}

/// The result of one call, as the client returned it.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Answer {
    /// The HTTP status, if the client shows it.
    pub status: Option<u16>,
    /// The response headers by lower-case name, if the client shows them.
    #[serde(default)]
    pub headers: HashMap<String, String>,
    /// The body of InvokeModel; the output of other operations as JSON.
    pub body: Option<String>,
    /// The events of a stream, a `chunk` as the JSON in it.
    #[serde(default)]
    pub events: Vec<Value>,
    /// What the client raised.
    pub error: Option<Raised>,
}

/// An exception as the client's SDK raised it.
#[derive(Clone, Debug, Deserialize)]
pub struct Raised {
    /// The exception's name on the wire, or else its class.
    pub name: String,
    /// Its class; boto3 alone.
    #[serde(default)]
    pub class: Option<String>,
    /// Its text.
    pub message: String,
    /// Whether the exception came while events were read.
    pub in_stream: bool,
}

impl Answer {
    /// The text of a successful answer.
    ///
    /// # Panics
    /// If the client raised an exception.
    #[track_caller]
    pub fn text(&self) -> String {
        assert!(self.error.is_none(), "{:?}", self.error);
        self.text_so_far()
    }

    /// The received text, even if an exception followed.
    pub fn text_so_far(&self) -> String {
        if let Some(body) = &self.body {
            let body: Value = serde_json::from_str(body).unwrap_or_default();
            let content = match body.pointer("/output/message/content") {
                Some(content) => content,
                None => &body["content"],
            };
            return content[0]["text"].as_str().unwrap_or_default().to_owned();
        }
        let deltas = ["/contentBlockDelta/delta/text", "/delta/text"];
        let text = |event: &Value| {
            let found = deltas.iter().find_map(|at| event.pointer(at)?.as_str().map(str::to_owned));
            found.unwrap_or_default()
        };
        self.events.iter().map(text).collect()
    }

    /// The body or output, read as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        assert!(self.error.is_none(), "{:?}", self.error);
        serde_json::from_str(self.body.as_deref().unwrap_or_default()).unwrap()
    }

    /// A response header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// What the client raised.
    ///
    /// # Panics
    /// If the client raised no exception.
    #[track_caller]
    pub fn raised(&self) -> &Raised {
        self.error.as_ref().unwrap_or_else(|| panic!("nothing was raised: {self:?}"))
    }
}

impl Raised {
    /// Whether it is this exception, by its name in errors or in streams.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn installed(path: &str) -> PathBuf {
    let path = repository().join(path);
    assert!(path.exists(), "{} is not there: run ./test once, it installs it", path.display());
    path
}

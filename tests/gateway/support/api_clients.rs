//! The SDKs of OpenAI and Anthropic behind one interface: an [`ApiJob`] makes [`ApiCall`]s with one client
//! and returns [`ApiAnswer`]s.
//!
//! The drivers are `tests/clients/api_driver.py` and `tests/clients/api_driver.mjs`. They read a job as JSON
//! on stdin and print one JSON line for each call. The SDKs' own retries are off, so that the tests see
//! those of the gateway.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::process::Command;

use super::clients::{fed, installed, repository};
use super::{leaks, patience};

/// The language of an SDK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Python.
    Python,
    /// JavaScript.
    JavaScript,
}

impl Language {
    /// Both.
    pub const ALL: [Language; 2] = [Language::Python, Language::JavaScript];

    fn driver(self) -> Command {
        match self {
            Language::Python => {
                let mut command = Command::new(installed(".venv/bin/python"));
                command.arg(repository().join("tests/clients/api_driver.py"));
                command
            }
            Language::JavaScript => {
                installed("tests/clients/node_modules/openai");
                installed("tests/clients/node_modules/@anthropic-ai/bedrock-sdk");
                let mut command = Command::new("node");
                command.arg(repository().join("tests/clients/api_driver.mjs"));
                command
            }
        }
    }
}

/// A client class of the SDKs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sdk {
    /// OpenAI's `OpenAI`.
    #[serde(rename = "openai")]
    OpenAi,
    /// OpenAI's `BedrockOpenAI`. In JavaScript it has no access keys.
    #[serde(rename = "bedrock_openai")]
    BedrockOpenAi,
    /// Anthropic's `Anthropic`.
    Anthropic,
    /// Anthropic's `AnthropicBedrockMantle`.
    AnthropicBedrockMantle,
    /// Anthropic's `AnthropicBedrock`, which calls InvokeModel.
    AnthropicBedrock,
}

/// Calls of one client against one base URL, one after the other.
#[derive(Clone, Debug, Serialize)]
pub struct ApiJob {
    #[serde(skip)]
    language: Language,
    sdk: Sdk,
    base_url: String,
    region: &'static str,
    api_key: Option<String>,
    access_key_id: String,
    secret_access_key: String,
    headers: HashMap<String, String>,
    timeout_s: u64,
    calls: Vec<ApiCall>,
}

impl ApiJob {
    /// Calls with a key that no client of a config has.
    pub fn new(language: Language, sdk: Sdk, base_url: impl Into<String>) -> ApiJob {
        ApiJob {
            language,
            sdk,
            base_url: base_url.into(),
            region: "us-east-1",
            api_key: Some("any-key".to_owned()),
            access_key_id: String::new(),
            secret_access_key: String::new(),
            headers: HashMap::new(),
            timeout_s: 60,
            calls: Vec::new(),
        }
    }

    /// The same with this key.
    pub fn key(self, key: &str) -> ApiJob {
        ApiJob { api_key: Some(key.to_owned()), ..self }
    }

    /// The same with signatures by this key pair. For clients of Bedrock's.
    pub fn signed_by(self, access_key_id: &str, secret_access_key: &str) -> ApiJob {
        ApiJob {
            api_key: None,
            access_key_id: access_key_id.to_owned(),
            secret_access_key: secret_access_key.to_owned(),
            ..self
        }
    }

    /// Adds a header to each request.
    pub fn header(mut self, name: &str, value: &str) -> ApiJob {
        self.headers.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The language of its SDK.
    pub fn language(&self) -> Language {
        self.language
    }

    /// Adds a call.
    pub fn call(mut self, call: ApiCall) -> ApiJob {
        self.calls.push(call);
        self
    }

    /// Makes the calls.
    pub async fn run(self) -> Vec<ApiAnswer> {
        let secrets = self.api_key.iter().chain([&self.secret_access_key]);
        secrets.filter(|it| !it.is_empty() && *it != "any-key").for_each(|it| leaks::secret(it));
        let work = fed(self.language.driver(), serde_json::to_vec(&self).unwrap());
        let lines = patience::within(Duration::from_secs(120), "a client", work).await;
        let answers: Vec<ApiAnswer> =
            lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(answers.len(), self.calls.len(), "{answers:?}");
        answers
    }

    /// Makes the only call.
    pub async fn only(self) -> ApiAnswer {
        assert_eq!(self.calls.len(), 1);
        self.run().await.remove(0)
    }
}

/// One call of a method.
#[derive(Clone, Debug, Serialize)]
pub struct ApiCall {
    /// The method below the client, such as `chat.completions.create`. The helper `stream` puts the events
    /// of a stream together.
    method: &'static str,
    /// What stands before the parameters. A text such as `$0.id` stands for a member of the first answer, in
    /// the parameters too.
    arguments: Vec<Value>,
    parameters: Value,
    /// Closes the stream after so many events.
    abandon_after: Option<usize>,
}

impl ApiCall {
    /// A call with these parameters.
    pub fn new(method: &'static str, parameters: Value) -> ApiCall {
        ApiCall { method, arguments: Vec::new(), parameters, abandon_after: None }
    }

    /// A call about one thing by its id, without parameters.
    pub fn of(method: &'static str, id: &str) -> ApiCall {
        ApiCall { arguments: vec![id.into()], ..ApiCall::new(method, json!({})) }
    }

    /// CreateChatCompletion with one user message.
    pub fn chat(model: &str, prompt: &str) -> ApiCall {
        ApiCall::new(
            "chat.completions.create",
            json!({"model": model, "messages": [{"role": "user", "content": prompt}]}),
        )
    }

    /// CreateResponse with one user message.
    pub fn response(model: &str, prompt: &str) -> ApiCall {
        ApiCall::new("responses.create", json!({"model": model, "input": prompt}))
    }

    /// CreateMessage with one user message.
    pub fn message(model: &str, prompt: &str) -> ApiCall {
        let messages = json!([{"role": "user", "content": prompt}]);
        let parameters = json!({"model": model, "max_tokens": 256, "messages": messages});
        ApiCall::new("messages.create", parameters)
    }

    /// The same as a stream whose events are read one by one.
    pub fn streamed(self) -> ApiCall {
        self.with("stream", true)
    }

    /// The same with this parameter.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> ApiCall {
        self.parameters[name] = value.into();
        self
    }

    /// The same with another method.
    pub fn by(self, method: &'static str) -> ApiCall {
        ApiCall { method, ..self }
    }

    /// The same with the name that the method has in JavaScript, if this is the language.
    pub fn in_javascript(self, method: &'static str, language: Language) -> ApiCall {
        if language == Language::JavaScript { self.by(method) } else { self }
    }

    /// The same, closed after `events` events.
    pub fn abandon_after(self, events: usize) -> ApiCall {
        ApiCall { abandon_after: Some(events), ..self }
    }
}

/// All answers of a job, in none of which anything was raised.
#[track_caller]
pub fn each_succeeded<const N: usize>(answers: Vec<ApiAnswer>) -> [ApiAnswer; N] {
    for (index, answer) in answers.iter().enumerate() {
        assert!(answer.error.is_none(), "call {index}: {:#?}", answer.error);
    }
    answers.try_into().unwrap()
}

/// The result of one call, as the SDK returned it.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ApiAnswer {
    /// The HTTP status, if one came.
    pub status: Option<u16>,
    /// The response headers by lower-case name.
    pub headers: HashMap<String, String>,
    /// What the method returned. Of a stream's helper: the final state.
    pub body: Value,
    /// The events of a stream.
    pub events: Vec<Value>,
    /// What the SDK raised.
    pub error: Option<ApiError>,
}

/// What an SDK raised.
#[derive(Clone, Debug, Deserialize)]
pub struct ApiError {
    /// Its class.
    pub class: String,
    /// The status that it shows.
    pub status: Option<u16>,
    /// The type that it shows.
    pub r#type: Option<String>,
    /// The code that it shows, which is text in errors of an API.
    pub code: Value,
    /// The request's member that it names.
    pub param: Option<String>,
    /// The body that it shows.
    pub body: Value,
    /// The id of the request that it shows.
    pub request_id: Option<String>,
    /// Its text.
    pub message: String,
    /// Whether it came while events were read.
    pub in_stream: bool,
}

impl ApiAnswer {
    /// The answer, if nothing was raised.
    #[track_caller]
    pub fn succeeded(&self) -> &ApiAnswer {
        assert!(self.error.is_none(), "{:#?}", self.error);
        self
    }

    /// What the SDK raised.
    #[track_caller]
    pub fn raised(&self) -> &ApiError {
        self.error.as_ref().unwrap_or_else(|| panic!("nothing was raised: {self:#?}"))
    }

    /// The text of the answer: of the body, or of the events so far. What was thought is not part of it.
    pub fn text(&self) -> String {
        if let Some(text) = self.body.pointer("/choices/0/message/content").and_then(Value::as_str)
        {
            return text.to_owned();
        }
        let outputs = self.body["output"].as_array().into_iter().flatten();
        let parts = outputs.filter_map(|output| output["content"].as_array()).flatten();
        let blocks = self.body["content"].as_array().into_iter().flatten();
        if self.body.is_object() {
            return parts.chain(blocks).filter_map(|block| block["text"].as_str()).collect();
        }
        let of_event = ["/choices/0/delta/content", "/delta/text", "/delta"];
        let text = |event: &Value| {
            of_event.iter().find_map(|at| event.pointer(at)?.as_str().map(str::to_owned))
        };
        self.events.iter().filter_map(text).collect()
    }

    /// The types of its events, without those that repeat the one before.
    pub fn event_types(&self) -> Vec<&str> {
        let types = self.events.iter().filter_map(|event| event["type"].as_str());
        let mut types: Vec<&str> = types.collect();
        types.dedup();
        types
    }

    /// A response header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

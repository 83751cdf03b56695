//! `/test_claude_connection`: makes a short model call and reports the result.

use std::time::SystemTime;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::answer::ANTHROPIC_VERSION;
use super::invoke::{ALL_MODELS, Caller, InvokeError};
use super::response::timestamp;
use super::state::{LegacyState, seconds_since};
use super::text::first_chars;
use crate::bedrock::Features;
use crate::config::Credentials;
use crate::pipeline::Gateway;
use crate::routing::Target;

/// Most characters of the model's answer that are shown.
const SHOWN: usize = 50;

impl LegacyState {
    /// The `claude_status` of now: whether a model answers, which, and how fast. An error of the call
    /// is part of the status.
    pub(super) async fn test_connection(&self, caller: &Caller, deadline: Instant) -> Value {
        let began = Instant::now();
        let rendered = self.prompts().test();
        let gateway = self.gateway();
        match self.invoke(&rendered, ALL_MODELS, caller, deadline).await {
            Ok(said) => {
                let told = json!({
                    "connected": true,
                    "model": said.by.display_name,
                    "model_id": said.by.named_model(),
                    "response_time": seconds_since(began),
                    "test_response": shown(&said.text),
                });
                with_settings(told, &gateway, Some(&said.by))
            }
            Err(error) => {
                let primary = primary(&gateway);
                let model = match (&error, primary) {
                    (InvokeError::NoCredentials, _) => "None",
                    (_, Some(primary)) => &primary.display_name,
                    (_, None) => "Unknown",
                };
                let told = json!({
                    "connected": false,
                    "error": error.to_string(),
                    "model": model,
                    "response_time": seconds_since(began),
                });
                with_settings(told, &gateway, primary)
            }
        }
    }
}

/// The model that is called first.
fn primary(gateway: &Gateway) -> Option<&Target> {
    let index = *gateway.config.legacy.models.first()?;
    gateway.router.targets().get(index).map(|target| &**target)
}

fn shown(text: &str) -> String {
    let shown = first_chars(text.trim(), SHOWN);
    if shown.len() < text.trim().len() { format!("{shown}...") } else { shown.to_owned() }
}

/// Adds the settings that a status has whether a model answered or not.
fn with_settings(mut status: Value, gateway: &Gateway, target: Option<&Target>) -> Value {
    let legacy = &gateway.config.legacy;
    let others = legacy.models.iter().skip(1);
    let fallback_models: Vec<&str> = others
        .filter_map(|&index| Some(gateway.router.targets().get(index)?.named_model()))
        .collect();
    let known = target.and_then(|target| target.model_info.as_ref());
    let reasons = known
        .and_then(|facts| facts.features())
        .is_some_and(|features| features.contains(Features::REASONING));
    let settings = json!({
        "region": target.map_or(&gateway.config.upstream.region, |target| &target.endpoint.region),
        "connection_type": "AWS Bedrock Runtime",
        "service": "Amazon Bedrock",
        "sdk_version": concat!("sluice/", env!("CARGO_PKG_VERSION")),
        "max_tokens": legacy.max_tokens,
        "temperature": legacy.temperature,
        // These endpoints never request reasoning.
        "reasoning_enabled": false,
        "anthropic_version": ANTHROPIC_VERSION,
        "supports_reasoning": reasons,
        "fallback_models": fallback_models,
        "credentials_source": target.map(|target| credentials_source(gateway, target)),
    });
    if let (Value::Object(status), Value::Object(settings)) = (&mut status, settings) {
        status.extend(settings);
    }
    status
}

/// The two sources that the legacy application knew of.
fn credentials_source(gateway: &Gateway, target: &Target) -> &'static str {
    let configured = gateway.config.targets.iter().find(|it| it.name == *target.name);
    let is_given = match configured.map(|target| &target.credentials) {
        Some(Credentials::Static { .. } | Credentials::Bearer(_)) => true,
        Some(Credentials::DefaultChain) | None => std::env::var_os("AWS_ACCESS_KEY_ID").is_some(),
        Some(Credentials::Profile(_) | Credentials::AssumeRole { .. }) => false,
    };
    if is_given { "Environment Variables" } else { "IAM Role (App Runner)" }
}

pub(super) fn done(status: &Value) -> Value {
    json!({
        "success": true,
        "claude_status": status,
        "timestamp": timestamp(SystemTime::now()),
    })
}

/// What a job keeps as its result.
pub(super) fn result(status: &Value, duration: f64) -> Value {
    json!({ "success": true, "result": status, "duration": duration })
}

pub(super) fn failed(error: &str) -> Value {
    json!({
        "success": false,
        "error": error,
        "claude_status": { "connected": false, "error": format!("Test failed: {error}") },
    })
}

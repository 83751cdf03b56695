//! The endpoints of the legacy application: `[legacy]` and `[legacy.prompts]`.
//!
//! Models are indices here, and every template is known to compile.

use std::net::SocketAddr;
use std::time::Duration;

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smart_default::SmartDefault;

#[cfg(test)]
use crate::template::Template;
use crate::units::{Address, AnyDuration, NonZeroDuration, Optional, Size, TextForm as _};

/// The endpoints of the legacy application.
#[derive(Clone, Debug, PartialEq, Deserialize, SmartDefault)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
pub struct Legacy {
    /// Whether they are served. They never are without targets that can answer.
    #[default = true]
    pub enabled: bool,
    /// Which of them are served.
    #[cfg_attr(test, schemars(extend("uniqueItems" = true)))]
    #[default(LegacyGroup::ALL.into())]
    pub endpoints: Vec<LegacyGroup>,
    /// Their own address and port. Default: those of `server.listen`.
    #[serde(with = "Optional::<Address>")]
    #[cfg_attr(test, schemars(example = "127.0.0.1:8081"))]
    pub listen: Option<SocketAddr>,
    /// Indices into [`Config::targets`](super::Config::targets), the primary first; none twice. At
    /// least one if the endpoints are served.
    #[serde(skip)]
    pub models: Vec<usize>,
    /// Whether chat may fall back to the other models, and takes the one that `ai_model` names.
    #[default = true]
    pub chat_multi_model: bool,
    /// How long a call waits for its first model before another model answers. 0s: the best target
    /// with room answers at once.
    #[serde(with = "AnyDuration")]
    pub wait_before_fallback: Duration,
    /// Output tokens that a request asks for.
    #[cfg_attr(test, schemars(range(min = 1, max = 10_000_000)))]
    #[default = 8192]
    pub max_tokens: u32,
    /// Temperature that a request asks for.
    #[cfg_attr(test, schemars(range(min = 0.0, max = 1.0)))]
    #[default = 0.7]
    pub temperature: f64,
    /// When a mock answer, marked as one, stands in for a model's.
    pub mock: LegacyMock,
    /// Calls that need `server.admin_key`.
    #[cfg_attr(test, schemars(extend("uniqueItems" = true)))]
    pub admin_only: Vec<LegacyAction>,
    /// How long a session is kept after its last use.
    #[serde(with = "NonZeroDuration")]
    #[default(Duration::from_secs(60 * 60))]
    pub session_ttl: Duration,
    /// Sessions kept at once.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000)))]
    #[default = 10_000]
    pub max_sessions: usize,
    /// Memory for what all sessions remember; beyond it those that were not used for longest are
    /// forgotten.
    #[serde(with = "Size")]
    #[default = 32_000_000]
    pub max_session_bytes: usize,
    /// Chat turns kept of one session.
    #[cfg_attr(test, schemars(range(min = 1, max = 1000)))]
    #[default = 20]
    pub max_turns: usize,
    /// The prompts of the models: templates in Jinja syntax.
    pub prompts: LegacyPrompts,
}

/// A group of legacy endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum LegacyGroup {
    /// `/health`.
    Health,
    /// `/analyze_section`.
    Analysis,
    /// `/chat`.
    Chat,
    /// `/test_claude_connection`.
    Test,
    /// `/task_status`, `/cancel_task` and `/queue_stats`.
    Tasks,
    /// `/model_stats` and `/reset_model_cooldowns`.
    Models,
}

impl LegacyGroup {
    /// All groups.
    pub const ALL: [Self; 6] =
        [Self::Health, Self::Analysis, Self::Chat, Self::Test, Self::Tasks, Self::Models];
}

/// A legacy call that changes something for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum LegacyAction {
    /// `/cancel_task`.
    CancelTask,
    /// `/reset_model_cooldowns`.
    ResetModelCooldowns,
}

/// When a mock answer, marked as one, stands in for a model's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum LegacyMock {
    /// Never.
    #[default]
    Never,
    /// When no model can answer.
    WhenExhausted,
}

/// The prompts of the models: templates in Jinja syntax, as text or `file:PATH`. All of them compile;
/// none is blank, none larger than 64 KiB.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, SmartDefault)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
pub struct LegacyPrompts {
    /// System prompt of an analysis. Default: built in.
    #[cfg_attr(test, schemars(with = "Template", example = "file:prompts/analysis_system.jinja"))]
    #[cfg_attr(test, serde(serialize_with = "built_in"))]
    #[default(include_str!("../prompts/analysis_system.jinja").to_owned())]
    pub analysis_system: String,
    /// Message of an analysis. Default: built in.
    #[cfg_attr(test, schemars(with = "Template", example = "file:prompts/analysis.jinja"))]
    #[cfg_attr(test, serde(serialize_with = "built_in"))]
    #[default(include_str!("../prompts/analysis.jinja").to_owned())]
    pub analysis: String,
    /// System prompt of a chat. Default: built in.
    #[cfg_attr(test, schemars(with = "Template", example = "file:prompts/chat_system.jinja"))]
    #[cfg_attr(test, serde(serialize_with = "built_in"))]
    #[default(include_str!("../prompts/chat_system.jinja").to_owned())]
    pub chat_system: String,
    /// Message of a chat. Default: built in.
    #[cfg_attr(test, schemars(with = "Template", example = "file:prompts/chat.jinja"))]
    #[cfg_attr(test, serde(serialize_with = "built_in"))]
    #[default(include_str!("../prompts/chat.jinja").to_owned())]
    pub chat: String,
    /// Message of a connection test. Default: built in.
    #[cfg_attr(test, schemars(with = "Template", example = "file:prompts/test.jinja"))]
    #[cfg_attr(test, serde(serialize_with = "built_in"))]
    #[default(include_str!("../prompts/test.jinja").to_owned())]
    pub test: String,
}

/// The schema does not repeat the built-in templates.
#[cfg(test)]
fn built_in<S: serde::Serializer>(_: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_none()
}

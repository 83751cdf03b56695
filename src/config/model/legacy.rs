//! What the legacy endpoints are and do.
//!
//! Owns the checked form of `[legacy]` and `[legacy.prompts]`: models are indices, and every
//! template is known to compile.

use std::net::SocketAddr;
use std::time::Duration;

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The endpoints of the legacy application.
#[derive(Clone, Debug, PartialEq)]
pub struct Legacy {
    /// Whether they are served. Never without targets.
    pub enabled: bool,
    /// Which of them are served. At least one, none twice.
    pub endpoints: Vec<LegacyGroup>,
    /// Their own address. `None`: that of the Bedrock API.
    pub listen: Option<SocketAddr>,
    /// Indices into [`Config::targets`](super::Config::targets), the primary first; none twice. At
    /// least one if there are targets.
    pub models: Vec<usize>,
    /// Whether chat may fall back to the other models, and takes the one that `ai_model` names.
    pub chat_multi_model: bool,
    /// Output tokens that a request asks for; at least 1.
    pub max_tokens: u32,
    /// Temperature that a request asks for; 0.0 to 1.0.
    pub temperature: f64,
    /// When a mock answer stands in for a model's.
    pub mock: LegacyMock,
    /// Calls that ask for [`Server::admin_key`](super::Server::admin_key), which is then set.
    /// None twice.
    pub admin_only: Vec<LegacyAction>,
    /// How long a session is kept after its last use.
    pub session_ttl: Duration,
    /// Sessions kept at once; at least 1.
    pub max_sessions: usize,
    /// Bytes that all sessions may take together.
    pub max_session_bytes: usize,
    /// Chat turns kept of one session; 1 to 1000.
    pub max_turns: usize,
    /// What the models are asked.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum LegacyMock {
    /// Never.
    Never,
    /// When no model can answer.
    WhenExhausted,
}

/// Templates in Jinja syntax, all of which `minijinja` compiles. None is blank, none larger than
/// 64 KiB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegacyPrompts {
    /// System prompt of an analysis.
    pub analysis_system: String,
    /// Message of an analysis.
    pub analysis: String,
    /// System prompt of a chat.
    pub chat_system: String,
    /// Message of a chat.
    pub chat: String,
    /// Message of a connection test.
    pub test: String,
}

impl Default for LegacyPrompts {
    /// The shipped templates.
    fn default() -> Self {
        let shipped = str::to_owned;
        Self {
            analysis_system: shipped(include_str!("../prompts/analysis_system.jinja")),
            analysis: shipped(include_str!("../prompts/analysis.jinja")),
            chat_system: shipped(include_str!("../prompts/chat_system.jinja")),
            chat: shipped(include_str!("../prompts/chat.jinja")),
            test: shipped(include_str!("../prompts/test.jinja")),
        }
    }
}

//! The endpoints of the legacy application: `[legacy]` and `[legacy.prompts]`.
//!
//! Models are indices here, and every template is known to compile.

use std::net::SocketAddr;
use std::time::Duration;

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::units::{Address, NonZeroDuration, Optional, Size, TextForm as _};

/// The endpoints of the legacy application.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[cfg_attr(test, derive(Serialize, JsonSchema))]
#[serde(default)]
pub struct Legacy {
    /// Whether they are served. Without targets they never are.
    pub enabled: bool,
    /// Which of them are served.
    pub endpoints: Vec<LegacyGroup>,
    /// Their own address and port. Default: those of `server.listen`.
    #[serde(with = "Optional::<Address>")]
    #[cfg_attr(test, schemars(example = "127.0.0.1:8081"))]
    pub listen: Option<SocketAddr>,
    /// Indices into [`Config::targets`](super::Config::targets), the primary first; none twice. At
    /// least one if there are targets.
    #[serde(skip)]
    pub models: Vec<usize>,
    /// Whether chat may fall back to the other models, and takes the one that `ai_model` names.
    pub chat_multi_model: bool,
    /// Output tokens that a request asks for.
    #[cfg_attr(test, schemars(range(min = 1, max = 10_000_000)))]
    pub max_tokens: u32,
    /// Temperature that a request asks for.
    #[cfg_attr(test, schemars(range(min = 0.0, max = 1.0)))]
    pub temperature: f64,
    /// When a mock answer, marked as one, stands in for a model's.
    pub mock: LegacyMock,
    /// Calls that need `server.admin_key`.
    pub admin_only: Vec<LegacyAction>,
    /// How long a session is kept after its last use.
    #[serde(with = "NonZeroDuration")]
    pub session_ttl: Duration,
    /// Sessions kept at once.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000)))]
    pub max_sessions: usize,
    /// Memory for what all sessions remember; beyond it those that were not used for longest are
    /// forgotten.
    #[serde(with = "Size")]
    pub max_session_bytes: usize,
    /// Chat turns kept of one session.
    #[cfg_attr(test, schemars(range(min = 1, max = 1000)))]
    pub max_turns: usize,
    /// The prompts of the models.
    #[serde(skip)]
    pub prompts: LegacyPrompts,
}

impl Default for Legacy {
    fn default() -> Self {
        Self {
            enabled: true,
            endpoints: LegacyGroup::ALL.into(),
            listen: None,
            models: Vec::new(),
            chat_multi_model: true,
            max_tokens: 8192,
            temperature: 0.7,
            mock: LegacyMock::Never,
            admin_only: Vec::new(),
            session_ttl: Duration::from_secs(60 * 60),
            max_sessions: 10_000,
            max_session_bytes: 32_000_000,
            max_turns: 20,
            prompts: LegacyPrompts::default(),
        }
    }
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

//! `[legacy]` and `[legacy.prompts]` as the file says them.

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::model::{LegacyAction, LegacyGroup, LegacyMock};
use crate::config::units::{DurationText, SizeText};

/// The endpoints of the legacy application.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(default)]
pub(in crate::config) struct RawLegacy {
    /// Whether they are served. Without targets they never are.
    pub(in crate::config) enabled: bool,
    /// Which of them are served.
    pub(in crate::config) endpoints: Vec<LegacyGroup>,
    /// Their own address and port. Default: those of `server.listen`.
    #[cfg_attr(test, schemars(example = "127.0.0.1:8081"))]
    pub(in crate::config) listen: Option<String>,
    /// Names of targets that answer, the primary first. Default: those of the first route, or all
    /// of them where there are no routes.
    #[cfg_attr(test, schemars(example = ["sonnet-35", "haiku-3"]))]
    pub(in crate::config) models: Option<Vec<String>>,
    /// Whether chat may fall back to the other models, and takes the one that `ai_model` names.
    pub(in crate::config) chat_multi_model: bool,
    /// Output tokens that a request asks for.
    #[cfg_attr(test, schemars(range(min = 1, max = 10_000_000)))]
    pub(in crate::config) max_tokens: u32,
    /// Temperature that a request asks for.
    #[cfg_attr(test, schemars(range(min = 0.0, max = 1.0)))]
    pub(in crate::config) temperature: f64,
    /// When a mock answer, marked as one, stands in for a model's.
    pub(in crate::config) mock: LegacyMock,
    /// Calls that ask for `server.admin_key`.
    pub(in crate::config) admin_only: Vec<LegacyAction>,
    /// How long a session is kept after its last use.
    pub(in crate::config) session_ttl: DurationText,
    /// Sessions kept at once.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000)))]
    pub(in crate::config) max_sessions: usize,
    /// Memory for what all sessions remember; beyond it those that were not used for longest are
    /// forgotten.
    pub(in crate::config) max_session_bytes: SizeText,
    /// Chat turns kept of one session.
    #[cfg_attr(test, schemars(range(min = 1, max = 1000)))]
    pub(in crate::config) max_turns: usize,
    /// What the models are asked: templates in Jinja syntax.
    pub(in crate::config) prompts: RawPrompts,
}

impl Default for RawLegacy {
    fn default() -> Self {
        Self {
            enabled: true,
            endpoints: LegacyGroup::ALL.into(),
            listen: None,
            models: None,
            chat_multi_model: true,
            max_tokens: 8192,
            temperature: 0.7,
            mock: LegacyMock::Never,
            admin_only: Vec::new(),
            session_ttl: "1h".into(),
            max_sessions: 10_000,
            max_session_bytes: "32MB".into(),
            max_turns: 20,
            prompts: RawPrompts::default(),
        }
    }
}

/// What the models are asked: templates in Jinja syntax, as text or `file:PATH`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(default)]
pub(in crate::config) struct RawPrompts {
    /// System prompt of an analysis. Default: built in.
    #[cfg_attr(test, schemars(example = "file:prompts/analysis_system.jinja"))]
    pub(in crate::config) analysis_system: Option<String>,
    /// Message of an analysis. Default: built in.
    #[cfg_attr(test, schemars(example = "file:prompts/analysis.jinja"))]
    pub(in crate::config) analysis: Option<String>,
    /// System prompt of a chat. Default: built in.
    #[cfg_attr(test, schemars(example = "file:prompts/chat_system.jinja"))]
    pub(in crate::config) chat_system: Option<String>,
    /// Message of a chat. Default: built in.
    #[cfg_attr(test, schemars(example = "file:prompts/chat.jinja"))]
    pub(in crate::config) chat: Option<String>,
    /// Message of a connection test. Default: built in.
    #[cfg_attr(test, schemars(example = "file:prompts/test.jinja"))]
    pub(in crate::config) test: Option<String>,
}

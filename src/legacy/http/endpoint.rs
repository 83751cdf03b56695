//! The paths of the legacy application.

use http::Method;

use crate::config::LegacyGroup;

/// Most bytes of a body that is read. What is used of it, the first 8,000 characters of a text, is
/// far less.
const MAX_BODY: usize = 1_000_000;

/// Most bytes of an unused body, which is discarded.
const MAX_IGNORED_BODY: usize = 8 * 1024;

/// One of the nine endpoints, with the task's id where its path has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint<'a> {
    Health,
    AnalyzeSection,
    Chat,
    TestConnection,
    TaskStatus(&'a str),
    QueueStats,
    CancelTask(&'a str),
    ModelStats,
    ResetCooldowns,
}

impl<'a> Endpoint<'a> {
    /// The endpoint of a path, without its query.
    pub(super) fn of(path: &'a str) -> Option<Endpoint<'a>> {
        let with_id = |prefix: &str| {
            path.strip_prefix(prefix).filter(|id| !id.is_empty() && !id.contains('/'))
        };
        Some(match path {
            "/health" => Endpoint::Health,
            "/analyze_section" => Endpoint::AnalyzeSection,
            "/chat" => Endpoint::Chat,
            "/test_claude_connection" => Endpoint::TestConnection,
            "/queue_stats" => Endpoint::QueueStats,
            "/model_stats" => Endpoint::ModelStats,
            "/reset_model_cooldowns" => Endpoint::ResetCooldowns,
            _ => {
                let status = with_id("/task_status/").map(Endpoint::TaskStatus);
                return status.or_else(|| with_id("/cancel_task/").map(Endpoint::CancelTask));
            }
        })
    }

    /// The name in metrics.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Endpoint::Health => "health",
            Endpoint::AnalyzeSection => "analyze_section",
            Endpoint::Chat => "chat",
            Endpoint::TestConnection => "test_claude_connection",
            Endpoint::TaskStatus(_) => "task_status",
            Endpoint::QueueStats => "queue_stats",
            Endpoint::CancelTask(_) => "cancel_task",
            Endpoint::ModelStats => "model_stats",
            Endpoint::ResetCooldowns => "reset_model_cooldowns",
        }
    }

    /// The most bytes that its body may have, in any config.
    pub(super) fn max_body(&self) -> usize {
        if self.reads_body() { MAX_BODY } else { MAX_IGNORED_BODY }
    }

    /// Whether it takes anything from its body.
    pub(super) fn reads_body(&self) -> bool {
        matches!(self, Endpoint::AnalyzeSection | Endpoint::Chat)
    }

    /// Whether it calls a model.
    pub(super) fn calls_model(&self) -> bool {
        self.reads_body() || matches!(self, Endpoint::TestConnection)
    }

    pub(super) fn method(&self) -> Method {
        match self {
            Endpoint::AnalyzeSection
            | Endpoint::Chat
            | Endpoint::CancelTask(_)
            | Endpoint::ResetCooldowns => Method::POST,
            _ => Method::GET,
        }
    }

    /// The methods that it takes, as an `Allow` header has them.
    pub(super) fn allow(&self) -> &'static str {
        if self.method() == Method::GET { "GET, HEAD, OPTIONS" } else { "POST, OPTIONS" }
    }

    /// What it changes for others, and on what.
    pub(super) fn change(&self) -> Option<(&'static str, &'a str)> {
        match self {
            Endpoint::CancelTask(id) => Some(("cancel_task", id)),
            Endpoint::ResetCooldowns => Some(("reset_cooldowns", "all targets")),
            _ => None,
        }
    }

    /// The group that the config switches it by.
    pub(super) fn group(&self) -> LegacyGroup {
        match self {
            Endpoint::Health => LegacyGroup::Health,
            Endpoint::AnalyzeSection => LegacyGroup::Analysis,
            Endpoint::Chat => LegacyGroup::Chat,
            Endpoint::TestConnection => LegacyGroup::Test,
            Endpoint::TaskStatus(_) | Endpoint::QueueStats | Endpoint::CancelTask(_) => {
                LegacyGroup::Tasks
            }
            Endpoint::ModelStats | Endpoint::ResetCooldowns => LegacyGroup::Models,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_endpoints_own_paths_are_theirs() {
        assert_eq!(Endpoint::of("/task_status/abc"), Some(Endpoint::TaskStatus("abc")));
        assert_eq!(Endpoint::of("/cancel_task/abc"), Some(Endpoint::CancelTask("abc")));
        for other in [
            "/",
            "/health/",
            "/task_status/",
            "/task_status/a/b",
            "/chat2",
            "/model/anthropic.claude-v2/invoke",
        ] {
            assert_eq!(Endpoint::of(other), None, "{other}");
        }
    }
}

//! The legacy endpoints and their job queue.

use std::time::Duration;

use crate::config::settings::{
    JobQueue, Jobs, JobsBackend, Legacy, LegacyGroup, LegacyMock, LegacyPrompts, Route, Target,
};

pub(super) fn legacy(targets: &[Target], routes: &[Route]) -> Legacy {
    let all = || (0..targets.len()).collect();
    Legacy {
        enabled: !targets.is_empty(),
        endpoints: LegacyGroup::ALL.into(),
        listen: None,
        models: routes.first().map_or_else(all, |route| route.targets.clone()),
        chat_multi_model: true,
        max_tokens: 8192,
        temperature: 0.7,
        mock: LegacyMock::Never,
        admin_only: Vec::new(),
        session_ttl: Duration::from_secs(3600),
        max_sessions: 10_000,
        max_turns: 20,
        prompts: LegacyPrompts {
            analysis_system: include_str!("../prompts/analysis_system.jinja").to_owned(),
            analysis: include_str!("../prompts/analysis.jinja").to_owned(),
            chat_system: include_str!("../prompts/chat_system.jinja").to_owned(),
            chat: include_str!("../prompts/chat.jinja").to_owned(),
            test: include_str!("../prompts/test.jinja").to_owned(),
        },
    }
}

pub(super) fn jobs() -> Jobs {
    let queue = |per_minute, workers, limit, soft, retries| JobQueue {
        per_minute,
        workers,
        time_limit: Duration::from_secs(limit),
        soft_time_limit: Duration::from_secs(soft),
        retries,
    };
    Jobs {
        backend: JobsBackend::Off,
        max_waiting: 1000,
        rate_window: Duration::from_secs(60),
        result_ttl: Duration::from_secs(3600),
        heartbeat: Duration::from_secs(10),
        poll_interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        retry_base_delay: Duration::from_secs(1),
        retry_max_delay: Duration::from_secs(60),
        analysis: queue(5, 4, 300, 240, 3),
        chat: queue(10, 8, 120, 90, 3),
        test: queue(3, 2, 30, 20, 2),
    }
}

//! What a configuration allows but its author probably did not mean.

use super::settings::{Config, Unrouted};

/// The warnings about a configuration, a sentence each.
pub(super) fn of(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    for (index, target) in config.targets.iter().enumerate() {
        if !config.routes.iter().any(|route| route.targets.contains(&index)) {
            warnings.push(format!("no route names target '{}': it gets no traffic", target.name));
        }
        let shared = target.endpoint == config.upstream.endpoint;
        if shared && target.region != config.upstream.region && !target.endpoint.is_loopback() {
            warnings.push(format!(
                "target '{}' signs for {} but is sent to {}, the endpoint of [upstream]",
                target.name, target.region, target.endpoint
            ));
        }
    }
    for (index, quota) in config.quotas.iter().enumerate() {
        if !config.targets.iter().any(|target| target.quota == Some(index)) {
            warnings.push(format!("no target draws on quota '{}'", quota.name));
        }
    }
    if config.routes.is_empty() {
        warnings.push(match config.fallback.unrouted {
            Unrouted::Pass => "there are no routes: no request falls back to another model".into(),
            Unrouted::Reject => "there are no routes: every request is refused".to_owned(),
        });
    }
    if config.queue.max_wait > config.server.request_timeout {
        warnings.push("queue.max_wait is longer than server.request_timeout".to_owned());
    }
    warnings
}

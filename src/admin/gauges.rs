//! Gauges that are read from the gateway's state when metrics are scraped.

use std::time::SystemTime;

use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::pipeline::Gateway;
use crate::quota::TokenLimit;
use crate::routing::Target;
use crate::routing::cooldown::State;
use crate::telemetry::Metrics;

/// Sets the gauges to the gateway's state now.
pub(super) fn sample(gateway: &Gateway) {
    let (metrics, now) = (&gateway.metrics, Instant::now());
    let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    metrics.tasks.set(gauge(Handle::current().metrics().num_alive_tasks()));
    metrics.in_flight.set(gauge(gateway.in_flight.requests()));
    metrics.in_flight_bytes.set(gauge(gateway.in_flight.bytes()));
    let daily =
        [&metrics.daily_quota_limit, &metrics.daily_quota_used, &metrics.daily_quota_available];
    // A quota that was removed from the config must have no sample.
    daily.iter().for_each(|family| family.reset());
    for target in gateway.router.targets() {
        sample_target(metrics, target, now);
        for quota in target.daily_snapshots() {
            let figures = [quota.tpd, Some(quota.used), quota.available];
            for (family, figure) in daily.iter().zip(figures) {
                if let Some(figure) = figure {
                    family.with_label_values(&[&*quota.name]).set(figure as f64);
                }
            }
        }
    }
    // A client whose budget was removed from the config must have no sample.
    metrics.client_budget_used.reset();
    for client in gateway.clients.all() {
        for (kind, used) in client.account().into_iter().flat_map(|account| account.used()) {
            let labels = [&*client.name, kind.name()];
            metrics.client_budget_used.with_label_values(&labels).set(used);
        }
    }
    sample_expiry(gateway);
    let fresh = gateway.router.credentials().iter().all(|provider| provider.is_fresh());
    metrics.dependencies.gauges().with_label_values(&["credentials"]).set(i64::from(fresh));
}

fn sample_target(metrics: &Metrics, target: &Target, now: Instant) {
    let (state, cooldown) = numbered(target.state(now), now);
    let (side_state, _) = numbered(target.count_tokens_state(now), now);
    let name = &*target.name;
    metrics.target_state.with_label_values(&[name]).set(state);
    metrics.target_side_state.with_label_values(&[name]).set(side_state);
    metrics.target_cooldown.with_label_values(&[name]).set(cooldown);
    let quota = target.quota().snapshot_and_refresh(now);
    let kinds = [
        ("requests", quota.requests_available, quota.requests_held, quota.rpm, quota.learned_rpm),
        ("tokens", quota.tokens_available, quota.tokens_held, quota.tpm, quota.learned_tpm),
    ];
    let reserved = target.reserved_quota().map(|it| it.snapshot_and_refresh(now));
    let reserved = reserved.unwrap_or_default();
    let apart = [
        ("input_tokens", quota.input),
        ("output_tokens", quota.output),
        ("reserved_input_tokens", reserved.input),
        ("reserved_output_tokens", reserved.output),
    ];
    let apart = apart.into_iter().map(|(kind, limit)| {
        let TokenLimit { tpm, learned_tpm, available, held } = limit.unwrap_or_default();
        (kind, available, held, tpm, learned_tpm)
    });
    for (kind, available, held, limit, learned) in kinds.into_iter().chain(apart) {
        set_or_forget(&metrics.quota_available, name, kind, available);
        set_or_forget(&metrics.quota_held, name, kind, held);
        set_or_forget(&metrics.quota_limit, name, kind, limit);
        set_or_forget(&metrics.quota_learned, name, kind, learned);
    }
}

fn numbered(state: State, now: Instant) -> (i64, f64) {
    match state {
        State::Available => (0, 0.0),
        State::Probing => (1, 0.0),
        State::Cooling(until) => (2, (until - now).as_secs_f64()),
        State::Drained => (3, 0.0),
    }
}

/// Samples when the upstream credentials and the clients' keys expire, and when models are retired. What never
/// ends has no sample.
fn sample_expiry(gateway: &Gateway) {
    let metrics = &gateway.metrics;
    metrics.credentials_expiry.reset();
    for provider in gateway.router.credentials() {
        if let Some(end) = provider.expiry() {
            metrics.credentials_expiry.with_label_values(&[provider.name()]).set(unix(end));
        }
    }
    metrics.model_retirement.reset();
    for life in gateway.config.model_lives() {
        let labels = [life.target.as_str(), life.model.as_str()];
        metrics.model_retirement.with_label_values(&labels).set(life.retires_on.unix_seconds());
    }
    metrics.client_key_expiry.reset();
    for client in &gateway.config.clients {
        let kinds = [
            ("bearer_key", last(client.bearer_tokens.iter().map(|key| key.expires))),
            ("key_pair", last(client.keys.iter().map(|pair| pair.expires))),
        ];
        for (kind, end) in kinds {
            if let Some(end) = end {
                let labels = [client.name.as_str(), kind];
                metrics.client_key_expiry.with_label_values(&labels).set(unix(end));
            }
        }
    }
}

/// The latest expiry; `None` without keys, or if one of them never expires.
fn last(ends: impl Iterator<Item = Option<SystemTime>>) -> Option<SystemTime> {
    ends.collect::<Option<Vec<_>>>()?.into_iter().max()
}

fn unix(time: SystemTime) -> i64 {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

/// An unknown value has no sample: a gauge of zero would mean that nothing is left.
fn set_or_forget(family: &prometheus::GaugeVec, target: &str, kind: &str, value: Option<f64>) {
    match value {
        Some(value) => family.with_label_values(&[target, kind]).set(value),
        // An error means that there was no sample.
        None => drop(family.remove_label_values(&[target, kind])),
    }
}

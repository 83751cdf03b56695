//! The metric families, all in one registry.

use std::cell::RefCell;
use std::sync::Arc;

use prometheus::core::Desc;
use prometheus::{
    CounterVec, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use super::dashboard_totals::DashboardTotals;
use super::dependencies::Dependencies;
use super::diversion::Choice;
use super::labels::Labels;
use super::last_reload::LastReload;
use super::latency::{HistogramFamily, LATENCY_BUCKETS, LatencyHistograms, Measure, ModelLatency};
use super::process_log;
use super::request_counters::{Counted, CounterFamily, RequestCounters};

/// The label value for what the config does not name.
pub const OTHER: &str = "other";

/// Seconds; what the gateway adds should be well below a millisecond.
const OVERHEAD: &[f64] =
    &[0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 1.0];

/// All metric families of the gateway.
#[derive(Debug)]
#[expect(missing_docs, reason = "each field is the family that `new` describes to users")]
pub struct Metrics {
    registry: Registry,
    described: Vec<Desc>,
    pub totals: DashboardTotals,
    /// The result of the last reload of the config.
    pub last_reload: LastReload,
    /// The latency of requests whose model no route names.
    pub unrouted: ModelLatency,
    /// The ids of label values.
    pub labels: Arc<Labels>,
    /// The id of [`OTHER`].
    pub other: u32,
    /// Outcomes, tokens and cost of requests.
    pub request_counters: Arc<RequestCounters>,
    /// How long requests take.
    pub(super) latency: Arc<LatencyHistograms>,
    pub requests: CounterFamily,
    pub overhead: Histogram,
    pub attempts: IntCounterVec,
    pub fallbacks: IntCounterVec,
    answers_of_first: IntCounter,
    answers_of_other: IntCounter,
    pub target_state: IntGaugeVec,
    pub target_side_state: IntGaugeVec,
    pub target_cooldown: GaugeVec,
    pub quota_available: GaugeVec,
    pub quota_held: GaugeVec,
    pub quota_limit: GaugeVec,
    pub quota_learned: GaugeVec,
    pub daily_quota_limit: GaugeVec,
    pub daily_quota_used: GaugeVec,
    pub daily_quota_available: GaugeVec,
    pub client_limited: IntCounterVec,
    pub client_denied: IntCounterVec,
    pub service_tiers: IntCounterVec,
    pub assumed_prices: IntCounterVec,
    pub translated_requests: IntCounterVec,
    pub client_budget_used: GaugeVec,
    pub client_key_expiry: IntGaugeVec,
    /// When AWS retires the models of targets.
    pub model_retirement: IntGaugeVec,
    pub authentications: IntCounterVec,
    pub admin_refused: IntCounter,
    pub replays_forgotten: IntCounter,
    pub config_reloads: IntCounterVec,
    pub config_last_reload: Gauge,
    pub tasks: IntGauge,
    pub in_flight: IntGauge,
    pub in_flight_bytes: IntGauge,
    pub queue_waiting: IntGauge,
    pub queue_waiting_bytes: IntGauge,
    pub queue_wait: Histogram,
    pub fallback_waits: IntCounterVec,
    pub tokens: CounterFamily,
    pub cost: CounterFamily,
    pub panics: IntCounter,
    pub connections: IntGauge,
    pub connections_refused: IntCounter,
    pub connections_ended: IntCounterVec,
    pub upstream_connections: IntGaugeVec,
    pub upstream_resent: IntCounter,
    pub upstream_floods: IntCounterVec,
    pub unheld_answers: IntCounterVec,
    pub fetched_media: IntCounterVec,
    pub exhausted: IntCounterVec,
    pub access_log_dropped: IntCounter,
    pub usage_log_dropped: IntCounter,
    pub usage_log_reopened: IntCounterVec,
    pub process_log_dropped: IntCounterVec,
    pub trace_spans: IntCounterVec,
    pub dependencies: Arc<Dependencies>,
    /// SQLite files that were found deleted or replaced, by dependency.
    pub store_files_replaced: IntCounterVec,
    /// What was dropped instead of being kept for a store that was gone, by dependency.
    pub store_dropped: IntCounterVec,
    pub kept_responses: IntCounterVec,
    pub kept_response_bytes: IntGauge,
    pub credentials_expiry: IntGaugeVec,
    pub fleet_replicas: IntGaugeVec,
    pub fleet_leases: IntGaugeVec,
    pub fleet_exchanges: IntCounterVec,
    pub fleet_exchange_duration: Histogram,
    pub fleet_granted: CounterVec,
    pub fleet_starved: IntCounterVec,
    pub fleet_notices: IntCounterVec,
    pub jobs: IntGaugeVec,
    pub job_outcomes: IntCounterVec,
    pub job_duration: HistogramVec,
    pub mock_answers: IntCounterVec,
    pub sessions_forgotten: IntCounter,
    pub legacy_requests: IntCounterVec,
    pub tls_reloads: IntCounterVec,
    pub tls_certificate_expiry: IntGaugeVec,
    pub tls_handshake_failures: IntCounterVec,
    pub start_time: Gauge,
}

impl Metrics {
    /// Registers every family in a registry of its own.
    ///
    /// # Panics
    /// When two families have one name, or one an invalid name or label. All of them stand
    /// here, so the first start finds it; a `Result` for each costs 100 KB of
    /// ways out.
    #[expect(clippy::new_without_default, reason = "a registry is made once, and on purpose")]
    pub fn new() -> Metrics {
        let registry = Families::default();
        let counters = |name: &str, help: &str, labels: &[&str]| {
            register(&registry, IntCounterVec::new(Opts::new(name, help), labels))
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            register(&registry, IntGaugeVec::new(Opts::new(name, help), labels))
        };
        let reals = |name: &str, help: &str, labels: &[&str]| {
            register(&registry, GaugeVec::new(Opts::new(name, help), labels))
        };
        let labels = Arc::<Labels>::default();
        let request_counters = Arc::new(RequestCounters::new(Arc::clone(&labels)));
        let counted = |counted, name: &str, help: &str, labels: &[&str]| {
            register(&registry, CounterFamily::new(&request_counters, counted, name, help, labels))
        };
        let latency = Arc::new(LatencyHistograms::new(Arc::clone(&labels)));
        let timed = |measure, name: &str, help: &str| {
            register(&registry, HistogramFamily::new(&latency, measure, name, help))
        };
        let histogram = |name: &str, help: &str, buckets: &[f64]| {
            let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            register(&registry, Histogram::with_opts(opts))
        };
        gauges("sluice_build_info", "Always 1; the version is a label.", &["version"])
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        timed(
            Measure::Duration,
            "sluice_request_duration_seconds",
            "Time from a request's head to the last byte of its answer.",
        );
        timed(
            Measure::FirstByte,
            "sluice_time_to_first_byte_seconds",
            "Time from a request's head to the head of its answer.",
        );
        let answers = counters(
            "sluice_answers_total",
            "Complete answers of models, by whose they are: the first choice's or another's.",
            &["choice"],
        );
        let metrics = Metrics {
            requests: counted(
                Counted::Requests,
                "sluice_requests_total",
                "Requests by API, operation, requested model, client and what the client got.",
                &["api", "operation", "model", "client", "outcome"],
            ),
            overhead: histogram(
                "sluice_gateway_overhead_seconds",
                "Time to the head of an answer that was spent neither on the upstream nor waiting.",
                OVERHEAD,
            ),
            attempts: counters(
                "sluice_attempts_total",
                "Signed requests to a target by outcome.",
                &["target", "outcome"],
            ),
            fallbacks: counters(
                "sluice_fallbacks_total",
                "Requests that went to another target, by what kept them from the first.",
                &["from", "to", "reason"],
            ),
            answers_of_first: answers.with_label_values(&[Choice::First.name()]),
            answers_of_other: answers.with_label_values(&[Choice::Other.name()]),
            target_state: gauges(
                "sluice_target_state",
                "State of a target: 0 available, 1 probing, 2 cooling, 3 drained.",
                &["target"],
            ),
            target_side_state: gauges(
                "sluice_target_count_tokens_state",
                "State of a target for CountTokens, which has one of its own; numbers as in sluice_target_state.",
                &["target"],
            ),
            target_cooldown: reals(
                "sluice_target_cooldown_seconds",
                "Time until a cooling target is tried again.",
                &["target"],
            ),
            quota_available: reals(
                "sluice_quota_available",
                "What is left of a target's quota, by kind: requests or tokens.",
                &["target", "kind"],
            ),
            quota_held: reals(
                "sluice_quota_held",
                "What this replica holds of a shared quota, by target and kind.",
                &["target", "kind"],
            ),
            quota_limit: reals(
                "sluice_quota_limit",
                "A target's quota per minute that counts now, configured or learned.",
                &["target", "kind"],
            ),
            quota_learned: reals(
                "sluice_quota_learned",
                "A target's quota per minute as learned, where it differs from the configured.",
                &["target", "kind"],
            ),
            daily_quota_limit: reals(
                "sluice_daily_quota_limit_tokens",
                "The configured tokens of a UTC day, by quota.",
                &["quota"],
            ),
            daily_quota_used: reals(
                "sluice_daily_quota_used_tokens",
                "Tokens of this UTC day that all replicas have used, by quota.",
                &["quota"],
            ),
            daily_quota_available: reals(
                "sluice_daily_quota_available_tokens",
                "Tokens of this UTC day that are left, by quota.",
                &["quota"],
            ),
            client_limited: counters(
                "sluice_client_limited_total",
                "Requests refused because their client had used up one of its limits.",
                &["client", "limit"],
            ),
            client_denied: counters(
                "sluice_client_denied_total",
                "Requests refused because of what their client may ask for or spend.",
                &["client", "policy"],
            ),
            client_budget_used: reals(
                "sluice_client_budget_used_ratio",
                "Share of a client's budget that is spent, by period: daily or monthly.",
                &["client", "period"],
            ),
            model_retirement: gauges(
                "sluice_model_retirement_seconds",
                "When AWS retires the model that the config names for a target, Unix time.",
                &["target", "model"],
            ),
            client_key_expiry: gauges(
                "sluice_client_key_expiry_seconds",
                "When the last of a client's keys of a kind ends, Unix time.",
                &["client", "kind"],
            ),
            authentications: counters(
                "sluice_authentications_total",
                "Requests by the means of authentication and its result; without clients, refused ones alone.",
                &["by", "result"],
            ),
            admin_refused: register(
                &registry,
                IntCounter::new(
                    "sluice_admin_refused_total",
                    "Requests to the admin surface without the right to it.",
                ),
            ),
            replays_forgotten: register(
                &registry,
                IntCounter::new(
                    "sluice_replay_forgotten_total",
                    "Signatures forgotten while they could still be taken again.",
                ),
            ),
            config_reloads: counters(
                "sluice_config_reloads_total",
                "Reloads of the config by result: ok or refused.",
                &["result"],
            ),
            config_last_reload: register(
                &registry,
                Gauge::new(
                    "sluice_config_last_reload_success_timestamp_seconds",
                    "When the config that is in force was loaded, Unix time.",
                ),
            ),
            tasks: register(
                &registry,
                IntGauge::new("sluice_tasks", "Tasks that the process runs."),
            ),
            in_flight: register(
                &registry,
                IntGauge::new("sluice_in_flight_requests", "Requests in hand."),
            ),
            in_flight_bytes: register(
                &registry,
                IntGauge::new("sluice_in_flight_bytes", "Bytes of their bodies."),
            ),
            queue_waiting: register(
                &registry,
                IntGauge::new("sluice_queue_waiting", "Requests that wait for a target."),
            ),
            queue_waiting_bytes: register(
                &registry,
                IntGauge::new("sluice_queue_waiting_bytes", "Bytes of the bodies that wait."),
            ),
            queue_wait: histogram(
                "sluice_queue_wait_seconds",
                "Time that requests waited for a target, of those that had to.",
                &LATENCY_BUCKETS,
            ),
            fallback_waits: counters(
                "sluice_fallback_waits_total",
                "Waits for the model that was asked for, by how they ended.",
                &["result"],
            ),
            tokens: counted(
                Counted::Tokens,
                "sluice_tokens_total",
                "Tokens of answers by answering model, client and kind.",
                &["model", "client", "kind"],
            ),
            cost: counted(
                Counted::Cost,
                "sluice_cost_usd_total",
                "Cost of answers at list prices, by answering model and client.",
                &["model", "client"],
            ),
            service_tiers: counters(
                "sluice_service_tiers_total",
                "Requests that name a service tier, or whose answer does, by what was asked and served.",
                &["requested", "served"],
            ),
            assumed_prices: counters(
                "sluice_assumed_prices_total",
                "Requests whose service tier has no stated price, by reason.",
                &["reason"],
            ),
            translated_requests: counters(
                "sluice_translated_requests_total",
                "Requests that were translated for the target that answered, by the client's API and \
                 the operation into which they were.",
                &["api", "to"],
            ),
            panics: register(
                &registry,
                IntCounter::new("sluice_panics_total", "Requests that failed by a panic."),
            ),
            connections: register(
                &registry,
                IntGauge::new("sluice_connections", "Open connections of clients."),
            ),
            connections_refused: register(
                &registry,
                IntCounter::new(
                    "sluice_connections_refused_total",
                    "Connections closed at once because too many were open.",
                ),
            ),
            connections_ended: counters(
                "sluice_connections_ended_total",
                "Connections that the gateway ended: header_timeout, idle, stalled, resets, malformed.",
                &["reason"],
            ),
            upstream_connections: gauges(
                "sluice_upstream_connections",
                "Connections to the upstream by state.",
                &["state"],
            ),
            upstream_resent: register(
                &registry,
                IntCounter::new(
                    "sluice_upstream_resent_total",
                    "Requests sent once more since their connection of the pool was dead.",
                ),
            ),
            upstream_floods: counters(
                "sluice_upstream_floods_total",
                "Connections ended since the upstream sent interim answers or HTTP/2 frames without \
                 end.",
                &["kind"],
            ),
            unheld_answers: counters(
                "sluice_unheld_answers_total",
                "Answers ended since what must be held of them was too long or found no room.",
                &["reason"],
            ),
            fetched_media: counters(
                "sluice_fetched_media_total",
                "Images and documents fetched from addresses in requests, by outcome.",
                &["outcome"],
            ),
            exhausted: counters(
                "sluice_resources_exhausted_total",
                "Connections not accepted or opened for want of file descriptors, ports or memory.",
                &["at"],
            ),
            access_log_dropped: register(
                &registry,
                IntCounter::new(
                    "sluice_access_log_dropped_total",
                    "Access-log lines dropped because standard output did not keep up.",
                ),
            ),
            usage_log_dropped: register(
                &registry,
                IntCounter::new(
                    "sluice_usage_log_dropped_total",
                    "Records of use dropped because the disk was full or did not keep up.",
                ),
            ),
            usage_log_reopened: counters(
                "sluice_usage_log_reopened_total",
                "Times that the file of records was found deleted, replaced or truncated.",
                &["reason"],
            ),
            // The log is the process's, and there before these are.
            process_log_dropped: register(&registry, Ok(process_log::DROPPED.clone())),
            trace_spans: counters(
                "sluice_trace_spans_total",
                "Spans by what became of them: sent, refused, failed or dropped.",
                &["result"],
            ),
            dependencies: Arc::new(Dependencies::new(gauges(
                "sluice_dependency_up",
                "Whether what the gateway depends on works: 1 yes, 0 no.",
                &["dependency"],
            ))),
            store_files_replaced: counters(
                "sluice_store_files_replaced_total",
                "Times that the SQLite file of a store was found deleted or replaced, and opened anew.",
                &["dependency"],
            ),
            store_dropped: counters(
                "sluice_store_dropped_total",
                "What was kept for a store that was gone, and dropped because there was too much.",
                &["dependency"],
            ),
            kept_responses: counters(
                "sluice_kept_responses_total",
                "Translated responses that the gateway was to keep.",
                &["result"],
            ),
            kept_response_bytes: register(
                &registry,
                IntGauge::new(
                    "sluice_kept_response_bytes",
                    "Bytes of the responses that are kept.",
                ),
            ),
            credentials_expiry: gauges(
                "sluice_credentials_expiry_seconds",
                "End of the AWS credentials in use, Unix time.",
                &["credentials"],
            ),
            // Without labels, and yet families: a gateway that shares no state has no samples.
            fleet_replicas: gauges(
                "sluice_fleet_replicas",
                "Replicas that share their state, this one included, as far as it knows.",
                &[],
            ),
            fleet_leases: gauges(
                "sluice_fleet_leases",
                "Quotas and limits of clients of which this replica holds a lease.",
                &[],
            ),
            fleet_exchanges: counters(
                "sluice_fleet_exchanges_total",
                "Exchanges with Redis, by what came of them.",
                &["result"],
            ),
            fleet_exchange_duration: histogram(
                "sluice_fleet_exchange_seconds",
                "Time of an exchange with Redis, for which no request waits.",
                &LATENCY_BUCKETS,
            ),
            fleet_granted: register(
                &registry,
                CounterVec::new(
                    Opts::new(
                        "sluice_fleet_granted_total",
                        "Units of quotas and limits that were leased, by kind.",
                    ),
                    &["kind"],
                ),
            ),
            fleet_starved: counters(
                "sluice_fleet_starved_total",
                "Times that nothing was left to lease for those who waited.",
                &["kind"],
            ),
            fleet_notices: counters(
                "sluice_fleet_notices_total",
                "Notices of cooldowns, by direction.",
                &["direction"],
            ),
            jobs: gauges(
                "sluice_jobs",
                "Jobs of a queue that have not ended: waiting, reserved (of those) or running.",
                &["queue", "state"],
            ),
            job_outcomes: counters(
                "sluice_job_outcomes_total",
                "What jobs came to in this process: done, failed, cancelled, retried, or lost to \
                 another worker.",
                &["queue", "outcome"],
            ),
            job_duration: register(
                &registry,
                HistogramVec::new(
                    HistogramOpts::new(
                        "sluice_job_duration_seconds",
                        "Time that one try of a job took.",
                    )
                    .buckets(LATENCY_BUCKETS.to_vec()),
                    &["queue"],
                ),
            ),
            legacy_requests: counters(
                "sluice_legacy_requests_total",
                "Requests for the legacy endpoints by endpoint and HTTP status.",
                &["endpoint", "status"],
            ),
            mock_answers: counters(
                "sluice_mock_answers_total",
                "Mock answers of the legacy endpoints, given since no model could answer.",
                &["endpoint"],
            ),
            sessions_forgotten: register(
                &registry,
                IntCounter::new(
                    "sluice_legacy_sessions_forgotten_total",
                    "Sessions of the legacy endpoints that were forgotten for want of room.",
                ),
            ),
            tls_reloads: counters(
                "sluice_tls_reloads_total",
                "Changed certificate files of the listener by result: ok or refused.",
                &["result"],
            ),
            // Without labels, and yet a family: where there is no TLS it has no sample.
            tls_certificate_expiry: gauges(
                "sluice_tls_certificate_expiry_seconds",
                "End of the validity of the listener's certificate, Unix time.",
                &[],
            ),
            tls_handshake_failures: counters(
                "sluice_tls_handshake_failures_total",
                "TLS connections of clients that came to nothing: timeout or refused.",
                &["reason"],
            ),
            start_time: register(
                &registry,
                Gauge::new("process_start_time_seconds", "Start of the process, Unix time."),
            ),
            totals: DashboardTotals::default(),
            last_reload: LastReload::default(),
            unrouted: ModelLatency::new(OTHER),
            other: labels.id(OTHER),
            labels,
            request_counters,
            latency,
            described: registry.described.borrow().clone(),
            registry: registry.registry.clone(),
        };
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        metrics.start_time.set(now.unwrap_or_default().as_secs_f64());
        metrics
    }

    /// Counts a complete answer by whose it is.
    pub fn count_answer(&self, choice: Choice) {
        self.totals.answer(choice);
        match choice {
            Choice::First => self.answers_of_first.inc(),
            Choice::Other => self.answers_of_other.inc(),
        }
    }

    /// Name, labels and meaning of every family, whether it has a sample or not.
    pub fn described(&self) -> &[Desc] {
        &self.described
    }

    /// All families in Prometheus' text format, version 0.0.4.
    ///
    /// # Errors
    /// When a family has something that the format can't express.
    pub fn encode(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

/// Registered families, with their help texts.
#[derive(Default)]
struct Families {
    registry: Registry,
    described: RefCell<Vec<Desc>>,
}

#[expect(clippy::expect_used, reason = "what is registered is written in this file")]
fn register<C>(families: &Families, collector: Result<C, prometheus::Error>) -> C
where
    C: prometheus::core::Collector + Clone + 'static,
{
    let collector = collector.expect("names and labels are valid");
    let registered = families.registry.register(Box::new(collector.clone()));
    registered.expect("no two families have one name");
    families.described.borrow_mut().extend(collector.desc().into_iter().cloned());
    collector
}

#[cfg(test)]
mod tests;

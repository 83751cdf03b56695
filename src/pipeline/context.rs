//! The record of one request, from its head to the last byte of its answer.
//!
//! Steps note here what they learn. When the record is dropped, by whatever path, the request is
//! counted and its access-log line is written; an end that was not noted is a client that went
//! away, or a panic.

mod consumption;
mod trace;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{StatusCode, request};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use tokio::time::Instant;
use tokio_util::sync::DropGuard;
use uuid::Uuid;

use super::fallback_wait;
use super::gateway::Gateway;
use crate::auth::Peer;
use crate::bedrock::error::plain_text;
use crate::bedrock::{Api, Dialect, ErrorKind, Operation, ServiceTier, Usage};
use crate::config::Priority;
use crate::limits::{
    AssumedPrice, BudgetReservation, Caller, CallerKind, ClientBudget, ConcurrencyPermit,
    OverBudget, Policy, usd,
};
use crate::quota::{InFlightGuard, Reservation};
use crate::routing::Target;
pub(super) use crate::telemetry::Outcome;
use crate::telemetry::access_log::{AccessLogEntry, Attempt};
use crate::telemetry::traces::{SpanContext, SpanRecorder};
use crate::telemetry::usage_log::Record;
use crate::telemetry::{
    Choice, ModelLatency, OTHER, PassedOverTargets, RequestLabels, RequestUsage, SUCCESS,
    UpstreamRequestId,
};
use crate::upstream::events::EventsStatus;
use consumption::{Consumption, PriceTerms, Used, cost};
pub(super) use trace::{OpenSpan, attempt_result, client_error_result};

/// Most characters of the method and of the path in the access log, for a request that names no operation.
const MAX_LOGGED_METHOD: usize = 20;
const MAX_LOGGED_PATH: usize = 200;

/// Most characters of the client's message in the access log.
const MAX_LOGGED_MESSAGE: usize = 300;

/// The message of the answer to a request that caused a panic.
pub(super) const PANICKED: &str = "the gateway failed on this request";

/// The characters of such a path that are percent-encoded, beside all that is not ASCII. A path
/// can't imitate other fields of the log.
const LOG_ENCODE_SET: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'\\');

/// The record of one request.
#[derive(Debug)]
pub(super) struct RequestContext {
    gateway: Arc<Gateway>,
    pub(super) request_id: Uuid,
    pub(super) caller: CallerInfo,
    pub(super) call: CallInfo,
    pub(super) timing: Timing,
    pub(super) consumption: Consumption,
    pub(super) answer: Answer,
    pub(super) guards: Guards,
    /// The request's place in a trace.
    trace_context: Option<SpanContext>,
    /// The record of its spans, if its trace is sampled.
    spans: Option<Box<SpanRecorder>>,
}

/// The client. Written by `authenticate` and `policy`.
#[derive(Debug)]
pub(super) struct CallerInfo {
    peer: Peer,
    pub(super) client: Option<Caller>,
    pub(super) priority: Priority,
    /// The requests that the client's rate has left, where this process counts it and the client's API shows
    /// it. Written by `limit`.
    pub(super) requests_left: Option<u32>,
    /// The client's limit that refused the request. Written by the relay.
    pub(super) limited_by: Option<&'static str>,
    /// The client's policy that refused the request. Written by the relay.
    pub(super) denied_by: Option<&'static str>,
}

/// What the client asked for. Written by `parse`, `read_body` and `route`.
#[derive(Debug, Default)]
pub(super) struct CallInfo {
    /// The dialect of its errors. Written by `observe`.
    pub(super) dialect: Dialect,
    pub(super) operation: Option<Operation>,
    pub(super) requested_model: Option<String>,
    /// Method and path of a request that names no operation, within their bounds.
    unparsed: Option<Box<(String, String)>>,
    pub(super) body_bytes: u64,
    /// Whether a request of OpenAI's or Anthropic's APIs has a guardrail. Written by `policy`.
    pub(super) has_guardrail: bool,
    /// The pattern of the config that the requested model matches: its label in metrics.
    pub(super) pattern: Option<Arc<ModelLatency>>,
    /// Whether it asks for a stream.
    pub(super) streams: bool,
    /// The service tier that the request asks for.
    pub(super) tier: Option<ServiceTier>,
    /// Whether it asks for the optimized latency.
    pub(super) is_latency_optimized: bool,
}

/// When things happened. Written by `admit` (the queue), the attempts and the relay.
#[derive(Debug)]
pub(super) struct Timing {
    pub(super) arrived: SystemTime,
    pub(super) started: Instant,
    /// Time in the queue, over all waits that have ended.
    pub(super) queued: Duration,
    /// Since when the request waits in the queue, while it does.
    queued_since: Option<Instant>,
    /// Time spent on the upstream or between two attempts, before the answer's head.
    pub(super) upstream: Duration,
    /// Time until the answer's head was on its way.
    pub(super) first_byte: Option<Duration>,
}

/// What the client got. Written by the attempts and the relay.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) attempts: Vec<Attempt>,
    /// What the calls took of which the request is made; nothing for all that stand for themselves.
    pub(super) calls: CallTotals,
    /// Targets ranked above the last attempted one that were skipped without an attempt. If no
    /// target answered: all targets without an attempt.
    pub(super) passed_over: PassedOverTargets,
    /// Whether the first entry is the route's best target.
    pub(super) is_best_passed_over: bool,
    /// Why the best target did not answer, if another one did.
    pub(super) fallback_reason: Option<&'static str>,
    /// Whether the first choice's model or another one succeeded, for an operation on a model.
    pub(super) choice: Option<Choice>,
    /// The beta flags that its surface does not take, with commas between them.
    pub(super) dropped_betas: Option<Box<str>>,
    /// The operation into which the request was translated for that target.
    pub(super) translated: Option<&'static str>,
    /// What was left out in the translation, with commas between the names.
    pub(super) dropped: Option<Box<str>>,
    /// What was added in the translation, with commas between the names.
    pub(super) added: Option<Box<str>>,
    /// The target that gave the answer.
    pub(super) target: Option<Arc<Target>>,
    /// Whether the request has waited for its model while others were left out. Written by `admit`.
    pub(super) has_waited_for_model: bool,
    pub(super) bytes: u64,
    status: u16,
    error: Option<String>,
    /// The message in the answer, if the request failed.
    message: Option<Box<str>>,
    outcome: Outcome,
}

/// What the calls took of which a request is made, those that were answered. Each has a record of its own, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CallTotals {
    /// The attempts of all.
    pub(super) attempts: u64,
    /// The longest time that one has spent in the queue, in milliseconds.
    pub(super) queued_ms: u64,
}

/// What the request holds. Each guard settles or gives back when it is dropped, so the record's end
/// releases them on every path.
#[derive(Debug, Default)]
pub(super) struct Guards {
    /// What the request may cost, of its client's budget. Written by `route`.
    pub(super) budget: Option<BudgetReservation>,
    /// A slot of the client's `max_concurrent`. Written by `limit`.
    pub(super) concurrency: Option<ConcurrencyPermit>,
    /// Stops forwarding the client's events when the request ends. Written by `bidirectional`.
    pub(super) cancel_events: Option<DropGuard>,
    /// What becomes of the client's events. Written by `bidirectional`.
    pub(super) events: Option<Arc<EventsStatus>>,
    /// A part of what may be in flight. Written by `shed` and `read_body`.
    pub(super) in_flight: Option<InFlightGuard>,
    /// A part of its client's quota of tokens. Written by `route`.
    pub(super) tokens: Option<Reservation>,
}

impl Timing {
    /// Notes that a wait in the queue begins.
    pub(super) fn begin_wait(&mut self, now: Instant) {
        self.queued_since = Some(now);
    }

    /// Counts the wait in the queue that ends now, if there is one, and gives its length.
    pub(super) fn end_wait(&mut self) -> Duration {
        let waited = self.queued_since.take().map_or(Duration::ZERO, |since| since.elapsed());
        self.queued += waited;
        waited
    }
}

impl RequestContext {
    pub(super) fn new(gateway: Arc<Gateway>, peer: Peer) -> RequestContext {
        RequestContext {
            gateway,
            request_id: Uuid::new_v4(),
            caller: CallerInfo {
                peer,
                client: None,
                priority: Priority::Normal,
                requests_left: None,
                limited_by: None,
                denied_by: None,
            },
            call: CallInfo::default(),
            timing: Timing {
                arrived: SystemTime::now(),
                started: Instant::now(),
                queued: Duration::ZERO,
                queued_since: None,
                upstream: Duration::ZERO,
                first_byte: None,
            },
            consumption: Consumption::default(),
            answer: Answer {
                attempts: Vec::new(),
                calls: CallTotals::default(),
                passed_over: PassedOverTargets::default(),
                is_best_passed_over: false,
                fallback_reason: None,
                choice: None,
                dropped_betas: None,
                translated: None,
                dropped: None,
                added: None,
                target: None,
                has_waited_for_model: false,
                bytes: 0,
                status: 0,
                error: None,
                message: None,
                outcome: Outcome::ClientGone,
            },
            guards: Guards::default(),
            trace_context: None,
            spans: None,
        }
    }

    fn terms(&self) -> PriceTerms<'_> {
        PriceTerms::of(&self.gateway.prices, &self.call)
    }

    /// The gateway, and so the config, that the request sees from start to end.
    pub(super) fn gateway(&self) -> &Arc<Gateway> {
        &self.gateway
    }

    /// The other end of the connection.
    pub(super) fn peer(&self) -> &Peer {
        &self.caller.peer
    }

    /// What the client may ask for, where that is less than everything.
    pub(super) fn policy(&self) -> Option<&Policy> {
        self.caller.client.as_ref()?.record()?.policy()
    }

    /// What the client may spend, where that is not any amount.
    pub(super) fn account(&self) -> Option<&Arc<ClientBudget>> {
        self.caller.client.as_ref()?.record()?.account()
    }

    /// Records an attempt that has an outcome, and why it failed if it did.
    pub(super) fn record_attempt(
        &mut self,
        target: &Target,
        outcome: &'static str,
        status: u16,
        took: Duration,
        error: Option<String>,
        upstream_request_id: Option<UpstreamRequestId>,
    ) {
        self.timing.upstream += took;
        let metrics = &self.gateway.metrics;
        metrics.totals.attempt(outcome);
        let series = || metrics.attempts.with_label_values(&[&*target.name, outcome]);
        match outcome {
            SUCCESS => target.answered.get_or_init(series).inc(),
            _ => series().inc(),
        }
        self.answer.attempts.push(Attempt {
            target: Arc::clone(&target.name),
            outcome,
            status,
            ms: millis(took),
            upstream_request_id,
            error: error.map(String::into_boxed_str),
        });
    }

    /// Records that the head of the answer is being sent.
    pub(super) fn record_response_head(&mut self, status: StatusCode, error: Option<&str>) {
        self.timing.first_byte = Some(self.timing.started.elapsed());
        self.answer.status = status.as_u16();
        self.answer.error = error.map(str::to_owned);
    }

    /// Sets the message that the client gets with a failure.
    pub(super) fn set_client_message(&mut self, message: &str) {
        self.answer.message = Some(plain_text(message, MAX_LOGGED_MESSAGE).into_boxed_str());
    }

    /// The message that the client gets with a failure.
    pub(super) fn client_message(&self) -> Option<&str> {
        self.answer.message.as_deref()
    }

    /// Whether it is recorded what the request asks for: an operation, or none.
    pub(super) fn has_call(&self) -> bool {
        self.call.operation.is_some() || self.call.unparsed.is_some()
    }

    /// Records method and path of a request that names no operation. A query may have a signature
    /// and is left out.
    pub(super) fn record_unparsed(&mut self, head: &request::Parts) {
        let method = head.method.as_str().chars().take(MAX_LOGGED_METHOD).collect();
        let path = without_query(head.uri.path());
        let path = utf8_percent_encode(path, LOG_ENCODE_SET);
        let path = path.flat_map(str::chars).take(MAX_LOGGED_PATH).collect();
        self.call.unparsed = Some(Box::new((method, path)));
    }

    /// Records the tokens that the client has used so far, as far as is known.
    pub(super) fn record_tokens(&mut self, input: u64, output: u64) {
        self.consumption.relayed = Some(Usage { input, output, ..Usage::default() });
        if let Some(allowance) = &mut self.guards.tokens {
            allowance.charge(input.saturating_add(output));
        }
    }

    /// Sets what the client got; the last call counts.
    pub(super) fn set_outcome(&mut self, outcome: Outcome) {
        self.answer.outcome = outcome;
    }

    /// What the client is called in the access log.
    fn logged_name(&self) -> &str {
        let label = self.caller.client.as_ref().and_then(Caller::label);
        label.or_else(|| self.caller.peer.certificate.as_ref()?.label()).unwrap_or("-")
    }

    /// Records that the request caused a panic.
    pub(super) fn record_panic(&mut self) {
        self.answer.outcome = Outcome::Panic;
        if self.timing.first_byte.is_none() {
            self.answer.status = ErrorKind::InternalServer.status().as_u16();
            self.answer.error = Some(ErrorKind::InternalServer.name().to_owned());
            self.set_client_message(PANICKED);
        }
        self.gateway.metrics.panics.inc();
        let trace_id = self.trace_context.map(|it| tracing::field::display(it.trace_id));
        tracing::error!(request_id = %self.request_id, trace_id, "a request panicked");
    }

    fn count(&self, duration: Duration, used: Option<&Used>) {
        let metrics = &self.gateway.metrics;
        metrics.totals.request(self.answer.outcome);
        if let (Some(choice), Outcome::Success) = (self.answer.choice, self.answer.outcome) {
            metrics.count_answer(choice);
        }
        let pattern = self.call.pattern.as_deref().unwrap_or(&metrics.unrouted);
        let asked = RequestLabels {
            operation: self.call.operation,
            requested: pattern.label_id(metrics),
            client: self.client_number(),
            outcome: self.answer.outcome,
        };
        let spent = used.map(|Used { target, usage, cost, .. }| RequestUsage {
            model: target.model_label_id(metrics),
            usage: *usage,
            cost: cost.map(|cost| cost.nanos),
        });
        metrics.request_counters.count(&asked, spent.as_ref());
        if let Some(used) = used.filter(|used| used.has_named_tier) {
            self.count_tier(used);
        }
        pattern.observe(metrics, self.call.operation, duration, self.timing.first_byte);
        if let Some(head) = self.timing.first_byte {
            let waited = self.timing.upstream + self.timing.queued;
            metrics.overhead.observe(head.saturating_sub(waited).as_secs_f64());
        }
        if let Some(limit) = self.caller.limited_by {
            metrics.client_limited.with_label_values(&[self.client_name(), limit]).inc();
        }
        if let Some(policy) = self.caller.denied_by {
            metrics.client_denied.with_label_values(&[self.client_name(), policy]).inc();
        }
        if !self.timing.queued.is_zero() {
            metrics.queue_wait.observe(self.timing.queued.as_secs_f64());
        }
        if let Some(to) = self.answer.translated {
            let api = self.call.operation.map_or(Api::default(), Operation::api).name();
            metrics.translated_requests.with_label_values(&[api, to]).inc();
        }
        if self.answer.has_waited_for_model {
            let result = fallback_wait::result(self.answer.choice);
            metrics.fallback_waits.with_label_values(&[result]).inc();
        }
    }

    /// Counts the service tier of a request that names one, or whose answer does.
    fn count_tier(&self, used: &Used) {
        let metrics = &self.gateway.metrics;
        let asked = self.call.tier.unwrap_or(ServiceTier::Standard).name();
        metrics.service_tiers.with_label_values(&[asked, used.tier.name()]).inc();
        if let Some(assumed) = used.cost.and_then(|cost| cost.assumed) {
            metrics.assumed_prices.with_label_values(&[assumed.name()]).inc();
        }
    }

    /// The client's label in metrics.
    fn client_name(&self) -> &str {
        self.caller.client.as_ref().and_then(Caller::name).map_or(OTHER, AsRef::as_ref)
    }

    /// The number of that label.
    fn client_number(&self) -> u32 {
        let metrics = &self.gateway.metrics;
        match self.caller.client.as_ref().map(|client| &client.kind) {
            Some(CallerKind::Registered(client)) => {
                client.label_id.get(|| &*client.name, &metrics.labels)
            }
            Some(CallerKind::Removed(name)) => metrics.labels.id(name),
            Some(CallerKind::Anonymous(_)) | None => metrics.other,
        }
    }

    /// Charges the budget of a stream without a known maximum cost: by reported usage, else by an
    /// estimate of what was relayed.
    ///
    /// # Errors
    /// When that uses up the client's budget.
    pub(super) fn charge_so_far(&mut self, reported: Option<Usage>) -> Result<(), OverBudget> {
        if let Some(usage) = reported {
            self.record_tokens(usage.input + usage.cache_write, usage.output);
        }
        let target = self.answer.target.as_ref().filter(|_| self.guards.budget.is_some());
        let usage = reported.or(self.consumption.relayed);
        let cost = target.zip(usage).and_then(|(target, usage)| cost(target, &usage, self.terms()));
        match (&mut self.guards.budget, cost) {
            (Some(budget), Some(cost)) => budget.has_cost(cost.nanos),
            _ => Ok(()),
        }
    }

    /// Charges the client for an attempt that the target processed although no usable answer came:
    /// it came too late, or in a content encoding. Then the cost of another attempt is reserved.
    ///
    /// # Errors
    /// When the client has nothing left for another attempt.
    pub(super) fn charge_lost_attempt(
        &mut self,
        target: &Arc<Target>,
        input: u64,
    ) -> Result<(), OverBudget> {
        let terms = PriceTerms::of(&self.gateway.prices, &self.call);
        let Some(budget) = &mut self.guards.budget else { return Ok(()) };
        match self.consumption.add_lost_attempt(target, input, terms) {
            Some(cost) => budget.renew(cost),
            None => Ok(()),
        }
    }

    fn settle_budget(&mut self, used: Option<&Used>) {
        if let Some(mut hold) = self.guards.budget.take()
            && let Some(cost) = used.and_then(|used| used.cost)
        {
            hold.costs(cost.nanos);
        }
    }

    fn write_usage_record(&self, request_id: &str, duration: Duration, used: Option<&Used>) {
        let log = &self.gateway.usage_log;
        if !log.is_on() {
            return;
        }
        let usage = used.map(|used| used.usage).unwrap_or_default();
        let cost = used.and_then(|used| used.cost);
        let target = self.answer.target.as_ref().or(used.map(|used| &used.target));
        log.write(&Record {
            time: self.timing.arrived,
            request_id,
            client: self.client_name(),
            operation: self.call.operation,
            requested_model: self.call.requested_model.as_deref(),
            model: target.map(|target| target.model.as_str()),
            target: target.map(|target| &*target.name),
            region: target.map(|target| target.endpoint.region.as_str()),
            status: self.answer.status,
            outcome: self.answer.outcome.name(),
            attempts: self.answer.attempts.len(),
            input_tokens: usage.input,
            output_tokens: usage.output,
            cache_read_tokens: usage.cache_read,
            cache_write_tokens: usage.cache_write,
            cache_write_1h_tokens: usage.cache_write_1h,
            is_estimated: used.is_some_and(|used| used.is_estimated),
            service_tier: used.map(|used| used.tier.name()),
            price_above: cost.and_then(|cost| cost.above),
            price_assumed: cost.and_then(|cost| cost.assumed).map(AssumedPrice::name),
            cost_usd: cost.map(|cost| usd(cost.nanos)),
            queued_ms: millis(self.timing.queued),
            first_byte_ms: self.timing.first_byte.map(millis),
            duration_ms: millis(duration),
            translated: self.answer.translated,
            dropped: self.answer.dropped.as_deref(),
        });
    }
}

/// A path up to what may be a query in another form.
fn without_query(path: &str) -> &str {
    let ends = ["%3f", "%3F", ";"].iter().filter_map(|mark| path.find(mark));
    path.get(..ends.min().unwrap_or(path.len())).unwrap_or_default()
}

impl Drop for RequestContext {
    fn drop(&mut self) {
        let duration = self.timing.started.elapsed();
        // A client that leaves ends the wait of its request.
        self.timing.end_wait();
        // If a panic unwinds the request, it drops the record.
        if std::thread::panicking() {
            self.record_panic();
        }
        let mut text = Uuid::encode_buffer();
        let request_id: &str = self.request_id.hyphenated().encode_lower(&mut text);
        let used = self.consumption.used(self.answer.target.as_ref(), self.terms());
        self.settle_budget(used.as_ref());
        if let Some(usage) = self.consumption.reported {
            self.record_tokens(usage.input + usage.cache_write, usage.output);
        }
        self.count(duration, used.as_ref());
        self.write_usage_record(request_id, duration, used.as_ref());
        self.gateway.access_log.write(&AccessLogEntry {
            time: self.timing.arrived,
            request_id,
            trace_id: self.trace_context.map(|it| it.trace_id),
            span_id: self.trace_context.and_then(|it| it.span_id),
            client: self.logged_name(),
            peer: self.caller.peer.address,
            operation: self.call.operation,
            method: self.call.unparsed.as_ref().map(|no_call| no_call.0.as_str()),
            path: self.call.unparsed.as_ref().map(|no_call| no_call.1.as_str()),
            requested_model: self.call.requested_model.as_deref(),
            model: self.answer.target.as_ref().map(|target| target.model_text()),
            target: self.answer.target.as_ref().map(|target| &*target.name),
            status: self.answer.status,
            outcome: self.answer.outcome,
            error: self.answer.error.as_deref(),
            message: self.answer.message.as_deref(),
            attempts: &self.answer.attempts,
            passed_over: &self.answer.passed_over,
            fallback_reason: self.answer.fallback_reason,
            choice: self.answer.choice.map(Choice::name),
            dropped_betas: self.answer.dropped_betas.as_deref(),
            translated: self.answer.translated,
            dropped: self.answer.dropped.as_deref(),
            added: self.answer.added.as_deref(),
            queued_ms: millis(self.timing.queued),
            first_byte_ms: self.timing.first_byte.map(millis),
            duration_ms: millis(duration),
            request_bytes: self.call.body_bytes,
            response_bytes: self.answer.bytes,
            usage: self.consumption.reported,
        });
        self.export_spans(duration);
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

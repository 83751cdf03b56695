//! The record of one request, from its head to the last byte of its answer.
//!
//! Steps note here what they learn. When the record is dropped, by whatever path, the request is
//! counted and its access-log line is written; an end that nobody noted is a client that went
//! away, or a panic.

mod trace;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{StatusCode, request};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use tokio::time::Instant;
use tokio_util::sync::DropGuard;
use uuid::Uuid;

use super::{Gateway, rates};
use crate::auth::{Peer, PendingAuth};
use crate::bedrock::{ErrorKind, Operation, Usage};
use crate::config::Priority;
use crate::limits::{
    Account, Caller, CallerKind, ConcurrencyPermit, Hold, OverBudget, Policy, usd,
};
use crate::quota::{InFlightGuard, Reservation};
use crate::routing::{Bound, Target};
pub(super) use crate::telemetry::Outcome;
use crate::telemetry::access_log::{AccessLogEntry, Attempt, SUCCESS};
use crate::telemetry::traces::SpanContext;
use crate::telemetry::usage_log::Record;
use crate::telemetry::{ModelLatency, OTHER, RequestLabels, RequestUsage};
pub(super) use trace::Open;
use trace::Recording;

/// Most characters of the method and of the path of a request that is no call, in the access log.
const MAX_LOGGED_METHOD: usize = 20;
const MAX_LOGGED_PATH: usize = 200;

/// What is encoded of such a path: all that is not plain ASCII, so that nothing in it can pose as
/// something else where the log is read.
const UNLOGGED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'\\');

/// The record of one request.
#[derive(Debug)]
pub(super) struct Exchange {
    gateway: Arc<Gateway>,
    pub(super) arrived: SystemTime,
    pub(super) started: Instant,
    pub(super) request_id: Uuid,
    pub(super) client: Option<Caller>,
    /// What the request may cost its client.
    pub(super) hold: Option<Hold>,
    /// The target that was asked and has not answered yet, and the input tokens it was sent.
    pub(super) asked: Option<(Arc<Target>, u64)>,
    /// The most that the request can use of the target that it was sent to last, where it is charged
    /// that for what no answer tells.
    pub(super) bound: Option<Bound>,
    /// What its service tier costs on top, in per cent.
    pub(super) surcharge: u64,
    /// What a stream told at its beginning.
    pub(super) begun: Option<Usage>,
    /// What attempts have cost whose answer did not come in time, and the last of them.
    lost: Option<Used>,
    /// What its body has yet to show of who sent it.
    pub(super) proof: PendingAuth,
    /// The client's place among its requests at once.
    pub(super) slot: Option<ConcurrencyPermit>,
    /// Tells what depends on the request that it is over.
    pub(super) over: Option<DropGuard>,
    /// Its part of the gateway's load.
    pub(super) share: Option<InFlightGuard>,
    /// What it holds of its client's tokens.
    pub(super) allowance: Option<Reservation>,
    /// How urgent it is.
    pub(super) priority: Priority,
    peer: Peer,
    pub(super) operation: Option<Operation>,
    /// Method and path of a request that is no call, within their bounds.
    no_call: Option<Box<(String, String)>>,
    pub(super) requested_model: Option<String>,
    /// The pattern of the config that the requested model matches: its label in metrics.
    pub(super) pattern: Option<Arc<ModelLatency>>,
    pub(super) request_bytes: u64,
    pub(super) response_bytes: u64,
    pub(super) attempts: Vec<Attempt>,
    pub(super) answered_by: Option<Arc<Target>>,
    /// The limit of its client's that refused it.
    pub(super) limited_by: Option<&'static str>,
    /// The policy of its client's that refused it.
    pub(super) denied_by: Option<&'static str>,
    pub(super) queued: Duration,
    /// Time spent on the upstream or between two attempts, before the answer's head.
    pub(super) waited: Duration,
    pub(super) head: Option<Duration>,
    status: u16,
    error: Option<String>,
    pub(super) usage: Option<Usage>,
    /// What has passed of an answer, about, for one that does not come to tell its usage.
    passed: Option<Usage>,
    outcome: Outcome,
    /// Where it is in a trace.
    context: Option<SpanContext>,
    /// What it notes for its spans, if its trace is recorded.
    recording: Option<Box<Recording>>,
}

impl Exchange {
    pub(super) fn new(gateway: Arc<Gateway>, peer: Peer) -> Exchange {
        Exchange {
            gateway,
            arrived: SystemTime::now(),
            started: Instant::now(),
            request_id: Uuid::new_v4(),
            client: None,
            hold: None,
            asked: None,
            bound: None,
            surcharge: 0,
            begun: None,
            lost: None,
            passed: None,
            proof: PendingAuth::Nothing,
            slot: None,
            over: None,
            share: None,
            allowance: None,
            priority: Priority::Normal,
            peer,
            operation: None,
            no_call: None,
            requested_model: None,
            pattern: None,
            request_bytes: 0,
            response_bytes: 0,
            attempts: Vec::new(),
            answered_by: None,
            limited_by: None,
            denied_by: None,
            queued: Duration::ZERO,
            waited: Duration::ZERO,
            head: None,
            status: 0,
            error: None,
            usage: None,
            outcome: Outcome::ClientGone,
            context: None,
            recording: None,
        }
    }

    /// The gateway, and so the config, that the request sees from start to end.
    pub(super) fn gateway(&self) -> &Arc<Gateway> {
        &self.gateway
    }

    /// What the client may ask for, where that is less than everything.
    pub(super) fn policy(&self) -> Option<&Policy> {
        self.client.as_ref()?.record()?.policy()
    }

    /// What the client may spend, where that is not any amount.
    pub(super) fn account(&self) -> Option<&Arc<Account>> {
        self.client.as_ref()?.record()?.account()
    }

    /// Notes an attempt that has come to an outcome.
    pub(super) fn attempted(
        &mut self,
        target: &Target,
        outcome: &'static str,
        status: u16,
        took: Duration,
    ) {
        self.waited += took;
        let metrics = &self.gateway.metrics;
        metrics.totals.attempt(outcome);
        let series = || metrics.attempts.with_label_values(&[&*target.name, outcome]);
        match outcome {
            SUCCESS => target.answered.get_or_init(series).inc(),
            _ => series().inc(),
        }
        self.attempts.push(Attempt {
            target: Arc::clone(&target.name),
            outcome,
            status,
            ms: millis(took),
        });
    }

    /// Notes that the head of the answer is on its way.
    pub(super) fn answering(&mut self, status: StatusCode, error: Option<&str>) {
        self.head = Some(self.started.elapsed());
        self.status = status.as_u16();
        self.error = error.map(str::to_owned);
    }

    /// Notes what came in place of a call. A query may hold a signature and is left out.
    pub(super) fn is_no_call(&mut self, head: &request::Parts) {
        let method = head.method.as_str().chars().take(MAX_LOGGED_METHOD).collect();
        let path = without_query(head.uri.path());
        let path = utf8_percent_encode(path, UNLOGGED);
        let path = path.flat_map(str::chars).take(MAX_LOGGED_PATH).collect();
        self.no_call = Some(Box::new((method, path)));
    }

    /// Notes the tokens that the client has spent so far, as far as is known.
    pub(super) fn spent(&mut self, input: u64, output: u64) {
        self.passed = Some(Usage { input, output, ..Usage::default() });
        if let Some(allowance) = &mut self.allowance {
            allowance.charge(input.saturating_add(output));
        }
    }

    /// Notes what the client got; the last note counts.
    pub(super) fn ended(&mut self, outcome: Outcome) {
        self.outcome = outcome;
    }

    /// What the client is called in the access log.
    fn logged_name(&self) -> &str {
        let label = self.client.as_ref().and_then(Caller::label);
        label.or_else(|| self.peer.certificate.as_ref()?.label()).unwrap_or("-")
    }

    /// Notes that something panicked on the request's way.
    pub(super) fn panicked(&mut self) {
        self.outcome = Outcome::Panic;
        if self.head.is_none() {
            self.status = ErrorKind::InternalServer.status().as_u16();
            self.error = Some(ErrorKind::InternalServer.name().to_owned());
        }
        self.gateway.metrics.panics.inc();
        let trace_id = self.context.map(|it| tracing::field::display(it.trace_id));
        tracing::error!(request_id = %self.request_id, trace_id, "a request panicked");
    }

    fn count(&self, duration: Duration, used: Option<&Used>) {
        let metrics = &self.gateway.metrics;
        metrics.totals.request(self.outcome.name());
        let pattern = self.pattern.as_deref().unwrap_or(&metrics.unrouted);
        let asked = RequestLabels {
            operation: self.operation,
            requested: pattern.label_id(metrics),
            client: self.client_number(),
            outcome: self.outcome,
        };
        let spent = used.map(|Used { target, usage, cost, .. }| RequestUsage {
            model: target.model_label_id(metrics),
            usage: *usage,
            cost: *cost,
        });
        metrics.request_counters.count(&asked, spent.as_ref());
        pattern.observe(metrics, self.operation, duration, self.head);
        if let Some(head) = self.head {
            let waited = self.waited + self.queued;
            metrics.overhead.observe(head.saturating_sub(waited).as_secs_f64());
        }
        if let Some(limit) = self.limited_by {
            metrics.client_limited.with_label_values(&[self.client_name(), limit]).inc();
        }
        if let Some(policy) = self.denied_by {
            metrics.client_denied.with_label_values(&[self.client_name(), policy]).inc();
        }
        if !self.queued.is_zero() {
            metrics.queue_wait.observe(self.queued.as_secs_f64());
        }
    }

    /// The client's label in metrics.
    fn client_name(&self) -> &str {
        self.client.as_ref().and_then(Caller::name).map_or(OTHER, AsRef::as_ref)
    }

    /// The number of that label.
    fn client_number(&self) -> u32 {
        let metrics = &self.gateway.metrics;
        match self.client.as_ref().map(|client| &client.kind) {
            Some(CallerKind::Registered(member)) => {
                member.label_id.get(|| &*member.name, &metrics.labels)
            }
            Some(CallerKind::Removed(name)) => metrics.labels.id(name),
            Some(CallerKind::Anonymous(_)) | None => metrics.other,
        }
    }

    /// Notes what an answer has cost its client whose cost nothing bounds: by the tokens it has told
    /// so far, else by what has passed of it.
    ///
    /// # Errors
    /// When that uses up the client's budget.
    pub(super) fn has_cost(&mut self, told: Option<Usage>) -> Result<(), OverBudget> {
        if let Some(usage) = told {
            self.spent(usage.input + usage.cache_write, usage.output);
        }
        let Some((hold, target)) = self.hold.as_mut().zip(self.answered_by.as_ref()) else {
            return Ok(());
        };
        let rates = rates(&self.gateway.prices, target);
        let cost = rates
            .zip(told.or(self.passed))
            .map(|(rates, usage)| rates.cost_with(&usage, self.surcharge));
        cost.map_or(Ok(()), |cost| hold.has_cost(cost))
    }

    /// What the request has used: the answer's tokens as it told them, else what has passed of it,
    /// else, of a request that was given up while a target had it, its input. Where a budget counts,
    /// what was not told is the most that it can be: else whoever leaves before the end would pay
    /// for less. Attempts that failed use nothing, and so does counting tokens.
    fn used(&self) -> Option<Used> {
        if self.operation == Some(Operation::CountTokens) {
            return None;
        }
        let untold = |passed: Usage| self.untold(passed);
        let answered =
            self.answered_by.as_ref().zip(self.usage.or_else(|| self.passed.map(untold)));
        let given_up = self
            .asked
            .as_ref()
            .map(|(target, input)| (target, untold(Usage { input: *input, ..Usage::default() })));
        let Some((target, usage)) = answered.or(given_up) else { return self.lost.clone() };
        let used = self.used_of(target, usage, self.usage.is_none());
        let lost = self.lost.as_ref().and_then(|lost| lost.cost).unwrap_or(0);
        Some(Used { cost: used.cost.map(|cost| cost.saturating_add(lost)), ..used })
    }

    fn used_of(&self, target: &Arc<Target>, usage: Usage, is_estimated: bool) -> Used {
        let rates = rates(&self.gateway.prices, target);
        let cost = rates.map(|rates| rates.cost_with(&usage, self.surcharge));
        Used { target: Arc::clone(target), usage, is_estimated, cost }
    }

    /// Notes an attempt whose answer did not come in time, although the target had it. Its client
    /// pays for it, where a budget counts: it could have asked for less. What the next one may cost
    /// is then held anew.
    ///
    /// # Errors
    /// When the client has nothing left for another one.
    pub(super) fn lose(&mut self, target: &Arc<Target>, input: u64) -> Result<(), OverBudget> {
        if self.bound.is_none() || self.hold.is_none() {
            return Ok(());
        }
        let usage = self.untold(Usage { input, ..Usage::default() });
        let used = self.used_of(target, usage, true);
        let cost = used.cost.unwrap_or(0);
        let before = self.lost.take().and_then(|lost| lost.cost).unwrap_or(0);
        self.lost = Some(Used { cost: Some(cost.saturating_add(before)), ..used });
        self.hold.as_mut().map_or(Ok(()), |hold| hold.renew(cost))
    }

    /// What an answer has used that did not come to tell it, of which this has passed, about.
    fn untold(&self, passed: Usage) -> Usage {
        let usage = match self.begun {
            Some(begun) => Usage { output: passed.output, ..begun },
            None => passed,
        };
        let Some(bound) = &self.bound else { return usage };
        let input = if self.begun.is_some() { usage.input } else { bound.unreported_input() };
        // A target goes on with an answer that is no stream, whether anybody waits for it or not.
        let is_stream = self.operation.is_some_and(Operation::is_stream);
        let output = if is_stream { usage.output } else { bound.unreported_output() };
        Usage { input, output, ..usage }
    }

    fn settle_budget(&mut self, used: Option<&Used>) {
        if let Some(mut hold) = self.hold.take()
            && let Some(cost) = used.and_then(|used| used.cost)
        {
            hold.costs(cost);
        }
    }

    fn write_record(&self, request_id: &str, duration: Duration, used: Option<&Used>) {
        let log = &self.gateway.usage_log;
        if !log.is_on() {
            return;
        }
        let usage = used.map(|used| used.usage).unwrap_or_default();
        let target = self.answered_by.as_ref().or(used.map(|used| &used.target));
        log.write(&Record {
            time: self.arrived,
            request_id,
            client: self.client_name(),
            operation: self.operation.map_or("-", Operation::name),
            requested_model: self.requested_model.as_deref(),
            model: target.map(|target| target.model.as_str()),
            target: target.map(|target| &*target.name),
            region: target.map(|target| target.endpoint.region.as_str()),
            status: self.status,
            outcome: self.outcome.name(),
            attempts: self.attempts.len(),
            input_tokens: usage.input,
            output_tokens: usage.output,
            cache_read_tokens: usage.cache_read,
            cache_write_tokens: usage.cache_write,
            cache_write_1h_tokens: usage.cache_write_1h,
            is_estimated: used.is_some_and(|used| used.is_estimated),
            cost_usd: used.and_then(|used| used.cost).map(usd),
            queued_ms: millis(self.queued),
            first_byte_ms: millis(self.head.unwrap_or(duration)),
            duration_ms: millis(duration),
        });
    }
}

/// What a request has used of a target.
#[derive(Clone, Debug)]
struct Used {
    target: Arc<Target>,
    usage: Usage,
    /// Whether the answer did not come to tell it.
    is_estimated: bool,
    /// Nano-dollars, where the price is known.
    cost: Option<u64>,
}

/// A path up to what may be a query in another form.
fn without_query(path: &str) -> &str {
    let ends = ["%3f", "%3F", ";"].iter().filter_map(|mark| path.find(mark));
    path.get(..ends.min().unwrap_or(path.len())).unwrap_or_default()
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let duration = self.started.elapsed();
        // A request on whose way something panicked takes its record along.
        if std::thread::panicking() {
            self.panicked();
        }
        let mut text = Uuid::encode_buffer();
        let request_id: &str = self.request_id.hyphenated().encode_lower(&mut text);
        let used = self.used();
        self.settle_budget(used.as_ref());
        if let Some(usage) = self.usage {
            self.spent(usage.input + usage.cache_write, usage.output);
        }
        self.count(duration, used.as_ref());
        self.write_record(request_id, duration, used.as_ref());
        self.gateway.access_log.write(&AccessLogEntry {
            time: self.arrived,
            request_id,
            trace_id: self.context.map(|it| it.trace_id),
            span_id: self.context.and_then(|it| it.span_id),
            client: self.logged_name(),
            peer: self.peer.address,
            operation: self.operation.map_or("-", Operation::name),
            method: self.no_call.as_ref().map(|no_call| no_call.0.as_str()),
            path: self.no_call.as_ref().map(|no_call| no_call.1.as_str()),
            requested_model: self.requested_model.as_deref(),
            model: self.answered_by.as_ref().map(|target| target.model_text()),
            target: self.answered_by.as_ref().map(|target| &*target.name),
            status: self.status,
            outcome: self.outcome.name(),
            error: self.error.as_deref(),
            attempts: &self.attempts,
            queued_ms: millis(self.queued),
            first_byte_ms: millis(self.head.unwrap_or(duration)),
            duration_ms: millis(duration),
            request_bytes: self.request_bytes,
            response_bytes: self.response_bytes,
            usage: self.usage,
        });
        self.hand_over_spans(duration);
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

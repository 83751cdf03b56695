//! One place that can answer: a model in a region with one set of credentials, and its state.
//!
//! The state is the target's own: two cooldowns (of inference, and of CountTokens, which Bedrock throttles and
//! fails apart from it), the operations that it denies, and what its answers have taught. Requests change it
//! through a [`Permit`](super::Permit); operators drain and reset it. Its quota may be shared with other
//! targets.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderValue, Uri};
use parking_lot::{Mutex, MutexGuard};
use prometheus::IntCounter;
use smallvec::SmallVec;
use tokio::time::Instant;

use super::access;
use super::bound::{self, Bound};
use super::capabilities::{Capabilities, default_max_output};
use super::cooldown::{Blocked, Cooldown, CooldownSettings, State};
use super::demand::{QuotaDemand, RequestSize};
use super::endpoint::TargetEndpoint;
use super::further_quotas::FurtherQuotas;
use super::latency::Latency;
use crate::bedrock::api_path;
use crate::bedrock::named_limit::NamedLimit;
use crate::bedrock::path::model_path;
use crate::bedrock::{Api, ModelId, Operation, ServiceTier, Usage};
use crate::bridge;
use crate::catalogue::{Endpoint, ModelFacts};
use crate::config;
use crate::fleet::{Fleet, FleetListener};
use crate::quota::{Estimator, QueueSignal, Quota, TokenCharge};
use crate::telemetry::{LabelId, Metrics, OTHER};
use crate::upstream::Origin;

/// Later than any wait.
const NEVER: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// What a target is built from.
#[derive(Debug)]
pub struct TargetParts {
    /// The model id that goes into the path.
    pub model: ModelId,
    /// The model whose limits, price and family apply.
    pub base_model: ModelId,
    /// The base id that the base model has at the other endpoint, if that is another one.
    pub id_elsewhere: Option<Box<str>>,
    /// What the catalogue knows of the base model.
    pub model_info: Option<Arc<ModelFacts>>,
    /// The settings of its cooldowns.
    pub cooldown: CooldownSettings,
    /// Endpoint, region and credentials.
    pub endpoint: Arc<TargetEndpoint>,
    /// The quota that it draws on.
    pub quota: Arc<Quota>,
    /// The quotas that it draws on besides, if there are any.
    pub further: Option<Box<FurtherQuotas>>,
    /// The signal of the queue for it.
    pub signal: Arc<QueueSignal>,
    /// The other replicas, if there are any.
    pub fleet: Option<Fleet>,
}

/// A target and its state.
///
/// The order of the fields is the order in memory (`repr(C)`), here and in the types that say so: those that
/// every request reads come first. With thousands of targets most of a target is in no CPU cache when a
/// request comes, so each of its cache lines that a request does not touch saves time.
#[derive(Debug)]
#[repr(C)]
pub struct Target {
    /// Endpoint, region and credentials.
    pub endpoint: Arc<TargetEndpoint>,
    quota: Arc<Quota>,
    /// The target's name in metrics, logs and the config.
    pub name: Arc<str>,
    /// The model id that goes into the path.
    pub model: ModelId,
    /// The base model, if that is another.
    other_base: Option<Box<ModelId>>,
    /// The model id as a header value.
    pub model_header: HeaderValue,
    /// What the catalogue knows of the base model.
    pub model_info: Option<Arc<ModelFacts>>,
    /// The counter of its answered attempts, once there is one.
    pub answered: OnceLock<IntCounter>,
    capabilities: Capabilities,
    /// What its answers have taught about sizes.
    pub estimator: Estimator,
    /// The label id of its model.
    label_id: LabelId,
    /// The most output of an answer to a request that names no maximum.
    pub(super) default_max_output: u64,
    /// The most that is reserved for such an answer.
    assumed_max_output: u64,
    /// Tokens of the largest request that was answered to the end.
    pub(super) largest_answered: AtomicU64,
    /// The limits that Bedrock has named when it refused a request, in tokens. 0: none.
    named_output: AtomicU32,
    named_input: AtomicU32,
    /// What an output token costs of the quota.
    burndown: u64,
    reserve: config::Reserve,
    /// The quotas that it draws on besides. A throttle may show that there is one.
    pub(super) further: OnceLock<Box<FurtherQuotas>>,
    /// The operations that it denies.
    pub(super) access: access::SharedAccess,
    cooldown: Mutex<Cooldown>,
    /// The latency of its answers.
    pub latency: Latency,
    /// The paths of the operations on its model, each made at its first use.
    paths: [OnceLock<PathAndQuery>; Operation::WITH_MODEL],
    signal: Arc<QueueSignal>,
    pub(super) fleet: Option<Fleet>,
    count_tokens_cooldown: Box<Mutex<Cooldown>>,
    /// What applies the events of other replicas.
    pub(super) listeners: OnceLock<Box<[Arc<dyn FleetListener>]>>,
    /// Its name for people.
    pub display_name: String,
    /// What the paths of OpenAI's APIs begin with, if not with `/openai/v1`.
    openai_prefix: Option<Box<str>>,
    /// Where the tokens of its requests are counted, if that is not its own endpoint.
    token_counter: Option<Box<TokenCounter>>,
    /// The base id that its model has at the other endpoint, if that is another one.
    id_elsewhere: Option<Box<str>>,
    /// The retired model in whose place its model is.
    replaces: Option<Box<str>>,
    /// What translations must know of its model, once there is one.
    translated_model: OnceLock<Arc<bridge::Model>>,
}

impl Target {
    /// An available target.
    pub fn new(config: &config::Target, parts: TargetParts) -> Target {
        let TargetParts {
            model,
            base_model,
            id_elsewhere,
            model_info,
            cooldown,
            endpoint,
            quota,
            further,
            signal,
            fleet,
        } = parts;
        let known = model_info.as_deref();
        let default_max_output = default_max_output(config, known);
        Target {
            name: config.name.as_str().into(),
            display_name: config.display_name.clone().unwrap_or_else(|| config.name.clone()),
            model_header: HeaderValue::from_maybe_shared(inline_model_bytes(model.as_str()))
                .unwrap_or_else(|_| HeaderValue::from_static("-")),
            capabilities: Capabilities::new(config, &base_model, known),
            burndown: u64::from(config.output_burndown.or_else(|| known?.burndown).unwrap_or(1)),
            reserve: config.reserve,
            further: further.map(OnceLock::from).unwrap_or_default(),
            replaces: config.replaces.as_deref().map(Box::from),
            openai_prefix: openai_prefix(config, known),
            token_counter: TokenCounter::of(config, known).map(Box::new),
            other_base: (base_model != model).then(|| Box::new(base_model)),
            model,
            estimator: Estimator::default(),
            latency: Latency::default(),
            answered: OnceLock::new(),
            label_id: LabelId::default(),
            endpoint,
            paths: Default::default(),
            id_elsewhere,
            model_info,
            default_max_output,
            largest_answered: AtomicU64::new(0),
            named_output: AtomicU32::new(0),
            named_input: AtomicU32::new(0),
            assumed_max_output: config
                .assumed_max_output_tokens
                .map_or(default_max_output, |assumed| default_max_output.min(u64::from(assumed))),
            count_tokens_cooldown: Box::new(Mutex::new(Cooldown::new(cooldown.clone()))),
            cooldown: Mutex::new(Cooldown::new(cooldown)),
            quota,
            signal,
            access: access::SharedAccess::default(),
            fleet,
            listeners: OnceLock::new(),
            translated_model: OnceLock::new(),
        }
    }

    /// What translations must know of its model. Its largest answer is the target's cap.
    pub fn translated_model(&self) -> &Arc<bridge::Model> {
        self.translated_model.get_or_init(|| {
            let unknown = ModelFacts::default();
            let facts = self.model_info.as_deref().unwrap_or(&unknown);
            let base = self.base_model();
            let mut model = bridge::Model::of(base.base().unwrap_or(base.as_str()), facts);
            model.max_output_tokens = self.capabilities.max_output_tokens();
            Arc::new(model)
        })
    }

    /// The text of its model id, read from the header value, which an answer has just copied and which is
    /// therefore in the CPU's cache.
    pub fn model_text(&self) -> &str {
        self.model_header.to_str().unwrap_or(self.model.as_str())
    }

    /// The model that the config names. It may be retired, and then another one answers.
    pub fn named_model(&self) -> &str {
        self.replaces.as_deref().unwrap_or(self.model.as_str())
    }

    /// The model whose limits, price and family apply: `base_model` if configured.
    pub fn base_model(&self) -> &ModelId {
        self.other_base.as_deref().unwrap_or(&self.model)
    }

    /// The URI of an operation on its model; `None` for an operation on no model.
    pub fn uri(&self, operation: Operation) -> Option<Uri> {
        let kept = self.paths.get(operation as usize)?;
        let path = match kept.get() {
            Some(path) => path.clone(),
            None => {
                let text = self.path(operation)?;
                let path = PathAndQuery::from_maybe_shared(inline_path_bytes(&text)).ok()?;
                kept.get_or_init(|| path).clone()
            }
        };
        Some(self.origin(operation).uri(path))
    }

    /// Where the requests of an operation on its model go.
    pub fn origin(&self, operation: Operation) -> &Origin {
        let counter = self.token_counter.as_ref();
        let counter = counter.filter(|_| operation == Operation::CountMessageTokens);
        counter.map_or(&self.endpoint.origin, |counter| &counter.origin)
    }

    /// The model that the body of an operation names.
    pub fn model_in_body(&self, operation: Operation) -> &str {
        let counter = self.token_counter.as_ref();
        let counter = counter.filter(|_| operation == Operation::CountMessageTokens);
        counter.map_or(self.model.as_str(), |counter| &counter.model)
    }

    /// Whether CountTokens of the runtime endpoint answers an operation.
    pub fn counts_by_runtime(&self, operation: Operation) -> bool {
        operation == Operation::CountMessageTokens
            && self.capabilities.service == Endpoint::Runtime
            && self.token_counter.is_none()
    }

    fn path(&self, operation: Operation) -> Option<String> {
        let native = |operation| model_path(operation, &self.model.encode());
        match operation {
            // The runtime endpoint has an operation of its own for it.
            _ if self.counts_by_runtime(operation) => native(Operation::CountTokens),
            _ if operation.api() == Api::Bedrock => native(operation),
            _ => Some(format!(
                "{}{}",
                self.prefix(operation.api()),
                api_path::to_path(operation, "")?
            )),
        }
    }

    /// The URI of an operation on a stored response.
    pub fn response_uri(&self, operation: Operation, id: &str, query: Option<&str>) -> Option<Uri> {
        let mut path =
            format!("{}{}", self.prefix(Api::Responses), api_path::to_path(operation, id)?);
        if let Some(query) = query {
            path.push('?');
            path.push_str(query);
        }
        Some(self.endpoint.origin.uri(PathAndQuery::try_from(path).ok()?))
    }

    /// What the paths of an API begin with at its endpoint.
    fn prefix(&self, api: Api) -> &str {
        match api {
            Api::Messages => "/anthropic/v1",
            _ => self.openai_prefix.as_deref().unwrap_or("/openai/v1"),
        }
    }

    /// The label id of its model; all models that the config does not name share one.
    pub fn model_label_id(&self, metrics: &Metrics) -> u32 {
        let label = || if &*self.name == OTHER { OTHER } else { self.model.as_str() };
        self.label_id.get(label, &metrics.labels)
    }

    /// What it can take.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// The cap on output tokens for a request that asked for `requested`: the configured one, or the model's own,
    /// above which Bedrock refuses every request. What Bedrock has named in a refusal counts for a model that stands
    /// in for another. A thinking budget that leaves no room below the model's own cap is Bedrock's to judge.
    pub fn cap(&self, requested: &ModelId, thinking: Option<u64>) -> Option<u32> {
        let Capabilities { configured_cap, known_cap, .. } = self.capabilities;
        let fits = |cap: u32| thinking.is_none_or(|budget| budget < u64::from(cap));
        let own = || match known_cap {
            Some(cap) if fits(cap) => Some(cap),
            _ if self.is_model(requested) => None,
            known => known.or_else(|| self.named_output()),
        };
        configured_cap.or_else(own)
    }

    /// The largest answer that Bedrock has named when it refused a request.
    pub fn named_output(&self) -> Option<u32> {
        Some(self.named_output.load(Ordering::Relaxed)).filter(|limit| *limit > 0)
    }

    /// The largest input that Bedrock has named when it refused a request.
    pub fn named_input(&self) -> Option<u32> {
        Some(self.named_input.load(Ordering::Relaxed)).filter(|limit| *limit > 0)
    }

    /// Learns a limit that Bedrock has named. It counts where neither the config nor the catalogue has one.
    /// True if it is new.
    pub fn learn_limit(&self, limit: NamedLimit) -> bool {
        let (learned, tokens) = match limit {
            NamedLimit::Output(tokens) => (&self.named_output, tokens),
            NamedLimit::Input(tokens) => (&self.named_input, tokens),
        };
        learned.swap(tokens, Ordering::Relaxed) != tokens
    }

    /// Whether its model is `requested`, by an id of whatever region or by a name.
    pub fn is_model(&self, requested: &ModelId) -> bool {
        let is_named = || {
            let names = self.model_info.iter().flat_map(|facts| &facts.names);
            names.into_iter().any(|name| name == requested.as_str())
        };
        requested.base().is_some_and(|base| self.has_id(base)) || is_named()
    }

    /// Whether another target has the same model, under whichever id.
    pub fn is_same_model(&self, other: &Target) -> bool {
        match other.base_model().base() {
            Some(base) => self.has_id(base),
            None => self.base_model().base().is_none(),
        }
    }

    /// Whether its model has this base id, at its own endpoint or at another.
    fn has_id(&self, base: &str) -> bool {
        self.base_model().base() == Some(base) || self.id_elsewhere.as_deref() == Some(base)
    }

    /// Whether the cooldown admits a request with this demand.
    pub fn is_free(&self, demand: QuotaDemand, now: Instant) -> bool {
        self.cooldown_for(demand).is_free(now)
    }

    /// Why the cooldown admits no request with this demand, if it does not.
    pub fn blocked(&self, demand: QuotaDemand, now: Instant) -> Option<Blocked> {
        self.cooldown_for(demand).blocked(now)
    }

    /// The state for inference.
    pub fn state(&self, now: Instant) -> State {
        self.cooldown().state(now)
    }

    /// The state for CountTokens.
    pub fn count_tokens_state(&self, now: Instant) -> State {
        self.count_tokens_cooldown().state(now)
    }

    /// The state for such a request.
    pub fn state_for(&self, demand: QuotaDemand, now: Instant) -> State {
        self.cooldown_for(demand).state(now)
    }

    /// Whether the target is out for want of quota.
    pub fn is_throttled(&self, demand: QuotaDemand) -> bool {
        self.cooldown_for(demand).is_out_of_quota()
    }

    /// Consecutive throttles and the time of the last.
    pub fn throttles(&self) -> (u32, Option<SystemTime>) {
        let cooldown = self.cooldown();
        (cooldown.throttles(), cooldown.throttled_at())
    }

    /// The quota that it draws on.
    pub fn quota(&self) -> &Arc<Quota> {
        &self.quota
    }

    /// The signal of the queue for it.
    pub fn signal(&self) -> &Arc<QueueSignal> {
        &self.signal
    }

    /// What a request of this size, for the model `requested`, would take of its quota. A request that names no
    /// maximum counts with the model's default, as at Bedrock, or with what is assumed instead.
    pub fn demand(
        &self,
        operation: Operation,
        size: &RequestSize,
        requested: &ModelId,
    ) -> QuotaDemand {
        let cap = || self.cap(requested, size.thinking).map_or(u64::MAX, u64::from);
        QuotaDemand {
            input: self.estimator.input(size.text_bytes, size.media),
            max_output: match size.max_output {
                Some(asked) => asked.min(cap()),
                None if self.assumed_max_output < self.default_max_output => {
                    self.estimator.free_output(self.assumed_max_output)
                }
                None => self.default_max_output,
            },
            operation: Some(operation),
            upper_bound: match self.reserve {
                config::Reserve::Estimate => None,
                config::Reserve::Maximum => Some(self.bound(size, requested).tokens()),
            },
            is_reserved_tier: size.extent.tier == Some(ServiceTier::Reserved),
        }
    }

    /// The most that a request of this size, for the model `requested`, can use here.
    pub fn bound(&self, size: &RequestSize, requested: &ModelId) -> Bound {
        let model = bound::Model {
            id: &self.model,
            known: self.model_info.as_deref(),
            named_input: self.named_input(),
            family: self.capabilities.family,
            cap: self.cap(requested, size.thinking).map(u64::from),
        };
        bound::bound(size, &model)
    }

    /// What so many tokens cost of its quotas.
    pub(super) fn charge(&self, input: u64, output: u64) -> TokenCharge {
        TokenCharge { input, output, burndown: self.burndown }
    }

    /// When a request is likely to be admitted if no other comes before it.
    pub fn due(&self, demand: QuotaDemand, now: Instant) -> Instant {
        let free_at = match self.state_for(demand, now) {
            State::Cooling(until) => until,
            State::Available | State::Probing => now,
            State::Drained => now + NEVER,
        };
        if !demand.draws_on_quota() {
            return free_at;
        }
        free_at.max(self.quotas_due(demand, now))
    }

    /// Learns from a complete answer.
    pub(super) fn learn_from_answer(&self, demand: QuotaDemand, size: &RequestSize, usage: &Usage) {
        let mut output = demand.max_output;
        if size.max_output.is_none() {
            self.estimator.learn_free_output(usage.output);
            output = self.default_max_output;
        }
        let tokens = demand.input.saturating_add(output);
        if self.largest_answered.load(Ordering::Relaxed) < tokens {
            self.largest_answered.fetch_max(tokens, Ordering::Relaxed);
        }
    }

    /// Takes the target out of traffic, or puts it back. Requests in flight go on.
    pub fn drain(&self, is_drained: bool) {
        self.cooldown().drain(is_drained);
        self.count_tokens_cooldown().drain(is_drained);
        self.signal.notify();
    }

    /// Makes the target available and forgets what failures and throttles have taught, learned limits
    /// included.
    pub fn reset(&self) {
        self.cooldown().reset();
        self.count_tokens_cooldown().reset();
        self.forget_denials();
        self.quota.reset(Instant::now());
        self.reset_further_quotas(Instant::now());
        self.signal.notify();
    }

    /// Resets the target at all replicas.
    pub fn reset_for_all(&self) {
        self.publish_forgotten_denials();
        self.reset();
        self.publish_reset_of_days();
        self.publish_reset();
    }

    /// Takes over the state of `before`, the same target under an older config.
    pub fn take_over(&self, before: &Target, now: Instant) {
        self.cooldown().take_over(&before.cooldown());
        self.count_tokens_cooldown().take_over(&before.count_tokens_cooldown());
        self.quota.take_over(&before.quota, now);
        self.take_over_further_quotas(before, now);
        self.access.take_over(&before.access);
        self.estimator.take_over(&before.estimator);
        self.latency.take_over(&before.latency);
        let largest = before.largest_answered.load(Ordering::Relaxed);
        self.largest_answered.store(largest, Ordering::Relaxed);
        for (own, before) in
            [(&self.named_output, &before.named_output), (&self.named_input, &before.named_input)]
        {
            own.store(before.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// The cooldown that counts for such a request.
    pub(super) fn cooldown_for(&self, demand: QuotaDemand) -> MutexGuard<'_, Cooldown> {
        if demand.is_count_tokens() { self.count_tokens_cooldown() } else { self.cooldown() }
    }

    pub(super) fn cooldown(&self) -> MutexGuard<'_, Cooldown> {
        self.cooldown.lock()
    }

    pub(super) fn count_tokens_cooldown(&self) -> MutexGuard<'_, Cooldown> {
        self.count_tokens_cooldown.lock()
    }
}

/// Where the tokens of a target's requests are counted, if that is not its own endpoint.
#[derive(Debug)]
struct TokenCounter {
    origin: Origin,
    model: String,
}

impl TokenCounter {
    /// That of a target of the runtime endpoint whose model only the mantle endpoint counts for. An endpoint that
    /// is not AWS's own, such as a proxy, is taken to be of both.
    fn of(config: &config::Target, known: Option<&ModelFacts>) -> Option<TokenCounter> {
        let counter = known?.count_tokens_with.as_ref()?;
        let is_elsewhere = config.service == Endpoint::Runtime
            && counter.endpoint == Endpoint::Mantle
            && config.surfaces.is_none();
        let origin = match config.endpoint.is_of_aws() {
            true => Origin::new(&config::Endpoint::of_mantle(&config.region).ok()?),
            false => Origin::new(&config.endpoint),
        };
        is_elsewhere.then(|| TokenCounter { origin, model: counter.model.clone() })
    }
}

/// What the paths of OpenAI's APIs begin with at the mantle endpoint, where it differs by model.
fn openai_prefix(config: &config::Target, known: Option<&ModelFacts>) -> Option<Box<str>> {
    if config.service == Endpoint::Runtime {
        return None;
    }
    let known = || known?.path_prefix.as_deref();
    Some(config.path_prefix.as_deref().or_else(known).unwrap_or("/v1").into())
}

/// The bytes of a model id, beside the count of their users, in one cache line or two.
fn inline_model_bytes(text: &str) -> Bytes {
    Bytes::from_owner(SmallVec::<[u8; 64]>::from_slice(text.as_bytes()))
}

/// Like it, for paths.
fn inline_path_bytes(text: &str) -> Bytes {
    Bytes::from_owner(SmallVec::<[u8; 96]>::from_slice(text.as_bytes()))
}

/// The name that all replicas know a target by. It has region and model, since two configs may give one name
/// to different targets.
pub(super) fn shared_name(name: &str, region: &str, model: &ModelId) -> String {
    format!("{name}|{region}|{}", model.as_str())
}

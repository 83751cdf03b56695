//! One place that can answer: a model in a region with one set of credentials, and its state.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderValue, Uri};
use prometheus::IntCounter;
use smallvec::SmallVec;
use tokio::time::Instant;

use super::access;
use super::bound::{self, Bound};
use super::cooldown::{Blocked, Cooldown, Pass, Policy, State};
use super::demand::{QuotaDemand, RequestSize};
use super::denied::OfOperation;
use super::excess::own_output;
use super::latency::Latency;
use super::pool::Pool;
use super::side::{PROBE_HOLD, Side, probe_after};
use super::site::Site;
use crate::bedrock::body::Peek;
use crate::bedrock::path::model_path;
use crate::bedrock::{Family, Features, ModelId, Operation, Usage, catalogue};
use crate::config;
use crate::fleet::{Fleet, FleetEvent, FleetListener};
use crate::quota::{Dimension, Estimator, Quota, Reservation};
use crate::telemetry::{LabelId, Metrics, OTHER};

/// Later than any wait.
const NEVER: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// Everything that makes a target what it is.
#[derive(Debug)]
pub struct Parts {
    /// The model id that goes into the path.
    pub model: ModelId,
    /// The model whose limits, price and family count.
    pub base_model: ModelId,
    /// When it takes traffic.
    pub policy: Policy,
    /// Where it is, and who signs its requests.
    pub site: Arc<Site>,
    /// What it draws on.
    pub quota: Arc<Quota>,
    /// Who waits for it.
    pub pool: Arc<Pool>,
    /// The other replicas, if it is shared with some.
    pub fleet: Option<Fleet>,
}

/// What a target can take, which never changes. Small and without pointers, so that those of a route
/// stand side by side and a request need not look at each target.
#[derive(Clone, Copy, Debug)]
pub struct Abilities {
    /// The schema of the model's InvokeModel bodies.
    pub family: Family,
    configured_cap: Option<u32>,
    /// The cap that the model is known to have.
    known_cap: Option<u32>,
    features: Option<Features>,
}

impl Abilities {
    /// Whether a request that uses this can be taken: the features that it uses, and a cap that
    /// leaves room for thinking. `is_itself` tells whether the model is the one asked for, to which
    /// the cap that it is known to have does not apply.
    pub fn take(&self, peek: &Peek, is_itself: impl FnOnce() -> bool) -> bool {
        let fits = |cap| peek.fits(cap);
        self.features.is_none_or(|features| features.contains(peek.features))
            && match self.configured_cap {
                Some(cap) => fits(cap),
                None => self.known_cap.is_none_or(fits) || is_itself(),
            }
    }
}

/// A target and its state. What every request looks at comes first, and side by side: of many targets
/// most are in no cache when they are asked, so each line of it costs.
#[derive(Debug)]
#[repr(C)]
pub struct Target {
    /// Where it is, and who signs its requests.
    pub site: Arc<Site>,
    quota: Arc<Quota>,
    /// The target's name in metrics, logs and the config.
    pub name: Arc<str>,
    /// The model id that goes into the path.
    pub model: ModelId,
    /// The one whose limits, price and family count, if that is another.
    other_base: Option<Box<ModelId>>,
    /// The model id as a header value.
    pub model_header: HeaderValue,
    /// What the catalogue knows of the base model.
    pub known: Option<&'static catalogue::ModelFacts>,
    /// The count of its attempts that were answered, once there is one.
    pub answered: OnceLock<IntCounter>,
    abilities: Abilities,
    /// What it has taught about sizes.
    pub estimator: Estimator,
    /// The label id of its model.
    label_id: LabelId,
    /// What an answer to a request without a maximum may have.
    pub(super) own_output: u64,
    /// The most that is reserved for one.
    assumed_output: u64,
    /// Tokens of the largest request that was answered to the end.
    pub(super) largest_answered: AtomicU64,
    /// What an output token costs of the quota.
    burndown: u64,
    reserve: config::Reserve,
    /// Which operations it was denied.
    pub(super) access: access::Shared,
    cooldown: Mutex<Cooldown>,
    /// How fast its answers begin.
    pub latency: Latency,
    /// The paths of the operations on its model, each made when it is first asked for.
    paths: [OnceLock<PathAndQuery>; Operation::WITH_MODEL],
    pool: Arc<Pool>,
    pub(super) fleet: Option<Fleet>,
    /// Its state for what is not inference.
    side: Arc<Side>,
    /// Those who hear of what others were denied.
    pub(super) followers: OnceLock<Box<[Arc<OfOperation>]>>,
    /// Name for people.
    pub display_name: String,
}

impl Target {
    /// An available target.
    pub fn new(config: &config::Target, parts: Parts) -> Target {
        let Parts { model, base_model, policy, site, quota, pool, fleet } = parts;
        let facts = catalogue::lookup(&base_model);
        let known = facts.map(catalogue::ModelFacts::features);
        let own_output = own_output(config, facts);
        let unnamed = known.map_or(Features::UNNAMED, |known| known.common(Features::UNNAMED));
        let named = |names: &Vec<config::Feature>| {
            names.iter().copied().map(feature).chain([unnamed]).collect()
        };
        Target {
            name: config.name.as_str().into(),
            display_name: config.display_name.clone().unwrap_or_else(|| config.name.clone()),
            model_header: HeaderValue::from_maybe_shared(short(model.as_str()))
                .unwrap_or_else(|_| HeaderValue::from_static("-")),
            abilities: Abilities {
                family: base_model.family(),
                configured_cap: config.max_output_tokens,
                known_cap: facts.and_then(|facts| facts.max_output_tokens),
                features: config.features.as_ref().map(named).or(known),
            },
            burndown: u64::from(
                config.output_burndown.unwrap_or_else(|| catalogue::burndown(&base_model)),
            ),
            reserve: config.reserve,
            other_base: (base_model != model).then(|| Box::new(base_model)),
            model,
            estimator: Estimator::default(),
            latency: Latency::default(),
            answered: OnceLock::new(),
            label_id: LabelId::default(),
            site,
            paths: Default::default(),
            known: facts,
            own_output,
            largest_answered: AtomicU64::new(0),
            assumed_output: config
                .assumed_max_output_tokens
                .map_or(own_output, |assumed| own_output.min(u64::from(assumed))),
            side: Side::new(policy.clone(), Arc::clone(&pool), fleet.clone()),
            cooldown: Mutex::new(Cooldown::new(policy)),
            quota,
            pool,
            access: access::Shared::default(),
            fleet,
            followers: OnceLock::new(),
        }
    }

    /// The text of its model id, read where the header has it: the two lie apart, and an answer has
    /// just been given that one.
    pub fn model_text(&self) -> &str {
        self.model_header.to_str().unwrap_or(self.model.as_str())
    }

    /// The model whose limits, price and family count: `base_model` if configured.
    pub fn base_model(&self) -> &ModelId {
        self.other_base.as_deref().unwrap_or(&self.model)
    }

    /// Where requests for a model operation go; `None` if that is no URI, which no checked id makes.
    pub fn uri(&self, operation: Operation) -> Option<Uri> {
        let kept = self.paths.get(operation as usize)?;
        let path = match kept.get() {
            Some(path) => path.clone(),
            None => {
                let text = model_path(operation, &self.model.encode())?;
                let path = PathAndQuery::from_maybe_shared(long(&text)).ok()?;
                kept.get_or_init(|| path).clone()
            }
        };
        Some(self.site.origin.uri(path))
    }

    /// The name that all replicas know it by.
    pub fn shared_name(&self) -> String {
        shared_name(&self.name, &self.site.region, &self.model)
    }

    /// Lets it hear what other replicas meet at it.
    pub fn follow(self: &Arc<Self>) {
        if let Some(fleet) = &self.fleet {
            let follower: std::sync::Weak<Target> = Arc::downgrade(self);
            fleet.listen(&self.shared_name(), follower);
            self.side.follow(&self.shared_name());
        }
        self.follow_denials();
    }

    /// Tells the other replicas of the state that counts for this need.
    fn tell(&self, demand: QuotaDemand, notice: impl FnOnce(String) -> FleetEvent) {
        if let Some(fleet) = &self.fleet {
            let name = self.shared_name();
            fleet.publish(notice(if demand.is_count_tokens() {
                Side::shared_name(&name)
            } else {
                name
            }));
        }
    }

    /// Tells of the cooldown that has just begun.
    fn tell_cooled(&self, demand: QuotaDemand, now: Instant) {
        if self.fleet.is_none() {
            return;
        }
        let (state, throttles, is_quota) = {
            let cooldown = self.cooldown_for(demand);
            (cooldown.state(now), cooldown.throttles(), cooldown.is_out_of_quota())
        };
        if let State::Cooling(until) = state {
            let pause = until.saturating_duration_since(now);
            self.tell(demand, |target| FleetEvent::Cooled { target, pause, throttles, is_quota });
        }
    }

    /// The label id of its model; all models that the config does not name share one.
    pub fn model_number(&self, metrics: &Metrics) -> u32 {
        let label = || if &*self.name == OTHER { OTHER } else { self.model.as_str() };
        self.label_id.get(label, &metrics.labels)
    }

    /// What it can take.
    pub fn abilities(&self) -> &Abilities {
        &self.abilities
    }

    /// The cap on output tokens for a request that asked for `requested`: the configured one,
    /// else, for a model that stands in for another, the one the model is known to have.
    pub fn cap(&self, requested: &ModelId) -> Option<u32> {
        let Abilities { configured_cap, known_cap, .. } = self.abilities;
        configured_cap.or_else(|| known_cap.filter(|_| !self.is_model(requested)))
    }

    /// Whether its model is `requested`, in this region or another.
    pub fn is_model(&self, requested: &ModelId) -> bool {
        requested.base().is_some() && self.base_model().base() == requested.base()
    }

    /// Whether the cooldown lets in what needs this.
    pub fn is_free(&self, demand: QuotaDemand, now: Instant) -> bool {
        self.cooldown_for(demand).is_free(now)
    }

    /// Whether the target takes inference.
    pub fn state(&self, now: Instant) -> State {
        self.cooldown().state(now)
    }

    /// Whether the target takes what needs this.
    pub fn state_for(&self, demand: QuotaDemand, now: Instant) -> State {
        self.cooldown_for(demand).state(now)
    }

    /// Whether the target takes CountTokens.
    pub fn side_state(&self, now: Instant) -> State {
        self.side.cooldown().state(now)
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

    /// The quota that the target draws on.
    pub fn quota(&self) -> &Arc<Quota> {
        &self.quota
    }

    /// The line for this target and those that stand in for it.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// What a request of this size, for the model `requested`, needs here. A request that names
    /// no maximum counts with the model's own, as Bedrock has it, or with what is assumed instead.
    pub fn demand(
        &self,
        operation: Operation,
        size: &RequestSize,
        requested: &ModelId,
    ) -> QuotaDemand {
        let cap = || self.cap(requested).map_or(u64::MAX, u64::from);
        QuotaDemand {
            input: self.estimator.input(size.text_bytes, size.media),
            max_output: match size.max_output {
                Some(asked) => asked.min(cap()),
                None if self.assumed_output < self.own_output => {
                    self.estimator.free_output(self.assumed_output)
                }
                None => self.own_output,
            },
            operation: Some(operation),
            upper_bound: match self.reserve {
                config::Reserve::Estimate => None,
                config::Reserve::Maximum => Some(self.bound(size, requested).tokens()),
            },
        }
    }

    /// The most that a request of this size, for the model `requested`, can use here.
    pub fn bound(&self, size: &RequestSize, requested: &ModelId) -> Bound {
        let model = bound::Model {
            id: &self.model,
            base: self.base_model(),
            known: self.known,
            family: self.abilities.family,
            cap: self.cap(requested).map(u64::from),
        };
        bound::bound(size, &model)
    }

    /// Leave to send one request, or why not now.
    pub fn enter(self: &Arc<Self>, demand: QuotaDemand, now: Instant) -> Result<Permit, Blocked> {
        // Looked at first, so that a lack of quota does not use up a probe.
        self.cooldown_for(demand).blocked(now).map_or(Ok(()), Err)?;
        let reservation =
            demand.draws_on_quota().then(|| self.quota.take(demand.tokens(), now)).transpose();
        let reservation = reservation.map_err(Blocked::Until)?;
        let (pass, is_probe) = {
            let mut cooldown = self.cooldown_for(demand);
            let pass = cooldown.enter(now)?;
            (pass, cooldown.is_probing() && cooldown.is_out_of_quota())
        };
        if is_probe {
            self.tell(demand, |target| FleetEvent::ProbeStarted { target });
        }
        Ok(Permit { target: Arc::clone(self), pass: Some(pass), demand, reservation })
    }

    /// When a request is likely to get in if nobody comes before it.
    pub fn due(&self, demand: QuotaDemand, now: Instant) -> Instant {
        let open = match self.state_for(demand, now) {
            State::Cooling(until) => until,
            State::Available | State::Probing => now,
            State::Drained => now + NEVER,
        };
        if !demand.draws_on_quota() {
            return open;
        }
        open.max(self.quota.when(demand.tokens(), now))
    }

    /// Takes the target out of traffic, or puts it back; what is under way goes on.
    pub fn drain(&self, is_drained: bool) {
        self.cooldown().drain(is_drained);
        self.side.cooldown().drain(is_drained);
        self.pool.signal().notify();
    }

    /// Makes the target available and forgets what its failures and throttles have taught, learned limits
    /// included.
    pub fn reset(&self) {
        self.cooldown().reset();
        self.side.cooldown().reset();
        self.forget_denials();
        self.quota.reset(Instant::now());
        self.pool.signal().notify();
    }

    /// The same at all replicas.
    pub fn reset_for_all(&self) {
        self.forget_denials_elsewhere();
        self.reset();
        for operation in [Operation::Converse, Operation::CountTokens] {
            let demand = QuotaDemand { operation: Some(operation), ..QuotaDemand::default() };
            self.tell(demand, |target| FleetEvent::TargetReset { target });
        }
    }

    /// Takes over the state that `before`, the same target under an older config, has come to.
    pub fn take_over(&self, before: &Target, now: Instant) {
        self.cooldown().take_over(&before.cooldown());
        self.side.cooldown().take_over(&before.side.cooldown());
        self.quota.take_over(&before.quota, now);
        self.access.take_over(&before.access);
        self.estimator.take_over(&before.estimator);
        self.latency.take_over(&before.latency);
        let largest = before.largest_answered.load(Ordering::Relaxed);
        self.largest_answered.store(largest, Ordering::Relaxed);
    }

    fn cooldown_for(&self, demand: QuotaDemand) -> MutexGuard<'_, Cooldown> {
        if demand.is_count_tokens() { self.side.cooldown() } else { self.cooldown() }
    }

    fn cooldown(&self) -> MutexGuard<'_, Cooldown> {
        // Transitions are whole before the lock is let go, so a poisoned state is a valid one.
        self.cooldown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A model id; the text and the count of its users lie side by side.
fn short(text: &str) -> Bytes {
    Bytes::from_owner(SmallVec::<[u8; 64]>::from_slice(text.as_bytes()))
}

/// The same of a path.
fn long(text: &str) -> Bytes {
    Bytes::from_owner(SmallVec::<[u8; 96]>::from_slice(text.as_bytes()))
}

/// A header value of a text that the config has checked.
pub(super) fn header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("-"))
}

/// The name that all replicas know a target by: those of one name may have different configs.
pub(super) fn shared_name(name: &str, region: &str, model: &ModelId) -> String {
    format!("{name}|{region}|{}", model.as_str())
}

impl FleetListener for Target {
    fn cooled(&self, pause: Duration, throttles: u32, is_quota: bool) {
        let after = probe_after(self.fleet.as_ref(), pause);
        self.cooldown().cooled_elsewhere(Instant::now(), pause, after, throttles, is_quota);
        self.pool.signal().notify();
    }

    fn recovered(&self) {
        if self.cooldown().recovered_elsewhere(Instant::now()) {
            self.pool.signal().notify();
        }
    }

    fn probe_started(&self) {
        self.cooldown().probed_elsewhere(Instant::now(), PROBE_HOLD);
        self.pool.signal().notify();
    }

    fn reset(&self) {
        Target::reset(self);
    }
}

/// Leave to send one request to a target, with what it holds of the target's quota. Dropped
/// without a report, as on cancellation, it says nothing of the target and makes room for another
/// probe; the quota is charged for what was sent.
#[derive(Debug)]
pub struct Permit {
    target: Arc<Target>,
    pass: Option<Pass>,
    demand: QuotaDemand,
    reservation: Option<Reservation>,
}

impl Permit {
    /// The target it is for.
    pub fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// The input tokens that the request may have.
    pub fn input(&self) -> u64 {
        self.demand.input
    }

    /// The request is about to be sent: from here on it costs what such requests cost, until
    /// more is known.
    pub fn sent(&mut self) {
        let output = self.target.estimator.output(self.demand.max_output);
        let expected =
            self.demand.input.saturating_add(output.saturating_mul(self.target.burndown));
        if let Some(reservation) = &mut self.reservation {
            reservation.charge(expected);
        }
    }

    /// The request was answered, after `took`. What it holds of the quota is settled when its
    /// answer ends.
    pub fn succeeded(mut self, took: Duration) -> Spending {
        if self.demand.draws_on_quota() {
            self.target.latency.learn(took);
        }
        self.target.answered_to(self.demand.operation);
        let mut was_out_of_quota = false;
        let opened = self.report(|cooldown, pass| {
            was_out_of_quota = cooldown.is_out_of_quota();
            cooldown.succeeded(pass, Instant::now())
        });
        if opened && was_out_of_quota {
            self.target.tell(self.demand, |target| FleetEvent::Recovered { target });
        }
        Spending {
            target: Arc::clone(&self.target),
            demand: self.demand,
            reservation: self.reservation.take(),
            is_whole: false,
        }
    }

    /// The request was throttled, for want of this; `alone` as in [`Cooldown::throttled`].
    pub fn throttled(mut self, dimension: Dimension, alone: bool) {
        let alone = alone.then(fastrand::f64);
        let mut is_first = false;
        self.report(|cooldown, pass| {
            is_first = cooldown.throttled(pass, Instant::now(), alone);
            true
        });
        self.give_back();
        // Settled before the quota hears of the throttle, which leaves it empty.
        drop(self.reservation.take());
        if is_first {
            self.target.tell_cooled(self.demand, Instant::now());
        }
        if is_first && self.demand.draws_on_quota() {
            self.target.quota.throttled(dimension, Instant::now());
        }
    }

    /// The request was not taken, and the target is as it was.
    pub fn not_taken(mut self) {
        self.give_back();
    }

    /// The request was answered with its own mistake, or the model failed on it, which says
    /// nothing of the target. A mistake costs nothing.
    pub fn refused(mut self, status: http::StatusCode) {
        if status != http::StatusCode::FAILED_DEPENDENCY {
            self.give_back();
        }
    }

    /// The target is out for this long; `is_quota` if that is for want of a longer quota.
    pub fn out(mut self, pause: Duration, is_quota: bool) {
        self.report(|cooldown, _| {
            cooldown.out(Instant::now(), pause, is_quota);
            true
        });
        self.target.tell_cooled(self.demand, Instant::now());
        self.give_back();
    }

    /// The request failed without being throttled; `was_read` says whether the upstream had it.
    /// True if that took the target out.
    pub fn failed(mut self, was_read: bool) -> bool {
        let mut ejected = false;
        self.report(|cooldown, pass| {
            ejected = cooldown.failed(pass, Instant::now());
            true
        });
        match &mut self.reservation {
            Some(reservation) if was_read => reservation.charge(self.demand.input),
            _ => self.give_back(),
        }
        ejected
    }

    fn give_back(&mut self) {
        if let Some(reservation) = &mut self.reservation {
            reservation.not_taken();
        }
    }

    fn report(&mut self, transition: impl FnOnce(&mut Cooldown, &Pass) -> bool) -> bool {
        let Some(pass) = self.pass.take() else { return false };
        let changed = transition(&mut self.target.cooldown_for(self.demand), &pass);
        if changed {
            self.target.pool.signal().notify();
        }
        changed
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(pass) = self.pass.take() else { return };
        let now = Instant::now();
        let freed = {
            let mut cooldown = self.target.cooldown_for(self.demand);
            let was_free = cooldown.is_free(now);
            cooldown.left(&pass, now);
            cooldown.is_free(now) && !was_free
        };
        if freed {
            self.target.pool.signal().notify();
        }
    }
}

/// What an answer under way holds of its target's quota; settled when dropped.
#[derive(Debug)]
pub struct Spending {
    target: Arc<Target>,
    demand: QuotaDemand,
    reservation: Option<Reservation>,
    /// Whether the answer came to its end.
    is_whole: bool,
}

impl Spending {
    /// The target that answers.
    pub fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// The input tokens that were reserved.
    pub fn input(&self) -> u64 {
        self.demand.input
    }

    /// Notes that so many output tokens have passed, about: what a broken-off answer costs.
    pub fn seen(&mut self, output: u64) {
        let charge = self.demand.input.saturating_add(output.saturating_mul(self.target.burndown));
        if let Some(reservation) = &mut self.reservation {
            reservation.charge(charge);
        }
    }

    /// Notes that the answer broke off or fell silent, which is a failure of the target's. Operations
    /// without a model are apart from one another: none of them says anything of the next.
    pub fn stalled(&self) {
        let ejected = self.demand.operation.is_some()
            && self.target.cooldown_for(self.demand).stalled(Instant::now());
        if ejected {
            tracing::warn!(target_name = %self.target.name, "target ejected after stalled answers");
            self.target.pool.signal().notify();
        }
    }

    /// Notes that the answer came to its end.
    pub fn completed(&mut self) {
        self.is_whole = true;
        self.target.cooldown_for(self.demand).completed();
    }

    /// Settles with what the answer told, and learns from it.
    pub fn settle(mut self, usage: &Usage, size: &RequestSize) {
        let charge =
            usage.input + usage.cache_write + usage.output.saturating_mul(self.target.burndown);
        if let Some(reservation) = &mut self.reservation {
            reservation.charge(charge);
        }
        if !self.demand.draws_on_quota() {
            return;
        }
        if self.is_whole {
            self.target.has_answered(self.demand, size, usage);
        }
        let input = usage.input + usage.cache_read + usage.cache_write;
        let (text, media, max) = (size.text_bytes, size.media, self.demand.max_output);
        self.target.estimator.learn(text, media, input, max, usage.output);
    }
}

fn feature(feature: config::Feature) -> Features {
    match feature {
        config::Feature::Images => Features::VISION,
        config::Feature::Documents => Features::DOCUMENTS,
        config::Feature::Video => Features::VIDEO,
        config::Feature::Audio => Features::AUDIO,
        config::Feature::Tools => Features::TOOLS,
        config::Feature::Thinking => Features::REASONING,
        config::Feature::PromptCaching => Features::PROMPT_CACHING,
    }
}

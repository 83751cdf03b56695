//! One place that can answer: a model in a region with one set of credentials, and its state.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::cooldown::{Blocked, Cooldown, Pass, Policy, State};
use crate::bedrock::body::{Features, Peek};
use crate::bedrock::{Family, ModelId, catalogue};
use crate::config;
use crate::upstream::Origin;
use crate::upstream::credentials::Identity;

/// A target and its state.
#[derive(Debug)]
pub struct Target {
    /// The target's name in metrics, logs and the config.
    pub name: Arc<str>,
    /// Name for people.
    pub display_name: String,
    /// The model id that goes into the path.
    pub model: ModelId,
    /// The same, percent-encoded.
    pub encoded_model: String,
    /// Region that requests are signed for.
    pub region: String,
    /// Where requests go.
    pub origin: Origin,
    /// Who signs them.
    pub identity: Arc<Identity>,
    /// Time for an answer to begin.
    pub first_byte_timeout: Duration,
    /// Longest silence within a stream.
    pub idle_timeout: Duration,
    /// The model whose limits, price and family count: `base_model` if configured.
    pub base_model: ModelId,
    family: Family,
    configured_cap: Option<u32>,
    features: Option<Features>,
    cooldown: Mutex<Cooldown>,
    changed: Arc<Notify>,
}

impl Target {
    /// A target open for traffic. `changed` is notified whenever its state changes so that
    /// waiting requests look again.
    pub fn new(
        config: &config::Target,
        model: ModelId,
        base_model: ModelId,
        policy: Policy,
        identity: Arc<Identity>,
        changed: Arc<Notify>,
    ) -> Target {
        let known = catalogue::lookup(&base_model).map(catalogue::ModelFacts::features);
        let named = |names: &Vec<String>| Features::from_names(names.iter().map(String::as_str));
        Target {
            name: config.name.as_str().into(),
            display_name: config.display_name.clone().unwrap_or_else(|| config.name.clone()),
            encoded_model: model.encode(),
            family: base_model.family(),
            model,
            base_model,
            region: config.region.clone(),
            origin: Origin::new(&config.endpoint),
            identity,
            first_byte_timeout: config.first_byte_timeout,
            idle_timeout: config.idle_timeout,
            configured_cap: config.max_output_tokens,
            features: config.features.as_ref().map(named).or(known),
            cooldown: Mutex::new(Cooldown::new(policy)),
            changed,
        }
    }

    /// The schema of the model's InvokeModel bodies.
    pub fn family(&self) -> Family {
        self.family
    }

    /// The cap on output tokens for a request that asked for `requested`: the configured one,
    /// else, for a model that stands in for another, the one the model is known to have.
    pub fn cap(&self, requested: &ModelId) -> Option<u32> {
        let known =
            || catalogue::lookup(&self.base_model).and_then(|facts| facts.max_output_tokens);
        let is_itself = self.base_model.base() == requested.base() && requested.base().is_some();
        self.configured_cap.or_else(|| if is_itself { None } else { known() })
    }

    /// Whether the target can stand in for another model with this request: it takes the
    /// features that the request uses, and its cap leaves room for thinking.
    pub fn can_take(&self, peek: &Peek, requested: &ModelId) -> bool {
        self.features.is_none_or(|features| features.contains(peek.features))
            && self.cap(requested).is_none_or(|cap| peek.fits(cap))
    }

    /// Whether [`Target::enter`] would give a permit.
    pub fn is_free(&self, now: Instant) -> bool {
        self.cooldown().is_free(now)
    }

    /// Whether the target takes traffic.
    pub fn state(&self, now: Instant) -> State {
        self.cooldown().state(now)
    }

    /// Consecutive throttles and the time of the last.
    pub fn throttles(&self) -> (u32, Option<SystemTime>) {
        let cooldown = self.cooldown();
        (cooldown.throttles(), cooldown.throttled_at())
    }

    /// Leave to send one request, or why not now.
    pub fn enter(self: &Arc<Self>, now: Instant) -> Result<Permit, Blocked> {
        let pass = self.cooldown().enter(now)?;
        Ok(Permit { target: Arc::clone(self), pass: Some(pass) })
    }

    /// Opens the target and forgets its throttles.
    pub fn reset(&self) {
        self.cooldown().reset();
        self.changed.notify_waiters();
    }

    fn cooldown(&self) -> MutexGuard<'_, Cooldown> {
        // Transitions are whole before the lock is let go, so a poisoned state is a valid one.
        self.cooldown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leave to send one request to a target. Dropped without a report, as on cancellation, it says
/// nothing of the target and makes room for another probe.
#[derive(Debug)]
pub struct Permit {
    target: Arc<Target>,
    pass: Option<Pass>,
}

impl Permit {
    /// The target it is for.
    pub fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// The request was answered.
    pub fn succeeded(self) {
        self.report(|cooldown, pass| cooldown.succeeded(pass));
    }

    /// The request was throttled; `alone` as in [`Cooldown::throttled`].
    pub fn throttled(self, alone: bool) {
        self.report(|cooldown, pass| {
            cooldown.throttled(pass, Instant::now(), alone);
            true
        });
    }

    /// The target is out for this long.
    pub fn out(self, pause: Duration) {
        self.report(|cooldown, _| {
            cooldown.out(Instant::now(), pause);
            true
        });
    }

    /// The request failed without being throttled. True if that took the target out.
    pub fn failed(self) -> bool {
        let mut ejected = false;
        self.report(|cooldown, pass| {
            ejected = cooldown.failed(pass, Instant::now());
            true
        });
        ejected
    }

    fn report(mut self, transition: impl FnOnce(&mut Cooldown, &Pass) -> bool) {
        let Some(pass) = self.pass.take() else { return };
        let changed = transition(&mut self.target.cooldown(), &pass);
        if changed {
            self.target.changed.notify_waiters();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(pass) = self.pass.take() else { return };
        let mut cooldown = self.target.cooldown();
        let was_free = cooldown.is_free(Instant::now());
        cooldown.left(&pass, Instant::now());
        let is_free = cooldown.is_free(Instant::now());
        drop(cooldown);
        if is_free && !was_free {
            self.target.changed.notify_waiters();
        }
    }
}

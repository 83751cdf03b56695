//! The routing table: from a requested model to its targets.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use globset::{Glob, GlobMatcher};
use tokio::sync::Notify;

use super::cooldown::{Policy, State};
use super::target::Target;
use crate::bedrock::ModelId;
use crate::bedrock::model_id::ModelIdError;
use crate::config::{self, Config, Unrouted};
use crate::telemetry::OTHER;
use crate::upstream::credentials::{Identities, Identity};

/// Cooldown of a model that no route names.
const UNROUTED_COOLDOWN: Duration = Duration::from_secs(30);

/// Why a config makes no routing table.
#[derive(Debug, thiserror::Error)]
pub enum RouterError {
    /// A target's model id is none.
    #[error("target '{target}': {source}")]
    Model {
        /// The target's name.
        target: String,
        /// What is wrong with the id.
        source: ModelIdError,
    },
    /// A route's pattern is none.
    #[error("route pattern '{pattern}': {source}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        source: globset::Error,
    },
    /// A route names a target that is not there.
    #[error("a route names a target that is not there")]
    Target,
}

/// The routing table of one config, with the targets it routes to.
#[derive(Debug)]
pub struct Router {
    targets: Vec<Arc<Target>>,
    exact: HashMap<String, Arc<[Arc<Target>]>>,
    globs: Vec<(GlobMatcher, Arc<[Arc<Target>]>)>,
    unrouted: Option<Passing>,
    default: Arc<Target>,
    identities: Vec<Arc<Identity>>,
    changed: Arc<Notify>,
}

/// Models that no route names and that go through as they are. Each has a target of its own, so
/// that a throttled one cools down like any other; their number is bounded.
#[derive(Debug)]
struct Passing {
    targets: DashMap<ModelId, Arc<Target>>,
    max: usize,
}

impl Router {
    /// Builds the table and starts to resolve the credentials of its targets.
    pub fn new(config: &Config) -> Result<Router, RouterError> {
        let changed = Arc::new(Notify::new());
        let mut identities = Identities::default();
        let mut targets = Vec::with_capacity(config.targets.len());
        for target in &config.targets {
            let identity = identities.get(&target.credentials, &target.region);
            targets.push(Arc::new(configured(config, target, identity, &changed)?));
        }
        let upstream_identity =
            identities.get(&config.upstream.credentials, &config.upstream.region);
        // Operations without a model have a target like all others, whose model id is not used.
        let no_model = ModelId::new(OTHER)
            .map_err(|source| RouterError::Model { target: OTHER.to_owned(), source })?;
        let default = Arc::new(passing(config, &no_model, upstream_identity, &changed));
        let mut router = Router {
            targets,
            exact: HashMap::new(),
            globs: Vec::new(),
            unrouted: (config.fallback.unrouted == Unrouted::Pass).then(|| Passing {
                targets: DashMap::new(),
                max: config.fallback.max_unrouted_models,
            }),
            default,
            identities: identities.into_all(),
            changed,
        };
        for route in &config.routes {
            router.add(route)?;
        }
        Ok(router)
    }

    /// The targets for a requested model, best first; `None` if no route names it and the config
    /// has such models refused.
    pub fn find(&self, config: &Config, model: &ModelId) -> Option<Arc<[Arc<Target>]>> {
        self.routed(model).or_else(|| Some(Arc::from([self.pass(config, model)?])))
    }

    /// Whether a route names the model.
    pub fn names(&self, model: &ModelId) -> bool {
        self.routed(model).is_some()
    }

    /// The target of the operations that name no model.
    pub fn default_target(&self) -> &Arc<Target> {
        &self.default
    }

    /// The configured targets, in the config's order.
    pub fn targets(&self) -> &[Arc<Target>] {
        &self.targets
    }

    /// Every set of credentials in use.
    pub fn identities(&self) -> &[Arc<Identity>] {
        &self.identities
    }

    /// Notified whenever a target's state changes.
    pub fn changed(&self) -> &Notify {
        &self.changed
    }

    fn add(&mut self, route: &config::Route) -> Result<(), RouterError> {
        let targets: Option<Arc<[Arc<Target>]>> =
            route.targets.iter().map(|&index| self.targets.get(index).cloned()).collect();
        let targets = targets.ok_or(RouterError::Target)?;
        for pattern in &route.models {
            if pattern.contains(['*', '?', '[', '{']) {
                let glob = Glob::new(pattern)
                    .map_err(|source| RouterError::Pattern { pattern: pattern.clone(), source })?;
                self.globs.push((glob.compile_matcher(), Arc::clone(&targets)));
            } else {
                // The first route that names a model has it.
                self.exact.entry(pattern.clone()).or_insert_with(|| Arc::clone(&targets));
            }
        }
        Ok(())
    }

    /// Looks for the id as it stands, then for the id that an ARN of AWS's own models holds.
    fn routed(&self, model: &ModelId) -> Option<Arc<[Arc<Target>]>> {
        let by_text = |text: &str| {
            self.exact.get(text).cloned().or_else(|| {
                let matching = self.globs.iter().find(|(glob, _)| glob.is_match(text));
                matching.map(|(_, targets)| Arc::clone(targets))
            })
        };
        by_text(model.as_str()).or_else(|| by_text(model.arn_resource()?))
    }

    fn pass(&self, config: &Config, model: &ModelId) -> Option<Arc<Target>> {
        let passing_targets = self.unrouted.as_ref()?;
        if let Some(target) = passing_targets.targets.get(model) {
            return Some(Arc::clone(&target));
        }
        let identity = Arc::clone(&self.default.identity);
        let target = Arc::new(passing(config, model, identity, &self.changed));
        if passing_targets.targets.len() >= passing_targets.max {
            let now = tokio::time::Instant::now();
            passing_targets.targets.retain(|_, target| {
                Arc::strong_count(target) > 1 || target.state(now) != State::Open
            });
        }
        // Beyond the bound a model still passes, its state is just not kept for the next request.
        if passing_targets.targets.len() < passing_targets.max {
            passing_targets.targets.insert(model.clone(), Arc::clone(&target));
        }
        Some(target)
    }
}

fn configured(
    config: &Config,
    target: &config::Target,
    identity: Arc<Identity>,
    changed: &Arc<Notify>,
) -> Result<Target, RouterError> {
    let id = |text: &str| {
        ModelId::new(text)
            .map_err(|source| RouterError::Model { target: target.name.clone(), source })
    };
    let model = id(&target.model)?;
    let base = target.base_model.as_deref().map_or_else(|| Ok(model.clone()), id)?;
    let policy = policy(config, target.cooldown);
    Ok(Target::new(target, model, base, policy, identity, Arc::clone(changed)))
}

/// A target for a model that the config does not know, at the default upstream.
fn passing(
    config: &Config,
    model: &ModelId,
    identity: Arc<Identity>,
    changed: &Arc<Notify>,
) -> Target {
    let upstream = &config.upstream;
    let target = config::Target {
        name: OTHER.to_owned(),
        model: model.as_str().to_owned(),
        base_model: None,
        display_name: None,
        region: upstream.region.clone(),
        endpoint: upstream.endpoint.clone(),
        credentials: upstream.credentials.clone(),
        cooldown: UNROUTED_COOLDOWN,
        max_output_tokens: None,
        features: None,
        first_byte_timeout: upstream.first_byte_timeout,
        idle_timeout: upstream.idle_timeout,
    };
    let policy = policy(config, target.cooldown);
    Target::new(&target, model.clone(), model.clone(), policy, identity, Arc::clone(changed))
}

fn policy(config: &Config, base: Duration) -> Policy {
    Policy {
        base,
        max_multiplier: config.fallback.max_cooldown_multiplier,
        eject_after: config.fallback.eject_after,
        eject_cooldown: config.fallback.eject_cooldown,
        backoff_base: config.retry.base_delay,
        backoff_max: config.retry.max_delay,
        backoffs: config.retry.attempts.saturating_sub(1),
    }
}

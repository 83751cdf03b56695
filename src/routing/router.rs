//! The routing table: from a requested model to its targets.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use smallvec::SmallVec;
use tokio::time::Instant;

use super::candidate::Candidate;
use super::cooldown::{Policy, State};
use super::keep::{unrouted_untouched, untouched};
use super::pool::{self, Pool};
use super::site::{Site, Sites};
use super::target::{Abilities, Parts, Permit, Target, shared_name};
use crate::bedrock::ModelId;
use crate::bedrock::model_id::ModelIdError;
use crate::bedrock::region;
use crate::config::{self, Balance, Config, Endpoint, EndpointError, Glob, GlobError, Unrouted};
use crate::fleet::{Fleet, Lease};
use crate::quota::{Learning, Limits, QueueSignal, Quota, SAFETY_MARGIN};
use crate::telemetry::{ModelLatency, OTHER};
use crate::upstream::credentials::{Identities, Identity, Sts};

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
    ModelLatency {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        source: GlobError,
    },
    /// A pattern of a client or a price is none.
    #[error(transparent)]
    Glob(#[from] GlobError),
    /// A route names a target that is not there.
    #[error("a route names a target that is not there")]
    Target,
}

/// The routing table of one config, with the targets it routes to.
#[derive(Debug)]
pub struct Router {
    targets: Vec<Arc<Target>>,
    exact: HashSet<Entry>,
    globs: Vec<(Glob, Entry)>,
    routes: usize,
    unrouted: Option<Passing>,
    default: Arc<Route>,
    legacy: LegacyRoutes,
    control_plane: Option<Arc<Route>>,
    default_site: Arc<Site>,
    identities: Vec<Arc<Identity>>,
    fleet: Option<Fleet>,
}

/// A pattern of the table, known by its text.
#[derive(Debug)]
struct Entry {
    /// The number of its route in the config.
    number: usize,
    pattern: Arc<ModelLatency>,
    route: Arc<Route>,
}

impl Borrow<[u8]> for Entry {
    fn borrow(&self) -> &[u8] {
        self.pattern.label()
    }
}

impl Hash for Entry {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.pattern.label().hash(state);
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.pattern.label() == other.pattern.label()
    }
}

impl Eq for Entry {}

/// Where the requests for a model go. Few targets stand in the record itself, so that a request
/// has no other to look at.
#[derive(Debug)]
pub struct Route {
    /// The targets, best first; at least one.
    pub targets: SmallVec<[Arc<Target>; 4]>,
    abilities: SmallVec<[Abilities; 4]>,
    /// The signal of their pool.
    signal: Arc<QueueSignal>,
    /// The line for them.
    pub pool: Arc<Pool>,
    /// The order among those of the same model.
    pub balance: Balance,
}

impl Route {
    fn new(targets: SmallVec<[Arc<Target>; 4]>, balance: Balance, pool: Arc<Pool>) -> Arc<Route> {
        let abilities = targets.iter().map(|target| *target.abilities()).collect();
        Arc::new(Route { targets, abilities, signal: Arc::clone(pool.signal()), pool, balance })
    }

    /// Takes the first candidate that has room, if nobody waits; looks at nothing else of the pool.
    pub fn enter(&self, candidates: impl Iterator<Item = Candidate>) -> Option<(usize, Permit)> {
        pool::enter(&self.signal, candidates)
    }

    /// The targets, best first, with what they can take.
    pub fn able(&self) -> impl Iterator<Item = (&Arc<Target>, &Abilities)> {
        self.targets.iter().zip(&self.abilities)
    }
}

/// The routes of the legacy endpoints, one for each of their models that may be asked first.
#[derive(Debug, Default)]
struct LegacyRoutes {
    /// Its model first, then the others in their order.
    with_fallback: Vec<Arc<Route>>,
    /// Its model alone.
    alone: Vec<Arc<Route>>,
}

/// Models that no route names and that go through as they are. Each has a target of its own, so
/// that a throttled one cools down like any other; their number is bounded.
#[derive(Debug)]
struct Passing {
    routes: DashMap<ModelId, Arc<Route>>,
    max: usize,
}

impl Router {
    /// Builds the table and starts to resolve the credentials of its targets. Of the router of a
    /// config `before`, targets that this config leaves untouched stay the very same, and the others
    /// that it has too keep the state they have come to. With a `fleet`, quotas and cooldowns are those
    /// of all its replicas.
    pub fn new(
        config: &Config,
        before: Option<(&Config, &Router)>,
        fleet: Option<&Fleet>,
    ) -> Result<Router, RouterError> {
        let now = Instant::now();
        let untouched = before.map(|(before, router)| untouched(config, before, &router.targets));
        let untouched = untouched.unwrap_or_default();
        let known = before.map(|(_, router)| router);
        let by_name = known.map(Router::by_name).unwrap_or_default();
        let mut identities = known.map(Router::known_identities).unwrap_or_default();
        let pools = pools(config);
        let shared = shared_quotas(config, &pools, fleet, now);
        let use_fips = config.upstream.use_fips;
        let sts = |region| Sts { region, use_fips };
        let mut sites = Sites::default();
        let mut targets = Vec::with_capacity(config.targets.len());
        for (index, target) in config.targets.iter().enumerate() {
            let identity = identities.get(&target.credentials, sts(&target.region));
            if let Some(untouched) = untouched.get(index).cloned().flatten() {
                targets.push(untouched);
                continue;
            }
            let pool = pools.get(index).cloned().unwrap_or_default();
            let own = || {
                let name = ModelId::new(&target.model)
                    .map(|model| shared_name(&target.name, &target.region, &model));
                let lease = fleet.zip(name.ok()).map(|(fleet, name)| fleet.lease(&name));
                quota(config, target.rpm, target.tpm, &pool, lease, now)
            };
            let quota = target.quota.and_then(|at| shared.get(at)?.clone()).unwrap_or_else(own);
            let site = sites.of(target, identity);
            let target = configured(config, target, site, quota, pool, fleet)?;
            if let Some(before) = by_name.get(&*target.name).filter(|it| is_namesake(it, &target)) {
                target.take_over(before, now);
            }
            let target = Arc::new(target);
            target.follow();
            targets.push(target);
        }
        let upstream = &config.upstream;
        let default_identity = identities.get(&upstream.credentials, sts(&upstream.region));
        // Operations without a model have a target like all others, whose model id is not used.
        let no_model = ModelId::new(OTHER)
            .map_err(|source| RouterError::Model { target: OTHER.to_owned(), source })?;
        let no_target = passed_through(config, &no_model);
        let control_plane = upstream.control_plane.clone().map(|endpoint| {
            let target = config::Target { endpoint, ..no_target.clone() };
            let site = sites.of(&target, Arc::clone(&default_identity));
            passing(config, &no_model, site, None, now)
        });
        let default_site = sites.of(&no_target, default_identity);
        let default = passing(config, &no_model, Arc::clone(&default_site), None, now);
        let mut router = Router {
            targets,
            exact: HashSet::new(),
            globs: Vec::new(),
            routes: 0,
            unrouted: (config.fallback.unrouted == Unrouted::Pass).then(|| Passing {
                routes: DashMap::new(),
                max: config.fallback.max_unrouted_models,
            }),
            default,
            legacy: LegacyRoutes::default(),
            control_plane,
            default_site,
            identities: identities.into_all(),
            fleet: fleet.cloned(),
        };
        router.legacy = router.legacy_routes(&config.legacy.models)?;
        for route in &config.routes {
            router.add(route)?;
        }
        if let Some((before, known)) = before {
            router.go_on_passing(config, before, known, now);
        }
        Ok(router)
    }

    /// The route of a requested model, and the config's pattern for it; `None` if no route names it
    /// and the config has such models refused.
    pub fn find(
        &self,
        config: &Config,
        model: &ModelId,
    ) -> Option<(Option<Arc<ModelLatency>>, Arc<Route>)> {
        match self.routed(model) {
            Some(entry) => Some((Some(Arc::clone(&entry.pattern)), Arc::clone(&entry.route))),
            None => Some((None, self.pass(config, model)?)),
        }
    }

    /// The route of the operations that name no model.
    pub fn default_route(&self) -> &Arc<Route> {
        &self.default
    }

    /// Whether calls of the control plane are relayed.
    pub fn has_control_plane(&self) -> bool {
        self.control_plane.is_some()
    }

    /// The route of a call of the control plane, which may name what it asks of; an ARN is asked of in
    /// its own region. `None` if such calls are not relayed.
    pub fn control_plane(&self, config: &Config, named: Option<&str>) -> Option<Arc<Route>> {
        let (route, endpoint) =
            (self.control_plane.as_ref()?, config.upstream.control_plane.as_ref()?);
        let model = named.and_then(|named| ModelId::new(named).ok());
        let elsewhere = model.and_then(|model| {
            let own = own_place(&config.upstream, &model, endpoint, Endpoint::of_control_plane);
            own.map(|(region, endpoint)| {
                let target = config::Target { region, endpoint, ..passed_through(config, &model) };
                let site = Sites::default().of(&target, Arc::clone(&self.default_site.identity));
                passing(config, &model, site, None, Instant::now())
            })
        });
        Some(elsewhere.unwrap_or_else(|| Arc::clone(route)))
    }

    /// The route of the legacy endpoints' model of this number, alone or with the other models
    /// behind it; `None` if they have no such model.
    pub fn legacy(&self, number: usize, alone: bool) -> Option<&Arc<Route>> {
        let routes = if alone { &self.legacy.alone } else { &self.legacy.with_fallback };
        routes.get(number)
    }

    /// The configured targets, in the config's order.
    pub fn targets(&self) -> &[Arc<Target>] {
        &self.targets
    }

    /// Every set of credentials in use.
    pub fn identities(&self) -> &[Arc<Identity>] {
        &self.identities
    }

    fn numbered(&self, indices: &[usize]) -> Result<SmallVec<[Arc<Target>; 4]>, RouterError> {
        let targets = indices.iter().map(|&index| self.targets.get(index).cloned());
        targets.collect::<Option<_>>().ok_or(RouterError::Target)
    }

    fn legacy_routes(&self, models: &[usize]) -> Result<LegacyRoutes, RouterError> {
        let targets = self.numbered(models)?;
        let mut routes = LegacyRoutes::default();
        for first in &targets {
            let route = |targets| {
                let pool = Arc::clone(first.pool());
                Route::new(targets, Balance::Priority, pool)
            };
            let others = targets.iter().filter(|other| !Arc::ptr_eq(other, first));
            routes.with_fallback.push(route([first].into_iter().chain(others).cloned().collect()));
            routes.alone.push(route([Arc::clone(first)].into_iter().collect()));
        }
        Ok(routes)
    }

    fn add(&mut self, route: &config::Route) -> Result<(), RouterError> {
        let targets = self.numbered(&route.targets)?;
        let pool = Arc::clone(targets.first().ok_or(RouterError::Target)?.pool());
        let route_number = self.routes;
        self.routes += 1;
        let found = Route::new(targets, route.balance, pool);
        for pattern in &route.models {
            let entry = Entry {
                number: route_number,
                pattern: Arc::new(ModelLatency::new(pattern)),
                route: Arc::clone(&found),
            };
            if Glob::describes(pattern) {
                let glob = Glob::new(pattern).map_err(|source| RouterError::ModelLatency {
                    pattern: pattern.clone(),
                    source,
                })?;
                self.globs.push((glob, entry));
            } else {
                // Of several the first counts, which a set keeps.
                self.exact.insert(entry);
            }
        }
        Ok(())
    }

    /// Looks for the id as it stands, then for the id that an ARN of AWS's own models holds.
    fn routed(&self, model: &ModelId) -> Option<&Entry> {
        let by_text = |text: &str| {
            let exact = self.exact.get(text.as_bytes());
            let glob = self.globs.iter().find(|(glob, _)| glob.is_match(text)).map(|(_, it)| it);
            // The first route that names it has it, by whichever kind of pattern.
            [exact, glob].into_iter().flatten().min_by_key(|entry| entry.number)
        };
        by_text(model.as_str()).or_else(|| by_text(model.arn_resource()?))
    }

    fn pass(&self, config: &Config, model: &ModelId) -> Option<Arc<Route>> {
        let known = self.unrouted.as_ref()?;
        if let Some(route) = known.routes.get(model) {
            return Some(Arc::clone(&route));
        }
        let now = Instant::now();
        let site = self.site_of(config, model);
        let route = passing(config, model, site, self.fleet.as_ref(), now);
        if known.routes.len() >= known.max {
            known.routes.retain(|_, route| {
                Arc::strong_count(route) > 1
                    || route.targets.iter().any(|target| {
                        [target.state(now), target.side_state(now)] != [State::Available; 2]
                    })
            });
        }
        // Beyond the bound a model still passes, its state is just not kept for the next request.
        if known.routes.len() < known.max {
            known.routes.insert(model.clone(), Arc::clone(&route));
        }
        Some(route)
    }

    /// The place of a model without a route.
    fn site_of(&self, config: &Config, model: &ModelId) -> Arc<Site> {
        let target = passed_through(config, model);
        if target.region == self.default_site.region {
            return Arc::clone(&self.default_site);
        }
        Sites::default().of(&target, Arc::clone(&self.default_site.identity))
    }

    /// Keeps the state of the models without a route that a router `before` has let pass.
    fn go_on_passing(&self, config: &Config, before: &Config, router: &Router, now: Instant) {
        let (Some(known), Some(passed)) = (&self.unrouted, &router.unrouted) else { return };
        let untouched = unrouted_untouched(config, before);
        for route in passed.routes.iter().take(known.max) {
            let (model, Some(old)) = (route.key(), route.targets.first()) else { continue };
            let region = passed_through(config, model).region;
            if self.routed(model).is_some() || old.site.region != region {
                continue;
            }
            let mut newer = Arc::clone(&route);
            if !untouched {
                let site = self.site_of(config, model);
                newer = passing(config, model, site, self.fleet.as_ref(), now);
                newer.targets.iter().for_each(|target| target.take_over(old, now));
            }
            known.routes.insert(model.clone(), newer);
        }
    }

    fn known_identities(&self) -> Identities {
        Identities::with(&self.identities)
    }

    /// The configured targets by their names, which are unique.
    fn by_name(&self) -> HashMap<&str, &Arc<Target>> {
        self.targets.iter().map(|target| (&*target.name, target)).collect()
    }
}

/// Whether two targets of one name are the same model in the same region.
fn is_namesake(one: &Target, other: &Target) -> bool {
    one.model == other.model && one.site.region == other.site.region
}

/// For each target, in their order, the number of the set that it is in: those that routes, legacy
/// endpoints or quotas connect.
pub(super) fn groups(config: &Config) -> Vec<usize> {
    let mut sets = DisjointSets::new(config.targets.len());
    let routed = config.routes.iter().map(|route| &route.targets);
    for targets in routed.chain([&config.legacy.models]) {
        targets.windows(2).for_each(|pair| {
            if let [one, other] = pair {
                sets.join(*one, *other);
            }
        });
    }
    let mut last_with: HashMap<usize, usize> = HashMap::new();
    for (index, target) in config.targets.iter().enumerate() {
        if let Some(other) = target.quota.and_then(|quota| last_with.insert(quota, index)) {
            sets.join(index, other);
        }
    }
    (0..config.targets.len()).map(|index| sets.root(index)).collect()
}

/// A partition of numbers, by union-find with path halving: a join takes nearly constant time.
struct DisjointSets(Vec<usize>);

impl DisjointSets {
    /// The numbers below `len`, each in a set of its own.
    fn new(len: usize) -> DisjointSets {
        DisjointSets((0..len).collect())
    }

    /// The number that stands for the set of this one.
    fn root(&mut self, mut number: usize) -> usize {
        while let Some(parent) = self.0.get(number).copied().filter(|parent| *parent != number) {
            let above = self.0.get(parent).copied().unwrap_or(parent);
            if let Some(slot) = self.0.get_mut(number) {
                *slot = above;
            }
            number = above;
        }
        number
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.root(one), self.root(other));
        if let Some(slot) = self.0.get_mut(one) {
            *slot = other;
        }
    }
}

/// One pool for each set of connected targets, in the targets' order.
fn pools(config: &Config) -> Vec<Arc<Pool>> {
    let mut known: HashMap<usize, Arc<Pool>> = HashMap::new();
    groups(config).into_iter().map(|group| Arc::clone(known.entry(group).or_default())).collect()
}

/// The quotas that several targets draw on, in the config's order; `None` for one that none does.
fn shared_quotas(
    config: &Config,
    pools: &[Arc<Pool>],
    fleet: Option<&Fleet>,
    now: Instant,
) -> Vec<Option<Arc<Quota>>> {
    let mut users = HashMap::new();
    for (user, target) in config.targets.iter().enumerate() {
        target.quota.map(|quota| users.entry(quota).or_insert(user));
    }
    let shared = config.quotas.iter().enumerate().map(|(index, shared)| {
        let user = *users.get(&index)?;
        // A name that no target has.
        let lease = fleet.map(|fleet| fleet.lease(&format!("|{}", shared.name)));
        Some(quota(config, shared.rpm, shared.tpm, pools.get(user)?, lease, now))
    });
    shared.collect()
}

fn quota(
    config: &Config,
    rpm: Option<u32>,
    tpm: Option<u64>,
    pool: &Pool,
    lease: Option<Lease>,
    now: Instant,
) -> Arc<Quota> {
    let (floor_rpm, floor_tpm) = (config.learning.floor_rpm, config.learning.floor_tpm);
    let limits = Limits { rpm, tpm, floor_rpm, floor_tpm, safety_margin: SAFETY_MARGIN };
    let learning = Learning::from(&config.learning);
    let signal = Arc::clone(pool.signal());
    match lease {
        Some(lease) => Quota::shared(&limits, learning, signal, lease, now),
        None => Arc::new(Quota::new(&limits, learning, signal, now)),
    }
}

fn configured(
    config: &Config,
    target: &config::Target,
    site: Arc<Site>,
    quota: Arc<Quota>,
    pool: Arc<Pool>,
    fleet: Option<&Fleet>,
) -> Result<Target, RouterError> {
    let id = |text: &str| {
        ModelId::new(text)
            .map_err(|source| RouterError::Model { target: target.name.clone(), source })
    };
    let model = id(&target.model)?;
    let base_model = target.base_model.as_deref().map_or_else(|| Ok(model.clone()), id)?;
    let policy = policy(config, target.cooldown);
    let fleet = fleet.cloned();
    Ok(Target::new(target, Parts { model, base_model, policy, site, quota, pool, fleet }))
}

/// The public endpoint of a service in a region, or its FIPS endpoint.
type Public = fn(&str, bool) -> Result<Endpoint, EndpointError>;

/// Where an ARN is called that is of another region than the default upstream, whose `endpoint` of the
/// service this is: in its own. `None` for all else, and where the endpoint is that of one region. A
/// client names the ARN, so nothing but a region that is known, of the same partition, gets into the
/// name of a host.
fn own_place(
    upstream: &config::Upstream,
    model: &ModelId,
    endpoint: &Endpoint,
    public: Public,
) -> Option<(String, Endpoint)> {
    let (partition, region) = model.arn_place()?;
    let is_reached = region::partition(region) == Some(partition)
        && region::partition(&upstream.region) == Some(partition);
    if region == upstream.region || !is_reached {
        return None;
    }
    let public = |region| public(region, upstream.use_fips).ok();
    let endpoint = if public(&upstream.region).as_ref() == Some(endpoint) {
        public(region)?
    } else {
        Some(endpoint).filter(|endpoint| !endpoint.is_of_aws()).cloned()?
    };
    Some((region.to_owned(), endpoint))
}

/// What the config would say of a model that it does not know, at the default upstream or, of an ARN,
/// in its own region.
fn passed_through(config: &Config, model: &ModelId) -> config::Target {
    let upstream = &config.upstream;
    let default = || (upstream.region.clone(), upstream.endpoint.clone());
    let own = own_place(upstream, model, &upstream.endpoint, Endpoint::of_region);
    let (region, endpoint) = own.unwrap_or_else(default);
    config::Target {
        name: OTHER.to_owned(),
        model: model.as_str().to_owned(),
        base_model: None,
        display_name: None,
        region,
        endpoint,
        credentials: upstream.credentials.clone(),
        cooldown: config.fallback.unrouted_cooldown,
        rpm: None,
        tpm: None,
        quota: None,
        output_burndown: None,
        reserve: config::Reserve::default(),
        max_output_tokens: None,
        assumed_max_output_tokens: upstream.assumed_max_output_tokens,
        features: None,
        first_byte_timeout: upstream.first_byte_timeout,
        idle_timeout: upstream.idle_timeout,
    }
}

/// The route of such a model, to itself.
fn passing(
    config: &Config,
    model: &ModelId,
    site: Arc<Site>,
    fleet: Option<&Fleet>,
    now: Instant,
) -> Arc<Route> {
    let target = passed_through(config, model);
    let pool = Arc::new(Pool::default());
    let name = shared_name(&target.name, &target.region, model);
    let lease = fleet.map(|fleet| fleet.lease(&name));
    let parts = Parts {
        model: model.clone(),
        base_model: model.clone(),
        policy: policy(config, target.cooldown),
        site,
        quota: quota(config, None, None, &pool, lease, now),
        pool: Arc::clone(&pool),
        fleet: fleet.cloned(),
    };
    let target = Arc::new(Target::new(&target, parts));
    target.follow();
    let targets = [target].into_iter().collect();
    Route::new(targets, Balance::Priority, pool)
}

pub(super) fn policy(config: &Config, base: Duration) -> Policy {
    Policy {
        base,
        max_multiplier: config.fallback.max_cooldown_multiplier,
        eject_after: config.fallback.eject_after,
        eject_min_requests: config.fallback.eject_min_requests,
        eject_below_success_rate: config.fallback.eject_below_success_rate,
        eject_cooldown: config.fallback.eject_cooldown,
        backoff_base: config.retry.base_delay,
        backoff_max: config.retry.max_delay,
        backoffs: config.retry.attempts.saturating_sub(1),
    }
}

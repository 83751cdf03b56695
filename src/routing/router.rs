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
use super::capabilities::Capabilities;
use super::cooldown::{CooldownSettings, State};
use super::endpoint::{TargetEndpoint, TargetEndpoints};
use super::further_quotas::FurtherQuotas;
use super::grouping::group_numbers;
use super::model_names::ModelNames;
use super::permit::Permit;
use super::quotas::{TargetQuotas, quota, shared_quotas};
use super::reload::{are_unrouted_unchanged, unchanged_targets};
use super::target::{Target, TargetParts, shared_name};
use super::target_group::{self, TargetGroup};
use crate::bedrock::model_id::ModelIdError;
use crate::bedrock::region;
use crate::bedrock::{Family, ModelId};
use crate::catalogue::{Endpoint as Service, Surface, Surfaces};
use crate::config::{
    self, Balance, Config, Endpoint, EndpointError, Glob, GlobError, StoreResponses, Translate,
    Unrouted,
};
use crate::fleet::Fleet;
use crate::quota::{DailyQuotas, QueueSignal, Quota, QuotaLimits};
use crate::telemetry::{ModelLatency, OTHER};
use crate::upstream::credentials::{CredentialsProvider, CredentialsProviders, Sts};

/// Why no routing table can be built from a config.
#[derive(Debug, thiserror::Error)]
pub enum RouterError {
    /// A target's model id is invalid.
    #[error("target '{target}': {source}")]
    Model {
        /// The target's name.
        target: String,
        /// What is wrong with the id.
        source: ModelIdError,
    },
    /// A route's pattern is invalid.
    #[error("route pattern '{pattern}': {source}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        source: GlobError,
    },
    /// A pattern of a client or a price is invalid.
    #[error(transparent)]
    Glob(#[from] GlobError),
    /// A route names a target that does not exist.
    #[error("a route names a target that is not there")]
    Target,
}

/// The routing table of one config, with the targets it routes to.
#[derive(Debug)]
pub struct Router {
    targets: Vec<Arc<Target>>,
    /// The group of each target, in the same order.
    groups: Vec<Arc<TargetGroup>>,
    exact: HashSet<Entry>,
    globs: Vec<(Glob, Entry)>,
    /// The same entries by the names of models. Its values are the positions in `entries`.
    names: ModelNames<usize>,
    entries: Vec<Entry>,
    routes: usize,
    unrouted: Option<UnroutedModels>,
    default: Arc<Route>,
    legacy: LegacyRoutes,
    control_plane: Option<Arc<Route>>,
    default_endpoint: Arc<TargetEndpoint>,
    providers: Vec<Arc<CredentialsProvider>>,
    daily_quotas: Arc<DailyQuotas>,
    fleet: Option<Fleet>,
}

/// A pattern of the table. Its text is its key.
#[derive(Clone, Debug)]
struct Entry {
    /// The position of its route in the config.
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

/// Where the requests for a model go. Up to four targets are stored inline, which spares a request a cache
/// line.
#[derive(Debug)]
pub struct Route {
    /// The targets, best first; at least one.
    pub targets: SmallVec<[Arc<Target>; 4]>,
    capabilities: SmallVec<[Capabilities; 4]>,
    /// The signal of their group.
    signal: Arc<QueueSignal>,
    /// The group that they belong to, with its queue.
    pub group: Arc<TargetGroup>,
    /// The order among those of the same model.
    pub balance: Balance,
    /// How long a request stays with the model that it asks for before another may answer.
    pub wait_before_fallback: Duration,
    /// Whether its targets may store responses.
    pub stores_responses: StoresResponses,
    /// Which requests are translated for its targets.
    pub translate: Translate,
}

/// Whether the targets of a route may store responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoresResponses {
    /// As OpenAI's API has it: unless the request says otherwise.
    Always,
    /// Only if the request says so.
    IfAsked,
    /// Never.
    Never,
}

impl StoresResponses {
    /// That of a route with this setting and these targets.
    fn of<'t>(
        config: &Config,
        setting: StoreResponses,
        targets: impl IntoIterator<Item = &'t config::Target>,
    ) -> StoresResponses {
        match (setting, config.stores_responses(setting, targets)) {
            (StoreResponses::Never, _) => StoresResponses::Never,
            (_, true) => StoresResponses::Always,
            (_, false) => StoresResponses::IfAsked,
        }
    }
}

impl Route {
    /// Whether a target has the requested model, or the model that the config puts first in its place.
    pub fn is_first_choice(&self, target: &Target, requested: &ModelId) -> bool {
        target.is_model(requested)
            || self.targets.first().is_some_and(|first| {
                std::ptr::eq(Arc::as_ptr(first), target) || target.is_model(first.base_model())
            })
    }

    fn new(
        targets: SmallVec<[Arc<Target>; 4]>,
        balance: Balance,
        wait_before_fallback: Duration,
        stores_responses: StoresResponses,
        translate: Translate,
        group: Arc<TargetGroup>,
    ) -> Arc<Route> {
        let capabilities = targets.iter().map(|target| *target.capabilities()).collect();
        Arc::new(Route {
            targets,
            capabilities,
            signal: Arc::clone(group.signal()),
            group,
            balance,
            wait_before_fallback,
            stores_responses,
            translate,
        })
    }

    /// The same with only those of its targets that `keeps` keeps; `None` if there are none.
    pub fn only(&self, keeps: impl Fn(&Target) -> bool) -> Option<Arc<Route>> {
        let targets: SmallVec<_> = self.targets.iter().filter(|it| keeps(it)).cloned().collect();
        let group = Arc::clone(&self.group);
        let (wait, stores) = (self.wait_before_fallback, self.stores_responses);
        let of = |targets| Route::new(targets, self.balance, wait, stores, self.translate, group);
        (!targets.is_empty()).then(|| of(targets))
    }

    /// Takes the first candidate that has quota left, if the queue is empty. Touches nothing else of the group.
    pub fn enter(&self, candidates: impl Iterator<Item = Candidate>) -> Option<(usize, Permit)> {
        target_group::enter(&self.signal, candidates)
    }

    /// The targets, best first, with what they can take.
    pub fn with_capabilities(&self) -> impl Iterator<Item = (&Arc<Target>, &Capabilities)> {
        self.targets.iter().zip(&self.capabilities)
    }
}

/// The routes of the legacy endpoints, one for each model that may come first.
#[derive(Debug, Default)]
struct LegacyRoutes {
    /// Its model first, then the others in their order.
    with_fallback: Vec<Arc<Route>>,
    /// Its model alone.
    alone: Vec<Arc<Route>>,
}

/// Models that no route names and that go to the upstream as they are. Each has a target of its own, so that a
/// throttled one cools down like any other. Their number is bounded.
#[derive(Debug)]
struct UnroutedModels {
    routes: DashMap<ModelId, Arc<Route>>,
    max: usize,
}

impl Router {
    /// Builds the table and starts to resolve the credentials of its targets. Of the router `before`, targets
    /// that this config does not change stay the same objects, and changed ones pass on their state. With a
    /// `fleet`, quotas and cooldowns are shared with its replicas.
    pub fn new(
        config: &Config,
        before: Option<(&Config, &Router)>,
        fleet: Option<&Fleet>,
    ) -> Result<Router, RouterError> {
        let daily_quotas = before.map(|(_, router)| Arc::clone(&router.daily_quotas));
        Router::with_daily_quotas(config, before, fleet, daily_quotas.unwrap_or_default())
    }

    /// The same with these daily quotas, which may have a clock of their own.
    ///
    /// # Errors
    /// As for [`Router::new`].
    pub fn with_daily_quotas(
        config: &Config,
        before: Option<(&Config, &Router)>,
        fleet: Option<&Fleet>,
        daily_quotas: Arc<DailyQuotas>,
    ) -> Result<Router, RouterError> {
        fleet.into_iter().for_each(|fleet| daily_quotas.share_in(fleet));
        let now = Instant::now();
        let unchanged = before.map(|(before, _)| unchanged_targets(config, before));
        let unchanged = unchanged.unwrap_or_default();
        let known = before.map(|(_, router)| router);
        let by_name = known.map(Router::by_name).unwrap_or_default();
        let mut providers = known.map(Router::known_credentials).unwrap_or_default();
        let mut groups = target_groups(config);
        let shared = shared_quotas(config, &groups, fleet, now);
        let use_fips = config.upstream.use_fips;
        let sts = |region| Sts { region, use_fips };
        let mut endpoints = TargetEndpoints::default();
        let mut targets = Vec::with_capacity(config.targets.len());
        for (index, target) in config.targets.iter().enumerate() {
            let credentials = providers.get(&target.credentials, sts(&target.region));
            let Some(group) = groups.get_mut(index) else { return Err(RouterError::Target) };
            let old_index = unchanged.get(index).copied().flatten();
            if let Some((target, old_group)) =
                old_index.and_then(|at| known.and_then(|router| router.with_group(at)))
            {
                targets.push(Arc::clone(target));
                *group = Arc::clone(old_group);
                continue;
            }
            let signal = group.signal();
            let quotas = TargetQuotas { config, target, signal, fleet, now };
            let shared = target.quota.and_then(|at| shared.get(at)?.clone());
            let further = quotas.further(&daily_quotas);
            let quotas = (shared.unwrap_or_else(|| quotas.own()), further);
            let endpoint = endpoints.of(target, credentials);
            let target = configured(config, target, endpoint, quotas, signal, fleet)?;
            if let Some(before) = by_name.get(&*target.name).filter(|it| is_namesake(it, &target)) {
                target.take_over(before, now);
            }
            let target = Arc::new(target);
            target.listen();
            targets.push(target);
        }
        let upstream = &config.upstream;
        let default_credentials = providers.get(&upstream.credentials, sts(&upstream.region));
        // Operations without a model have a target too, whose model id is not used.
        let no_model = ModelId::new(OTHER)
            .map_err(|source| RouterError::Model { target: OTHER.to_owned(), source })?;
        let no_target = unrouted_target(config, &no_model);
        let control_plane = upstream.control_plane.clone().map(|endpoint| {
            let target = config::Target { endpoint, ..no_target.clone() };
            let endpoint = endpoints.of(&target, Arc::clone(&default_credentials));
            unrouted_route(config, &no_model, endpoint, None, now)
        });
        let default_endpoint = endpoints.of(&no_target, default_credentials);
        let default = unrouted_route(config, &no_model, Arc::clone(&default_endpoint), None, now);
        let mut router = Router {
            targets,
            groups,
            exact: HashSet::new(),
            globs: Vec::new(),
            names: ModelNames::new(&config.known_models),
            entries: Vec::new(),
            routes: 0,
            unrouted: (config.fallback.unrouted == Unrouted::Pass).then(|| UnroutedModels {
                routes: DashMap::new(),
                max: config.fallback.max_unrouted_models,
            }),
            default,
            legacy: LegacyRoutes::default(),
            control_plane,
            default_endpoint,
            providers: providers.into_all(),
            daily_quotas,
            fleet: fleet.cloned(),
        };
        router.legacy = router.legacy_routes(&config.legacy)?;
        for route in &config.routes {
            router.add(config, route)?;
        }
        if let Some((before, known)) = before {
            router.inherit_unrouted(config, before, known, now);
        }
        Ok(router)
    }

    /// The route of a requested model, and the config's pattern for it; `None` if no route matches and the config
    /// refuses such models.
    pub fn find(
        &self,
        config: &Config,
        model: &ModelId,
    ) -> Option<(Option<Arc<ModelLatency>>, Arc<Route>)> {
        match self.find_entry(model) {
            Some(entry) => Some((Some(Arc::clone(&entry.pattern)), Arc::clone(&entry.route))),
            None => Some((None, self.unrouted_route_of(config, model)?)),
        }
    }

    /// The route to one target alone, for requests that no other can answer.
    pub fn route_to(&self, target: Arc<Target>) -> Arc<Route> {
        let position = self.targets.iter().position(|it| Arc::ptr_eq(it, &target));
        let group =
            position.and_then(|index| self.groups.get(index)).unwrap_or(&self.default.group);
        let group = Arc::clone(group);
        let stores = StoresResponses::Always;
        let targets = [target].into_iter().collect();
        Route::new(targets, Balance::Priority, Duration::ZERO, stores, Translate::Never, group)
    }

    /// The route that the config has for a requested model; `None` if no route matches it.
    pub fn configured(&self, model: &ModelId) -> Option<&Arc<Route>> {
        Some(&self.find_entry(model)?.route)
    }

    /// The route of the operations that name no model.
    pub fn default_route(&self) -> &Arc<Route> {
        &self.default
    }

    /// Whether calls of the control plane are relayed.
    pub fn has_control_plane(&self) -> bool {
        self.control_plane.is_some()
    }

    /// The route of a call of the control plane. If the call names an ARN, it goes to the ARN's region. `None` if
    /// such calls are not relayed.
    pub fn control_plane(&self, config: &Config, named: Option<&str>) -> Option<Arc<Route>> {
        let (route, endpoint) =
            (self.control_plane.as_ref()?, config.upstream.control_plane.as_ref()?);
        let model = named.and_then(|named| ModelId::new(named).ok());
        let elsewhere = model.and_then(|model| {
            let own = own_region(&config.upstream, &model, endpoint, Endpoint::of_control_plane);
            own.map(|(region, endpoint)| {
                let target = config::Target { region, endpoint, ..unrouted_target(config, &model) };
                let credentials = Arc::clone(&self.default_endpoint.credentials);
                let endpoint = TargetEndpoints::default().of(&target, credentials);
                unrouted_route(config, &model, endpoint, None, Instant::now())
            })
        });
        Some(elsewhere.unwrap_or_else(|| Arc::clone(route)))
    }

    /// The route of the legacy endpoints' model of this number, alone or with the other models as fallbacks; `None`
    /// if there is no such model.
    pub fn legacy(&self, number: usize, alone: bool) -> Option<&Arc<Route>> {
        let routes = if alone { &self.legacy.alone } else { &self.legacy.with_fallback };
        routes.get(number)
    }

    /// The configured targets, in the config's order.
    pub fn targets(&self) -> &[Arc<Target>] {
        &self.targets
    }

    /// The quotas of tokens a day.
    pub fn daily_quotas(&self) -> &Arc<DailyQuotas> {
        &self.daily_quotas
    }

    /// Every set of credentials in use.
    pub fn credentials(&self) -> &[Arc<CredentialsProvider>] {
        &self.providers
    }

    fn targets_at(&self, indices: &[usize]) -> Result<SmallVec<[Arc<Target>; 4]>, RouterError> {
        let targets = indices.iter().map(|&index| self.targets.get(index).cloned());
        targets.collect::<Option<_>>().ok_or(RouterError::Target)
    }

    fn legacy_routes(&self, legacy: &config::Legacy) -> Result<LegacyRoutes, RouterError> {
        let (models, wait) = (&legacy.models, legacy.wait_before_fallback);
        let targets = self.targets_at(models)?;
        let mut routes = LegacyRoutes::default();
        for (first, index) in targets.iter().zip(models) {
            let (_, group) = self.with_group(*index).ok_or(RouterError::Target)?;
            let stores = StoresResponses::Never;
            // Questions are in the form of Claude.
            let (order, translate) = (Balance::Priority, Translate::Families);
            let route =
                |targets| Route::new(targets, order, wait, stores, translate, Arc::clone(group));
            let others = targets.iter().filter(|other| !Arc::ptr_eq(other, first));
            routes.with_fallback.push(route([first].into_iter().chain(others).cloned().collect()));
            routes.alone.push(route([Arc::clone(first)].into_iter().collect()));
        }
        Ok(routes)
    }

    fn add(&mut self, config: &Config, route: &config::Route) -> Result<(), RouterError> {
        let targets = self.targets_at(&route.targets)?;
        let first = route.targets.first().ok_or(RouterError::Target)?;
        let (_, group) = self.with_group(*first).ok_or(RouterError::Target)?;
        let wait = route.wait_before_fallback;
        let named = route.targets.iter().filter_map(|index| config.targets.get(*index));
        let stores = StoresResponses::of(config, route.store, named);
        let (order, translate) = (route.balance, route.translate);
        let found = Route::new(targets, order, wait, stores, translate, Arc::clone(group));
        let route_number = self.routes;
        self.routes += 1;
        for pattern in &route.models {
            let entry = Entry {
                number: route_number,
                pattern: Arc::new(ModelLatency::new(pattern)),
                route: Arc::clone(&found),
            };
            let position = self.entries.len();
            self.entries.push(entry.clone());
            if Glob::describes(pattern) {
                let glob = Glob::new(pattern)
                    .map_err(|source| RouterError::Pattern { pattern: pattern.clone(), source })?;
                self.names.add_glob(glob.clone(), position);
                self.globs.push((glob, entry));
            } else {
                self.names.add(pattern, position);
                // `insert` keeps the existing entry: the first route wins.
                self.exact.insert(entry);
            }
        }
        Ok(())
    }

    /// Looks up the id, then the id within an ARN of AWS's own models, then what routes name by other names of
    /// the model.
    fn find_entry(&self, model: &ModelId) -> Option<&Entry> {
        let by_text = |text: &str| {
            let exact = self.exact.get(text.as_bytes());
            let glob = self.globs.iter().find(|(glob, _)| glob.is_match(text)).map(|(_, it)| it);
            // The first route that matches counts, by whichever kind of pattern.
            [exact, glob].into_iter().flatten().min_by_key(|entry| entry.number)
        };
        by_text(model.as_str())
            .or_else(|| by_text(model.arn_resource()?))
            .or_else(|| self.entries.get(self.names.find(model)?))
    }

    fn unrouted_route_of(&self, config: &Config, model: &ModelId) -> Option<Arc<Route>> {
        let known = self.unrouted.as_ref()?;
        if let Some(route) = known.routes.get(model) {
            return Some(Arc::clone(&route));
        }
        let now = Instant::now();
        let endpoint = self.endpoint_of(config, model);
        let answering = answering_model(config, model, &endpoint.region);
        if answering != *model {
            tracing::warn!(
                %model, successor = %answering,
                "no route names this model, which AWS has retired; its successor answers"
            );
        } else if let Some(retires_on) =
            config.known_models.lifecycle(Service::Runtime, model).map(|it| it.retires_on)
            && retires_on <= config.day
        {
            tracing::warn!(
                %model, %retires_on,
                "no route names this model, which AWS has retired, and no successor answers"
            );
        }
        let route = unrouted_route(config, &answering, endpoint, self.fleet.as_ref(), now);
        if known.routes.len() >= known.max {
            known.routes.retain(|_, route| {
                Arc::strong_count(route) > 1
                    || route.targets.iter().any(|target| {
                        [target.state(now), target.count_tokens_state(now)] != [State::Available; 2]
                    })
            });
        }
        // Beyond the bound a model still goes through; only its state is not kept for the next request.
        if known.routes.len() < known.max {
            known.routes.insert(model.clone(), Arc::clone(&route));
        }
        Some(route)
    }

    /// The endpoint of a model without a route.
    fn endpoint_of(&self, config: &Config, model: &ModelId) -> Arc<TargetEndpoint> {
        let target = unrouted_target(config, model);
        if target.region == self.default_endpoint.region {
            return Arc::clone(&self.default_endpoint);
        }
        TargetEndpoints::default().of(&target, Arc::clone(&self.default_endpoint.credentials))
    }

    /// Takes over the models without a route of the router before.
    fn inherit_unrouted(&self, config: &Config, before: &Config, router: &Router, now: Instant) {
        let (Some(known), Some(passed)) = (&self.unrouted, &router.unrouted) else { return };
        let are_unchanged = are_unrouted_unchanged(config, before);
        for route in passed.routes.iter().take(known.max) {
            let (model, Some(old)) = (route.key(), route.targets.first()) else { continue };
            let region = unrouted_target(config, model).region;
            if self.find_entry(model).is_some() || old.endpoint.region != region {
                continue;
            }
            let mut newer = Arc::clone(&route);
            let answering = answering_model(config, model, &region);
            if !are_unchanged || answering != old.model {
                let endpoint = self.endpoint_of(config, model);
                newer = unrouted_route(config, &answering, endpoint, self.fleet.as_ref(), now);
            }
            if !are_unchanged && answering == old.model {
                newer.targets.iter().for_each(|target| target.take_over(old, now));
            }
            known.routes.insert(model.clone(), newer);
        }
    }

    /// The target at this index of the config, and its group.
    fn with_group(&self, index: usize) -> Option<(&Arc<Target>, &Arc<TargetGroup>)> {
        self.targets.get(index).zip(self.groups.get(index))
    }

    fn known_credentials(&self) -> CredentialsProviders {
        CredentialsProviders::with(&self.providers)
    }

    /// The configured targets by their names, which are unique.
    fn by_name(&self) -> HashMap<&str, &Arc<Target>> {
        self.targets.iter().map(|target| (&*target.name, target)).collect()
    }
}

/// Whether two targets of one name are the same model at the same endpoint of the same region.
fn is_namesake(one: &Target, other: &Target) -> bool {
    let service = |target: &Target| target.capabilities().service;
    one.model == other.model
        && one.endpoint.region == other.endpoint.region
        && service(one) == service(other)
}

/// A group for each target, in the config's order.
fn target_groups(config: &Config) -> Vec<Arc<TargetGroup>> {
    let mut groups: HashMap<usize, Arc<TargetGroup>> = HashMap::new();
    let numbers = group_numbers(config).into_iter();
    numbers.map(|number| Arc::clone(groups.entry(number).or_default())).collect()
}

fn configured(
    config: &Config,
    target: &config::Target,
    endpoint: Arc<TargetEndpoint>,
    (quota, further): (Arc<Quota>, Option<Box<FurtherQuotas>>),
    signal: &Arc<QueueSignal>,
    fleet: Option<&Fleet>,
) -> Result<Target, RouterError> {
    let id = |text: &str| {
        ModelId::new(text)
            .map_err(|source| RouterError::Model { target: target.name.clone(), source })
    };
    let model = id(&target.model)?;
    let base_model = target.base_model.as_deref().map_or_else(|| Ok(model.clone()), id)?;
    let cooldown = CooldownSettings::new(config, target.cooldown);
    let (signal, fleet) = (Arc::clone(signal), fleet.cloned());
    let model_info = config.known_models.facts_at(target.service, &base_model, &target.region);
    let id_elsewhere = id_elsewhere(config, &base_model);
    let parts = TargetParts {
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
    };
    Ok(Target::new(target, parts))
}

/// The base id that a model has at the other endpoint, if that is another one.
fn id_elsewhere(config: &Config, model: &ModelId) -> Option<Box<str>> {
    let known = &config.known_models;
    known.id_at_runtime(model).or_else(|| known.id_at_mantle(model)).map(Box::from)
}

/// The public endpoint of a service in a region, or its FIPS endpoint.
type PublicEndpoint = fn(&str, bool) -> Result<Endpoint, EndpointError>;

/// The region and endpoint for an ARN outside the default upstream's region; `endpoint` is the default
/// upstream's. `None` for all other models, and where the endpoint belongs to one region. A client names the ARN,
/// so only a known region of the same partition gets into the name of a host.
fn own_region(
    upstream: &config::Upstream,
    model: &ModelId,
    endpoint: &Endpoint,
    public: PublicEndpoint,
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

/// The model that answers for one without a route: itself, or its successor if it is retired.
fn answering_model(config: &Config, model: &ModelId, region: &str) -> ModelId {
    let successor = config::replacement(
        &config.known_models,
        config.catalogue.retired,
        (Service::Runtime, model),
        region,
        config.day,
    );
    successor.unwrap_or_else(|| model.clone())
}

/// The target of a model that the config does not name: at the default upstream or, for an ARN, in the ARN's
/// region.
fn unrouted_target(config: &Config, model: &ModelId) -> config::Target {
    let upstream = &config.upstream;
    let default = || (upstream.region.clone(), upstream.endpoint.clone());
    let own = own_region(upstream, model, &upstream.endpoint, Endpoint::of_region);
    let (region, endpoint) = own.unwrap_or_else(default);
    config::Target {
        name: OTHER.to_owned(),
        model: model.as_str().to_owned(),
        replaces: None,
        base_model: None,
        service: Service::Runtime,
        surfaces: None,
        path_prefix: None,
        display_name: None,
        region,
        endpoint,
        credentials: upstream.credentials.clone(),
        cooldown: config.fallback.unrouted_cooldown,
        rpm: None,
        tpm: None,
        input_tpm: None,
        output_tpm: None,
        tpd: None,
        reserved_input_tpm: None,
        reserved_output_tpm: None,
        quota: None,
        daily_quota: None,
        output_burndown: None,
        reserve: config::Reserve::default(),
        max_output_tokens: None,
        assumed_max_output_tokens: upstream.assumed_max_output_tokens,
        features: None,
        first_byte_timeout: upstream.first_byte_timeout,
        idle_timeout: upstream.idle_timeout,
    }
}

/// Whether the catalogue has a model, at whichever endpoint.
fn is_known(config: &Config, model: &ModelId) -> bool {
    let facts = |endpoint| config.known_models.facts_at(endpoint, model, "");
    Service::ALL.into_iter().any(|it| facts(it).is_some_and(|facts| facts.is_listed))
}

/// What a model that the catalogue does not know may serve: what the endpoint has, without the APIs that no model of
/// its family has. Requests are translated for those.
fn surfaces_of_unknown(config: &Config, configured: &config::Target, model: &ModelId) -> Surfaces {
    let of_family = config.known_models.facts(model, &configured.region);
    let is_known_family = of_family.is_some_and(|facts| !facts.surfaces.is_empty());
    let lacks: &[Surface] = match model.family() {
        Family::Anthropic => &[Surface::ChatCompletions, Surface::Responses],
        Family::Nova => &[Surface::ChatCompletions, Surface::Responses, Surface::Messages],
        Family::Unknown if !is_known_family => &[],
        _ => &[Surface::Messages],
    };
    Surfaces::of_endpoint(configured.service).without(lacks.iter().copied().collect())
}

/// The route of a model that the config does not name.
fn unrouted_route(
    config: &Config,
    model: &ModelId,
    endpoint: Arc<TargetEndpoint>,
    fleet: Option<&Fleet>,
    now: Instant,
) -> Arc<Route> {
    let mut configured = unrouted_target(config, model);
    if !is_known(config, model) {
        // A model may be newer than the catalogue. The upstream knows what it serves, and says so.
        configured.surfaces = Some(surfaces_of_unknown(config, &configured, model));
    }
    let group = Arc::new(TargetGroup::default());
    let name = shared_name(&configured.name, &configured.region, model);
    let lease = fleet.map(|fleet| fleet.lease(&name));
    let parts = TargetParts {
        model: model.clone(),
        base_model: model.clone(),
        id_elsewhere: id_elsewhere(config, model),
        model_info: config.known_models.facts(model, &configured.region),
        cooldown: CooldownSettings::new(config, configured.cooldown),
        endpoint,
        quota: quota(config, QuotaLimits::default(), group.signal(), lease, now),
        further: None,
        signal: Arc::clone(group.signal()),
        fleet: fleet.cloned(),
    };
    let target = Arc::new(Target::new(&configured, parts));
    target.listen();
    let targets = [target].into_iter().collect();
    let stores = StoresResponses::of(config, config.apis.responses.store, [&configured]);
    let translate = Translate::default();
    Route::new(targets, Balance::Priority, Duration::ZERO, stores, translate, group)
}

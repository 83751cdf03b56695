//! What all steps share: one config, and everything that was built from it.
//!
//! A reload builds another [`Gateway`] and stores it in the [`SharedGateway`]. A request loads the
//! gateway once and keeps it to its end, so that it sees one config.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;

use super::buffers::BufferPool;
use super::hedge::HedgeBudget;
use super::offload::Offload;
use super::responses::Places;
use crate::api::paths::ApiPaths;
use crate::api::response_id::ResponseIds;
use crate::auth::{Authenticator, Issuers};
use crate::bedrock::Date;
use crate::bedrock::betas::BetaTable;
use crate::bridge::conversation::CacheTtl;
use crate::bridge::{CachePolicy, DropPolicy};
use crate::catalogue::{BetaSurface, Endpoint};
use crate::config::{self, Config, OnUnsupported};
use crate::fleet::Fleet;
use crate::limits::{ClientLimits, ClientRegistry, ModelPrices, Prices};
use crate::media::MediaFetcher;
use crate::quota::{InFlightLimit, QueueLimits, ShutdownDeadline};
use crate::response_store::ResponseStore;
use crate::routing::{Router, RouterError, Target};
use crate::storage::StoreError;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::process_log::UNLIMITED;
use crate::telemetry::traces::Traces;
use crate::telemetry::usage_log::UsageLog;
use crate::telemetry::{Logs, Metrics};
use crate::upstream::{ConnectionGauges, Upstream};

/// Why there can't be a gateway of a config.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Its requests can't be routed.
    #[error(transparent)]
    Router(#[from] RouterError),
    /// The address of the store of responses is invalid.
    #[error("response_store: {0}")]
    ResponseStore(#[source] StoreError),
}

/// What the steps share: one config and everything built from it.
#[derive(Debug)]
pub struct Gateway {
    /// The config.
    pub config: Config,
    /// The routing table.
    pub router: Router,
    /// The paths of the APIs of OpenAI and Anthropic.
    pub api_paths: ApiPaths,
    /// Which parameters may be left out where a translation can't carry them.
    pub(crate) drop_policy: DropPolicy,
    /// What translations ask of prompt caches.
    pub(crate) cache_policy: CachePolicy,
    /// Fetches images and documents from addresses in requests; `None`: nothing is fetched.
    pub(crate) media: Option<MediaFetcher>,
    /// Seals and opens the ids of stored responses.
    pub response_ids: Arc<ResponseIds>,
    /// The places of stored responses, once one is looked up.
    places: OnceLock<Places>,
    /// The responses that the gateway keeps itself, if it keeps any.
    pub response_store: Option<ResponseStore>,
    /// The pool of upstream connections.
    pub upstream: Upstream,
    /// The bounds of the queue.
    pub queue_limits: QueueLimits,
    /// The bounds on what is in flight.
    pub in_flight: InFlightLimit,
    /// The deadline of queued requests during shutdown.
    pub shutdown_deadline: ShutdownDeadline,
    /// The clients that the config names.
    pub clients: ClientRegistry,
    /// Authenticates requests.
    pub authenticator: Authenticator,
    /// The limits of clients.
    pub limits: ClientLimits,
    /// What tokens cost.
    pub prices: Prices,
    /// Memory for large bodies.
    pub(crate) buffers: BufferPool,
    /// Threads for work on large bodies.
    pub(crate) offload: Offload,
    /// How many requests may be hedged.
    pub(crate) hedges: HedgeBudget,
    /// The metric families.
    pub metrics: Arc<Metrics>,
    /// Where access-log lines go.
    pub access_log: AccessLog,
    /// Where usage records go.
    pub usage_log: UsageLog,
    /// Samples traces and takes their spans; `None`: tracing is off.
    pub traces: Option<Traces>,
    /// The other replicas, if the state is shared with some.
    pub fleet: Option<Fleet>,
}

impl Gateway {
    /// Builds everything that requests need from a config, and starts to resolve credentials; as one
    /// replica of the `fleet`, if there is one. Must be called within a tokio runtime.
    pub fn new(
        config: Config,
        fleet: Option<Fleet>,
        metrics: Arc<Metrics>,
        logs: Logs,
    ) -> Result<Arc<Gateway>, BuildError> {
        let upstream = connections(&config.upstream, &metrics);
        Gateway::build(config, None, fleet, upstream, metrics, logs)
    }

    /// The gateway of a newer config. Parts that the new config leaves alone keep their state, and
    /// connections are reused if their settings are the same. Requests in flight stay with this one.
    pub fn with_config(&self, config: Config) -> Result<Arc<Gateway>, BuildError> {
        let upstream = match config.upstream.connects_like(&self.config.upstream) {
            true => self.upstream.clone(),
            false => connections(&config.upstream, &self.metrics),
        };
        let logs = Logs {
            access: self.access_log.clone(),
            usage: self.usage_log.clone(),
            traces: self.traces.clone(),
        };
        let (fleet, metrics) = (self.fleet.clone(), Arc::clone(&self.metrics));
        Gateway::build(config, Some(self), fleet, upstream, metrics, logs)
    }

    /// The gateway of the same config on another day, on which other models may be retired.
    pub fn on(&self, day: Date) -> Result<Arc<Gateway>, BuildError> {
        self.with_config(self.config.clone().on(day))
    }

    /// The beta flags that a target's endpoint takes of a request to Messages. The runtime endpoint takes those
    /// of InvokeModel.
    pub(super) fn betas(&self, target: &Target) -> &BetaTable {
        let surface = match target.capabilities().service {
            Endpoint::Runtime => BetaSurface::InvokeModel,
            Endpoint::Mantle => BetaSurface::Mantle,
        };
        self.config.known_models.betas(surface)
    }

    /// The places at which the targets store responses.
    pub(super) fn places(&self) -> &Places {
        self.places.get_or_init(|| Places::of(self))
    }

    fn build(
        config: Config,
        previous: Option<&Gateway>,
        fleet: Option<Fleet>,
        upstream: Upstream,
        metrics: Arc<Metrics>,
        logs: Logs,
    ) -> Result<Arc<Gateway>, BuildError> {
        let previous_issuers = previous.map(|previous| {
            let same_way = config.upstream.connects_like(&previous.config.upstream);
            (previous.authenticator.issuers(), same_way)
        });
        let router = Router::new(
            &config,
            previous.map(|previous| (&previous.config, &previous.router)),
            fleet.as_ref(),
        )?;
        let clients = previous.map(|previous| &previous.clients);
        let clients = ClientRegistry::new(&config.clients, clients, fleet.as_ref());
        let clients = clients.map_err(RouterError::from)?;
        let models = router.targets().iter().map(|it| (&it.model, it.base_model()));
        let prices = Prices::new(&config.prices).map_err(RouterError::from)?.for_targets(models);
        warn_about_unpriced_targets(&config, &router, &prices);
        let response_store = match previous {
            Some(previous) => {
                let store = previous.response_store.as_ref();
                store.map(|store| store.with_config(&config.response_store))
            }
            None => ResponseStore::new(&config.response_store, &metrics)
                .map_err(BuildError::ResponseStore)?,
        };
        let issuers = Issuers::new(&config.issuers, &upstream, &metrics, previous_issuers);
        Ok(Arc::new(Gateway {
            router,
            api_paths: ApiPaths::new(&config.apis),
            drop_policy: drop_policy(&config),
            cache_policy: cache_policy(&config),
            media: MediaFetcher::new(
                &config.apis.remote_media,
                &config.upstream.trust,
                &metrics.fetched_media,
                previous.and_then(|previous| previous.media.as_ref()),
            ),
            response_ids: response_ids(&config, previous),
            places: OnceLock::new(),
            response_store,
            upstream,
            in_flight: previous.map_or_else(
                || InFlightLimit::new(&config.server),
                |previous| previous.in_flight.with_config(&config.server),
            ),
            authenticator: Authenticator::new(
                &config.clients,
                &clients,
                &config.auth,
                Arc::clone(&metrics),
                previous.map(|previous| &previous.authenticator),
            )
            .with_issuers(issuers)
            .with_allowed_hosts(&config.server.allowed_hosts),
            limits: match previous {
                Some(previous) => previous.limits.with_config(&config.limits),
                None => ClientLimits::new(&config.limits, fleet.clone()),
            },
            clients,
            prices,
            buffers: previous.map_or_else(
                || BufferPool::new(config.server.max_in_flight_bytes),
                |previous| previous.buffers.clone(),
            ),
            offload: previous.map(|previous| previous.offload.clone()).unwrap_or_default(),
            hedges: HedgeBudget::new(&config.hedge),
            queue_limits: match previous {
                Some(previous) => previous.queue_limits.with_config(&config.queue),
                None => QueueLimits::new(
                    &config.queue,
                    metrics.queue_waiting.clone(),
                    metrics.queue_waiting_bytes.clone(),
                ),
            },
            shutdown_deadline: previous
                .map(|previous| previous.shutdown_deadline.clone())
                .unwrap_or_default(),
            config,
            metrics,
            access_log: logs.access,
            usage_log: logs.usage,
            traces: logs.traces,
            fleet,
        }))
    }
}

/// Which parameters may be left out where a translation can't carry them.
fn drop_policy(config: &Config) -> DropPolicy {
    let unsupported = &config.apis.unsupported;
    let drops = |what: OnUnsupported| what == OnUnsupported::Drop;
    let fields = unsupported.exceptions.iter().map(|(name, what)| (name.clone(), drops(*what)));
    let recorded = config.apis.request_metadata.iter().map(|it| it.name().to_owned());
    DropPolicy {
        drops: drops(unsupported.default),
        fields: fields.collect(),
        recorded: recorded.collect(),
        ..DropPolicy::default()
    }
}

/// What translations ask of prompt caches.
fn cache_policy(config: &Config) -> CachePolicy {
    let config::PromptCaching { add_points, min_ttl } = config.apis.prompt_caching;
    let min_ttl = match min_ttl {
        config::CacheTtl::FiveMinutes => CacheTtl::FiveMinutes,
        config::CacheTtl::Hour => CacheTtl::Hour,
    };
    CachePolicy { adds_points: add_points, min_ttl }
}

/// What seals the ids of stored responses: the config's key, else one of the process, which a reload keeps.
fn response_ids(config: &Config, previous: Option<&Gateway>) -> Arc<ResponseIds> {
    let key = |config: &Config| config.apis.responses.id_key.clone();
    match (key(config), previous) {
        (own, Some(previous)) if key(&previous.config) == own => Arc::clone(&previous.response_ids),
        (Some(key), _) => Arc::new(ResponseIds::with_secret(key.expose().as_bytes())),
        (None, _) => Arc::new(ResponseIds::random()),
    }
}

/// Logs the targets that clients with budgets can't use, because they have no price.
fn warn_about_unpriced_targets(config: &Config, router: &Router, prices: &Prices) {
    if config.clients.iter().all(|client| client.budget.is_none()) {
        return;
    }
    for target in router.targets() {
        if rates(prices, target).is_none() {
            tracing::warn!(
                name: UNLIMITED,
                target_name = %target.name,
                model = %target.model,
                "the model has no price: clients with budgets can't use it; set one in [prices]"
            );
        }
    }
}

/// What the tokens of `target` cost, if its model has a price.
pub(super) fn rates<'a>(prices: &'a Prices, target: &Target) -> Option<Cow<'a, ModelPrices>> {
    prices.of(&target.model, target.base_model(), target.model_info.as_deref())
}

/// A pool of connections to the upstream, counted in `metrics`.
fn connections(config: &config::Upstream, metrics: &Metrics) -> Upstream {
    Upstream::new(config, ConnectionGauges::of(metrics), metrics.upstream_resent.clone())
}

/// The gateway of the current config. A reload replaces it.
pub type SharedGateway = ArcSwap<Gateway>;

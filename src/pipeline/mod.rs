//! The way of a Bedrock request through the gateway, as one stack.
//!
//! ```text
//!  observe    gives the request an id; turns a refusal into Bedrock's wire form
//!  shed       turns it away if there is too much in hand
//!  identify   who is calling, and within which limits
//!  parse      method and raw path -> operation and requested model
//!  collect    the body, within its bounds (signing needs its hash, a retry its bytes)
//!  route      requested model -> the targets that can serve this request
//!  attempt    admit to a target, prepare, sign, send, classify; again until it is answered
//!             (`duplex`: the same once, for a request whose body goes on while it is answered)
//!  relay      the answer's bytes as they come; counts and settles at their end
//! ```
//! Each step is a file. A step takes the request of the stage before and gives that of the
//! stage after, or a `Refusal`; what it learns for log and metrics it notes in the
//! request's `Exchange`, whose end is the end of the request on every path.

mod admit;
mod attempt;
pub(crate) mod body;
mod buffers;
mod collect;
mod deadline;
mod duplex;
mod exchange;
mod hedge;
mod identify;
mod observe;
mod offload;
mod parse;
mod policy;
mod prepare;
mod refusal;
mod relay;
mod route;
mod shed;
mod shortage;
mod step;
#[cfg(test)]
mod tests;
mod watch;

use std::convert::Infallible;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::Response;
use http_body::Body;
use tokio::time::Instant;
use tower::{Service, ServiceBuilder};

pub use parse::repeats_length;
pub use relay::{ResponseBody, ResponseDeadline};

use crate::auth::{Authenticator, Issuers, Peer};
use crate::config::{self, Config};
use crate::fleet::Fleet;
use crate::limits::{ClientLimits, ClientRegistry, Prices, Rates};
use crate::quota::{InFlightLimit, QueueLimits, ShutdownDeadline};
use crate::routing::{Route, Router, RouterError, Target};
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::process_log::UNLIMITED;
use crate::telemetry::traces::Traces;
use crate::telemetry::usage_log::UsageLog;
use crate::telemetry::{Logs, Metrics};
use crate::upstream::{ConnectionGauges, Upstream};
use buffers::Buffers;
use hedge::HedgeBudget;
use offload::Offload;
use step::step;

/// What the steps share: one config and everything built from it.
#[derive(Debug)]
pub struct Gateway {
    /// The config.
    pub config: Config,
    /// The routing table.
    pub router: Router,
    /// The pool of upstream connections.
    pub upstream: Upstream,
    /// Who waits.
    pub queue_limits: QueueLimits,
    /// The bounds on what is in flight.
    pub in_flight: InFlightLimit,
    /// The deadline of queued requests during shutdown.
    pub shutdown_deadline: ShutdownDeadline,
    /// The clients that the config names.
    pub clients: ClientRegistry,
    /// Who may call.
    pub authenticator: Authenticator,
    /// The limits of clients.
    pub limits: ClientLimits,
    /// What tokens cost.
    pub prices: Prices,
    /// Memory for large bodies.
    pub(crate) buffers: Buffers,
    /// Threads for work on large bodies.
    pub(crate) offload: Offload,
    /// How many requests may be hedged.
    pub(crate) hedges: HedgeBudget,
    /// The metric families.
    pub metrics: Arc<Metrics>,
    /// Where access-log lines go.
    pub access_log: AccessLog,
    /// Where records of use go.
    pub usage_log: UsageLog,
    /// Who decides on traces and takes their spans; `None`: there are none.
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
    ) -> Result<Arc<Gateway>, RouterError> {
        let upstream = connections(&config.upstream, &metrics);
        Gateway::build(config, None, fleet, upstream, metrics, logs)
    }

    /// The gateway of a newer config: what it keeps of this one keeps its state, connections are
    /// used on if they are what it asks for, and what is under way here ends here.
    pub fn renewed(&self, config: Config) -> Result<Arc<Gateway>, RouterError> {
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

    fn build(
        config: Config,
        before: Option<&Gateway>,
        fleet: Option<Fleet>,
        upstream: Upstream,
        metrics: Arc<Metrics>,
        logs: Logs,
    ) -> Result<Arc<Gateway>, RouterError> {
        let before_issuers = before.map(|before| {
            let same_way = config.upstream.connects_like(&before.config.upstream);
            (before.authenticator.issuers(), same_way)
        });
        let router = Router::new(
            &config,
            before.map(|before| (&before.config, &before.router)),
            fleet.as_ref(),
        )?;
        let clients = before.map(|before| &before.clients);
        let clients = ClientRegistry::new(&config.clients, clients, fleet.as_ref())?;
        let prices = Prices::new(&config.prices)?;
        warn_of_unpriced(&config, &router, &prices);
        let issuers = Issuers::new(&config.issuers, &upstream, &metrics, before_issuers);
        Ok(Arc::new(Gateway {
            router,
            upstream,
            in_flight: before.map_or_else(
                || InFlightLimit::new(&config.server),
                |before| before.in_flight.with_config(&config.server),
            ),
            authenticator: Authenticator::new(
                &config.clients,
                &clients,
                &config.auth,
                Arc::clone(&metrics),
                before.map(|before| &before.authenticator),
            )
            .with_issuers(issuers)
            .with_allowed_hosts(&config.server.allowed_hosts),
            limits: match before {
                Some(before) => before.limits.with_config(&config.limits),
                None => ClientLimits::new(&config.limits, fleet.clone()),
            },
            clients,
            prices,
            buffers: before.map_or_else(
                || Buffers::new(config.server.max_in_flight_bytes),
                |before| before.buffers.clone(),
            ),
            offload: before.map(|before| before.offload.clone()).unwrap_or_default(),
            hedges: HedgeBudget::new(&config.hedge),
            queue_limits: match before {
                Some(before) => before.queue_limits.with_config(&config.queue),
                None => QueueLimits::new(
                    &config.queue,
                    metrics.queue_waiting.clone(),
                    metrics.queue_waiting_bytes.clone(),
                ),
            },
            shutdown_deadline: before
                .map(|before| before.shutdown_deadline.clone())
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

/// Says which targets clients with budgets can't use, since nobody knows what they cost.
fn warn_of_unpriced(config: &Config, router: &Router, prices: &Prices) {
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

/// What tokens of a target cost, if anybody knows.
fn rates(prices: &Prices, target: &Target) -> Option<Rates> {
    prices.of(&target.model, target.base_model(), target.model_info)
}

/// A pool of connections to the upstream, counted in `metrics`.
fn connections(config: &config::Upstream, metrics: &Metrics) -> Upstream {
    Upstream::new(config, ConnectionGauges::of(metrics), metrics.upstream_resent.clone())
}

/// The gateway of the config that is in force.
pub type SharedGateway = ArcSwap<Gateway>;

/// A request as it arrives: its body is still to be read.
#[derive(Debug)]
pub struct InboundRequest<B> {
    /// Method, URI and headers.
    pub head: http::request::Parts,
    /// The body.
    pub body: B,
    /// Who is at the other end of the connection.
    pub peer: Peer,
}

/// Marks the head of a request that another room of this process makes, as one of its extensions,
/// which no client can set: who asks was seen to there, and so was where it goes.
#[derive(Clone, Debug)]
pub struct InternalRequest {
    /// The targets, best first, whatever the routes of its model are.
    pub route: Arc<Route>,
    /// The name of the client that it is made for.
    pub client: Option<Arc<str>>,
    /// Whether it has counted against the rate of that client already.
    pub is_counted: bool,
    /// When it must have been answered. It may wait in line until then, in place of the config's
    /// `request_timeout` and `max_wait`.
    pub deadline: Instant,
}

/// The whole stack over the live gateway. It never fails: what goes wrong is a response.
pub fn stack<B>(
    live: &Arc<SharedGateway>,
) -> impl Service<InboundRequest<B>, Response = Response<ResponseBody>, Error = Infallible, Future: Send>
+ Clone
+ use<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::error::Error + Send + Sync,
{
    ServiceBuilder::new()
        // Outermost, so that nothing that happens inside goes uncounted or unanswered.
        .layer(observe::layer(live))
        // Before anything is done for a request that may be one too many.
        .layer(step(shed::Shed))
        // Before the path is looked at: who sends garbage is worth knowing too.
        .layer(step(identify::Identify))
        .layer(step(parse::Parse))
        // Before routing, which looks at the features that a body uses.
        .layer(collect::Collect)
        .layer(step(route::Route))
        .service(attempt::Attempts)
}

//! From the requested model to the targets that can serve this request, best first.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode};
use smallvec::SmallVec;
use tokio::time::Instant;

use super::collect::{Collected, StreamingBody};
use super::exchange::Exchange;
use super::policy;
use super::refusal::{Refusal, Refused};
use super::step::Step;
use super::{Gateway, InternalRequest, rates};
use crate::bedrock::body::{self, Peek};
use crate::bedrock::extent::{self, Extent};
use crate::bedrock::path::{Call, Resource};
use crate::bedrock::sigv4::PayloadHash;
use crate::bedrock::{Extras, Family, Features, ModelId, Operation};
use crate::config::Priority;
use crate::limits::{Denied, Prices};
use crate::routing::access::Denial;
use crate::routing::{
    self, Bound, Candidate, Capabilities, Excess, QuotaDemand, RequestSize, Target, balance,
};
use crate::telemetry::ModelLatency;

/// A request with the targets that can serve it.
#[derive(Debug)]
pub(super) struct Routed {
    pub(super) head: http::request::Parts,
    pub(super) exchange: Box<Exchange>,
    pub(super) call: Call,
    pub(super) body: Bytes,
    /// The body's hash, computed once, by whoever needs it first.
    pub(super) hash: OnceLock<PayloadHash>,
    /// The events that come while the request is answered, if it is of that kind.
    pub(super) events: Option<StreamingBody>,
    /// What was read of the body; nothing where nothing needs to be read.
    pub(super) peek: Peek,
    /// How large the request is, as quotas count.
    pub(super) size: RequestSize,
    /// The state of its candidates, best first.
    pub(super) candidates: SmallVec<[CandidateState; 4]>,
    pub(super) route: Arc<routing::Route>,
}

impl Routed {
    /// The target of the candidate with this index.
    pub(super) fn target(&self, index: usize) -> Option<&Arc<Target>> {
        self.route.targets.get(self.candidates.get(index)?.position)
    }

    /// Whether the candidate with this index speaks for what was asked for: its model is the one
    /// that was, or the one that the config has put in its place.
    pub(super) fn is_first_hand(&self, index: usize) -> bool {
        let Some((target, requested)) = self.target(index).zip(self.call.model()) else {
            return true;
        };
        target.is_model(requested)
            || self.route.targets.first().is_some_and(|first| {
                Arc::ptr_eq(first, target) || target.is_model(first.base_model())
            })
    }

    /// What the request would take of a target's quota.
    pub(super) fn demand(&self, target: &Target) -> QuotaDemand {
        let Some(model) = self.call.model() else { return QuotaDemand::default() };
        target.demand(self.call.operation, &self.size, model)
    }

    /// How the request is too large for a target's whole quota, if it is.
    pub(super) fn excess(&self, target: &Target) -> Option<Excess> {
        target.excess(self.demand(target), &self.size)
    }

    /// The most that the request can use of a target, where its client's budget holds that.
    pub(super) fn bound(&self, target: &Target) -> Option<Bound> {
        self.exchange.hold.as_ref()?;
        let model = self.call.model().filter(|_| self.events.is_none())?;
        Some(target.bound(&self.size, model))
    }

    /// The candidates that this request is not done with, best first, each made when it is looked at.
    pub(super) fn remaining(&self) -> impl Iterator<Item = Candidate> {
        let states = self.candidates.iter().enumerate();
        let remaining = states.filter(|(_, state)| state.left.is_none());
        remaining.filter_map(|(index, state)| {
            let candidate = self.candidate(index)?;
            let may_serve = state.is_last_resort || self.denial(&candidate.target).is_none();
            may_serve.then_some(candidate)
        })
    }

    /// Leaves the candidates that are known to deny the operation. The best one of all is asked
    /// nevertheless where nothing else remains: it may be mended, and if not, it says itself what is
    /// wrong.
    pub(super) fn leave_denied(&mut self) {
        let mut remains = false;
        for index in 0..self.candidates.len() {
            let denial = self.target(index).and_then(|target| self.denial(target));
            let Some(candidate) = self.candidates.get_mut(index) else { continue };
            match denial {
                Some(denial) if !candidate.is_last_resort => {
                    candidate.left.get_or_insert(Left::Denied(denial.status));
                }
                _ => remains |= candidate.left.is_none(),
            }
        }
        if let Some(best) =
            self.candidates.first_mut().filter(|best| !remains && best.attempts == 0)
            && let Some(Left::Denied(_)) = best.left
        {
            (best.left, best.is_last_resort) = (None, true);
        }
    }

    /// Whether the candidate with this index may be asked now, as far as its access tells.
    pub(super) fn may_try(&self, index: usize, now: Instant) -> bool {
        let is_last_resort = self.candidates.get(index).is_some_and(|it| it.is_last_resort);
        let operation = self.call.model().map(|_| self.call.operation);
        let target = self.target(index);
        is_last_resort || target.is_some_and(|target| target.may_try(operation, now))
    }

    /// What the request asks for besides its model, of its own or by its client's policy.
    pub(super) fn extras(&self) -> Extras {
        let (operation, mut headers) = (self.call.operation, self.head.headers.clone());
        policy::add_guardrail(&self.exchange, operation, &mut headers);
        Extras::of(operation, &headers, &self.body)
    }

    fn denial(&self, target: &Target) -> Option<Denial> {
        target.denial(self.call.model().map(|_| self.call.operation))
    }

    /// The candidate with this index.
    pub(super) fn candidate(&self, index: usize) -> Option<Candidate> {
        let target = self.target(index)?;
        Some(Candidate { index, target: Arc::clone(target), demand: self.demand(target) })
    }
}

/// What a request has experienced at one of its candidates. It names the target by its position, so that
/// a request touches no target that it does not ask; most ask the first alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct CandidateState {
    /// The target's position in the route.
    position: usize,
    /// Attempts made there.
    pub(super) attempts: u32,
    /// Why this request is done with it; `None` as long as it is not.
    pub(super) left: Option<Left>,
    /// Whether it is asked though it is known to deny the operation.
    is_last_resort: bool,
}

/// Why a request is done with a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// The target refused what was asked for: no permission, no such model, not callable this way.
    Denied(StatusCode),
    /// The target's model can't do what this request asks for.
    Misfit(StatusCode),
    /// The service failed, or did not answer in time.
    Failed(StatusCode),
    /// It takes more tokens than the whole quota, and was throttled.
    Oversized(Excess),
    /// No connection, or one that broke before an answer.
    Unreachable,
    /// The gateway could not make the request, for want of credentials or connections, or its
    /// credentials were refused.
    Unusable,
}

impl Left {
    /// The status that the target gave, if it gave one.
    pub(super) fn status(self) -> Option<StatusCode> {
        match self {
            Left::Denied(status) | Left::Misfit(status) | Left::Failed(status) => Some(status),
            Left::Oversized(_) | Left::Unreachable | Left::Unusable => None,
        }
    }
}

impl CandidateState {
    fn new(position: usize) -> CandidateState {
        CandidateState { position, attempts: 0, left: None, is_last_resort: false }
    }
}

/// What routing decides of a request.
struct Decision {
    peek: Peek,
    size: RequestSize,
    candidates: SmallVec<[CandidateState; 4]>,
    route: Arc<routing::Route>,
}

#[derive(Clone, Debug)]
pub(super) struct Route;

impl Step<Collected> for Route {
    type Out = Routed;

    fn take(&self, collected: Collected) -> Result<Routed, Refused> {
        let Collected { request, call, body, hash, events } = collected;
        let (head, mut exchange) = (request.inbound.head, request.exchange);
        let decision = policy::check_body(&exchange, call.operation, &body).and_then(|changed| {
            // The hash of a body that was changed is not known.
            let (body, hash) = match changed {
                Some(changed) => (changed, OnceLock::new()),
                None => (body, hash.map_or_else(OnceLock::new, OnceLock::from)),
            };
            let decision = match &call.resource {
                Resource::Model(model) => {
                    let chosen =
                        head.extensions.get::<InternalRequest>().map(|it| Arc::clone(&it.route));
                    route(&mut exchange, call.operation, model, &head.headers, &body, chosen)?
                }
                _ if call.operation.is_control_plane() => {
                    policy::check_control_plane(&exchange, &call)?;
                    let gateway = exchange.gateway();
                    let route = gateway.router.control_plane(&gateway.config, call.described());
                    let operation = call.operation.name();
                    relayed(&route.ok_or(Refusal::ControlPlane { operation })?)
                }
                // Other operations without a model are relayed to the default upstream.
                _ => {
                    reserve_budget(&mut exchange, call.operation, None)?;
                    relayed(exchange.gateway().router.default_route())
                }
            };
            Ok((body, hash, decision))
        });
        match decision {
            Ok((body, hash, Decision { peek, size, candidates, route })) => {
                let asked = priority(&head.headers, exchange.gateway());
                let policy = exchange.policy();
                exchange.priority = policy.map_or(asked, |policy| policy.priority(asked));
                let routed = Routed {
                    head,
                    exchange,
                    call,
                    body,
                    hash,
                    events,
                    peek,
                    size,
                    candidates,
                    route,
                };
                Ok(routed)
            }
            Err(refusal) => Err(Refused { refusal, exchange }),
        }
    }
}

fn relayed(route: &Arc<routing::Route>) -> Decision {
    Decision {
        peek: Peek::default(),
        size: RequestSize::default(),
        candidates: (0..route.targets.len()).map(CandidateState::new).collect(),
        route: Arc::clone(route),
    }
}

fn route(
    exchange: &mut Exchange,
    operation: Operation,
    model: &ModelId,
    headers: &HeaderMap,
    body: &[u8],
    chosen: Option<Arc<routing::Route>>,
) -> Result<Decision, Refusal> {
    let gateway = Arc::clone(exchange.gateway());
    let unrouted = || Refusal::Unrouted { model: model.to_string() };
    let (pattern, route) = match chosen {
        // Its model is one that the config names.
        Some(route) => (Some(Arc::new(ModelLatency::new(model.as_str()))), route),
        None => gateway.router.find(&gateway.config, model).ok_or_else(unrouted)?,
    };
    let is_routed = pattern.is_some();
    exchange.pattern = pattern;
    let (_, first) = route.with_capabilities().next().ok_or_else(unrouted)?;
    // An opaque ARN does not tell its family; the target that it routes to first does.
    let family = match model.family() {
        Family::Unknown => first.family,
        family => family,
    };
    let is_duplex = operation == Operation::InvokeModelWithBidirectionalStream;
    let peek = body::peek(operation, family, body).or_else(|error| {
        // What goes through as it is, is the upstream's to judge; what is still to come is not
        // known.
        if is_routed && !is_duplex { Err(error) } else { Ok(Peek::unread()) }
    })?;
    let mut extent = peek.extent;
    extent.writes_cache |= peek.features.contains(Features::PROMPT_CACHING);
    extent_of_headers(headers, &mut extent);
    exchange.surcharge = extent.surcharge;
    let size = RequestSize {
        body_bytes: body.len(),
        thinking: peek.thinking_budget,
        extent,
        text_bytes: body.len().saturating_sub(peek.media_bytes),
        media: peek.media,
        max_output: peek.max_output_tokens(),
    };
    let mut targets: SmallVec<[(usize, &Arc<Target>); 4]> = route
        .with_capabilities()
        .enumerate()
        // Events are not kept, so nobody could stand in for the first.
        .filter(|(position, _)| *position == 0 || !is_duplex)
        .filter(|(position, (target, capabilities))| {
            *position == 0 || can_stand_in(target, capabilities, operation, model, family, &peek)
        })
        .filter(|(_, (target, _))| policy::may_call(exchange, target))
        .map(|(position, (target, _))| (position, target))
        .collect();
    if targets.is_empty() {
        return Err(Denied::Targets { model: model.to_string() }.into());
    }
    if exchange.account().is_some() && operation != Operation::CountTokens {
        targets.retain(|(_, target)| rates(&gateway.prices, target).is_some());
        if targets.is_empty() {
            return Err(Denied::Unpriced { model: model.to_string() }.into());
        }
    }
    balance::order(&mut targets, route.balance, peek.cached_prefix);
    if let (Some(client), Some((_, best))) = (&exchange.client, targets.first()) {
        let demand = best.demand(operation, &size, model);
        if demand.draws_on_quota() {
            let allowance = gateway.limits.reserve_tokens(client, demand.expected());
            exchange.allowance = allowance.map_err(Refusal::Limited)?;
        }
    }
    let most = |prices: &Prices| {
        let dearest = targets.iter().filter_map(|(_, target)| {
            let bound = match is_duplex {
                true => Bound::of_stream(),
                false => target.bound(&size, model),
            };
            Some(rates(prices, target)?.most(&bound))
        });
        dearest.max().unwrap_or(0)
    };
    reserve_budget(exchange, operation, Some(&most))?;
    let candidates = targets.iter().map(|(position, _)| CandidateState::new(*position)).collect();
    drop(targets);
    Ok(Decision { peek, size, candidates, route })
}

/// Holds the `most` that a request can cost with the dearest of its targets, of a client that has a
/// budget. What costs nothing by tokens is let through without; what costs nobody knows how much,
/// only where the client's policy says so.
fn reserve_budget(
    exchange: &mut Exchange,
    operation: Operation,
    most: Option<&dyn Fn(&Prices) -> u64>,
) -> Result<(), Refusal> {
    let is_async = operation == Operation::StartAsyncInvoke;
    let runs_a_model = is_async || most.is_some() && operation != Operation::CountTokens;
    let Some(account) = exchange.account().filter(|_| runs_a_model) else { return Ok(()) };
    if is_async && !exchange.policy().is_some_and(|policy| policy.names(operation)) {
        return Err(Denied::Uncounted { operation: operation.name() }.into());
    }
    let most = most.map_or(0, |most| most(&exchange.gateway().prices));
    exchange.hold = Some(account.reserve(most)?);
    Ok(())
}

static TIER: HeaderName = HeaderName::from_static("x-amzn-bedrock-service-tier");
static LATENCY: HeaderName = HeaderName::from_static("x-amzn-bedrock-performanceconfig-latency");
static BETA: HeaderName = HeaderName::from_static("anthropic-beta");

/// Adds what headers tell of a request's size and price.
fn extent_of_headers(headers: &HeaderMap, extent: &mut Extent) {
    let texts = |name: &HeaderName| {
        let all = headers.get_all(name).into_iter();
        all.map(|value| String::from_utf8_lossy(value.as_bytes()))
    };
    for tier in texts(&TIER) {
        extent.surcharge = extent.surcharge.max(extent::of_tier(&tier));
    }
    for latency in texts(&LATENCY) {
        extent.surcharge = extent.surcharge.max(extent::of_latency(&latency));
    }
    extent.has_long_window |= texts(&BETA).any(|flags| extent::is_long_window(&flags));
}

static PRIORITY: HeaderName = HeaderName::from_static("x-sluice-priority");

/// What the client asks for with `x-sluice-priority`, and else normal; never above the ceiling.
fn priority(headers: &HeaderMap, gateway: &Gateway) -> Priority {
    let asked = headers.get(&PRIORITY).and_then(|value| value.to_str().ok());
    let asked = match asked {
        Some(text) if text.eq_ignore_ascii_case("high") => Priority::High,
        Some(text) if text.eq_ignore_ascii_case("low") => Priority::Low,
        _ => Priority::Normal,
    };
    asked.min(gateway.config.queue.max_priority)
}

/// Whether a target can answer in place of another: the Converse schema is common to all models, but
/// for the fields that it has for each model's own; any other body is its own family's; and nothing that
/// the request uses may be lost.
fn can_stand_in(
    target: &Target,
    capabilities: &Capabilities,
    operation: Operation,
    model: &ModelId,
    family: Family,
    peek: &Peek,
) -> bool {
    let is_itself = || target.is_model(model);
    let same_schema = operation.is_converse() && !peek.has_model_fields
        || family != Family::Unknown && capabilities.family == family
        || is_itself();
    same_schema && capabilities.supports(peek, is_itself)
}

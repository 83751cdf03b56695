//! From the requested model to the targets that can serve this request, best first.

use std::hash::Hasher;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use smallvec::SmallVec;

use super::collect::{Collected, Live};
use super::exchange::Exchange;
use super::policy;
use super::refusal::{Refusal, Refused};
use super::step::Step;
use super::{Gateway, InProcess};
use crate::bedrock::body::{self, Peek};
use crate::bedrock::path::{Call, Resource};
use crate::bedrock::sigv4::PayloadHash;
use crate::bedrock::{Family, ModelId, Operation};
use crate::clients::Denied;
use crate::config::Priority;
use crate::routing::{self, Choice, Need, Pool, Size, Target, balance};

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
    pub(super) events: Option<Live>,
    /// What was read of the body; nothing where nothing needs to be read.
    pub(super) peek: Peek,
    /// How large the request is, as quotas count.
    pub(super) size: Size,
    pub(super) candidates: SmallVec<[Candidate; 4]>,
    /// Where it waits for one of them.
    pub(super) pool: Arc<Pool>,
}

/// A target that can serve a request, and what this request has seen of it.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) target: Arc<Target>,
    /// What the request needs of its quota.
    pub(super) need: Need,
    /// Attempts made there.
    pub(super) attempts: u32,
    /// Whether this request is done with it.
    pub(super) is_out: bool,
}

impl Candidate {
    fn new(target: Arc<Target>, need: Need) -> Candidate {
        Candidate { target, need, attempts: 0, is_out: false }
    }

    /// The candidate as a choice with this number.
    pub(super) fn choice(&self, index: usize) -> Choice {
        Choice { index, target: Arc::clone(&self.target), need: self.need }
    }
}

/// What routing decides of a request.
struct Decision {
    peek: Peek,
    size: Size,
    candidates: SmallVec<[Candidate; 4]>,
    pool: Arc<Pool>,
}

#[derive(Clone, Debug)]
pub(super) struct Route;

impl Step<Collected> for Route {
    type Out = Routed;

    fn take(&self, collected: Collected) -> Result<Routed, Refused> {
        let Collected { request, call, body, hash, events } = collected;
        let (head, mut exchange) = (request.arrival.head, request.exchange);
        let decision = policy::check_body(&exchange, call.operation, &body).and_then(|changed| {
            // The hash of a body that was changed is not known.
            let (body, hash) = match changed {
                Some(changed) => (changed, OnceLock::new()),
                None => (body, hash.map_or_else(OnceLock::new, OnceLock::from)),
            };
            let decision = match &call.resource {
                Resource::Model(model) => {
                    let chosen = head.extensions.get::<InProcess>().map(|it| Arc::clone(&it.route));
                    route(&mut exchange, call.operation, model, &body, chosen)?
                }
                // Operations without a model are relayed to the default upstream.
                _ => {
                    reserve_budget(&mut exchange, call.operation, &[])?;
                    relayed(exchange.gateway().router.default_route())
                }
            };
            Ok((body, hash, decision))
        });
        match decision {
            Ok((body, hash, Decision { peek, size, candidates, pool })) => {
                let asked = priority(&head.headers, exchange.gateway());
                let policy = exchange.policy.as_ref();
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
                    pool,
                };
                Ok(routed)
            }
            Err(refusal) => Err(Refused { refusal, exchange }),
        }
    }
}

fn relayed(route: &routing::Route) -> Decision {
    let all = route.targets.iter();
    Decision {
        peek: Peek::default(),
        size: Size::default(),
        candidates: all.map(|it| Candidate::new(Arc::clone(it), Need::default())).collect(),
        pool: Arc::clone(&route.pool),
    }
}

fn route(
    exchange: &mut Exchange,
    operation: Operation,
    model: &ModelId,
    body: &[u8],
    chosen: Option<Arc<routing::Route>>,
) -> Result<Decision, Refusal> {
    let gateway = Arc::clone(exchange.gateway());
    let unrouted = || Refusal::Unrouted { model: model.to_string() };
    let (pattern, route) = match chosen {
        // Its model is one that the config names.
        Some(route) => (Some(model.as_str().into()), route),
        None => gateway.router.find(&gateway.config, model).ok_or_else(unrouted)?,
    };
    let is_routed = pattern.is_some();
    exchange.pattern = pattern;
    let first = route.targets.first().ok_or_else(unrouted)?;
    // An opaque ARN does not tell its family; the target that it routes to first does.
    let family = match model.family() {
        Family::Unknown => first.family(),
        family => family,
    };
    let is_duplex = operation == Operation::InvokeModelWithBidirectionalStream;
    let peek = body::peek(operation, family, body).or_else(|error| {
        // What goes through as it is, is the upstream's to judge; what is still to come is not
        // known.
        if is_routed && !is_duplex { Err(error) } else { Ok(Peek::default()) }
    })?;
    let size = Size {
        text_bytes: body.len().saturating_sub(peek.media_bytes),
        media: peek.media,
        max_output: peek.max_output_tokens(),
    };
    let mut targets: SmallVec<[Arc<Target>; 4]> = route
        .targets
        .iter()
        .enumerate()
        // Events are not kept, so nobody could stand in for the first.
        .filter(|(index, _)| *index == 0 || !is_duplex)
        .filter(|(index, it)| *index == 0 || can_stand_in(it, operation, model, family, &peek))
        .filter(|(_, it)| policy::may_call(exchange, it))
        .map(|(_, target)| Arc::clone(target))
        .collect();
    if targets.is_empty() {
        return Err(Denied::Targets { model: model.to_string() }.into());
    }
    if exchange.account.is_some() && operation != Operation::CountTokens {
        targets.retain(|it| gateway.prices.of(&it.model, &it.base_model).is_some());
        if targets.is_empty() {
            return Err(Denied::Unpriced { model: model.to_string() }.into());
        }
    }
    let prefix = peek.cached_prefix.clone().and_then(|range| body.get(range)).map(hash);
    balance::order(&mut targets, route.balance, prefix);
    // Counting tokens draws on no quota.
    let is_counted = operation != Operation::CountTokens;
    let need = |target: &Target| Need { is_counted, ..target.need(&size, model) };
    let candidates: SmallVec<[Candidate; 4]> =
        targets.into_iter().map(|it| Candidate::new(Arc::clone(&it), need(&it))).collect();
    if let (true, Some(client), Some(first)) = (is_counted, &exchange.client, candidates.first()) {
        exchange.allowance =
            gateway.limits.tokens(client, first.need.tokens()).map_err(Refusal::Limited)?;
    }
    reserve_budget(exchange, operation, &candidates)?;
    Ok(Decision { peek, size, candidates, pool: Arc::clone(&route.pool) })
}

/// Holds what the dearest of the candidates can cost, of a client that has a budget. What costs
/// nothing by tokens is let through without; what costs nobody knows how much, only where the
/// client's policy says so.
fn reserve_budget(
    exchange: &mut Exchange,
    operation: Operation,
    candidates: &[Candidate],
) -> Result<(), Refusal> {
    let is_async = operation == Operation::StartAsyncInvoke;
    let runs_a_model = is_async || !candidates.is_empty() && operation != Operation::CountTokens;
    let Some(account) = exchange.account.as_ref().filter(|_| runs_a_model) else { return Ok(()) };
    if is_async && !exchange.policy.as_ref().is_some_and(|policy| policy.names(operation)) {
        return Err(Denied::Uncounted { operation: operation.name() }.into());
    }
    let prices = &exchange.gateway().prices;
    let most = candidates.iter().filter_map(|Candidate { target, need, .. }| {
        let rates = prices.of(&target.model, &target.base_model)?;
        Some(rates.most(need.input, need.max_output))
    });
    exchange.hold = Some(account.reserve(most.max().unwrap_or(0))?);
    Ok(())
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

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// Whether a target can answer in place of another: the Converse schema is common to all models,
/// any other body is its own family's; and nothing that the request uses may be lost.
fn can_stand_in(
    target: &Target,
    operation: Operation,
    model: &ModelId,
    family: Family,
    peek: &Peek,
) -> bool {
    let same_model = target.base_model.base().is_some() && target.base_model.base() == model.base();
    let same_schema = operation.is_converse()
        || same_model
        || family != Family::Unknown && target.family() == family;
    same_schema && target.can_take(peek, model)
}

//! From the requested model to the candidates: the targets that can serve this request, best first.
//! Reserves the client's tokens and budget for the most that they may cost.

use std::sync::{Arc, OnceLock};

use http::{HeaderMap, HeaderName};
use smallvec::SmallVec;

use super::candidate_state::{CandidateState, LeaveReason};
use super::context::RequestContext;
use super::eligibility::{self, Eligibility};
use super::error::{GatewayError, RequestError};
use super::gateway::rates;
use super::inbound::InternalRequest;
use super::kept_responses::KeptResponseError;
use super::passed_over;
use super::responses::ResponsesCall;
use super::routed::RoutedRequest;
use super::stage::{AuthorizedRequest, BufferedRequest};
use super::step::Step;
use super::translations::{Translations, Way, source};
use super::unservable::Unservable;
use crate::api::messages_headers::BetaFlags;
use crate::bedrock::body::{self, Peek};
use crate::bedrock::extent::{self, Extent};
use crate::bedrock::path::Resource;
use crate::bedrock::{Api, Features, ModelId, Operation, ServiceTier};
use crate::bridge::conversation::CacheTtl;
use crate::bridge::{CachePolicy, DropPolicy, Refusal};
use crate::catalogue::{Surface, Surfaces};
use crate::config::Translate;
use crate::limits::{PolicyDenial, Prices};
use crate::routing::{self, Bound, RequestSize, Target, balance};
use crate::telemetry::ModelLatency;

/// What routing decides about a request.
struct RoutingDecision {
    responses: Option<Box<ResponsesCall>>,
    translations: Option<Box<Translations>>,
    peek: Box<Peek>,
    size: RequestSize,
    candidates: SmallVec<[CandidateState; 4]>,
    route: Arc<routing::Route>,
}

#[derive(Clone, Debug)]
pub(super) struct RouteStep;

impl Step<AuthorizedRequest> for RouteStep {
    type Out = Box<RoutedRequest>;

    fn apply(&self, request: AuthorizedRequest) -> Result<Box<RoutedRequest>, RequestError> {
        let AuthorizedRequest { mut buffered, guardrail } = request;
        let continues_kept = buffered.continues.is_some();
        let decision = match choose_route(&mut buffered) {
            Ok(decision) => decision,
            Err(error) => return Err(RequestError { error, context: buffered.context }),
        };
        let RoutingDecision { responses, translations, peek, size, candidates, route } = decision;
        let BufferedRequest { head, context, call, body, hash, events, .. } = *buffered;
        let hash = hash.map_or_else(OnceLock::new, OnceLock::from);
        Ok(Box::new(RoutedRequest {
            head,
            context,
            call,
            guardrail,
            body,
            hash,
            events,
            peek,
            size,
            candidates,
            route,
            fallback_from: None,
            may_await_grant: true,
            responses,
            continues_kept,
            translations,
            betas: BetaFlags::default(),
        }))
    }
}

/// Whether routing may translate the body for its first candidate, which takes longer than to look into it.
pub(super) fn may_translate(request: &BufferedRequest) -> bool {
    let operation = request.call.operation;
    let Resource::Model(model) = &request.call.resource else { return false };
    match request.context.gateway().router.configured(model) {
        Some(route) => {
            route.translate == Translate::Families
                || route.with_capabilities().any(|(_, it)| !it.serves(operation))
        }
        None => operation.api() != Api::Bedrock,
    }
}

fn choose_route(request: &mut BufferedRequest) -> Result<RoutingDecision, GatewayError> {
    let BufferedRequest { head, context, call, body, peek, continues, .. } = request;
    let operation = call.operation;
    match &call.resource {
        Resource::Model(model) => {
            let chosen = head.extensions.get::<InternalRequest>();
            route(
                context,
                operation,
                model,
                &head.headers,
                Body { bytes: body, peek: peek.take(), continues: continues.take() },
                chosen,
            )
        }
        Resource::Response(id) => {
            let (responses, route) = ResponsesCall::on_stored(context, id)?;
            let responses = Some(Box::new(responses));
            Ok(RoutingDecision { responses, ..without_model(&route) })
        }
        _ if operation.is_control_plane() => {
            let gateway = context.gateway();
            let route = gateway.router.control_plane(&gateway.config, call.described());
            let unserved = || GatewayError::ControlPlane { operation: operation.name() };
            Ok(without_model(&route.ok_or_else(unserved)?))
        }
        // Other operations without a model are relayed to the default upstream.
        _ => {
            reserve_budget(context, operation, None)?;
            Ok(without_model(context.gateway().router.default_route()))
        }
    }
}

fn without_model(route: &Arc<routing::Route>) -> RoutingDecision {
    let all = 0..route.targets.len();
    RoutingDecision {
        responses: None,
        translations: None,
        peek: Box::default(),
        size: RequestSize::default(),
        candidates: all.map(|position| CandidateState::new(position, Way::PassThrough)).collect(),
        route: Arc::clone(route),
    }
}

/// A request body, with what was read of it if it was read before.
struct Body<'a> {
    bytes: &'a [u8],
    peek: Option<Box<Peek>>,
    /// The id of the kept response that it continues.
    continues: Option<Box<str>>,
}

fn route(
    context: &mut RequestContext,
    operation: Operation,
    model: &ModelId,
    headers: &HeaderMap,
    body: Body<'_>,
    chosen: Option<&InternalRequest>,
) -> Result<RoutingDecision, GatewayError> {
    let gateway = Arc::clone(context.gateway());
    let unrouted = || GatewayError::Unrouted { model: model.to_string() };
    let (pattern, route) = match chosen {
        // Its model comes from the config, so the label is bounded.
        Some(InternalRequest { route, part_of: None, .. }) => {
            (Some(Arc::new(ModelLatency::new(model.as_str()))), Arc::clone(route))
        }
        Some(InternalRequest { route, part_of: Some(whole), .. }) => {
            (whole.pattern.clone(), Arc::clone(route))
        }
        None => gateway.router.find(&gateway.config, model).ok_or_else(unrouted)?,
    };
    let mut route = route;
    let mut responses = None;
    if operation == Operation::CreateResponse
        && let Some(peek) = &body.peek
    {
        let (call, stored_at) = ResponsesCall::create(context, &peek.parameters, &route)?;
        responses = Some(Box::new(call));
        // A response is continued where it is.
        route = stored_at.unwrap_or(route);
    }
    if operation == Operation::CountTokens
        && let Some((_, first)) = route.with_capabilities().next()
        && first.counts_at_mantle
    {
        // Another model of the route would count otherwise.
        return Err(Unservable::CountedAtMantle { model: model.to_string() }.into());
    }
    let is_routed = pattern.is_some();
    context.call.pattern = pattern;
    let family = eligibility::family(model, &route, chosen);
    let is_bidirectional = operation == Operation::InvokeModelWithBidirectionalStream;
    let Body { bytes: body, peek, continues } = body;
    let read = peek.map_or_else(|| body::peek(operation, family, body).map(Box::new), Ok);
    let peek = read.or_else(|error| {
        // Bedrock validates the body of an unrouted model. The events of a bidirectional stream have
        // not arrived yet.
        if is_routed && !is_bidirectional { Err(error) } else { Ok(Box::new(Peek::unread())) }
    })?;
    let mut extent = peek.extent;
    extent.writes_cache |= peek.features.contains(Features::PROMPT_CACHING);
    extent_of_headers(headers, &mut extent);
    context.call.tier = extent.tier;
    context.call.is_latency_optimized = extent.is_latency_optimized;
    context.call.streams =
        operation.is_stream() || peek.parameters.stream && !operation.counts_tokens();
    let mut size = RequestSize {
        body_bytes: body.len(),
        thinking: peek.thinking_budget,
        extent,
        text_bytes: body.len().saturating_sub(peek.media_bytes),
        media: peek.media,
        max_output: peek.max_output_tokens(),
    };
    let translate = route.translate;
    let eligibility = Eligibility {
        context,
        operation,
        model,
        family,
        peek: &peek,
        headers,
        translate,
        // Upstreams know nothing of what the gateway keeps.
        passes_none: continues.is_some(),
    };
    let mut translated: SmallVec<[usize; 4]> = SmallVec::new();
    let mut targets: SmallVec<[(usize, &Arc<Target>); 4]> = route
        .with_capabilities()
        .enumerate()
        // Events can't be sent twice, so there is no fallback.
        .filter(|(position, _)| *position == 0 || !is_bidirectional)
        .filter(|(position, (target, capabilities))| {
            let way = eligibility.way(*position, target, capabilities);
            if way == Ok(Way::Translated(None)) {
                translated.push(*position);
            }
            way.is_ok()
        })
        .map(|(position, (target, _))| (position, target))
        .collect();
    // Points that the gateway adds write to a cache, too; those of the client are counted already.
    let CachePolicy { adds_points, min_ttl } = gateway.cache_policy;
    let may_add = adds_points && min_ttl == CacheTtl::Hour && !translated.is_empty();
    size.extent.writes_cache |= may_add;
    let none_allowed = targets.is_empty();
    targets.retain(|(_, target)| !eligibility.is_unpriced(target));
    if targets.is_empty() {
        let passed_over = passed_over::ineligible(&eligibility, &route);
        let refusal = eligibility.refusal(&route);
        context.answer.passed_over = passed_over;
        let model = model.to_string();
        if continues.is_some() {
            return Err(KeptResponseError::NotTranslated { model }.into());
        }
        if let Some((wanted, surfaces)) = unserved(operation, &route) {
            return Err(GatewayError::NoSurface { model, wanted, surfaces });
        }
        if let Some(refusal) = refusal {
            return Err(refusal.into());
        }
        // Of these APIs only a translation has the guardrail.
        if context.call.has_guardrail && operation != Operation::CreateChatCompletion {
            return Err(PolicyDenial::Unguarded { operation: operation.name() }.into());
        }
        return Err(match none_allowed {
            true => PolicyDenial::Targets { model },
            false => PolicyDenial::Unpriced { model },
        }
        .into());
    }
    balance::order(&mut targets, route.balance, peek.cached_prefix);
    let way = |position: usize| match translated.contains(&position) {
        true => Way::Translated(None),
        false => Way::PassThrough,
    };
    let mut candidates: SmallVec<[CandidateState; 4]> = targets
        .iter()
        .map(|(position, _)| CandidateState::new(*position, way(*position)))
        .collect();
    let mut translations = None;
    if !translated.is_empty()
        && let Some(source) = source(operation, family)
    {
        // A translation is about as large as the body, which is kept for further candidates.
        if let Some(share) = &mut context.guards.in_flight {
            share.reserve_bytes(body.len().saturating_mul(2)).map_err(GatewayError::Overloaded)?;
        }
        let is_kept = responses.as_deref().is_some_and(|call: &ResponsesCall| call.is_kept);
        let made = Translations::new(source, model, context, headers, chosen.is_some())
            .with_kept(continues, is_kept);
        let all = translations.insert(Box::new(made));
        let prepared = prepare(all, &mut candidates, (&route, model), body, &gateway.drop_policy);
        if let Err(refusal) = prepared {
            let passed_over = &mut context.answer.passed_over;
            passed_over::add_untranslatable(passed_over, &candidates, &route);
            return Err(GatewayError::Untranslatable(refusal));
        }
    }
    if let (Some(client), Some((_, best))) = (&context.caller.client, targets.first()) {
        let demand = best.demand(operation, &size, model);
        if demand.draws_on_quota() {
            let allowance = gateway.limits.reserve_tokens(client, demand.expected());
            context.guards.tokens = allowance.map_err(GatewayError::Limited)?;
        }
    }
    let max_cost = |prices: &Prices| {
        let costs = targets.iter().filter_map(|(_, target)| {
            let bound = match is_bidirectional {
                true => Bound::of_stream(),
                false => target.bound(&size, model),
            };
            Some(rates(prices, target)?.most(&bound))
        });
        costs.max().unwrap_or(0)
    };
    reserve_budget(context, operation, Some(&max_cost))?;
    drop(targets);
    Ok(RoutingDecision { responses, translations, peek, size, candidates, route })
}

/// Translates the request for the candidates that stand before the first one that takes it as it is, up to the
/// first for which that succeeds. So a request that none can carry is refused before it takes anything.
fn prepare(
    translations: &mut Translations,
    candidates: &mut [CandidateState],
    (route, requested): (&routing::Route, &ModelId),
    body: &[u8],
    policy: &DropPolicy,
) -> Result<(), Refusal> {
    let mut first_refusal = None;
    let mut is_of_all = false;
    for candidate in candidates {
        if candidate.way == Way::PassThrough {
            return Ok(());
        }
        if is_of_all {
            candidate.leave_reason = Some(LeaveReason::Untranslatable);
            continue;
        }
        let Some(target) = route.targets.get(candidate.position) else { continue };
        let is_first_choice = route.is_first_choice(target, requested);
        match translations.make(target, is_first_choice, body, policy) {
            Ok(number) => {
                candidate.way = Way::Translated(number);
                return Ok(());
            }
            Err(refusal) => {
                candidate.leave_reason = Some(LeaveReason::Untranslatable);
                is_of_all = !refusal.is_of_model;
                first_refusal.get_or_insert(refusal);
            }
        }
    }
    first_refusal.map_or(Ok(()), Err)
}

/// The surface that an operation needs and what the targets of its route serve, if none of them serves it.
fn unserved(operation: Operation, route: &routing::Route) -> Option<(Surface, Surfaces)> {
    let surface = Surface::of(operation)?;
    let all = || route.with_capabilities().map(|(_, capabilities)| capabilities);
    let is_served = all().any(|capabilities| capabilities.serves(operation));
    let surfaces = all().flat_map(|capabilities| capabilities.surfaces.iter()).collect();
    (!is_served).then_some((surface, surfaces))
}

/// Reserves the `max_cost` of a request with its most expensive candidate, if its client has a
/// budget. StartAsyncInvoke reserves 0. Other operations without tokens reserve nothing.
fn reserve_budget(
    context: &mut RequestContext,
    operation: Operation,
    max_cost: Option<&dyn Fn(&Prices) -> u64>,
) -> Result<(), GatewayError> {
    let is_async = operation == Operation::StartAsyncInvoke;
    let runs_a_model = is_async || max_cost.is_some() && !operation.counts_tokens();
    let Some(account) = context.account().filter(|_| runs_a_model) else { return Ok(()) };
    let max_cost = max_cost.map_or(0, |max_cost| max_cost(&context.gateway().prices));
    context.guards.budget = Some(account.reserve(max_cost)?);
    Ok(())
}

static LATENCY: HeaderName = HeaderName::from_static("x-amzn-bedrock-performanceconfig-latency");
static BETA: HeaderName = HeaderName::from_static("anthropic-beta");

/// Adds what headers show of a request's size and price.
fn extent_of_headers(headers: &HeaderMap, extent: &mut Extent) {
    let texts = |name: &HeaderName| {
        let all = headers.get_all(name).into_iter();
        all.map(|value| String::from_utf8_lossy(value.as_bytes()))
    };
    if let Some(tier) = ServiceTier::in_headers(headers) {
        extent.ask_tier(tier);
    }
    extent.is_latency_optimized |= texts(&LATENCY).any(|latency| extent::is_dear_latency(&latency));
    extent.has_long_window |= texts(&BETA).any(|flags| extent::is_long_window(&flags));
}

//! The headers that the gateway adds to every answer: who answered, after how many attempts, and, in the dialects
//! of OpenAI and Anthropic, the request's id and the client's limits.

use std::time::SystemTime;

use http::header::{Entry, HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;
use tokio::time::Instant;
use uuid::Uuid;

use super::context::{CallTotals, RequestContext, millis};
use super::headers::value;
use crate::api::rate_limit_headers::{self, Limit, RateLimits};
use crate::bedrock::Dialect;
use crate::limits::usd;

const MODEL: HeaderName = HeaderName::from_static("x-sluice-model");
const REGION: HeaderName = HeaderName::from_static("x-sluice-region");
const ATTEMPTS: HeaderName = HeaderName::from_static("x-sluice-attempts");
const FALLBACK_REASON: HeaderName = HeaderName::from_static("x-sluice-fallback-reason");
const TRANSLATED: HeaderName = HeaderName::from_static("x-sluice-translated");
const DROPPED: HeaderName = HeaderName::from_static("x-sluice-dropped");
const ADDED: HeaderName = HeaderName::from_static("x-sluice-added");
const DROPPED_BETAS: HeaderName = HeaderName::from_static("x-sluice-dropped-betas");
const QUEUED: HeaderName = HeaderName::from_static("x-sluice-queued-ms");
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-sluice-request-id");
const BUDGET: HeaderName = HeaderName::from_static("x-sluice-budget-remaining-usd");
pub(super) const AMZN_REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
/// The request's id as the SDKs of OpenAI and of Anthropic read it.
const OPENAI_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const ANTHROPIC_REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// Adds the headers of the gateway's own to an answer's head.
pub(super) fn add_own_headers(head: &mut HeaderMap, context: &RequestContext) {
    let mut text = Uuid::encode_buffer();
    let request_id = value(context.request_id.hyphenated().encode_lower(&mut text));
    if let Entry::Vacant(place) = head.entry(AMZN_REQUEST_ID) {
        place.insert(request_id.clone());
    }
    match context.call.dialect {
        Dialect::Bedrock => {}
        Dialect::OpenAi => add_dialect_headers(head, context, OPENAI_REQUEST_ID, &request_id),
        Dialect::Anthropic => {
            add_dialect_headers(head, context, ANTHROPIC_REQUEST_ID, &request_id);
        }
    }
    head.insert(REQUEST_ID, request_id);
    let calls = &context.answer.calls;
    head.insert(ATTEMPTS, count(context.answer.attempts.len() as u64 + calls.attempts));
    head.insert(QUEUED, count(millis(context.timing.queued).max(calls.queued_ms)));
    if let Some(left) = context.account().and_then(|account| account.little_left()) {
        head.insert(BUDGET, value(&usd(left).to_string()));
    }
    if let Some(target) = &context.answer.target {
        if context.call.requested_model.is_some() {
            head.insert(MODEL, target.model_header.clone());
        }
        head.insert(REGION, target.endpoint.region_header.clone());
        if let Some(to) = context.answer.translated {
            head.insert(TRANSLATED, HeaderValue::from_static(to));
        }
        if let Some(names) = &context.answer.dropped {
            head.insert(DROPPED, value(names));
        }
        if let Some(names) = &context.answer.added {
            head.insert(ADDED, value(names));
        }
        if let Some(flags) = &context.answer.dropped_betas {
            head.insert(DROPPED_BETAS, value(flags));
        }
        if let Some(reason) = context.answer.fallback_reason {
            head.insert(FALLBACK_REASON, HeaderValue::from_static(reason));
        }
    }
}

/// What the headers of an answer say of the call that got it.
pub(super) fn totals_of(head: &HeaderMap) -> CallTotals {
    let number = |name| head.get(name).and_then(|value| value.to_str().ok()?.parse().ok());
    let number = |name: HeaderName| number(name).unwrap_or(0);
    CallTotals { attempts: number(ATTEMPTS), queued_ms: number(QUEUED) }
}

/// Adds the request's id under the name that the SDKs of a dialect read, and the client's limits. The limits of
/// the upstream are not the client's.
fn add_dialect_headers(
    head: &mut HeaderMap,
    context: &RequestContext,
    id_name: HeaderName,
    request_id: &HeaderValue,
) {
    if let Entry::Vacant(place) = head.entry(id_name) {
        place.insert(request_id.clone());
    }
    let foreign: SmallVec<[HeaderName; 8]> =
        head.keys().filter(|name| rate_limit_headers::is_rate_limit(name)).cloned().collect();
    foreign.iter().for_each(|name| {
        head.remove(name);
    });
    let Some(caller) = &context.caller.client else { return };
    let own = context.gateway().limits.snapshot(caller);
    let target = context.answer.target.as_ref();
    let target = target.map(|target| target.quota().snapshot(Instant::now()));
    let mut limits = RateLimits::of_client_or_target(&own, target.as_ref());
    if let (Some(left), Some(rate)) =
        (context.caller.requests_left, context.gateway().limits.rate(caller))
    {
        limits.requests = Limit::of_rate(rate.requests_per_minute(), rate.burst(), left);
    }
    rate_limit_headers::insert(head, context.call.dialect, &limits, SystemTime::now());
}

/// A number as a header value; the usual ones without an allocation.
fn count(number: u64) -> HeaderValue {
    match number {
        0 => HeaderValue::from_static("0"),
        1 => HeaderValue::from_static("1"),
        _ => number.into(),
    }
}

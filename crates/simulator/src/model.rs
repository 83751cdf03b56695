//! The operations that name a model: is it known, is the request valid, is there quota, and then
//! its answer, whole or as a stream.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use serde_json::Value;

use super::State;
use super::answer::{self, Frames, Prompt, Schema};
use super::log::Record;
use super::produced::Produced;
use super::reply::{Accepted, Failure, Reply};
use super::settings::{Latency, ModelSettings};
use super::validation::converse::{self, Kind};
use super::validation::{Model, claude};
use super::{apis, writer};
use sluice_bedrock::{
    ErrorKind, Family, ModelId, Operation, SERVICE_TIER_HEADER, Usage, event_stream,
};
use sluice_catalogue::{Catalogue, Endpoint};

/// The cap of a model without one in the catalogue.
const USUAL_CAP: u64 = 4096;

/// The names by which faults and quotas know a model: its id as called, and the last part of an
/// ARN. The last of them names it in the books, so that `us.` profiles stay apart from the
/// model's own id, as their quotas do.
pub(super) fn names(model: Option<&ModelId>) -> Vec<&str> {
    let Some(id) = model.map(ModelId::as_str) else { return Vec::new() };
    match id.rsplit_once('/') {
        Some((_, last)) => vec![id, last],
        None => vec![id],
    }
}

/// A request's body as JSON.
pub(super) fn json_of(body: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice::<Value>(body).ok().filter(Value::is_object).ok_or_else(|| {
        Failure::new(
            ErrorKind::Validation,
            "Malformed input request, please reformat your input and try again.",
        )
    })
}

/// Answers CountTokens.
pub(super) fn count_tokens(
    shared: &State,
    id: &ModelId,
    request: &Accepted<'_>,
) -> Result<Reply, Failure> {
    known(shared, id)?;
    if is_counted_elsewhere(id) {
        let message = "The provided model doesn't support counting tokens.";
        return Err(Failure::new(ErrorKind::Validation, message));
    }
    let body = json_of(&request.body)?;
    let invalid = |what: &str| Failure::new(ErrorKind::Validation, what);
    let model = Model::of(shared, id);
    let input = body.get("input").ok_or_else(|| invalid("input: Member must not be null"))?;
    let asked = match (input.get("invokeModel"), input.get("converse")) {
        (Some(invoke), None) => {
            let encoded = invoke.get("body").and_then(Value::as_str).unwrap_or_default();
            let decoded = STANDARD
                .decode(encoded)
                .map_err(|_| invalid("input.invokeModel.body is not base64"))?;
            let inner = json_of(&decoded)?;
            validate(shared, Operation::InvokeModel, id, &inner)?;
            if reads_as_claude(id, &inner) {
                apis::read_invoked_message(shared, id, &inner, true)?
            } else {
                answer::invoke(id.family(), id.base(), &inner).asked(&inner, &model)?
            }
        }
        (None, Some(converse)) => {
            converse::check(converse, &model, Kind::Counted)?;
            answer::converse().asked(converse, &model)?
        }
        _ => return Err(invalid("input: Exactly one member must be set")),
    };
    Ok(Reply::json(&serde_json::json!({ "inputTokens": asked.prompt.input_tokens() }), 0))
}

/// Whether mantle alone counts the tokens of a model: Bedrock Runtime has it by profile only.
fn is_counted_elsewhere(id: &ModelId) -> bool {
    let facts = Catalogue::shipped().facts(id, "");
    let counter = facts.as_ref().and_then(|facts| facts.count_tokens_with.as_ref());
    counter.is_some_and(|counter| counter.endpoint == Endpoint::Mantle)
}

/// Answers the Invoke and Converse operations.
pub(super) async fn infer(
    shared: &State,
    operation: Operation,
    id: &ModelId,
    request: &Accepted<'_>,
    record: &Record,
) -> Result<Reply, Failure> {
    let name = names(Some(id)).pop().unwrap_or_default();
    let settings = known(shared, id)?;
    let body = json_of(&request.body)?;
    let family_schema = answer::invoke(id.family(), id.base(), &body);
    let schema = if operation.is_converse() { answer::converse() } else { family_schema };
    check_operation(operation, family_schema)?;
    validate(shared, operation, id, &body)?;
    let asked = match !operation.is_converse() && reads_as_claude(id, &body) {
        true => apis::read_invoked_message(shared, id, &body, false)?,
        false => schema.asked(&body, &Model::of(shared, id))?,
    };
    let prompt = &asked.prompt;
    let cap = cap(id, &settings);
    check_maximum(prompt, cap, schema, id)?;

    let scripted = shared.answers.of(&names(Some(id)));
    let tier = tier(&settings, request, &body);
    let mut produced = Produced::to(&asked, scripted.as_ref(), name, cap, request.seq);
    produced.answer.request = body;
    produced.answer.tier.clone_from(&tier);
    let usage = produced.answer.usage;
    let maximum = prompt.max_output.unwrap_or(cap);
    let reservation = shared.quotas.take(name, usage, maximum)?;
    record.note_usage(Usage { output: 0, ..usage });

    let mut rng = request.rng.clone();
    let latency = latency(shared, &settings, prompt);
    let mut wait = latency.before_head(&mut rng);
    if !operation.is_stream() {
        wait += latency.for_tokens(usage.output, &mut rng);
    }
    if !wait.is_zero() {
        tokio::time::sleep(wait.min(Duration::from_secs(3_600))).await;
    }
    let past = u64::try_from(request.started.elapsed().as_millis()).unwrap_or(u64::MAX);

    let mut reply = match schema.stream().filter(|_| operation.is_stream()) {
        Some(schema) => {
            let total = past.saturating_add(latency.token_ms.saturating_mul(usage.output));
            let frames = Frames::new(schema, rng.fork(), past, total);
            Reply {
                status: StatusCode::OK,
                headers: vec![(CONTENT_TYPE, HeaderValue::from_static(event_stream::CONTENT_TYPE))],
                script: writer::events(frames, produced, latency, rng),
                length: None,
                reservation: None,
            }
        }
        None => Reply::json(&schema.whole(&produced, past), usage.output),
    };
    reply.reservation = Some(reservation);
    if !operation.is_converse() {
        invoke_headers(&mut reply, operation, usage, past, request, tier.as_deref());
    }
    Ok(reply)
}

/// The model's settings, or the refusal of an unknown id.
fn known(shared: &State, id: &ModelId) -> Result<ModelSettings, Failure> {
    let names = names(Some(id));
    let settings = names.iter().find_map(|name| shared.quotas.settings(name));
    // An ARN without a base id may stand for any model: a profile, a custom or provisioned one.
    let opaque = id.as_str().starts_with("arn:") && id.base().is_none();
    if settings.is_none() && !opaque && !Catalogue::shipped().has_row(Endpoint::Runtime, id) {
        return Err(Failure::new(
            ErrorKind::Validation,
            "The provided model identifier is invalid.",
        ));
    }
    Ok(settings.unwrap_or_default())
}

fn cap(id: &ModelId, settings: &ModelSettings) -> u64 {
    let listed = || Catalogue::shipped().facts(id, "").and_then(|facts| facts.max_output_tokens);
    settings.max_output_tokens.or_else(|| listed().map(u64::from)).unwrap_or(USUAL_CAP)
}

fn check_operation(operation: Operation, family: &dyn Schema) -> Result<(), Failure> {
    let refusal = match (operation.is_converse(), operation.is_stream()) {
        _ if family.stream().is_some() => return Ok(()),
        (true, _) => {
            "This action doesn't support the model that you provided. Try again with a supported \
             text or chat model."
        }
        (false, true) => "The model is unsupported for streaming.",
        (false, false) => return Ok(()),
    };
    Err(Failure::new(ErrorKind::Validation, refusal))
}

/// Whether the Invoke operations take a body in Claude's schema.
fn reads_as_claude(id: &ModelId, body: &Value) -> bool {
    let is_unknown = id.family() == Family::Unknown;
    id.family() == Family::Anthropic || is_unknown && body.get("anthropic_version").is_some()
}

/// Refuses what Bedrock or the model would refuse of a body.
fn validate(
    shared: &State,
    operation: Operation,
    id: &ModelId,
    body: &Value,
) -> Result<(), Failure> {
    let model = Model::of(shared, id);
    match operation {
        Operation::Converse => converse::check(body, &model, Kind::Converse)?,
        Operation::ConverseStream => converse::check(body, &model, Kind::ConverseStream)?,
        _ if reads_as_claude(id, body) => claude::check(body, &model)?,
        _ => {}
    }
    Ok(())
}

fn check_maximum(
    prompt: &Prompt,
    cap: u64,
    schema: &dyn Schema,
    id: &ModelId,
) -> Result<(), Failure> {
    let maximum = prompt.max_output.unwrap_or(cap);
    if maximum > cap {
        return Err(schema.above_cap(maximum, cap, id.as_str()).into());
    }
    if prompt.thinking_budget.is_some_and(|budget| budget >= maximum) {
        return Err(Failure::new(
            ErrorKind::Validation,
            "`max_tokens` must be greater than `thinking.budget_tokens`.",
        ));
    }
    Ok(())
}

/// The service tier that serves a request, by its name on the wire: the model's, else the one that it
/// asks for, if it asks for any.
fn tier(settings: &ModelSettings, request: &Accepted<'_>, body: &Value) -> Option<String> {
    let in_header = || tier_in_header(request);
    let in_body = || body.pointer("/serviceTier/type").and_then(Value::as_str).map(str::to_owned);
    settings.service_tier.map(|tier| tier.name().to_owned()).or_else(in_header).or_else(in_body)
}

/// The service tier that a header asks for.
pub(super) fn tier_in_header(request: &Accepted<'_>) -> Option<String> {
    let value = request.head.headers.get(&SERVICE_TIER_HEADER)?;
    value.to_str().ok().map(str::to_owned)
}

/// How slow the answer is: as the prompt says, the model's settings or the simulator's.
pub(super) fn latency(shared: &State, settings: &ModelSettings, prompt: &Prompt) -> Latency {
    let usual = settings.latency.unwrap_or(shared.settings.latency);
    Latency {
        head_ms: prompt.directive("head_ms").unwrap_or(usual.head_ms),
        token_ms: prompt.directive("token_ms").unwrap_or(usual.token_ms),
        jitter: usual.jitter,
    }
}

fn invoke_headers(
    reply: &mut Reply,
    operation: Operation,
    usage: Usage,
    latency_ms: u64,
    request: &Accepted<'_>,
    tier: Option<&str>,
) {
    if operation.is_stream() {
        reply.headers.push((
            HeaderName::from_static("x-amzn-bedrock-content-type"),
            HeaderValue::from_static("application/json"),
        ));
    } else {
        let mut figures = vec![
            ("x-amzn-bedrock-invocation-latency", latency_ms),
            ("x-amzn-bedrock-input-token-count", usage.input),
            ("x-amzn-bedrock-output-token-count", usage.output),
        ];
        if usage.cache_read + usage.cache_write > 0 {
            figures.push(("x-amzn-bedrock-cache-read-input-token-count", usage.cache_read));
            figures.push(("x-amzn-bedrock-cache-write-input-token-count", usage.cache_write));
        }
        let named = |(name, figure): (&'static str, u64)| {
            (HeaderName::from_static(name), HeaderValue::from(figure))
        };
        reply.headers.extend(figures.into_iter().map(named));
    }
    const LATENCY: &str = "x-amzn-bedrock-performanceconfig-latency";
    if let Some(value) = request.head.headers.get(LATENCY) {
        reply.headers.push((HeaderName::from_static(LATENCY), value.clone()));
    }
    if let Some(value) = tier.and_then(|tier| HeaderValue::from_str(tier).ok()) {
        reply.headers.push((SERVICE_TIER_HEADER.clone(), value));
    }
}

//! Handles one request: verifies it, injects a fault or has it answered, and logs it.

use std::convert::Infallible;
use std::sync::Arc;

use http::header::{CONTENT_LENGTH, HeaderValue};
use http::{Request, Response, StatusCode, request};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::apis::{ApiCall, Place, chosen_endpoint};
use super::authenticate::{authenticate, authenticate_in_dialect};
use super::control_plane::View;
use super::fault::Fault;
use super::inject::inject;
use super::log::Record;
use super::model;
use super::reply::{Accepted, Failure, Reply};
use super::stream::{Body, play, with_fault};
use super::wire::Wire;
use super::{State, bidirectional, control, guardrail, service_quotas};
use sluice_bedrock::account::{AccountOperation, Service, availability_of, quotas_operation};
use sluice_bedrock::path::{self, Call, PathError, Resource};
use sluice_bedrock::{ErrorKind, MAX_BODY_BYTES, Operation};
use sluice_catalogue::Endpoint;

/// Answers one request of a connection.
pub(super) async fn handle(
    shared: Arc<State>,
    wire: Arc<Wire>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    if head.uri.path().starts_with(control::PREFIX) {
        return Ok(control::answer(&shared, &head, body).await);
    }
    let mut record = shared.log.open(wire.number, &head);
    let rng = shared.rng(record.seq());
    let id = uuid::Builder::from_random_bytes(rng.clone().u128(..).to_be_bytes()).into_uuid();
    let id = id.to_string();
    record.note(|entry| entry.request_id.clone_from(&id));
    let dialect = Place::of(head.uri.path()).map(Place::dialect).unwrap_or_default();
    let call = path::parse(&head.method, head.uri.path());
    let is_bidirectional =
        |call: &Call| call.operation == Operation::InvokeModelWithBidirectionalStream;
    if let Some(call) = call.ok().filter(is_bidirectional) {
        return Ok(match begin(&shared, &wire, &head, &call, &mut record).await {
            Ok(None) => bidirectional::answer(&shared, &head, body, record),
            Ok(Some(reply)) => finish(reply, record, wire, &id),
            Err(failure) => {
                record.note(|entry| entry.error = Some(failure.name.clone()));
                finish(failure.into_reply(dialect, &id), record, wire, &id)
            }
        });
    }
    let reply = match respond(&shared, &wire, &head, body, &mut record, rng, &id).await {
        Ok(reply) => reply,
        Err(failure) => {
            record.note(|entry| entry.error = Some(failure.name.clone()));
            failure.into_reply(dialect, &id)
        }
    };
    Ok(finish(reply, record, wire, &id))
}

/// What comes before a bidirectional stream begins: its credentials, a fault, the model. Its body has
/// no end to wait for. Gives the reply of a fault that has one.
async fn begin(
    shared: &State,
    wire: &Wire,
    head: &request::Parts,
    call: &Call,
    record: &mut Record,
) -> Result<Option<Reply>, Failure> {
    record.note(|entry| {
        entry.operation = Some(call.operation.name());
        entry.model = call.model().map(ToString::to_string);
    });
    authenticate(shared, head, &[], Service::Bedrock, record)?;
    check_endpoint(shared, head)?;
    let fault = shared.faults.take(&model::names(call.model()), call.operation.name(), true);
    if let Some(fault) = &fault {
        record.note(|entry| entry.fault = Some(fault.kind()));
        return inject(fault, wire, record).await;
    }
    Ok(None)
}

/// Refuses a call of Bedrock Runtime where the simulator plays mantle.
fn check_endpoint(shared: &State, head: &request::Parts) -> Result<(), Failure> {
    match chosen_endpoint(&shared.settings, head) {
        Some(Endpoint::Mantle) => Err(no_call(PathError::Unknown)),
        _ => Ok(()),
    }
}

async fn respond(
    shared: &State,
    wire: &Wire,
    head: &request::Parts,
    body: Incoming,
    record: &mut Record,
    rng: fastrand::Rng,
    request_id: &str,
) -> Result<Reply, Failure> {
    let started = Instant::now();
    let place = Place::of(head.uri.path());
    let call = match place {
        Some(place) => place.call(&head.method),
        None => path::parse(&head.method, head.uri.path()),
    };
    if let Ok(call) = &call {
        record.note(|entry| {
            entry.operation = Some(call.operation.name());
            entry.model = call.model().map(ToString::to_string);
        });
    }
    let body = Limited::new(body, MAX_BODY_BYTES).collect().await.map_err(|_| {
        Failure::new(
            ErrorKind::Validation,
            format!(
                "1 validation error detected: Value at 'body' failed to satisfy constraint: \
                 Member must have length less than or equal to {MAX_BODY_BYTES}"
            ),
        )
    })?;
    let body = body.to_bytes();
    record.note_body(&body);
    if let Some(target) = service_quotas::target(head) {
        // Service Quotas has errors in a form of its own.
        let listed = list_quotas(shared, wire, head, &body, target, record).await;
        return Ok(listed.unwrap_or_else(service_quotas::into_reply));
    }
    let request = Accepted { head, body, started, seq: record.seq(), rng, fault: None };
    if let Some(place) = place {
        return respond_in_dialect(shared, wire, place, call, request, record, request_id).await;
    }
    let region = authenticate(shared, head, &request.body, Service::Bedrock, record)?;
    check_endpoint(shared, head)?;
    let account = shared.account.get();
    let view = View { account: &account, region: &region };
    if let Some(model) = availability_of(&head.method, head.uri.path()) {
        let operation = AccountOperation::GetFoundationModelAvailability;
        return match faulted(shared, wire, operation, record).await? {
            Some(reply) => Ok(reply),
            None => Ok(Reply::json(&view.availability(&model)?, 0)),
        };
    }
    let call = call.map_err(no_call)?;
    let fault = shared.faults.take(
        &model::names(call.model()),
        call.operation.name(),
        call.operation.is_stream(),
    );
    if let Some(fault) = &fault {
        record.note(|entry| entry.fault = Some(fault.kind()));
        if let Some(reply) = inject(fault, wire, record).await? {
            return Ok(reply);
        }
    }
    let request = Accepted { fault, ..request };
    let mut reply = dispatch(shared, view, call, &request, record).await?;
    if let Some(fault) = &request.fault {
        reply.script = with_fault(reply.script, fault, None);
    }
    Ok(reply)
}

/// Answers a request in the APIs of OpenAI and Anthropic.
async fn respond_in_dialect(
    shared: &State,
    wire: &Wire,
    place: Place<'_>,
    call: Result<Call, PathError>,
    request: Accepted<'_>,
    record: &mut Record,
    request_id: &str,
) -> Result<Reply, Failure> {
    let head = request.head;
    let chosen = chosen_endpoint(&shared.settings, head);
    let call = call.map(|call| ApiCall::read(place, call, chosen, &request.body));
    if let Ok(call) = &call {
        record.note(|entry| {
            entry.model = call.model().map(str::to_owned);
            entry.endpoint = call.endpoint_name();
        });
    }
    let region = authenticate_in_dialect(shared, place, head, &request.body, record)?;
    let call = call.map_err(no_call)?;
    let names = call.names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let fault = shared.faults.take(&names, call.operation().name(), call.is_stream());
    if let Some(fault) = &fault {
        record.note(|entry| entry.fault = Some(fault.kind()));
        if *fault == Fault::Json200OnStream {
            let failure = Failure::new(ErrorKind::InternalServer, "The request failed.");
            let reply = failure.into_reply(place.dialect(), request_id);
            return Ok(Reply { status: StatusCode::OK, ..reply });
        }
        if let Some(reply) = inject(fault, wire, record).await? {
            return Ok(reply);
        }
    }
    let mut reply = call.answer(shared, &region, &request, record).await?;
    if let Some(fault) = &fault {
        let events = call.is_stream().then(|| call.error_events(request_id));
        reply.script = with_fault(reply.script, fault, events);
    }
    Ok(reply)
}

/// Answers a request to Service Quotas.
async fn list_quotas(
    shared: &State,
    wire: &Wire,
    head: &request::Parts,
    body: &[u8],
    target: &str,
    record: &mut Record,
) -> Result<Reply, Failure> {
    let region = authenticate(shared, head, body, Service::ServiceQuotas, record)?;
    let operation = quotas_operation(target)
        .ok_or_else(|| Failure::new(ErrorKind::UnknownOperation, "Unknown operation."))?;
    if let Some(reply) = faulted(shared, wire, operation, record).await? {
        return Ok(reply);
    }
    service_quotas::list(&shared.account.get(), &region, operation, body)
}

/// Logs a call about the account, and gives the reply of a fault that has one.
async fn faulted(
    shared: &State,
    wire: &Wire,
    operation: AccountOperation,
    record: &mut Record,
) -> Result<Option<Reply>, Failure> {
    record.note(|entry| entry.operation = Some(operation.name()));
    let Some(fault) = shared.faults.take(&[], operation.name(), false) else { return Ok(None) };
    record.note(|entry| entry.fault = Some(fault.kind()));
    inject(&fault, wire, record).await
}

async fn dispatch(
    shared: &State,
    view: View<'_>,
    call: Call,
    request: &Accepted<'_>,
    record: &Record,
) -> Result<Reply, Failure> {
    let invalid = || Failure::new(ErrorKind::Validation, "The request is not well formed.");
    match (call.operation, &call.resource) {
        (Operation::CountTokens, Resource::Model(id)) => model::count_tokens(shared, id, request),
        (operation, Resource::Model(id)) => {
            model::infer(shared, operation, id, request, record).await
        }
        (Operation::ApplyGuardrail, _) => {
            Ok(Reply::json(&guardrail::apply(&model::json_of(&request.body)?)?, 0))
        }
        (Operation::InvokeGuardrailChecks, _) => {
            Ok(Reply::json(&guardrail::checks(&model::json_of(&request.body)?)?, 0))
        }
        (Operation::StartAsyncInvoke, _) => {
            let id = format!("{:012}", request.seq);
            let body = model::json_of(&request.body)?;
            Ok(Reply::json(&shared.invocations.start(&body, &id)?, 0))
        }
        (Operation::ListAsyncInvokes, _) => {
            let query = request.head.uri.query().unwrap_or_default();
            Ok(Reply::json(&shared.invocations.list(query), 0))
        }
        (Operation::GetAsyncInvoke, Resource::Invocation(arn)) => {
            let found = shared.invocations.get(arn).ok_or_else(|| {
                Failure::new(ErrorKind::ResourceNotFound, "The invocation was not found.")
            })?;
            Ok(Reply::json(&found, 0))
        }
        (operation, resource) if operation.is_control_plane() => {
            let identifier = match resource {
                Resource::Described(identifier) => Some(identifier.as_str()),
                _ => None,
            };
            let query = request.head.uri.query().unwrap_or_default();
            Ok(Reply::json(&view.answer(operation, identifier, query)?, 0))
        }
        _ => Err(invalid()),
    }
}

fn no_call(error: PathError) -> Failure {
    match error {
        PathError::Model(_) => {
            Failure::new(ErrorKind::Validation, "The provided model identifier is invalid.")
        }
        PathError::Identifier => {
            Failure::new(ErrorKind::Validation, "The provided identifier is invalid.")
        }
        PathError::Unknown | PathError::Unserved(_) | PathError::ControlPlane => {
            Failure::new(ErrorKind::UnknownOperation, "Unknown operation.")
        }
        PathError::Method { .. } => {
            Failure::new(ErrorKind::MethodNotAllowed, "The method is not allowed for this path.")
        }
    }
}

fn finish(reply: Reply, record: Record, wire: Arc<Wire>, request_id: &str) -> Response<Body> {
    record.note(|entry| entry.status = Some(reply.status.as_u16()));
    let mut response = Response::new(play(reply.script, reply.reservation, record, wire));
    *response.status_mut() = reply.status;
    let headers = response.headers_mut();
    headers.extend(reply.headers);
    if let Some(length) = reply.length {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    if let Ok(id) = HeaderValue::try_from(request_id) {
        headers.insert("x-amzn-requestid", id);
    }
    response
}

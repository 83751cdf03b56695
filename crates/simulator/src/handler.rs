//! Handles one request: verifies it, injects a fault or has it answered, and logs it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use http::header::{CONTENT_LENGTH, HeaderValue};
use http::{Request, Response, StatusCode, request};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::control_plane::{USUAL_REGION, View};
use super::inject::inject;
use super::log::Record;
use super::model;
use super::reply::{Accepted, Failure, Reply};
use super::signature::{self, Received, Verified};
use super::stream::{Body, play, with_fault};
use super::wire::Wire;
use super::{State, bidirectional, control, guardrail, service_quotas};
use sluice_bedrock::account::{AccountOperation, Service, availability_of, quotas_operation};
use sluice_bedrock::path::{self, Call, PathError, Resource};
use sluice_bedrock::{ErrorKind, MAX_BODY_BYTES, Operation};

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
    let call = path::parse(&head.method, head.uri.path());
    let is_bidirectional =
        |call: &Call| call.operation == Operation::InvokeModelWithBidirectionalStream;
    if let Some(call) = call.ok().filter(is_bidirectional) {
        return Ok(match begin(&shared, &wire, &head, &call, &mut record).await {
            Ok(None) => bidirectional::answer(&shared, &head, body, record),
            Ok(Some(reply)) => finish(reply, record, wire, rng),
            Err(failure) => {
                record.note(|entry| entry.error = Some(failure.name.clone()));
                finish(failure.into_reply(), record, wire, rng)
            }
        });
    }
    let reply = match respond(&shared, &wire, &head, body, &mut record, rng.clone()).await {
        Ok(reply) => reply,
        Err(failure) => {
            record.note(|entry| entry.error = Some(failure.name.clone()));
            failure.into_reply()
        }
    };
    Ok(finish(reply, record, wire, rng))
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
    let fault = shared.faults.take(&model::names(call.model()), call.operation.name(), true);
    if let Some(fault) = &fault {
        record.note(|entry| entry.fault = Some(fault.kind()));
        return inject(fault, wire, record).await;
    }
    Ok(None)
}

async fn respond(
    shared: &State,
    wire: &Wire,
    head: &request::Parts,
    body: Incoming,
    record: &mut Record,
    rng: fastrand::Rng,
) -> Result<Reply, Failure> {
    let started = Instant::now();
    let call = path::parse(&head.method, head.uri.path());
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
    let region = authenticate(shared, head, &body, Service::Bedrock, record)?;
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
    let seq = record.seq();
    let request = Accepted { head, body, started, seq, rng, fault };
    let mut reply = dispatch(shared, view, call, &request, record).await?;
    if let Some(fault) = &request.fault {
        reply.script = with_fault(reply.script, fault);
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

/// Verifies the credentials of a request to a service, and returns the region that it is signed for.
fn authenticate(
    shared: &State,
    head: &request::Parts,
    body: &[u8],
    service: Service,
    record: &Record,
) -> Result<String, Failure> {
    let settings = &shared.settings;
    if !settings.verify_signatures {
        record.note(|entry| entry.signature = Some("unchecked"));
        return Ok(USUAL_REGION.to_owned());
    }
    let request = Received {
        method: &head.method,
        path: head.uri.path(),
        query: head.uri.query().unwrap_or_default(),
        headers: &head.headers,
        authority: head.uri.authority().map(|authority| authority.as_str()),
        body,
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let now = i64::try_from(now).unwrap_or(i64::MAX / 2);
    // Service Quotas takes no API key of Bedrock.
    let bearer = settings.bearer_token.as_ref().filter(|_| service == Service::Bedrock);
    match signature::verify_for(service.signing_name(), &request, &settings.keys, bearer, now) {
        Ok(Verified::SigV4 { access_key_id, region }) => {
            record.note(|entry| {
                entry.signature = Some("valid");
                entry.access_key_id = Some(access_key_id);
                entry.region = Some(region.clone());
            });
            Ok(region)
        }
        Ok(Verified::Bearer) => {
            record.note(|entry| entry.signature = Some("bearer"));
            Ok(USUAL_REGION.to_owned())
        }
        Err(refusal) => {
            record.note(|entry| entry.signature = Some(refusal.name()));
            Err(Failure {
                name: refusal.name().to_owned(),
                status: StatusCode::FORBIDDEN,
                message: refusal.to_string(),
            })
        }
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
        PathError::Unknown | PathError::ControlPlane => {
            Failure::new(ErrorKind::UnknownOperation, "Unknown operation.")
        }
        PathError::Method { .. } => {
            Failure::new(ErrorKind::MethodNotAllowed, "The method is not allowed for this path.")
        }
    }
}

fn finish(reply: Reply, record: Record, wire: Arc<Wire>, mut rng: fastrand::Rng) -> Response<Body> {
    record.note(|entry| entry.status = Some(reply.status.as_u16()));
    let id = uuid::Builder::from_random_bytes(rng.u128(..).to_be_bytes()).into_uuid();
    let mut response = Response::new(play(reply.script, reply.reservation, record, wire));
    *response.status_mut() = reply.status;
    let headers = response.headers_mut();
    headers.extend(reply.headers);
    if let Some(length) = reply.length {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    if let Ok(id) = HeaderValue::try_from(id.to_string()) {
        headers.insert("x-amzn-requestid", id);
    }
    response
}

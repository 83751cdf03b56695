//! Handles one request: verifies it, injects a fault or has it answered, and logs it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode, request};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde_json::Value;
use tokio::time::Instant;

use super::answer::Invalid;
use super::fault::Fault;
use super::log::{Ending, Record};
use super::model;
use super::quota::{Refused, Reservation};
use super::server::{ConnectionFault, Wire};
use super::signature::{self, Received, Verified};
use super::stream::{Body, Script, play, whole, with_fault};
use super::{Shared, bidirectional, control, control_plane, guardrail};
use sluice_bedrock::error::ERROR_TYPE;
use sluice_bedrock::path::{self, Call, PathError, Resource};
use sluice_bedrock::{ErrorKind, MAX_BODY_BYTES, Operation};

/// What the real service puts after an error's name.
const ERROR_SUFFIX: &str = ":http://internal.amazon.com/coral/com.amazon.bedrock/";
/// What the real service sends, with a 200, where it does not know the operation.
const UNKNOWN_OPERATION: &str =
    r#"{"Output":{"__type":"com.amazon.coral.service#UnknownOperationException"},"Version":"1.0"}"#;
const BAD_GATEWAY: &str = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n\
    <center><h1>502 Bad Gateway</h1></center>\r\n</body>\r\n</html>\r\n";

/// An answer before it is sent.
pub(super) struct Reply {
    /// The status.
    pub(super) status: StatusCode,
    /// Headers beyond those that every answer has.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub(super) script: Script,
    /// The body's length, when it is known beforehand.
    pub(super) length: Option<usize>,
    /// What the answer holds of a quota until its end.
    pub(super) reservation: Option<Reservation>,
}

impl Reply {
    /// A 200 with JSON.
    pub(super) fn json(value: &Value, tokens: u64) -> Self {
        Self::bytes(StatusCode::OK, "application/json", value.to_string(), tokens)
    }

    fn bytes(
        status: StatusCode,
        content_type: &'static str,
        bytes: impl Into<Bytes>,
        tokens: u64,
    ) -> Self {
        let bytes = bytes.into();
        Self {
            status,
            headers: vec![(CONTENT_TYPE, HeaderValue::from_static(content_type))],
            length: Some(bytes.len()),
            script: whole(bytes, tokens),
            reservation: None,
        }
    }
}

/// An error in Bedrock's form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    name: String,
    status: StatusCode,
    message: String,
}

impl Failure {
    /// An error of this kind.
    pub(super) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { name: kind.name().to_owned(), status: kind.status(), message: message.into() }
    }

    fn into_reply(self) -> Reply {
        let mut body = serde_json::json!({ "message": self.message });
        if let (true, Some(fields)) = (self.name == "ModelErrorException", body.as_object_mut()) {
            fields.insert("originalStatusCode".to_owned(), Value::from(500));
            fields.insert("resourceName".to_owned(), Value::from("model"));
        }
        let mut reply = Reply::json(&body, 0);
        reply.status = self.status;
        if let Ok(name) = HeaderValue::try_from(format!("{}{ERROR_SUFFIX}", self.name)) {
            reply.headers.push((HeaderName::from_static(ERROR_TYPE), name));
        }
        reply
    }
}

impl From<Invalid> for Failure {
    fn from(invalid: Invalid) -> Self {
        Self::new(ErrorKind::Validation, invalid.to_string())
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        Self::new(ErrorKind::Throttling, refused.to_string())
    }
}

/// Answers one request of a connection.
pub(super) async fn handle(
    shared: Arc<Shared>,
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
    shared: &Shared,
    wire: &Wire,
    head: &request::Parts,
    call: &Call,
    record: &mut Record,
) -> Result<Option<Reply>, Failure> {
    record.note(|entry| {
        entry.operation = Some(call.operation.name());
        entry.model = call.model().map(ToString::to_string);
    });
    authenticate(shared, head, &[], record)?;
    let fault = shared.faults.take(&model::names(call.model()), call.operation.name(), true);
    if let Some(fault) = &fault {
        record.note(|entry| entry.fault = Some(fault.kind()));
        return inject(fault, wire, record).await;
    }
    Ok(None)
}

/// A request whose head, body and credentials are read.
pub(super) struct Accepted<'a> {
    /// The head.
    pub(super) head: &'a request::Parts,
    /// The body.
    pub(super) body: Bytes,
    /// When the head was there.
    pub(super) started: Instant,
    /// The exchange's number.
    pub(super) seq: u64,
    /// This exchange's own randomness.
    pub(super) rng: fastrand::Rng,
    /// The fault to inject, if any.
    pub(super) fault: Option<Fault>,
}

async fn respond(
    shared: &Shared,
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
    authenticate(shared, head, &body, record)?;
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
    let mut reply = dispatch(shared, call, &request, record).await?;
    if let Some(fault) = &request.fault {
        reply.script = with_fault(reply.script, fault);
    }
    Ok(reply)
}

async fn dispatch(
    shared: &Shared,
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
            let found = control_plane::answer(operation, identifier, query).ok_or_else(|| {
                let message = "Could not resolve the provided identifier.";
                Failure::new(ErrorKind::ResourceNotFound, message)
            })?;
            Ok(Reply::json(&found, 0))
        }
        _ => Err(invalid()),
    }
}

fn authenticate(
    shared: &Shared,
    head: &request::Parts,
    body: &[u8],
    record: &Record,
) -> Result<(), Failure> {
    let settings = &shared.settings;
    if !settings.verify_signatures {
        record.note(|entry| entry.signature = Some("unchecked"));
        return Ok(());
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
    match signature::verify(&request, &settings.keys, settings.bearer_token.as_ref(), now) {
        Ok(Verified::SigV4 { access_key_id, region }) => {
            record.note(|entry| {
                entry.signature = Some("valid");
                entry.access_key_id = Some(access_key_id);
                entry.region = Some(region);
            });
            Ok(())
        }
        Ok(Verified::Bearer) => {
            record.note(|entry| entry.signature = Some("bearer"));
            Ok(())
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

/// What a fault does before any answer: an error, a reply of its own, nothing for ever, or
/// `None` where the answer goes on.
async fn inject(fault: &Fault, wire: &Wire, record: &mut Record) -> Result<Option<Reply>, Failure> {
    use ErrorKind as Kind;
    let (kind, message) = match fault {
        Fault::Throttle => (Kind::Throttling, Refused::Requests.to_string()),
        Fault::ThrottleTokens => (Kind::Throttling, Refused::Tokens.to_string()),
        Fault::ThrottleDaily => (Kind::Throttling, Refused::TokensPerDay.to_string()),
        Fault::ServiceQuotaExceeded => (
            Kind::ServiceQuotaExceeded,
            "Your request exceeds the service quota for your account.".to_owned(),
        ),
        Fault::ModelNotReady => (
            Kind::ModelNotReady,
            "The model is not ready for inference. Wait and try your request again.".to_owned(),
        ),
        Fault::ServiceUnavailable => (
            Kind::ServiceUnavailable,
            "Bedrock is unable to process your request. Wait and try again.".to_owned(),
        ),
        Fault::Internal => (
            Kind::InternalServer,
            "The system encountered an unexpected error during processing. Try your request again."
                .to_owned(),
        ),
        Fault::ModelTimeout => (
            Kind::ModelTimeout,
            "Model has timed out in processing the request. Try your request again.".to_owned(),
        ),
        Fault::ModelError => {
            (Kind::ModelError, "The model failed to process the request.".to_owned())
        }
        Fault::Validation => (Kind::Validation, "The request is not valid.".to_owned()),
        Fault::AccessDenied => (
            Kind::AccessDenied,
            "You don't have access to the model with the specified model ID.".to_owned(),
        ),
        Fault::NotFound => (
            Kind::ResourceNotFound,
            "Could not resolve the foundation model from the provided model identifier.".to_owned(),
        ),
        Fault::ExpiredToken => {
            (Kind::ExpiredToken, "The security token included in the request is expired".to_owned())
        }
        Fault::InvalidSignature => (
            Kind::InvalidSignature,
            "The request signature we calculated does not match the signature you provided. \
             Check your AWS Secret Access Key and signing method. Consult the service \
             documentation for details."
                .to_owned(),
        ),
        Fault::Error { name, status, message } => {
            return Err(Failure {
                name: name.clone(),
                status: error_status(*status),
                message: message.clone(),
            });
        }
        Fault::ErrorAsTypeInBody { name, status } => {
            record.note(|entry| entry.error = Some(name.clone()));
            let message = Refused::Requests.to_string();
            let body = serde_json::json!({
                "__type": format!("com.amazon.bedrock#{name}"),
                "message": message,
            });
            let mut reply = Reply::json(&body, 0);
            reply.status = error_status(*status);
            return Ok(Some(reply));
        }
        Fault::Html502 => {
            return Ok(Some(Reply::bytes(StatusCode::BAD_GATEWAY, "text/html", BAD_GATEWAY, 0)));
        }
        Fault::Json200OnStream => {
            return Ok(Some(Reply::bytes(
                StatusCode::OK,
                "application/json",
                UNKNOWN_OPERATION,
                0,
            )));
        }
        Fault::HangBeforeHead => return std::future::pending().await,
        Fault::ResetBeforeHead => {
            return break_connection(ConnectionFault::Reset, wire, record).await;
        }
        Fault::CloseBeforeHead => {
            return break_connection(ConnectionFault::Close, wire, record).await;
        }
        Fault::GarbageHead => {
            return break_connection(ConnectionFault::Garbage, wire, record).await;
        }
        Fault::SlowHead { ms } => {
            tokio::time::sleep(Duration::from_millis((*ms).min(3_600_000))).await;
            return Ok(None);
        }
        _ => return Ok(None),
    };
    Err(Failure::new(kind, message))
}

async fn break_connection<T>(how: ConnectionFault, wire: &Wire, record: &mut Record) -> T {
    record.end(Ending::Broken);
    wire.break_connection(how);
    std::future::pending().await
}

fn error_status(status: u16) -> StatusCode {
    StatusCode::from_u16(status)
        .ok()
        .filter(|status| !status.is_informational())
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
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

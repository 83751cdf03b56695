//! What a scripted fault does in place of an answer, before its head.

use std::time::Duration;

use http::StatusCode;

use super::fault::Fault;
use super::log::{Ending, Record};
use super::quota::Refused;
use super::reply::{Failure, Reply};
use super::wire::{ConnectionFault, Wire};
use sluice_bedrock::ErrorKind;

/// What the real service sends, with a 200, where it does not know the operation.
const UNKNOWN_OPERATION: &str =
    r#"{"Output":{"__type":"com.amazon.coral.service#UnknownOperationException"},"Version":"1.0"}"#;
const BAD_GATEWAY: &str = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n\
    <center><h1>502 Bad Gateway</h1></center>\r\n</body>\r\n</html>\r\n";

/// Applies a fault before any answer: returns an error or a reply, never returns, or returns `None` if the
/// answer follows.
pub(super) async fn inject(
    fault: &Fault,
    wire: &Wire,
    record: &mut Record,
) -> Result<Option<Reply>, Failure> {
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
            return Err(Failure::named(name.clone(), error_status(*status), message.clone()));
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

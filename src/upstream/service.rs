//! Calls of AWS services for the gateway itself, such as those that list the models of an account.
//!
//! A call is signed for its service, and goes through the proxies and trusts the certificates of
//! requests to targets. The answer is read within a limit of bytes and of time.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::time::Instant;

use super::sign::{Auth, authorize_for};
use super::{BuildRequestError, ExpectedAnswer, Failure, Origin, Reply, Upstream};
use crate::bedrock::account::{AccountOperation, QUOTAS_CONTENT_TYPE, TARGET};
use crate::bedrock::error::plain_text;
use crate::bedrock::sigv4::PayloadHash;
use crate::system::time::timeout;
use crate::telemetry::in_words;

/// Longest message of a service that is kept, in characters.
const MAX_MESSAGE: usize = 300;

/// One call of a service.
#[derive(Clone, Copy, Debug)]
pub struct ServiceRequest<'a> {
    /// What is called.
    pub operation: AccountOperation,
    /// Where the service listens.
    pub origin: &'a Origin,
    /// The region that the call is signed for.
    pub region: &'a str,
    /// What authorizes it.
    pub auth: &'a Auth,
    /// The path with its query, encoded.
    pub path: &'a str,
    /// The body; empty for a GET.
    pub body: &'a str,
}

/// Why a call has no answer. The text has no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServiceError {
    /// The service answered with an error.
    #[error("{name}: {message}")]
    Refused {
        /// The status.
        status: StatusCode,
        /// The name of the error.
        name: String,
        /// What the service says; it may be empty.
        message: String,
    },
    /// The service was not reached, or what came is no answer of it.
    #[error("{0}")]
    Unreachable(String),
    /// The answer did not come in time.
    #[error("no answer within {}", humantime::format_duration(*.0))]
    TooSlow(Duration),
    /// The answer has more bytes than this.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
}

impl ServiceError {
    /// Whether the service was not reached, so that another call is in vain too.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, ServiceError::Unreachable(_) | ServiceError::TooSlow(_))
    }

    /// Whether the credentials lack the permission for the call.
    pub fn is_denied(&self) -> bool {
        const NAMES: [&str; 3] = ["AccessDeniedException", "AccessDenied", "UnauthorizedOperation"];
        matches!(self, ServiceError::Refused { name, .. } if NAMES.contains(&name.as_str()))
    }

    /// Whether the service does not know what was asked for.
    pub fn is_not_found(&self) -> bool {
        matches!(self, ServiceError::Refused { name, .. } if name == "ResourceNotFoundException")
    }

    /// Whether the same call may be answered a little later.
    pub fn is_transient(&self) -> bool {
        matches!(self, ServiceError::Refused { status, name, .. }
            if status.is_server_error()
                || *status == StatusCode::TOO_MANY_REQUESTS
                || name.starts_with("Throttling")
                || name.starts_with("TooManyRequests"))
    }
}

impl Upstream {
    /// Makes one call, and returns the body of its answer: at most `limit` bytes, within `time`.
    ///
    /// # Errors
    /// The service was not reached in time, refused the call, or answered with too much.
    pub async fn call_service(
        &self,
        request: ServiceRequest<'_>,
        limit: usize,
        time: Duration,
    ) -> Result<Bytes, ServiceError> {
        let answered = timeout(time, self.answer_of(request, limit, time)).await;
        answered.unwrap_or(Err(ServiceError::TooSlow(time)))
    }

    async fn answer_of(
        &self,
        request: ServiceRequest<'_>,
        limit: usize,
        time: Duration,
    ) -> Result<Bytes, ServiceError> {
        let make = || signed(request, SystemTime::now());
        match self.send(request.origin, make, ExpectedAnswer::default(), Instant::now(), time).await
        {
            Reply::Success(success) => match Limited::new(success.body, limit).collect().await {
                Ok(body) => Ok(body.to_bytes()),
                Err(error) if error.is::<LengthLimitError>() => Err(ServiceError::TooLong(limit)),
                Err(error) => Err(ServiceError::Unreachable(in_words(&*error))),
            },
            Reply::Failure(failure) => Err(of_failure(&failure)),
        }
    }
}

/// The request, signed at `now`.
fn signed(
    request: ServiceRequest<'_>,
    now: SystemTime,
) -> Result<Request<Bytes>, BuildRequestError> {
    let ServiceRequest { operation, origin, region, auth, path, body } = request;
    let path = PathAndQuery::try_from(path).map_err(|_| BuildRequestError::InvalidPath)?;
    let (mut head, ()) = Request::new(()).into_parts();
    head.method = operation.method();
    head.uri = origin.uri(path);
    head.headers.insert(HOST, origin.host());
    match operation.target() {
        Some(target) => {
            let name = HeaderName::from_static(TARGET);
            head.headers.insert(name, HeaderValue::from_static(target));
            head.headers.insert(CONTENT_TYPE, HeaderValue::from_static(QUOTAS_CONTENT_TYPE));
        }
        None => {
            head.headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        }
    }
    let hash = || PayloadHash::of(body.as_bytes());
    authorize_for(&mut head, hash, auth, (operation.service().signing_name(), region), now)?;
    Ok(Request::from_parts(head, Bytes::copy_from_slice(body.as_bytes())))
}

fn of_failure(failure: &Failure) -> ServiceError {
    match &failure.reported.name {
        Some(name) if failure.from_upstream => ServiceError::Refused {
            status: failure.error_status(),
            name: plain_text(name, MAX_MESSAGE),
            message: plain_text(failure.message().unwrap_or_default(), MAX_MESSAGE),
        },
        _ => ServiceError::Unreachable(failure.reason()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Endpoint;

    #[test]
    fn a_call_of_service_quotas_is_signed_for_it_with_the_header_that_names_the_operation() {
        let origin = Origin::new(&Endpoint::parse("https://quotas.example").unwrap());
        let keys = aws_credential_types::Credentials::new("AKID", "secret", None, None, "test");
        let request = ServiceRequest {
            operation: AccountOperation::ListServiceQuotas,
            origin: &origin,
            region: "eu-west-1",
            auth: &Auth::SigV4(keys.into()),
            path: "/",
            body: "{}",
        };
        let signed = signed(request, SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!((signed.method().as_str(), &signed.body()[..]), ("POST", &b"{}"[..]));
        let header = |name: &str| signed.headers()[name].to_str().unwrap();
        assert_eq!(header(TARGET), "ServiceQuotasV20190624.ListServiceQuotas");
        let authorization = header("authorization");
        assert!(authorization.contains("/19700101/eu-west-1/servicequotas/aws4_request"));
        let names = "SignedHeaders=content-type;host;x-amz-date;x-amz-target,";
        assert!(authorization.contains(names), "{authorization}");
    }

    #[test]
    fn errors_tell_permissions_throttles_and_the_network_apart() {
        let refused = |status: u16, name: &str| ServiceError::Refused {
            status: StatusCode::from_u16(status).unwrap(),
            name: name.to_owned(),
            message: String::new(),
        };
        assert!(refused(403, "AccessDeniedException").is_denied());
        assert!(refused(400, "AccessDeniedException").is_denied());
        assert!(!refused(403, "UnrecognizedClientException").is_denied());
        for (status, name) in [
            (429, "ThrottlingException"),
            (400, "TooManyRequestsException"),
            (400, "ThrottlingException"),
            (500, "InternalServerException"),
        ] {
            assert!(refused(status, name).is_transient(), "{name}");
        }
        assert!(!refused(400, "ValidationException").is_transient());
        assert!(refused(404, "ResourceNotFoundException").is_not_found());
        assert!(ServiceError::TooSlow(Duration::from_secs(1)).is_unreachable());
    }
}

//! The limits of a client: its rate of requests, and its requests at once.
//!
//! A request counts as soon as its client is known. That is before the body is read, except for a
//! signature that only the body completes: it counts after the body, so that nobody can use up the
//! limits of a client whose secret they do not have. Hence the step stands in the stack twice, and
//! each request is counted by one of the two.

use bytes::Bytes;
use http::request;
use http_body::Body;

use super::context::RequestContext;
use super::error::{GatewayError, RequestError};
use super::inbound::InternalRequest;
use super::stage::{AuthenticatedRequest, BufferedRequest};
use super::step::Step;
use crate::auth::PendingAuth;

#[derive(Clone, Debug)]
pub(super) struct Limit;

impl<B> Step<AuthenticatedRequest<B>> for Limit
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    type Out = AuthenticatedRequest<B>;

    fn take(
        &self,
        mut request: AuthenticatedRequest<B>,
    ) -> Result<AuthenticatedRequest<B>, RequestError> {
        if matches!(request.pending, PendingAuth::Signature(_)) {
            return Ok(request);
        }
        let observed = &mut request.observed;
        match count(&mut observed.context, &observed.inbound.head) {
            Ok(()) => Ok(request),
            Err(error) => Err(request.observed.reject(error)),
        }
    }
}

impl Step<BufferedRequest> for Limit {
    type Out = BufferedRequest;

    fn take(&self, mut request: BufferedRequest) -> Result<BufferedRequest, RequestError> {
        if !request.was_pending {
            return Ok(request);
        }
        match count(&mut request.context, &request.head) {
            Ok(()) => Ok(request),
            Err(error) => Err(RequestError { error, context: request.context }),
        }
    }
}

/// Counts a request against its client's rate, unless another room has done so, and against its
/// requests at once.
fn count(context: &mut RequestContext, head: &request::Parts) -> Result<(), GatewayError> {
    let Some(client) = &context.caller.client else { return Ok(()) };
    let limits = &context.gateway().limits;
    let internal = head.extensions.get::<InternalRequest>();
    if !internal.is_some_and(|internal| internal.is_counted) {
        limits.check_rate(client).map_err(GatewayError::Limited)?;
    }
    context.guards.concurrency = limits.acquire(client).map_err(GatewayError::Limited)?;
    Ok(())
}

//! What a listener does with a request, and the type of the responses of all listeners.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{Either, Full};
use hyper::body::Incoming;

use crate::admin;
use crate::auth::Peer;
use crate::pipeline::ResponseBody;

/// The body of a response, of any listener.
pub(super) type AnyBody = Either<ResponseBody, admin::Body>;

/// A body that is complete.
pub(super) fn full(bytes: Bytes) -> AnyBody {
    Either::Right(Either::Left(Full::new(bytes)))
}

/// Responds to the requests of a listener.
pub(super) trait Handler:
    Fn(Request<Incoming>, Peer) -> Self::Future + Clone + Send + 'static
{
    type Future: Future<Output = Response<AnyBody>> + Send + 'static;
}

impl<A, F> Handler for A
where
    A: Fn(Request<Incoming>, Peer) -> F + Clone + Send + 'static,
    F: Future<Output = Response<AnyBody>> + Send + 'static,
{
    type Future = F;
}

//! The stages of a request: what one step of the stack hands to the next.
//!
//! ```text
//!  InboundRequest --observe--> ObservedRequest --authenticate--> AuthenticatedRequest
//!      --parse--> ParsedRequest --read_body--> BufferedRequest --policy--> AuthorizedRequest
//!      --route--> RoutedRequest (`routed.rs`)
//! ```

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, request};
use http_body::Body;
use tokio::time::Instant;

use super::context::RequestContext;
use super::drain::drain_in_background;
use super::error::{GatewayError, RequestError};
use crate::auth::{Peer, PendingAuth};
use crate::bedrock::guardrail;
use crate::bedrock::path::Call;
use crate::bedrock::sigv4::{EventChain, PayloadHash};
use crate::routing::Route;
use crate::upstream::events::Source;

/// A request as it enters the pipeline, before its body is read.
#[derive(Debug)]
pub struct InboundRequest<B> {
    /// Method, URI and headers.
    pub head: request::Parts,
    /// The body.
    pub body: B,
    /// The other end of the connection.
    pub peer: Peer,
}

/// Marks a request that another room of this process makes on behalf of a client. It is an
/// extension of the request's head, so no client can set it. That room has authenticated the client
/// and chosen the route.
#[derive(Clone, Debug)]
pub struct InternalRequest {
    /// The route to use, whatever the config's routes for the model are.
    pub route: Arc<Route>,
    /// The name of the client that the request is made for.
    pub client: Option<Arc<str>>,
    /// Whether the request has counted against the client's rate already.
    pub is_counted: bool,
    /// When the request must have been answered. It may wait in the queue until then; the config's
    /// `request_timeout` and `max_wait` do not apply.
    pub deadline: Instant,
}

/// A request with its record.
#[derive(Debug)]
pub(super) struct ObservedRequest<B> {
    pub(super) inbound: InboundRequest<B>,
    pub(super) context: Box<RequestContext>,
}

/// A request whose head was authenticated.
#[derive(Debug)]
pub(super) struct AuthenticatedRequest<B> {
    pub(super) observed: ObservedRequest<B>,
    /// What only the body can prove.
    pub(super) pending: PendingAuth,
}

/// A request that is a call of the API.
#[derive(Debug)]
pub(super) struct ParsedRequest<B> {
    pub(super) observed: ObservedRequest<B>,
    pub(super) pending: PendingAuth,
    pub(super) call: Call,
}

/// A request whose body is in memory, or is a stream of events. Its authentication is complete.
#[derive(Debug)]
pub(super) struct BufferedRequest {
    pub(super) head: request::Parts,
    pub(super) context: Box<RequestContext>,
    pub(super) call: Call,
    pub(super) body: Bytes,
    /// The body's hash, if it was computed while the body was read.
    pub(super) hash: Option<PayloadHash>,
    /// The events of a bidirectional stream. They are not buffered: they arrive while the request
    /// is being answered.
    pub(super) events: Option<StreamingBody>,
    /// Whether it took the body to know which client sent the request. If so, the limits and the
    /// policy of that client are still to be checked.
    pub(super) was_pending: bool,
}

/// A request that its client's policy allows.
#[derive(Debug)]
pub(super) struct AuthorizedRequest {
    pub(super) buffered: BufferedRequest,
    /// The guardrail that the policy adds to the request's headers.
    pub(super) guardrail: Option<ForcedGuardrail>,
}

impl<B> ObservedRequest<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    /// Ends the request with `error`, and drains its body while the error is sent.
    pub(super) fn reject(self, error: GatewayError) -> RequestError {
        drain_in_background(&self.inbound.head, self.inbound.body);
        RequestError { error, context: self.context }
    }
}

/// The headers that name a guardrail.
#[derive(Clone, Debug)]
pub(super) struct ForcedGuardrail {
    pub(super) identifier: HeaderValue,
    pub(super) version: HeaderValue,
}

impl ForcedGuardrail {
    /// Sets the headers, in place of the client's.
    pub(super) fn set(self, headers: &mut HeaderMap) {
        headers.insert(guardrail::IDENTIFIER, self.identifier);
        headers.insert(guardrail::VERSION, self.version);
    }
}

/// A body that is read while its request is answered, and the signatures that its events must have,
/// if the client signs them.
///
/// The lock is never taken. It makes the type `Sync`, which the body alone is not, so that
/// references to a request may cross threads.
pub(super) struct StreamingBody(Mutex<(Source, Option<EventChain>)>);

impl StreamingBody {
    pub(super) fn new(source: Source, chain: Option<EventChain>) -> StreamingBody {
        StreamingBody(Mutex::new((source, chain)))
    }

    /// The body, and the signatures that its events must have.
    pub(super) fn into_inner(self) -> (Source, Option<EventChain>) {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for StreamingBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StreamingBody(..)")
    }
}

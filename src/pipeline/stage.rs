//! The stages of a request: what one step of the stack hands to the next.
//!
//! ```text
//!  InboundRequest (`inbound.rs`) --observe--> ObservedRequest
//!      --shed--> ObservedRequest --authenticate, limit--> AuthenticatedRequest --parse, policy--> ParsedRequest
//!      --read_body, limit--> BufferedRequest --policy--> AuthorizedRequest --route--> RoutedRequest (`routed.rs`)
//! ```

use bytes::Bytes;
use http::request;
use http_body::Body;

use super::context::RequestContext;
use super::drain::drain_in_background;
use super::error::{GatewayError, RequestError};
use super::headers::ForcedGuardrail;
use super::inbound::InboundRequest;
use super::parse;
use super::streaming_body::StreamingBody;
use crate::auth::PendingAuth;
use crate::bedrock::body::Peek;
use crate::bedrock::path::Call;
use crate::bedrock::sigv4::PayloadHash;

/// A request with its record.
#[derive(Debug)]
pub(super) struct ObservedRequest<B> {
    /// Boxed, as the requests of the later stages are: a request goes through a dozen calls.
    pub(super) inbound: Box<InboundRequest<B>>,
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
    /// What was read of the body, if it had to be read to find the model.
    pub(super) peek: Option<Box<Peek>>,
    /// The id of the kept response that it continues, whose turns are in its body.
    pub(super) continues: Option<Box<str>>,
    /// The events of a bidirectional stream. They are not buffered: they arrive while the request
    /// is being answered.
    pub(super) events: Option<Box<StreamingBody>>,
    /// Whether the client was known only after the body was read. If so, its limits and its policy
    /// are still to be checked.
    pub(super) was_pending: bool,
}

/// A request that its client's policy allows.
#[derive(Debug)]
pub(super) struct AuthorizedRequest {
    pub(super) buffered: Box<BufferedRequest>,
    /// The guardrail that the policy adds to the request's headers.
    pub(super) guardrail: Option<ForcedGuardrail>,
}

impl<B> ObservedRequest<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    /// Ends the request with `error`, and drains its body while the error is sent.
    pub(super) fn reject(mut self, error: GatewayError) -> RequestError {
        parse::note_refused(&self.inbound.head, &mut self.context);
        let InboundRequest { head, body, .. } = *self.inbound;
        drain_in_background(&head, body);
        RequestError { error, context: self.context }
    }
}

//! The way of a Bedrock request through the gateway, as one stack.
//!
//! ```text
//!  observe    gives the request an id; turns a refusal into Bedrock's wire form
//!  shed       turns it away if there is too much in hand
//!  identify   who is calling, and within which limits
//!  parse      method and raw path -> operation and requested model
//!  collect    the body, within its bounds (signing needs its hash, a retry its bytes)
//!  route      requested model -> the targets that can serve this request
//!  attempt    admit to a target, prepare, sign, send, classify; again until it is answered
//!             (`duplex`: the same once, for a request whose body goes on while it is answered)
//!  relay      the answer's bytes as they come; counts and settles at their end
//! ```
//! Each step is a file. A step takes the request of the stage before and gives that of the
//! stage after, or a `GatewayError`; what it learns for log and metrics it notes in the
//! request's `RequestContext`, whose end is the end of the request on every path.

mod admit;
mod attempt;
mod authenticate;
mod best_failure;
mod bidirectional;
pub(crate) mod body;
mod buffers;
mod context;
mod deadline;
mod decide;
mod denial;
pub(crate) mod drain;
mod error;
mod gateway;
mod headers;
mod hedge;
mod limit;
mod observe;
mod offload;
mod parse;
mod policy;
mod read_body;
mod relay;
mod route;
mod routed;
mod shed;
mod shortage;
mod stage;
mod step;
#[cfg(test)]
mod tests;
mod upstream_request;
mod usage_tap;

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http_body::Body;
use tower::{Service, ServiceBuilder};

pub use gateway::{Gateway, SharedGateway};
pub use parse::repeats_length;
pub use relay::{ResponseBody, ResponseDeadline};
pub use stage::{InboundRequest, InternalRequest};

use step::step;

/// The whole stack over the live gateway. It never fails: what goes wrong is a response.
pub fn stack<B>(
    live: &Arc<SharedGateway>,
) -> impl Service<InboundRequest<B>, Response = Response<ResponseBody>, Error = Infallible, Future: Send>
+ Clone
+ use<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::error::Error + Send + Sync,
{
    ServiceBuilder::new()
        // Outermost, so that nothing that happens inside goes uncounted or unanswered.
        .layer(observe::layer(live))
        // Before anything is done for a request that may be one too many.
        .layer(step(shed::Shed))
        // Before the path is parsed: also a request that is no call is logged with its client.
        .layer(step(authenticate::Authenticate))
        .layer(step(limit::Limit))
        .layer(step(parse::Parse))
        .layer(step(policy::CheckHead))
        // Before routing, which looks at the features that a body uses.
        .layer(read_body::ReadBodyLayer)
        // What was left out above while only the body could show the client.
        .layer(step(limit::Limit))
        .layer(step(policy::CheckBody))
        .layer(step(route::Route))
        .service(attempt::Attempts)
}

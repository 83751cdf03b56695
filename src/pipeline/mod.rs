//! The path of a Bedrock API request through the gateway, as one stack of tower layers.
//!
//! ```text
//!  observe        opens the request's record; writes errors in Bedrock's wire form
//!  shed           refuses a request above the bounds of what is in flight
//!  authenticate   finds the client by the head
//!  limit          counts the request against its client's rate and concurrency
//!  parse          method and raw path -> operation and requested model
//!  policy         checks operation, model and guardrail against the client's policy
//!  read_body      the body, within its bounds; completes the authentication
//!  limit          once more, for a client that only the body shows
//!  resolve_model  finds the requested model where the body names it
//!  policy         once more, for what only the body shows
//!  list_models    answers a request for the list of models
//!  embeddings     makes the calls of a request for embeddings, each through this stack, and answers it
//!  kept_responses  puts the turns of a response that the gateway keeps before the next input, or answers with it
//!  route          requested model -> the candidates, targets that can serve this request
//!  attempt        admits to a target, signs, sends and decides; repeats until there is an answer
//!  relay          relays the answer's bytes as they arrive; counts and settles when they end
//! ```
//! Each step is a file. A step takes the request of one stage and returns that of the next
//! (`stage.rs`), or a `RequestError`. It notes what it finds out in the request's record
//! (`context.rs`). The record is dropped when the request ends, on every path.

mod admit;
mod attempt;
mod authenticate;
mod best_failure;
mod bidirectional;
pub(crate) mod body;
mod buffers;
mod candidate_state;
mod context;
mod deadline;
mod decide;
mod denial;
pub(crate) mod drain;
mod eligibility;
mod embeddings;
mod error;
mod event_tap;
mod events_error;
mod fallback_wait;
mod gateway;
mod headers;
mod hedge;
mod held_answer;
mod inbound;
mod keeping;
mod kept_responses;
mod limit;
mod list_models;
mod observe;
mod offload;
mod own_answer;
mod own_headers;
mod parse;
mod passed_over;
mod policy;
mod read_body;
mod relay;
mod remote_media;
mod resolve_model;
mod responses;
mod rewritten_body;
mod route;
mod routed;
mod shed;
mod shortage;
mod stage;
mod step;
mod streaming_body;
#[cfg(test)]
mod tests;
mod translate;
mod translated_answer;
mod translated_headers;
mod translated_stream;
mod translations;
mod unservable;
mod upstream_request;
mod usage_tap;

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http_body::Body;
use tower::{Service, ServiceBuilder};

pub use gateway::{Gateway, SharedGateway};
pub use inbound::{InboundRequest, InternalRequest, PartOf};
pub use parse::repeats_length;
pub use relay::{ResponseBody, ResponseDeadline};

use step::step;

/// The whole stack over the live gateway. It never fails: what goes wrong is a response.
pub fn stack<B>(
    shared_gateway: &Arc<SharedGateway>,
) -> impl Service<InboundRequest<B>, Response = Response<ResponseBody>, Error = Infallible, Future: Send>
+ Clone
+ use<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::error::Error + Send + Sync,
{
    ServiceBuilder::new()
        // Outermost, so that nothing that happens inside goes uncounted or unanswered.
        .layer(observe::layer(shared_gateway))
        // Before any work for a request that may be above the limits.
        .layer(step(shed::Shed))
        // Before the path is parsed: a request that names no operation is logged with its client, too.
        .layer(step(authenticate::Authenticate))
        .layer(limit::RateLimitLayer)
        .layer(step(limit::ConcurrencyLimit))
        .layer(step(parse::Parse))
        .layer(step(policy::CheckHead))
        // Before routing, which looks at the features that a body uses.
        .layer(read_body::ReadBodyLayer)
        // The limits of clients that are known only after the body was read.
        .layer(limit::RateLimitLayer)
        .layer(step(limit::ConcurrencyLimit))
        .layer(step(resolve_model::ResolveModel))
        .layer(step(policy::CheckBody))
        .layer(list_models::ListModelsLayer)
        .layer(embeddings::EmbeddingsLayer)
        .layer(kept_responses::KeptResponsesLayer)
        .layer(step(route::RouteStep))
        .service(attempt::Attempts)
}

//! Requests as they enter the pipeline.

use std::sync::Arc;

use http::request;
use tokio::time::Instant;

use crate::auth::Peer;
use crate::bedrock::{Family, Operation};
use crate::limits::CallerKind;
use crate::routing::Route;
use crate::telemetry::ModelLatency;

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

/// Marks a request that another module of this process makes on behalf of a client. It is an
/// extension of the request's head, so no client can set it. That module has authenticated the
/// client and chosen the route.
#[derive(Clone, Debug)]
pub struct InternalRequest {
    /// The route to use, whatever the config's routes for the model are.
    pub route: Arc<Route>,
    /// The family whose schema the body has; `None`: that of the requested model.
    pub body_family: Option<Family>,
    /// The name of the client that the request is made for.
    pub client: Option<Arc<str>>,
    /// Whether the request has counted against the client's rate already.
    pub is_counted: bool,
    /// When the request must have been answered; the config's `request_timeout` does not apply. It may wait in the
    /// queue until then, unless it is a part of another: then `max_wait` counts.
    pub deadline: Instant,
    /// What it is one call of; `None` if it stands for itself.
    pub part_of: Option<PartOf>,
}

/// A client's request that several internal ones answer together. It has been authenticated, counted against its
/// client's limits and allowed, so they are not; what they use counts for each.
#[derive(Clone, Debug)]
pub struct PartOf {
    /// What the client asked for, which its policy has allowed.
    pub operation: Operation,
    /// The client, if it has a name.
    pub caller: Option<CallerKind>,
    /// The pattern of the config that the requested model matches.
    pub pattern: Option<Arc<ModelLatency>>,
}

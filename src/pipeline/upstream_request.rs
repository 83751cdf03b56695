//! One attempt's request to a target: the target's model in the path, those of the client's headers
//! that Bedrock or the config knows, the body clamped where the target's cap asks for it.

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{header, request};

use super::routed::RoutedRequest;
use crate::bedrock::body;
use crate::bedrock::path::Resource;
use crate::bedrock::sigv4::PayloadHash;
use crate::routing::Target;

/// The parts of an attempt's request that are the same for every attempt on one target.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) head: request::Parts,
    pub(super) payload: Payload,
}

/// The body of an attempt's request.
#[derive(Debug)]
pub(super) struct Payload {
    pub(super) body: Bytes,
    /// Whether it is not the client's.
    is_changed: bool,
}

impl Payload {
    /// The hash of the body; that of the client's is computed once for all attempts.
    pub(super) fn hash(&self, routed: &RoutedRequest) -> PayloadHash {
        let hash = || PayloadHash::of(&self.body);
        if self.is_changed { hash() } else { *routed.hash.get_or_init(hash) }
    }
}

/// Prepares an attempt of a request, whose headers are stripped by [`strip_for_upstream`], on
/// `target`; `None` if its path is no URI, which no checked id makes.
pub(super) fn prepare(routed: &RoutedRequest, target: &Target) -> Option<Prepared> {
    let (mut head, ()) = http::Request::new(()).into_parts();
    head.method = routed.head.method.clone();
    head.uri = match &routed.call.resource {
        Resource::Model(_) => target.uri(routed.call.operation)?,
        _ => {
            let path = with_query(routed.call.to_path(), routed);
            target.site.origin.uri(PathAndQuery::try_from(path).ok()?)
        }
    };
    head.headers = routed.head.headers.clone();
    head.headers.insert(header::HOST, target.site.origin.host());
    let cap = routed.call.model().and_then(|requested| target.cap(requested));
    let clamped = cap.and_then(|cap| body::clamp(&routed.body, &routed.peek, cap));
    let is_changed = clamped.is_some();
    let body = clamped.unwrap_or_else(|| routed.body.clone());
    Some(Prepared { head, payload: Payload { body, is_changed } })
}

/// Only listing operations have a query of their own; a client's query on any other says nothing
/// to Bedrock and may carry a presigned signature.
fn with_query(path: String, routed: &RoutedRequest) -> String {
    match routed.head.uri.query() {
        Some(query) if routed.call.operation.has_query() => {
            let parameters = query.split('&').filter(|parameter| !is_signature(parameter));
            let query = parameters.collect::<Vec<_>>().join("&");
            if query.is_empty() { path } else { format!("{path}?{query}") }
        }
        _ => path,
    }
}

fn is_signature(parameter: &str) -> bool {
    parameter.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("x-amz-"))
}

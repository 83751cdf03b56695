//! The request of one attempt: the target's model in the path, the headers that pass, the body with its
//! maximum of output tokens lowered to the target's, and a fresh signature.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, Request, Uri, header, request};

use super::context::OpenSpan;
use super::routed::RoutedRequest;
use crate::api::{count_tokens, messages_headers};
use crate::bedrock::Api;
use crate::bedrock::body::{self, Changes};
use crate::bedrock::path::Resource;
use crate::bedrock::sigv4::PayloadHash;
use crate::routing::Target;
use crate::upstream::sign::Auth;
use crate::upstream::{BuildRequestError, sign};

/// An attempt's request before it is signed.
#[derive(Debug)]
pub(super) struct Prepared {
    /// What signs it.
    pub(super) auth: Arc<Auth>,
    pub(super) head: request::Parts,
    pub(super) payload: Payload,
}

/// The body of an attempt's request.
#[derive(Debug)]
pub(super) struct Payload {
    pub(super) body: Bytes,
    /// Whether it differs from the client's body.
    is_changed: bool,
}

impl Payload {
    /// The hash of the body; that of the client's body is computed once for all attempts.
    pub(super) fn hash(&self, routed: &RoutedRequest) -> PayloadHash {
        let hash = || PayloadHash::of(&self.body);
        if self.is_changed { hash() } else { *routed.hash.get_or_init(hash) }
    }
}

/// The request of an attempt on `target`, signed now, or why it can't be made.
pub(super) fn signed(
    routed: &RoutedRequest,
    target: &Target,
    span: Option<&OpenSpan<'_>>,
) -> Result<Request<Bytes>, BuildRequestError> {
    let Prepared { auth, mut head, payload } = prepare(routed, target)?;
    if let Some(span) = span {
        span.inject(&mut head.headers);
    }
    let hash = || payload.hash(routed);
    sign::authorize(&mut head, hash, &auth, &target.endpoint.region, SystemTime::now())?;
    Ok(Request::from_parts(head, payload.body))
}

/// Prepares an attempt on `target`, or returns why that is impossible. The request's headers are those
/// that [`strip_for_upstream`](super::headers::strip_for_upstream) has left.
pub(super) fn prepare(
    routed: &RoutedRequest,
    target: &Target,
) -> Result<Prepared, BuildRequestError> {
    let credentials = &target.endpoint.credentials;
    let auth = credentials
        .auth()
        .ok_or_else(|| BuildRequestError::NoCredentials(credentials.problem()))?;
    // A validated model id always gives a valid path.
    let uri = uri(routed, target).ok_or(BuildRequestError::InvalidPath)?;
    let (mut head, ()) = Request::new(()).into_parts();
    head.method = routed.head.method.clone();
    head.uri = uri;
    head.headers = routed.head.headers.clone();
    head.headers.insert(header::HOST, target.origin(routed.call.operation).host());
    let changed = changed_body(routed, target, &mut head.headers);
    let is_changed = changed.is_some();
    let body = changed.unwrap_or_else(|| routed.body.clone());
    Ok(Prepared { auth, head, payload: Payload { body, is_changed } })
}

/// The body as the target gets it, if that is not the client's; sets the headers that go with it.
fn changed_body(routed: &RoutedRequest, target: &Target, headers: &mut HeaderMap) -> Option<Bytes> {
    let operation = routed.call.operation;
    if operation.api() == Api::Messages {
        let table = routed.context.gateway().betas(target);
        let flags = messages_headers::prepare(headers, table);
        if target.counts_by_runtime(operation) {
            messages_headers::remove(headers);
            return count_tokens::request(&routed.body, &flags);
        }
    }
    let requested = routed.call.model()?;
    let responses = routed.responses.as_deref();
    body::change(
        &routed.body,
        &routed.peek,
        &Changes {
            model: operation.has_model_in_body().then(|| target.model_in_body(operation)),
            cap: target.cap(requested),
            include_usage: routed.hides_usage(),
            store: responses.and_then(|it| it.store),
            previous_response_id: responses.and_then(|it| it.named.as_deref()),
        },
    )
}

fn uri(routed: &RoutedRequest, target: &Target) -> Option<Uri> {
    match &routed.call.resource {
        Resource::Model(_) => target.uri(routed.call.operation),
        Resource::Response(_) => {
            let id = routed.responses.as_ref()?.named.as_deref()?;
            let query = routed.head.uri.query().filter(|_| routed.call.operation.has_query());
            target.response_uri(routed.call.operation, id, query)
        }
        _ => {
            let path = with_query(routed.call.to_path()?, routed);
            Some(target.endpoint.origin.uri(PathAndQuery::try_from(path).ok()?))
        }
    }
}

/// Only listing operations have a query of their own. On any other a client's query means nothing to
/// Bedrock, and may hold a presigned signature.
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

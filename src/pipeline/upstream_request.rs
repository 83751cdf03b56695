//! The request of one attempt: the target's model in the path, the headers that pass, the body with its
//! maximum of output tokens lowered to the target's, and a fresh signature.

use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, header, request};
use smallvec::SmallVec;

use super::context::OpenSpan;
use super::headers::BEDROCK_PREFIX;
use super::responses::forbids_stored_chat;
use super::routed::RoutedRequest;
use crate::api::{count_tokens, messages_headers};
use crate::bedrock::body::{self, Changes};
use crate::bedrock::path::Resource;
use crate::bedrock::sigv4::PayloadHash;
use crate::bedrock::{Api, Operation};
use crate::routing::Target;
use crate::upstream::sign::Auth;
use crate::upstream::{BuildRequestError, sign};

/// An attempt's request before it is signed.
#[derive(Debug)]
pub(super) struct Prepared<'r> {
    /// What signs it.
    pub(super) auth: Arc<Auth>,
    pub(super) head: request::Parts,
    pub(super) payload: Payload<'r>,
}

/// The body of an attempt's request.
#[derive(Debug)]
pub(super) struct Payload<'r> {
    pub(super) body: Bytes,
    /// Where its hash is kept for further attempts. `None`: it is the target's own.
    kept: Option<&'r OnceLock<PayloadHash>>,
}

impl Payload<'_> {
    /// The hash of the body; one that other attempts have too is computed once for all.
    pub(super) fn hash(&self) -> PayloadHash {
        let hash = || PayloadHash::of(&self.body);
        self.kept.map_or_else(hash, |kept| *kept.get_or_init(hash))
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
    let hash = || payload.hash();
    sign::authorize(&mut head, hash, &auth, &target.endpoint.region, SystemTime::now())?;
    Ok(Request::from_parts(head, payload.body))
}

/// Prepares an attempt on `target`, or returns why that is impossible. The request's headers are those
/// that [`strip_for_upstream`](super::headers::strip_for_upstream) has left.
pub(super) fn prepare<'r>(
    routed: &'r RoutedRequest,
    target: &Target,
) -> Result<Prepared<'r>, BuildRequestError> {
    let credentials = &target.endpoint.credentials;
    let auth = credentials
        .auth()
        .ok_or_else(|| BuildRequestError::NoCredentials(credentials.problem()))?;
    let translated = routed.translated(target)?;
    // A validated model id always gives a valid path.
    let uri = match translated {
        Some(translated) => target.uri(translated.operation),
        None => uri(routed, target),
    };
    let (mut head, ()) = Request::new(()).into_parts();
    head.method = routed.head.method.clone();
    head.uri = uri.ok_or(BuildRequestError::InvalidPath)?;
    head.headers = routed.head.headers.clone();
    if let Some(translated) = translated {
        headers_of_translation(&mut head.headers, translated.operation);
        head.headers.insert(header::HOST, target.origin(translated.operation).host());
        let payload = Payload { body: translated.body.clone(), kept: Some(&translated.hash) };
        return Ok(Prepared { auth, head, payload });
    }
    head.headers.insert(header::HOST, target.origin(routed.call.operation).host());
    let changed = changed_body(routed, target, &mut head.headers);
    let payload = match changed {
        Some(body) => Payload { body, kept: None },
        None => Payload { body: routed.body.clone(), kept: Some(&routed.hash) },
    };
    Ok(Prepared { auth, head, payload })
}

/// Leaves of the headers what goes with a translation: nothing of the client's API, nor what a body of Converse
/// has in it now.
fn headers_of_translation(headers: &mut HeaderMap, operation: Operation) {
    messages_headers::remove(headers);
    if operation.is_converse() {
        let own = headers.keys().filter(|name| name.as_str().starts_with(BEDROCK_PREFIX));
        let own: SmallVec<[HeaderName; 4]> = own.cloned().collect();
        own.iter().for_each(|name| drop(headers.remove(name)));
    }
    headers.remove(header::ACCEPT);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
}

/// The body as the target gets it, if that is not the client's; sets the headers that go with it.
fn changed_body(routed: &RoutedRequest, target: &Target, headers: &mut HeaderMap) -> Option<Bytes> {
    let operation = routed.call.operation;
    if operation.api() == Api::Messages {
        let table = routed.context.gateway().betas(target);
        let endpoint = target.capabilities().service;
        let flags = routed.betas.prepare(headers, endpoint, table);
        if target.counts_by_runtime(operation) {
            messages_headers::remove(headers);
            return count_tokens::request(&routed.body, flags);
        }
    }
    let requested = routed.call.model()?;
    let responses = routed.responses.as_deref();
    body::change(
        &routed.body,
        &routed.peek,
        &Changes {
            model: operation.has_model_in_body().then(|| target.model_in_body(operation)),
            cap: target.cap(requested, routed.peek.thinking_budget),
            include_usage: routed.hides_usage(),
            store: match operation {
                Operation::CreateChatCompletion => {
                    forbids_stored_chat(&routed.context, &routed.peek.parameters).then_some(false)
                }
                _ => responses.and_then(|it| it.store),
            },
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

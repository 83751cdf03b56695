//! From method and raw path to the operation and the requested model.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Version, request};
use http_body::Body;

use super::context::RequestContext;
use super::error::{GatewayError, RequestError};
use super::stage::{AuthenticatedRequest, ObservedRequest, ParsedRequest};
use super::step::Step;
use crate::api::paths::ApiPaths;
use crate::auth::origin;
use crate::bedrock::Operation;
use crate::bedrock::path::{self, Call, PathError};

#[derive(Clone, Debug)]
pub(super) struct Parse;

impl<B> Step<AuthenticatedRequest<B>> for Parse
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    type Out = ParsedRequest<B>;

    fn apply(&self, request: AuthenticatedRequest<B>) -> Result<ParsedRequest<B>, RequestError> {
        let AuthenticatedRequest { mut observed, pending } = request;
        match call(&mut observed) {
            Ok(call) => Ok(ParsedRequest { observed, pending, call }),
            // Where the body of such a request ends is not known.
            Err(error @ (GatewayError::Framing | GatewayError::Lengths)) => {
                Err(RequestError { error, context: observed.context })
            }
            Err(error) => {
                if matches!(error, GatewayError::Path(_) | GatewayError::ControlPlane { .. }) {
                    observed.context.record_unparsed(&observed.inbound.head);
                }
                Err(observed.reject(error))
            }
        }
    }
}

/// The call that a request makes, noted in its record.
fn call<B>(observed: &mut ObservedRequest<B>) -> Result<Call, GatewayError> {
    let ObservedRequest { inbound, context } = observed;
    let gateway = context.gateway();
    check_message(&inbound.head, gateway.config.server.max_headers)?;
    let call = parse(&inbound.head, &gateway.api_paths)?;
    if call.operation.is_control_plane() && !gateway.router.has_control_plane() {
        return Err(GatewayError::ControlPlane { operation: call.operation.name() });
    }
    context.call.operation = Some(call.operation);
    context.call.requested_model = call.model().map(|model| model.as_str().to_owned());
    Ok(call)
}

/// Notes what a request asks for that was refused before this step, so that its record names it. Its model is not
/// noted: nothing has shown that the client may name one.
pub(super) fn note_refused(head: &request::Parts, context: &mut RequestContext) {
    if context.has_call() {
        return;
    }
    match named(head, &context.gateway().api_paths) {
        Ok(call) => context.call.operation = Some(call.operation),
        Err(_) => context.record_unparsed(head),
    }
}

fn named(head: &request::Parts, api_paths: &ApiPaths) -> Result<Call, PathError> {
    let call = api_paths.parse(head);
    call.unwrap_or_else(|| path::parse(&head.method, head.uri.path()))
}

fn parse(head: &request::Parts, api_paths: &ApiPaths) -> Result<Call, GatewayError> {
    let call = named(head, api_paths)?;
    let is_bidirectional = call.operation == Operation::InvokeModelWithBidirectionalStream;
    if is_bidirectional && head.version != Version::HTTP_2 {
        return Err(GatewayError::NeedsHttp2 { operation: call.operation.name() });
    }
    Ok(call)
}

/// Refuses what a server must refuse and the HTTP library lets through.
fn check_message(head: &request::Parts, max_headers: usize) -> Result<(), GatewayError> {
    // On HTTP/2 the library bounds their size, but not their number.
    if head.headers.len() > max_headers {
        return Err(GatewayError::TooManyHeaders { limit: max_headers });
    }
    origin::authority(head)?;
    if repeats_length(&head.headers) {
        return Err(GatewayError::Lengths);
    }
    // The library reads anything that ends in "chunked" as chunks, and ignores a length beside it.
    let mut encodings = head.headers.get_all(TRANSFER_ENCODING).iter();
    match (encodings.next(), encodings.next()) {
        (None, _) => Ok(()),
        (Some(encoding), None) if encoding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => Err(GatewayError::Framing),
    }
}

/// Whether the head states the length of its body more than once, even if it is the same.
pub fn repeats_length(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_LENGTH).iter().nth(1).is_some()
}

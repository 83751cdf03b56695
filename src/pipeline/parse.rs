//! From method and raw path to an operation and the requested model.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Version, request};
use http_body::Body;

use super::body::dismiss;
use super::observe::Observed;
use super::policy;
use super::refusal::{Refusal, Refused};
use super::step::Step;
use crate::auth::origin;
use crate::bedrock::Operation;
use crate::bedrock::path::{self, Call};

/// A request that is known to be a call of the API.
#[derive(Debug)]
pub(super) struct Called<B> {
    pub(super) request: Observed<B>,
    pub(super) call: Call,
}

#[derive(Clone, Debug)]
pub(super) struct Parse;

impl<B> Step<Observed<B>> for Parse
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    type Out = Called<B>;

    fn take(&self, mut request: Observed<B>) -> Result<Called<B>, Refused> {
        let head = &request.inbound.head;
        let exchange = &mut request.exchange;
        let max_headers = exchange.gateway().config.server.max_headers;
        let relays = exchange.gateway().router.has_control_plane();
        let allowed = parse(head, max_headers).and_then(|call| {
            if call.operation.is_control_plane() && !relays {
                return Err(Refusal::ControlPlane { operation: call.operation.name() });
            }
            exchange.operation = Some(call.operation);
            exchange.requested_model = call.model().map(|model| model.as_str().to_owned());
            policy::check_call(exchange, &call, head)?;
            Ok(call)
        });
        match allowed {
            Ok(call) => Ok(Called { request, call }),
            Err(refusal) => {
                let Observed { inbound, mut exchange } = request;
                if matches!(refusal, Refusal::Path(_) | Refusal::ControlPlane { .. }) {
                    exchange.is_no_call(&inbound.head);
                }
                // A request with two lengths has no telling where its body ends.
                if !matches!(refusal, Refusal::Framing | Refusal::Lengths) {
                    dismiss(&inbound.head, inbound.body);
                }
                Err(Refused { refusal, exchange })
            }
        }
    }
}

fn parse(head: &request::Parts, max_headers: usize) -> Result<Call, Refusal> {
    check_message(head, max_headers)?;
    let call = path::parse(&head.method, head.uri.path())?;
    let is_duplex = call.operation == Operation::InvokeModelWithBidirectionalStream;
    if is_duplex && head.version != Version::HTTP_2 {
        return Err(Refusal::NeedsHttp2 { operation: call.operation.name() });
    }
    Ok(call)
}

/// What a server is to refuse and the HTTP library lets through.
fn check_message(head: &request::Parts, max_headers: usize) -> Result<(), Refusal> {
    // By HTTP/2 the library bounds their size alone.
    if head.headers.len() > max_headers {
        return Err(Refusal::TooManyHeaders { limit: max_headers });
    }
    origin::authority(head)?;
    if repeats_length(&head.headers) {
        return Err(Refusal::Lengths);
    }
    // The library reads anything that ends in "chunked" as chunks, and ignores a length beside it.
    let mut encodings = head.headers.get_all(TRANSFER_ENCODING).iter();
    match (encodings.next(), encodings.next()) {
        (None, _) => Ok(()),
        (Some(encoding), None) if encoding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => Err(Refusal::Framing),
    }
}

/// Whether the length of a body is told more than once, be it the same.
pub fn repeats_length(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_LENGTH).iter().nth(1).is_some()
}

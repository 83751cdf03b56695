//! From method and raw path to an operation and the requested model.

use std::future::{Ready, ready};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{Version, request};
use http_body::Body;

use super::collect::dismiss;
use super::observe::Observed;
use super::refusal::{Refusal, Refused};
use super::step::Step;
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
    type Future = Ready<Result<Called<B>, Refused>>;

    fn take(&self, mut request: Observed<B>) -> Self::Future {
        ready(match parse(&request.arrival.head) {
            Ok(call) => {
                request.exchange.operation = Some(call.operation);
                request.exchange.requested_model =
                    call.model().map(|model| model.as_str().to_owned());
                Ok(Called { request, call })
            }
            Err(refusal) => {
                let Observed { arrival, exchange } = request;
                // A request with two lengths has no telling where its body ends.
                if !matches!(refusal, Refusal::Framing) {
                    dismiss(&arrival.head, arrival.body);
                }
                Err(Refused { refusal, exchange })
            }
        })
    }
}

fn parse(head: &request::Parts) -> Result<Call, Refusal> {
    check_message(head)?;
    let call = path::parse(&head.method, head.uri.path())?;
    let is_duplex = call.operation == Operation::InvokeModelWithBidirectionalStream;
    if is_duplex && head.version != Version::HTTP_2 {
        return Err(Refusal::NeedsHttp2 { operation: call.operation.name() });
    }
    Ok(call)
}

/// What RFC 9112 has a server refuse and the HTTP library lets through.
fn check_message(head: &request::Parts) -> Result<(), Refusal> {
    let count = |name| head.headers.get_all(name).iter().count();
    let hosts =
        count(HOST) + usize::from(head.version == Version::HTTP_2 && head.uri.host().is_some());
    if hosts == 0 && head.version >= Version::HTTP_11 || count(HOST) > 1 {
        return Err(Refusal::Host);
    }
    if count(TRANSFER_ENCODING) > 0 && count(CONTENT_LENGTH) > 0 {
        return Err(Refusal::Framing);
    }
    Ok(())
}

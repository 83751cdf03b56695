//! From method and raw path to an operation and the requested model.

use std::future::{Ready, ready};

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{Version, request};

use super::InProcess;
use super::observe::Observed;
use super::policy;
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

impl<B> Step<Observed<B>> for Parse {
    type Out = Called<B>;
    type Future = Ready<Result<Called<B>, Refused>>;

    fn take(&self, mut request: Observed<B>) -> Self::Future {
        let head = &request.arrival.head;
        let exchange = &mut request.exchange;
        let allowed = parse(head).and_then(|call| {
            exchange.operation = Some(call.operation);
            exchange.requested_model = call.model().map(|model| model.as_str().to_owned());
            let is_own = head.extensions.get::<InProcess>().is_some();
            policy::check_call(exchange, &call, &head.headers, is_own)?;
            Ok(call)
        });
        ready(match allowed {
            Ok(call) => Ok(Called { request, call }),
            Err(refusal) => Err(Refused { refusal, exchange: request.exchange }),
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

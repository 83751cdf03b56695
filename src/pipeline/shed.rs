//! Turns a request away when the gateway has as much in hand as it may: the first step of all, so
//! that it costs next to nothing.

use bytes::Bytes;
use http_body::Body;

use super::body::{dismiss, head_bytes};
use super::observe::Observed;
use super::refusal::{Refusal, Refused};
use super::step::Step;

#[derive(Clone, Debug)]
pub(super) struct Shed;

impl<B> Step<Observed<B>> for Shed
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    type Out = Observed<B>;

    fn take(&self, mut request: Observed<B>) -> Result<Observed<B>, Refused> {
        let entered = request.exchange.gateway().in_flight.enter().and_then(|mut share| {
            share.reserve_head(head_bytes(&request.inbound.head))?;
            Ok(share)
        });
        match entered {
            Ok(share) => {
                request.exchange.share = Some(share);
                Ok(request)
            }
            Err(overloaded) => {
                dismiss(&request.inbound.head, request.inbound.body);
                let refusal = Refusal::Overloaded(overloaded);
                Err(Refused { refusal, exchange: request.exchange })
            }
        }
    }
}

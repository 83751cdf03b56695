//! Load shedding: refuses a request while as much is in flight as the config allows. It is the first
//! step, so that a refusal costs next to nothing.

use bytes::Bytes;
use http_body::Body;

use super::body::head_bytes;
use super::error::{GatewayError, RequestError};
use super::stage::ObservedRequest;
use super::step::Step;

#[derive(Clone, Debug)]
pub(super) struct Shed;

impl<B> Step<ObservedRequest<B>> for Shed
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    type Out = ObservedRequest<B>;

    fn apply(&self, mut request: ObservedRequest<B>) -> Result<ObservedRequest<B>, RequestError> {
        let entered = request.context.gateway().in_flight.enter().and_then(|mut share| {
            share.reserve_head(head_bytes(&request.inbound.head))?;
            Ok(share)
        });
        match entered {
            Ok(share) => {
                request.context.guards.in_flight = Some(share);
                Ok(request)
            }
            Err(overloaded) => Err(request.reject(GatewayError::Overloaded(overloaded))),
        }
    }
}

//! Who is calling, whether they may call at all, and whether now: the limits of one client are
//! checked before anything is spent on the request.

use std::future::{Ready, ready};
use std::sync::Arc;

use bytes::Bytes;
use http_body::Body;

use super::InProcess;
use super::collect::dismiss;
use super::observe::Observed;
use super::refusal::{Refusal, Refused};
use super::step::Step;
use crate::clients::{Limited, identify};

#[derive(Clone, Debug)]
pub(super) struct Identify;

impl<B> Step<Observed<B>> for Identify
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    type Out = Observed<B>;
    type Future = Ready<Result<Observed<B>, Refused>>;

    fn take(&self, mut request: Observed<B>) -> Self::Future {
        let Observed { arrival, exchange } = &mut request;
        let gateway = Arc::clone(exchange.gateway());
        let headers = &arrival.head.headers;
        let client = identify(headers, arrival.peer.address, &gateway.config.limits.key);
        // Another room of this process has seen to who asks.
        let name = match arrival.head.extensions.get::<InProcess>() {
            Some(own) => Ok(own.client.clone()),
            None => gateway.keys.client(headers).map_err(Refusal::Unauthenticated),
        };
        let (client, allowed) = match name {
            Ok(name) => {
                let client = client.named(name);
                let allowed = gateway
                    .limits
                    .request(&client)
                    .and_then(|()| gateway.limits.slot(&client))
                    .map_err(|limited: Limited| Refusal::Limited(limited));
                (client, allowed)
            }
            Err(refusal) => (client, Err(refusal)),
        };
        exchange.account = gateway.budgets.of(client.name.as_deref());
        exchange.policy = gateway.policies.of(client.name.as_deref());
        exchange.client = Some(client);
        ready(match allowed {
            Ok(slot) => {
                exchange.slot = slot;
                Ok(request)
            }
            Err(refusal) => {
                dismiss(&request.arrival.head, request.arrival.body);
                Err(Refused { refusal, exchange: request.exchange })
            }
        })
    }
}

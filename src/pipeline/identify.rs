//! Who is calling, whether they may call at all, and whether now: the limits of one client are
//! checked before anything is spent on the request.
//!
//! Limits count as soon as it is known whose the request is. Where the signature takes the body to
//! verify, that is when the body is there: nobody uses up the limits of a client whose secret they
//! don't have.

use bytes::Bytes;
use http_body::Body;

use super::InternalRequest;
use super::body::dismiss;
use super::exchange::Exchange;
use super::observe::Observed;
use super::refusal::{Refusal, Refused};
use super::step::Step;
use crate::auth::origin::OriginError;
use crate::auth::{AuthError, AuthOutcome, PendingAuth, SignatureError, identify};
use crate::bedrock::sigv4::{EventChain, PayloadHash};
use crate::limits::{CallerKind, LimitExceeded};

#[derive(Clone, Debug)]
pub(super) struct Identify;

impl<B> Step<Observed<B>> for Identify
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    type Out = Observed<B>;

    fn take(&self, mut request: Observed<B>) -> Result<Observed<B>, Refused> {
        let Observed { inbound, exchange } = &mut request;
        let gateway = exchange.gateway();
        let head = &inbound.head;
        let mut who = None;
        let own = head.extensions.get::<InternalRequest>();
        let is_counted = own.is_some_and(|own| own.is_counted);
        let proof = match own {
            // Another room of this process has seen to who asks, maybe long ago.
            Some(own) => {
                let member = own.client.as_deref().and_then(|name| gateway.clients.get(name));
                let former = || own.client.clone().map(CallerKind::Removed);
                who = member.cloned().map(CallerKind::Registered).or_else(former);
                let known = gateway.authenticator.check_active(member);
                known.map(|()| PendingAuth::Nothing).map_err(Refusal::Unauthenticated)
            }
            None => match gateway.authenticator.authenticate(
                head,
                inbound.peer.certificate.as_deref(),
                exchange.arrived,
            ) {
                Ok(AuthOutcome::Anyone) => Ok(PendingAuth::Nothing),
                Ok(AuthOutcome::Client(known, rest)) => {
                    who = Some(CallerKind::Registered(known.client));
                    Ok(rest)
                }
                Ok(AuthOutcome::Pending(pending)) => Ok(PendingAuth::Signature(pending)),
                Err(AuthError::Origin(OriginError::Host(bad))) => Err(Refusal::Host(bad)),
                Err(why) => Err(Refusal::Unauthenticated(why)),
            },
        };
        let by = &gateway.config.limits.key;
        exchange.client = Some(identify(&head.headers, inbound.peer.address, by, who));
        let allowed = proof.and_then(|proof| {
            let is_known = !matches!(proof, PendingAuth::Signature(_));
            exchange.proof = proof;
            if is_known { allow(exchange, is_counted) } else { Ok(()) }
        });
        match allowed {
            Ok(()) => Ok(request),
            Err(refusal) => {
                dismiss(&request.inbound.head, request.inbound.body);
                Err(Refused { refusal, exchange: request.exchange })
            }
        }
    }
}

/// Completes the proof of who sent a request once the hash of its body is known.
pub(super) fn prove(
    exchange: &mut Exchange,
    proof: &PendingAuth,
    body: &PayloadHash,
) -> Result<(), Refusal> {
    match proof {
        PendingAuth::Nothing => Ok(()),
        PendingAuth::BodyHash(signed) => {
            let matched = exchange.gateway().authenticator.verify_body_hash(signed, body);
            matched.map_err(Refusal::Unauthenticated)
        }
        PendingAuth::Signature(pending) => {
            let proven = exchange.gateway().authenticator.verify_signature(pending, body);
            let known = proven.map_err(Refusal::Unauthenticated)?;
            if let Some(client) = &mut exchange.client {
                client.kind = CallerKind::Registered(known.client);
            }
            allow(exchange, false)
        }
        // What has events is not collected; nothing else could show what these must.
        PendingAuth::Events(_) => Err(Refusal::Unauthenticated(SignatureError::Mismatch.into())),
    }
}

/// The chain that the events of a stream, which is not collected, must be signed by; none where
/// its client signs nothing.
pub(super) fn chain(proof: PendingAuth) -> Result<Option<EventChain>, Refusal> {
    match proof {
        PendingAuth::Nothing => Ok(None),
        PendingAuth::Events(chain) => Ok(Some(*chain)),
        PendingAuth::BodyHash(_) | PendingAuth::Signature(_) => {
            Err(Refusal::Unauthenticated(SignatureError::Mismatch.into()))
        }
    }
}

/// Counts a request against the limits of its client, which is known; against its rate unless it
/// has counted there.
fn allow(exchange: &mut Exchange, is_counted: bool) -> Result<(), Refusal> {
    let Some(client) = &exchange.client else { return Ok(()) };
    let limits = &exchange.gateway().limits;
    let rate = if is_counted { Ok(()) } else { limits.check_rate(client) };
    let slot = rate.and_then(|()| limits.acquire(client));
    exchange.slot = slot.map_err(|limited: LimitExceeded| Refusal::Limited(limited))?;
    Ok(())
}

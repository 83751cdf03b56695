//! Authentication: which client sent the request.
//!
//! [`Authenticate`] looks at the head, before anything is spent on the request: a request whose head
//! is enough to refuse it is refused before its body is read. A signature may cover the body's hash.
//! Then a part of the proof is pending ([`PendingAuth`]) until the body was read, and the step that
//! reads it ends with [`complete`] (or [`event_chain`], for a body that is a stream of events).

use std::sync::Arc;

use bytes::Bytes;
use http_body::Body;

use super::context::RequestContext;
use super::error::{GatewayError, RequestError};
use super::inbound::InternalRequest;
use super::stage::{AuthenticatedRequest, ObservedRequest};
use super::step::Step;
use crate::auth::origin::OriginError;
use crate::auth::{AuthError, AuthOutcome, PendingAuth, SignatureError, identify};
use crate::bedrock::sigv4::{EventChain, PayloadHash};
use crate::limits::CallerKind;

#[derive(Clone, Debug)]
pub(super) struct Authenticate;

impl<B> Step<ObservedRequest<B>> for Authenticate
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    type Out = AuthenticatedRequest<B>;

    fn apply(
        &self,
        mut observed: ObservedRequest<B>,
    ) -> Result<AuthenticatedRequest<B>, RequestError> {
        let ObservedRequest { inbound, context } = &mut observed;
        let head = &inbound.head;
        let gateway = context.gateway();
        let (kind, result) = match head.extensions.get::<InternalRequest>() {
            Some(internal) => authenticate_internal(context, internal),
            None => {
                let certificate = inbound.peer.certificate.as_deref();
                match gateway.authenticator.authenticate(head, certificate, context.timing.arrived)
                {
                    Ok(AuthOutcome::Anyone) => (None, Ok(PendingAuth::Nothing)),
                    Ok(AuthOutcome::Client(known, pending)) => {
                        (Some(CallerKind::Registered(known.client)), Ok(pending))
                    }
                    Ok(AuthOutcome::Pending(signature)) => {
                        (None, Ok(PendingAuth::Signature(signature)))
                    }
                    Err(AuthError::Origin(OriginError::Host(bad))) => {
                        (None, Err(GatewayError::Host(bad)))
                    }
                    Err(error) => {
                        // A client that still uses its old key is named in the log.
                        let client = match &error {
                            AuthError::ExpiredKey(name) => gateway.clients.get(name),
                            _ => None,
                        };
                        let kind = client.map(|it| CallerKind::Registered(Arc::clone(it)));
                        (kind, Err(GatewayError::Unauthenticated(error)))
                    }
                }
            }
        };
        let key = &gateway.config.limits.key;
        context.caller.client = Some(identify(&head.headers, inbound.peer.address, key, kind));
        match result {
            Ok(pending) => Ok(AuthenticatedRequest { observed, pending }),
            Err(error) => Err(observed.reject(error)),
        }
    }
}

/// Another module authenticated the client, possibly long ago: the client may have been removed
/// since.
fn authenticate_internal(
    context: &RequestContext,
    internal: &InternalRequest,
) -> (Option<CallerKind>, Result<PendingAuth, GatewayError>) {
    if let Some(part_of) = &internal.part_of {
        return (part_of.caller.clone(), Ok(PendingAuth::Nothing));
    }
    let gateway = context.gateway();
    let client = internal.client.as_deref().and_then(|name| gateway.clients.get(name));
    let kind = match client {
        Some(client) => Some(CallerKind::Registered(client.clone())),
        None => internal.client.clone().map(CallerKind::Removed),
    };
    let active = gateway.authenticator.check_active(client);
    (kind, active.map(|()| PendingAuth::Nothing).map_err(GatewayError::Unauthenticated))
}

/// Completes the authentication of a request whose body has this hash.
pub(super) fn complete(
    context: &mut RequestContext,
    pending: &PendingAuth,
    hash: &PayloadHash,
) -> Result<(), GatewayError> {
    let authenticator = &context.gateway().authenticator;
    match pending {
        PendingAuth::Nothing => Ok(()),
        PendingAuth::BodyHash(signed) => {
            authenticator.verify_body_hash(signed, hash).map_err(GatewayError::Unauthenticated)
        }
        PendingAuth::Signature(pending) => {
            let known = authenticator.verify_signature(pending, hash);
            let known = known.map_err(GatewayError::Unauthenticated)?;
            if let Some(client) = &mut context.caller.client {
                client.kind = CallerKind::Registered(known.client);
            }
            Ok(())
        }
        // The client announced a stream of signed events, and sent something else.
        PendingAuth::Events(_) => Err(mismatch()),
    }
}

/// Completes the authentication of a request whose body is a stream of events: the chain of
/// signatures that the events must have. `None`: the client signs none.
pub(super) fn event_chain(pending: PendingAuth) -> Result<Option<EventChain>, GatewayError> {
    match pending {
        PendingAuth::Nothing => Ok(None),
        PendingAuth::Events(chain) => Ok(Some(*chain)),
        PendingAuth::BodyHash(_) | PendingAuth::Signature(_) => Err(mismatch()),
    }
}

fn mismatch() -> GatewayError {
    GatewayError::Unauthenticated(SignatureError::Mismatch.into())
}

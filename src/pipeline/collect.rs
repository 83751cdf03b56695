//! Takes in the request body, within its bounds of size and time, and with it the proof of who
//! sent it, where that takes the body's hash.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;
use tower::{Layer, Service};

use super::InternalRequest;
use super::body::{self, BodyError, BodyLimits, dismiss};
use super::identify::{chain, prove};
use super::observe::Observed;
use super::parse::Called;
use super::policy;
use super::refusal::{Refusal, Refused};
use crate::auth::PendingAuth;
use crate::bedrock::Operation;
use crate::bedrock::path::Call;
use crate::bedrock::sigv4::{EventChain, PayloadHash, PayloadHasher};
use crate::limits::Denied;
use crate::upstream::events::Source;

/// Bodies of more bytes are read and hashed on a thread that serves no connections: that takes
/// about a millisecond for each megabyte.
const LARGE: usize = 512 * 1024;

/// A request whose body is in memory.
#[derive(Debug)]
pub(super) struct Collected {
    pub(super) request: Observed<()>,
    pub(super) call: Call,
    pub(super) body: Bytes,
    /// The body's hash, where it was needed.
    pub(super) hash: Option<PayloadHash>,
    /// The events of a bidirectional stream, which are not collected: they come while they are
    /// answered.
    pub(super) events: Option<StreamingBody>,
}

/// A body that is still to come, and the chain of its signatures where they are to be checked. The
/// lock is never taken: it lets a request that is only looked at be shared between threads, which
/// its body alone could not.
pub(super) struct StreamingBody(Mutex<(Source, Option<EventChain>)>);

impl StreamingBody {
    /// The body itself, and what its events must be signed by.
    pub(super) fn into_inner(self) -> (Source, Option<EventChain>) {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for StreamingBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StreamingBody(..)")
    }
}

/// The layer that collects a body before the service within: the one step that waits.
#[derive(Clone, Debug)]
pub(super) struct Collect;

impl<I> Layer<I> for Collect {
    type Service = Collecting<I>;

    fn layer(&self, inner: I) -> Collecting<I> {
        Collecting { inner }
    }
}

/// A service that collects the body, then calls the service within.
#[derive(Clone, Debug)]
pub(super) struct Collecting<I> {
    inner: I,
}

impl<B, I> Service<Called<B>> for Collecting<I>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::error::Error + Send + Sync,
    I: Service<Collected, Error = Refused, Future: Send> + Clone + Send + 'static,
{
    type Response = I::Response;
    type Error = Refused;
    type Future = Pin<Box<dyn Future<Output = Result<I::Response, Refused>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, called: Called<B>) -> Self::Future {
        // The service that was polled ready is the one that is called; a clone takes its place.
        let next = self.inner.clone();
        let mut ready = std::mem::replace(&mut self.inner, next);
        Box::pin(async move {
            let mut collected = take_in(called).await?;
            if collected.body.len() <= LARGE {
                return ready.call(collected).await;
            }
            let offload = collected.request.exchange.gateway().offload.clone();
            // The steps within read the body, and hash it to sign it.
            let answering = offload.run(false, move || {
                collected.hash.get_or_insert_with(|| PayloadHash::of(&collected.body));
                ready.call(collected)
            });
            answering.await.await
        })
    }
}

async fn take_in<B>(called: Called<B>) -> Result<Collected, Refused>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::error::Error + Send + Sync,
{
    let Called { request: Observed { mut inbound, mut exchange }, call } = called;
    let server = &exchange.gateway().config.server;
    // The time for the whole request counts from its head.
    let time = server.body_read_timeout.min(server.request_timeout);
    let limit = server.max_body;
    // What another room of this process asks is larger than what it was asked.
    let is_clients = inbound.head.extensions.get::<InternalRequest>().is_none();
    let policy = exchange.policy().filter(|_| is_clients);
    let own = policy.and_then(|policy| policy.max_body(limit));
    let limit = own.unwrap_or(limit);
    let (head, peer) = (inbound.head, inbound.peer);
    let proof = std::mem::take(&mut exchange.proof);
    if call.operation == Operation::InvokeModelWithBidirectionalStream {
        let chain = match chain(proof) {
            Ok(chain) => chain,
            Err(refusal) => return Err(Refused { refusal, exchange }),
        };
        let source: Source = Box::pin(inbound.body.map_err(Into::into));
        let inbound = super::InboundRequest { head, body: (), peer };
        let request = Observed { inbound, exchange };
        let events = Some(StreamingBody(Mutex::new((source, chain))));
        return Ok(Collected { request, call, body: Bytes::new(), hash: None, events });
    }
    let hasher = (!matches!(proof, PendingAuth::Nothing)).then(PayloadHasher::new);
    let buffers = exchange.gateway().buffers.clone();
    let limits = BodyLimits { bytes: limit, time };
    let share = exchange.share.as_mut();
    let collected = body::read(&mut inbound.body, limits, share, hasher, &buffers).await;
    match collected {
        Ok((body, hash)) => {
            exchange.request_bytes = body.len() as u64;
            let proven = hash.as_ref().map_or(Ok(()), |hash| {
                prove(&mut exchange, &proof, hash)?;
                if matches!(proof, PendingAuth::Signature(_)) {
                    policy::check_collected(&exchange, &call, &head, body.len())?;
                }
                Ok(())
            });
            if let Err(refusal) = proven {
                return Err(Refused { refusal, exchange });
            }
            let inbound = super::InboundRequest { head, body: (), peer };
            let request = Observed { inbound, exchange };
            Ok(Collected { request, call, body, hash, events: None })
        }
        Err(BodyError::Overloaded(overloaded)) => {
            dismiss(&head, inbound.body);
            Err(Refused { refusal: Refusal::Overloaded(overloaded), exchange })
        }
        Err(BodyError::TooLarge { limit }) if own.is_some() => {
            let refusal = Refusal::Denied(Denied::Body { limit });
            Err(Refused { refusal, exchange })
        }
        Err(error) => Err(Refused { refusal: error.into(), exchange }),
    }
}

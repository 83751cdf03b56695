//! Takes in the request body, within its bounds of size and time, and with it the proof of who
//! sent it, where that takes the body's hash.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::poll;
use http::header::EXPECT;
use http::request;
use http_body::Body;
use http_body_util::BodyExt;
use tower::{Layer, Service};

use super::InProcess;
use super::buffers::{Buffer, Buffers};
use super::identify::{chain, prove};
use super::observe::Observed;
use super::parse::Called;
use super::policy;
use super::refusal::{Refusal, Refused};
use crate::admission::Share;
use crate::bedrock::Operation;
use crate::bedrock::path::Call;
use crate::bedrock::sigv4::{EventChain, PayloadHash, PayloadHasher};
use crate::clients::Denied;
use crate::clients::Proof;
use crate::system::time::timeout;
use crate::upstream::events::Source;

/// A body above the limit is read on and thrown away up to this many bytes more, and for this
/// long, so that the client is there to read the refusal when it has sent its request.
const DISCARD_BYTES: usize = 64 * 1024 * 1024;
const DISCARD_TIME: Duration = Duration::from_secs(5);

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
    pub(super) events: Option<Live>,
}

/// A body that is still to come, and the chain of its signatures where they are to be checked. The
/// lock is never taken: it lets a request that is only looked at be shared between threads, which
/// its body alone could not.
pub(super) struct Live(Mutex<(Source, Option<EventChain>)>);

impl Live {
    /// The body itself, and what its events must be signed by.
    pub(super) fn into_inner(self) -> (Source, Option<EventChain>) {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Live(..)")
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
            let collected = take_in(called).await?;
            ready.call(collected).await
        })
    }
}

async fn take_in<B>(called: Called<B>) -> Result<Collected, Refused>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::error::Error + Send + Sync,
{
    let Called { request: Observed { mut arrival, mut exchange }, call } = called;
    let server = &exchange.gateway().config.server;
    // The time for the whole request counts from its head.
    let time = server.body_read_timeout.min(server.request_timeout);
    let limit = server.max_body;
    // What another room of this process asks is larger than what it was asked.
    let is_clients = arrival.head.extensions.get::<InProcess>().is_none();
    let policy = exchange.policy().filter(|_| is_clients);
    let own = policy.and_then(|policy| policy.max_body(limit));
    let limit = own.unwrap_or(limit);
    let (head, peer) = (arrival.head, arrival.peer);
    let proof = std::mem::take(&mut exchange.proof);
    if call.operation == Operation::InvokeModelWithBidirectionalStream {
        let chain = match chain(proof) {
            Ok(chain) => chain,
            Err(refusal) => return Err(Refused { refusal, exchange }),
        };
        let source: Source = Box::pin(arrival.body.map_err(Into::into));
        let arrival = super::Arrival { head, body: (), peer };
        let request = Observed { arrival, exchange };
        let events = Some(Live(Mutex::new((source, chain))));
        return Ok(Collected { request, call, body: Bytes::new(), hash: None, events });
    }
    let hasher = (!matches!(proof, Proof::Complete)).then(PayloadHasher::new);
    let buffers = exchange.gateway().buffers.clone();
    let share = exchange.share.as_mut();
    let collected = {
        let mut reading = pin!(collect(&mut arrival.body, limit, share, hasher, &buffers));
        // What came with the head needs no timer.
        let at_once = poll!(reading.as_mut());
        match at_once {
            Poll::Ready(collected) => Ok(collected),
            Poll::Pending => timeout(time, reading).await,
        }
    };
    if let Ok(Err(Refusal::BodyTooLarge { .. })) = &collected {
        discard(pin!(&mut arrival.body), time.min(DISCARD_TIME)).await;
    }
    match collected {
        Ok(Ok((body, hash))) => {
            exchange.request_bytes = body.len() as u64;
            let proven = hash.as_ref().map_or(Ok(()), |hash| {
                prove(&mut exchange, &proof, hash)?;
                if matches!(proof, Proof::Signature(_)) {
                    policy::check_collected(&exchange, &call, &head, body.len())?;
                }
                Ok(())
            });
            if let Err(refusal) = proven {
                return Err(Refused { refusal, exchange });
            }
            let arrival = super::Arrival { head, body: (), peer };
            let request = Observed { arrival, exchange };
            Ok(Collected { request, call, body, hash, events: None })
        }
        Ok(Err(refusal @ Refusal::Overloaded(_))) => {
            dismiss(&head, arrival.body);
            Err(Refused { refusal, exchange })
        }
        Ok(Err(Refusal::BodyTooLarge { limit })) if own.is_some() => {
            let refusal = Refusal::Denied(Denied::Body { limit });
            Err(Refused { refusal, exchange })
        }
        Ok(Err(refusal)) => Err(Refused { refusal, exchange }),
        Err(_) => Err(Refused { refusal: Refusal::BodyTimeout { limit: time }, exchange }),
    }
}

/// The body, and its hash if there is a hasher.
async fn collect<B>(
    body: B,
    limit: usize,
    mut share: Option<&mut Share>,
    mut hasher: Option<PayloadHasher>,
    buffers: &Buffers,
) -> Result<(Bytes, Option<PayloadHash>), Refusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut body = pin!(body);
    let announced = body.size_hint().lower();
    if announced > limit as u64 {
        return Err(Refusal::BodyTooLarge { limit });
    }
    let mut hold = |bytes: usize| match &mut share {
        Some(share) => share.hold(bytes).map_err(Refusal::Overloaded),
        None => Ok(()),
    };
    hold(usize::try_from(announced).unwrap_or(usize::MAX))?;
    // A body that came in one piece is used where it lies; only more pieces are joined.
    let mut first = Bytes::new();
    let mut joined: Option<Buffer> = None;
    while let Some(frame) = body.frame().await {
        let Ok(chunk) = frame.map_err(|_| Refusal::BodyBroken)?.into_data() else { continue };
        if let Some(hasher) = &mut hasher {
            hasher.update(&chunk);
        }
        let length = match &mut joined {
            None if first.is_empty() => {
                first = chunk;
                first.len()
            }
            None => {
                // What is announced was checked above; it is a hint, not yet paid for in bytes.
                let expected = usize::try_from(announced).unwrap_or(0).min(limit);
                let whole = joined.insert(buffers.take(expected.max(first.len() + chunk.len())));
                // The connection reads on into the memory of what it gave, once that is dropped.
                whole.extend(&std::mem::take(&mut first));
                whole.extend(&chunk);
                whole.len()
            }
            Some(whole) => {
                whole.extend(&chunk);
                whole.len()
            }
        };
        hold(length)?;
        if length > limit {
            return Err(Refusal::BodyTooLarge { limit });
        }
    }
    let body = joined.map_or(first, Buffer::freeze);
    Ok((body, hasher.map(PayloadHasher::finish)))
}

/// Reads what is left of a body that nobody wants, while its request is answered already: a client
/// whose connection closed on it would not be there to read the answer. Must be called within a
/// tokio runtime.
pub(super) fn dismiss<B>(head: &request::Parts, body: B)
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    // Who waits for leave to send the body sends none.
    if !body.is_end_stream() && !head.headers.contains_key(EXPECT) {
        tokio::spawn(async move { discard(pin!(body), DISCARD_TIME).await });
    }
}

async fn discard<B: Body<Data = Bytes> + Unpin>(mut body: Pin<&mut B>, time: Duration) {
    let mut discarded = 0;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            discarded += frame.data_ref().map_or(0, Bytes::len);
            if discarded > DISCARD_BYTES {
                return;
            }
        }
    };
    // Whether it came to an end or not, the refusal is the same.
    let _ = timeout(time, reading).await;
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;
    use http_body::Frame;
    use http_body_util::{Full, StreamBody};

    use super::*;

    fn pieces(pieces: Vec<&'static [u8]>) -> impl Body<Data = Bytes, Error = Infallible> + Unpin {
        let frames = pieces.into_iter().map(|piece| Ok(Frame::data(Bytes::from_static(piece))));
        StreamBody::new(stream::iter(frames))
    }

    #[tokio::test]
    async fn one_piece_is_not_copied() {
        let body = Bytes::from_static(b"hello");
        let buffers = Buffers::default();
        let collected = collect(Full::new(body.clone()), 5, None, None, &buffers).await.unwrap().0;
        assert_eq!(collected.as_ptr(), body.as_ptr());
    }

    #[tokio::test]
    async fn pieces_are_joined_in_order() {
        let buffers = Buffers::default();
        for pieces_of in [vec![b"a".as_slice(), b"bc", b"d"], vec![]] {
            let whole = pieces_of.concat();
            let hasher = Some(PayloadHasher::new());
            let (body, hash) = collect(pieces(pieces_of), 4, None, hasher, &buffers).await.unwrap();
            assert_eq!(body, whole);
            assert_eq!(hash, Some(PayloadHash::of(&whole)));
        }
    }

    #[tokio::test]
    async fn above_the_limit_is_refused_announced_or_not() {
        let buffers = Buffers::default();
        let whole = Full::new(Bytes::from_static(b"12345"));
        let large = collect(whole, 4, None, None, &buffers).await;
        assert!(matches!(large, Err(Refusal::BodyTooLarge { limit: 4 })));
        let large = collect(pieces(vec![b"123", b"45"]), 4, None, None, &buffers).await;
        assert!(matches!(large, Err(Refusal::BodyTooLarge { limit: 4 })));
    }
}

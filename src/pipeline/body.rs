//! Reads a request's body, within bounds of size, of time, and of the bytes in flight.
//!
//! Every endpoint of the process reads bodies here: the APIs read a body whole ([`read`]), endpoints
//! that need none drop it as it comes ([`discard`]). Elsewhere only `upstream/events.rs` buffers what
//! a client sends: one incomplete event of a bidirectional stream.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::poll;
use http::{HeaderName, HeaderValue, request};
use http_body::Body;
use http_body_util::BodyExt;

use super::buffers::{Buffer, BufferPool};
use super::drain;
use crate::bedrock::sigv4::{PayloadHash, PayloadHasher};
use crate::quota::{InFlightGuard, Overloaded};
use crate::system::time::timeout;

/// Roughly the bytes that the head of a request takes.
pub(crate) fn head_bytes(head: &request::Parts) -> usize {
    /// Around each field: its entry in the map, and the allocations.
    const FIELD: usize = 32;
    let field =
        |(name, value): (&HeaderName, &HeaderValue)| FIELD + name.as_str().len() + value.len();
    head.uri.path().len() + head.headers.iter().map(field).sum::<usize>()
}

/// The bounds of one body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BodyLimits {
    /// Most bytes.
    pub(crate) bytes: usize,
    /// Longest time until all of it is there.
    pub(crate) time: Duration,
}

/// Why a body was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    /// It is longer than allowed, or announces to be.
    #[error("the request body is larger than {limit} bytes")]
    TooLarge {
        /// Most bytes that it may have.
        limit: usize,
    },
    /// The client aborted it.
    #[error("the request body ended early")]
    Broken,
    /// It did not arrive in time.
    #[error("the request body did not arrive within {} ms", .limit.as_millis())]
    Timeout {
        /// The time that it had.
        limit: Duration,
    },
    /// Too many bytes of other bodies are in flight.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
}

/// Reads a whole body, and hashes it if there is a hasher. The bytes count in `share` as they come.
/// The rest of a body that is too large is drained for a while.
///
/// # Errors
/// When it is beyond one of its limits, or breaks off.
pub(crate) async fn read<B>(
    body: &mut B,
    limits: BodyLimits,
    share: Option<&mut InFlightGuard>,
    hasher: Option<PayloadHasher>,
    buffers: &BufferPool,
) -> Result<(Bytes, Option<PayloadHash>), BodyError>
where
    B: Body<Data = Bytes> + Unpin,
{
    let collected = {
        let mut reading = pin!(collect(&mut *body, limits.bytes, share, hasher, buffers));
        // A body that came with the head needs no timer.
        match poll!(reading.as_mut()) {
            std::task::Poll::Ready(collected) => Ok(collected),
            std::task::Poll::Pending => timeout(limits.time, reading).await,
        }
    };
    let collected = collected.unwrap_or(Err(BodyError::Timeout { limit: limits.time }));
    if let Err(BodyError::TooLarge { .. }) = collected {
        drain::drain(pin!(body), limits.time.min(drain::MAX_TIME)).await;
    }
    collected
}

/// Drops the body of a request that needs none, so that its connection can be reused.
///
/// # Errors
/// When it is beyond one of its limits, or breaks off.
pub(crate) async fn discard<B>(body: &mut B, limits: BodyLimits) -> Result<(), BodyError>
where
    B: Body<Data = Bytes> + Unpin,
{
    if body.is_end_stream() {
        return Ok(());
    }
    if body.size_hint().lower() > limits.bytes as u64 {
        return Err(BodyError::TooLarge { limit: limits.bytes });
    }
    let mut discarded = 0;
    let reading = async {
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| BodyError::Broken)?;
            discarded += frame.data_ref().map_or(0, Bytes::len);
            if discarded > limits.bytes {
                return Err(BodyError::TooLarge { limit: limits.bytes });
            }
        }
        Ok(())
    };
    timeout(limits.time, reading).await.unwrap_or(Err(BodyError::Timeout { limit: limits.time }))
}

/// The body, and its hash if there is a hasher: what [`read`] does, without a limit of time.
///
/// # Errors
/// When it is beyond one of its limits, or breaks off.
pub(crate) async fn collect<B>(
    body: B,
    limit: usize,
    mut share: Option<&mut InFlightGuard>,
    mut hasher: Option<PayloadHasher>,
    buffers: &BufferPool,
) -> Result<(Bytes, Option<PayloadHash>), BodyError>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut body = pin!(body);
    let announced = body.size_hint().lower();
    if announced > limit as u64 {
        return Err(BodyError::TooLarge { limit });
    }
    let mut hold = |bytes: usize| match &mut share {
        Some(share) => share.reserve_bytes(bytes).map_err(BodyError::Overloaded),
        None => Ok(()),
    };
    hold(usize::try_from(announced).unwrap_or(usize::MAX))?;
    // A body that came in one piece is not copied; several pieces are joined.
    let mut first = Bytes::new();
    let mut joined: Option<Buffer> = None;
    while let Some(frame) = body.frame().await {
        let Ok(chunk) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
        if let Some(hasher) = &mut hasher {
            hasher.update(&chunk);
        }
        let length = match &mut joined {
            None if first.is_empty() => {
                first = chunk;
                first.len()
            }
            None => {
                // The announced length was checked above. It is only a hint: the client may send
                // fewer bytes.
                let expected = usize::try_from(announced).unwrap_or(0).min(limit);
                let whole = joined.insert(buffers.take(expected.max(first.len() + chunk.len())));
                // Dropping the chunk lets the connection reuse its read buffer.
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
            return Err(BodyError::TooLarge { limit });
        }
    }
    let body = joined.map_or(first, Buffer::freeze);
    Ok((body, hasher.map(PayloadHasher::finish)))
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
    async fn a_body_in_one_piece_is_not_copied() {
        let body = Bytes::from_static(b"hello");
        let buffers = BufferPool::new(usize::MAX);
        let collected = collect(Full::new(body.clone()), 5, None, None, &buffers).await.unwrap().0;
        assert_eq!(collected.as_ptr(), body.as_ptr());
    }

    #[tokio::test]
    async fn the_pieces_of_a_body_are_joined_in_order() {
        let buffers = BufferPool::new(usize::MAX);
        for pieces_of in [vec![b"a".as_slice(), b"bc", b"d"], vec![]] {
            let whole = pieces_of.concat();
            let hasher = Some(PayloadHasher::new());
            let (body, hash) = collect(pieces(pieces_of), 4, None, hasher, &buffers).await.unwrap();
            assert_eq!(body, whole);
            assert_eq!(hash, Some(PayloadHash::of(&whole)));
        }
    }

    #[tokio::test]
    async fn a_body_above_the_limit_is_refused_whether_announced_or_not() {
        let buffers = BufferPool::new(usize::MAX);
        let whole = Full::new(Bytes::from_static(b"12345"));
        let large = collect(whole, 4, None, None, &buffers).await;
        assert!(matches!(large, Err(BodyError::TooLarge { limit: 4 })));
        let large = collect(pieces(vec![b"123", b"45"]), 4, None, None, &buffers).await;
        assert!(matches!(large, Err(BodyError::TooLarge { limit: 4 })));
    }
}

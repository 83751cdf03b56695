//! Drains the body of a request that is already answered.
//!
//! A client that still sends its body may never read the answer: if its connection closed now, it
//! would see a reset instead. The rest of the body is therefore read and dropped for a while.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::EXPECT;
use http::request;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::runtime::Handle;

use crate::system::time::timeout;

/// Most bytes that are drained of one body.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// Longest time for which one body is drained.
pub(super) const MAX_TIME: Duration = Duration::from_secs(5);

/// Drains the rest of `body` in a task of its own. A client that waits for `100 Continue` sends no
/// body, so there is nothing to drain. Must be called within a tokio runtime.
pub(crate) fn drain_in_background<B>(head: &request::Parts, body: B)
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    if !body.is_end_stream() && !head.headers.contains_key(EXPECT) {
        tokio::spawn(async move { drain(pin!(body), MAX_TIME).await });
    }
}

/// A body whose rest is drained in a task of its own when it is dropped before its end.
///
/// Over HTTP/2 a stream that is dropped so is reset behind its answer. Some clients then lose the answer (curl 7.88),
/// although RFC 9113, section 8.1, forbids that.
#[derive(Debug)]
pub(super) struct DrainedBody<B>(Option<B>)
where
    B: Body<Data = Bytes> + Send + Unpin + 'static;

impl<B> DrainedBody<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    pub(super) fn new(body: B) -> DrainedBody<B> {
        DrainedBody(Some(body))
    }
}

impl<B> Body for DrainedBody<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let Some(body) = &mut self.0 else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            self.0 = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

impl<B> Drop for DrainedBody<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    fn drop(&mut self) {
        if let Some(body) = self.0.take().filter(|body| !body.is_end_stream())
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(async move { drain(pin!(body), MAX_TIME).await });
        }
    }
}

/// Drains the rest of `body`, for at most `time`.
pub(super) async fn drain<B: Body<Data = Bytes> + Unpin>(mut body: Pin<&mut B>, time: Duration) {
    let mut drained = 0;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            drained += frame.data_ref().map_or(0, Bytes::len);
            if drained > MAX_BYTES {
                break;
            }
        }
    };
    let _ = timeout(time, reading).await;
}

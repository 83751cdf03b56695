//! Drains the body of a request that is already answered.
//!
//! A client that still sends its body may never read the answer: if its connection closed now, it
//! would see a reset instead. The rest of the body is therefore read and dropped for a while.

use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::Bytes;
use http::header::EXPECT;
use http::request;
use http_body::Body;
use http_body_util::BodyExt;

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

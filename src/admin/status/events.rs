//! The gateway's state as server-sent events, one a second while a viewer is connected.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::Source;

/// Time between two events.
const EVENT_INTERVAL: Duration = Duration::from_secs(1);

/// Longest time of one event stream; the page then connects again.
pub(super) const MAX_STREAM_TIME: Duration = Duration::from_secs(60 * 60);

/// The body of an event stream, which ends after [`MAX_STREAM_TIME`] or with the gateway.
#[derive(Debug)]
pub struct Events {
    source: Arc<Source>,
    ticks: Interval,
    end: Instant,
    /// The step count of the history that was sent last.
    sent_steps: Option<u64>,
    is_over: bool,
    _permit: OwnedSemaphorePermit,
}

impl Events {
    pub(super) fn new(source: Arc<Source>, permit: OwnedSemaphorePermit) -> Events {
        let mut ticks = interval(EVENT_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let end = Instant::now() + MAX_STREAM_TIME;
        Events { source, ticks, end, sent_steps: None, is_over: false, _permit: permit }
    }

    fn next(&mut self) -> Option<Bytes> {
        let Source { shared_gateway, readiness, history } = &*self.source;
        let steps = history.count();
        let has_history = self.sent_steps != Some(steps);
        let gateway = shared_gateway.load_full();
        let state = super::snapshot::take(&gateway, readiness, history, has_history).ok()?;
        self.sent_steps = Some(steps);
        // The stream must not delay the shutdown.
        self.is_over = readiness.is_draining() || Instant::now() >= self.end;
        Some(Bytes::from(format!("event: status\ndata: {state}\n\n")))
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        ready!(self.ticks.poll_tick(cx));
        Poll::Ready(self.next().map(|event| Ok(Frame::data(event))))
    }
}

//! The state as server-sent events, one a second, as long as a viewer is connected.

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
const EVERY: Duration = Duration::from_secs(1);

/// After this a viewer has to come again; the page does so by itself.
pub(super) const LIFE: Duration = Duration::from_secs(60 * 60);

/// The body of an answer whose events never end, until the gateway does.
#[derive(Debug)]
pub struct Events {
    source: Arc<Source>,
    ticks: Interval,
    end: Instant,
    /// Steps of the history that were sent to the viewer.
    told: Option<u64>,
    is_over: bool,
    _place: OwnedSemaphorePermit,
}

impl Events {
    pub(super) fn new(source: Arc<Source>, place: OwnedSemaphorePermit) -> Events {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let end = Instant::now() + LIFE;
        Events { source, ticks, end, told: None, is_over: false, _place: place }
    }

    fn next(&mut self) -> Option<Bytes> {
        let Source { live, readiness, history } = &*self.source;
        let steps = history.count();
        let news = (self.told != Some(steps)).then_some(history);
        let state = super::snapshot::take(&live.load_full(), readiness, news).ok()?;
        self.told = Some(steps);
        // Nobody is kept by a gateway that is about to stop.
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

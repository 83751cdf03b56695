//! The streams of HTTP/2: each is a task of its own, and none outlives the time for its request.
//!
//! A client that does not open its window keeps its stream waiting where nothing asks the answer
//! for its next byte, so the answer's own limit is never looked at. The task's is: it is dropped
//! with all that it holds, and the stream is reset.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;

use hyper::rt::Executor;
use tokio::time::Instant;

use super::activity::longest;
use crate::pipeline::SharedGateway;
use crate::system::time::sleep_until;

tokio::task_local! {
    /// When the stream of this task ends at the latest.
    static END: Cell<Instant>;
}

/// Runs streams within the limits of the config in force.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    pub(super) live: Arc<SharedGateway>,
}

/// The stream of this task, if there is one, ends at `end` from here on.
pub(super) fn end_at(end: Instant) {
    // HTTP/1.1 has no streams; its connections have a limit of their own.
    let _ = END.try_with(|it| it.set(end));
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let end = Instant::now() + longest(&self.live.load().config.server);
        tokio::spawn(END.scope(Cell::new(end), within(stream, end)));
    }
}

/// Runs a stream until it ends, or its time is over.
async fn within(stream: impl Future<Output = ()>, end: Instant) {
    let (mut stream, mut timer) = (pin!(stream), pin!(sleep_until(end)));
    poll_fn(|cx| {
        let polled = stream.as_mut().poll(cx);
        let end = END.try_with(Cell::get).unwrap_or(end);
        if polled.is_pending() && end != timer.deadline() {
            timer.as_mut().reset(end);
        }
        if polled.is_pending() { timer.as_mut().poll(cx) } else { polled }
    })
    .await;
}

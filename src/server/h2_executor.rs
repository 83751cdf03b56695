//! Runs HTTP/2 streams, each as a task that ends at the latest when the time for its request is over.
//!
//! The body's own timeout is checked when the body is polled, and hyper does not poll it while the
//! client keeps the stream's window closed. The timeout of the task holds then, too: it drops the
//! stream, which resets it.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;

use hyper::rt::Executor;
use tokio::time::Instant;

use super::deadline::{STREAM_DEADLINE, max_request_time};
use crate::pipeline::SharedGateway;
use crate::system::time::sleep_until;

/// Runs streams within the limits of the current config.
#[derive(Clone, Debug)]
pub(super) struct H2Executor {
    pub(super) shared_gateway: Arc<SharedGateway>,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for H2Executor {
    fn execute(&self, stream: F) {
        let deadline = Instant::now() + max_request_time(&self.shared_gateway.load().config.server);
        let stream = run_until_deadline(stream, deadline);
        tokio::spawn(STREAM_DEADLINE.scope(Cell::new(deadline), stream));
    }
}

/// Runs a stream to its end, or to its deadline, which may change meanwhile.
async fn run_until_deadline(stream: impl Future<Output = ()>, deadline: Instant) {
    let (mut stream, mut timer) = (pin!(stream), pin!(sleep_until(deadline)));
    poll_fn(|cx| {
        let polled = stream.as_mut().poll(cx);
        let deadline = STREAM_DEADLINE.try_with(Cell::get).unwrap_or(deadline);
        if polled.is_pending() && deadline != timer.deadline() {
            timer.as_mut().reset(deadline);
        }
        if polled.is_pending() { timer.as_mut().poll(cx) } else { polled }
    })
    .await;
}

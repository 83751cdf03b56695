//! The streams of HTTP/2: each is a task of its own, and none outlives the time for a request.
//!
//! A client that does not open its window keeps its stream waiting where nothing asks the answer
//! for its next byte, so the answer's own limit is never looked at. The task's is: it is dropped
//! with all that it holds, and the stream is reset.

use std::future::Future;
use std::sync::Arc;

use hyper::rt::Executor;
use tokio::time::timeout;

use super::activity::GRACE;
use crate::pipeline::Live;

/// Runs streams within the limit of the config in force.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    pub(super) live: Arc<Live>,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let limit = self.live.load().config.server.request_timeout + GRACE;
        tokio::spawn(async move {
            let _ = timeout(limit, stream).await;
        });
    }
}

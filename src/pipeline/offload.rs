//! Runs work on large bodies on threads that serve no connections: it would delay all requests of its
//! thread for milliseconds.

use std::panic::resume_unwind;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// Most threads that do such work at once; further work waits.
const THREADS: usize = 4;

/// Bodies of more bytes are translated on another thread: that takes a few milliseconds for each megabyte.
pub(super) const LARGE_TRANSLATION: usize = 128 * 1024;

/// Runs work that may be long. Clones share its bound.
#[derive(Clone, Debug)]
pub(crate) struct Offload(Arc<Semaphore>);

impl Default for Offload {
    fn default() -> Offload {
        Offload(Arc::new(Semaphore::new(THREADS)))
    }
}

impl Offload {
    /// Translates a body of so many bytes: a large one on another thread.
    pub(super) async fn translate<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        self.run(bytes <= LARGE_TRANSLATION, work).await
    }

    /// Does `work` at once with `run_inline`, else on another thread. A panic in `work` is resumed
    /// in the caller. Must be called within a tokio runtime.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        run_inline: bool,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        if run_inline {
            return work();
        }
        // The semaphore is never closed, so this ends with a permit.
        let _permit = self.0.acquire().await;
        match spawn_blocking(work).await {
            Ok(done) => done,
            Err(failed) => resume_unwind(failed.into_panic()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[tokio::test]
    async fn long_work_runs_on_another_thread() {
        let (offload, own) = (Offload::default(), thread::current().id());
        assert_eq!(offload.run(true, || thread::current().id()).await, own);
        assert_ne!(offload.run(false, || thread::current().id()).await, own);
    }

    #[tokio::test]
    async fn a_large_body_is_translated_on_another_thread() {
        let (offload, own) = (Offload::default(), thread::current().id());
        let thread = || thread::current().id();
        assert_eq!(offload.translate(LARGE_TRANSLATION, thread).await, own);
        assert_ne!(offload.translate(LARGE_TRANSLATION + 1, thread).await, own);
    }

    #[tokio::test]
    async fn a_panic_reaches_the_caller_and_costs_no_thread() {
        let offload = Offload::default();
        for _ in 0..2 * THREADS {
            let offload = offload.clone();
            let failed = tokio::spawn(async move {
                offload.run(false, || panic!("on purpose")).await;
            });
            assert!(failed.await.unwrap_err().is_panic());
        }
        assert_eq!(offload.run(false, || 7).await, 7);
    }
}

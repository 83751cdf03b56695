//! Limits of time that hold however busy the future is that they limit.
//!
//! tokio lets a task do only so much at a time: its cooperative budget. When a future has used that
//! up, every timer of tokio's that is polled after it in the same task is not ready, due or not. A
//! future that always has something to do, such as a read from a peer that never stops to send, can
//! so keep its timer from ever going off. The timers here take no part in the budget. They have the
//! names of tokio's and stand in for them everywhere; the lints refuse tokio's own.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::task::coop::unconstrained;
use tokio::time::Instant;

/// A limit of time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it took too long")]
pub struct Elapsed;

pin_project! {
    /// A timer that can be set anew.
    #[derive(Debug)]
    pub struct Sleep {
        #[pin]
        timer: tokio::time::Sleep,
    }
}

/// Waits until `deadline`.
#[expect(clippy::disallowed_methods, reason = "the one place that makes timers")]
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep { timer: tokio::time::sleep_until(deadline) }
}

/// Waits for `duration`.
#[expect(clippy::disallowed_methods, reason = "the one place that makes timers")]
pub fn sleep(duration: Duration) -> Sleep {
    Sleep { timer: tokio::time::sleep(duration) }
}

impl Sleep {
    /// When it goes off.
    pub fn deadline(&self) -> Instant {
        self.timer.deadline()
    }

    /// Whether it has gone off.
    pub fn is_elapsed(&self) -> bool {
        self.timer.is_elapsed()
    }

    /// Has it go off at `deadline`.
    pub fn reset(self: Pin<&mut Self>, deadline: Instant) {
        self.project().timer.reset(deadline);
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut unconstrained(self.project().timer)).poll(cx)
    }
}

pin_project! {
    /// A future and the time that it has.
    #[derive(Debug)]
    pub struct Timeout<F> {
        #[pin]
        future: F,
        #[pin]
        timer: Sleep,
    }
}

/// Waits for `future` until `deadline`.
pub fn timeout_at<F: Future>(deadline: Instant, future: F) -> Timeout<F> {
    Timeout { future, timer: sleep_until(deadline) }
}

/// Waits for `future` for `limit`.
pub fn timeout<F: Future>(limit: Duration, future: F) -> Timeout<F> {
    Timeout { future, timer: sleep(limit) }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        // What is there is taken, also when it is late: its work is done.
        match this.future.poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => this.timer.poll(cx).map(|()| Err(Elapsed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;

    use tokio::task::coop::consume_budget;

    use super::*;

    /// Never at rest: it uses up the budget of its task at every poll, as a read from a peer does
    /// that never stops to send.
    async fn busy() {
        loop {
            consume_budget().await;
        }
    }

    const LIMIT: Duration = Duration::from_millis(50);
    /// Far more than the limit, and less than a test may take.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// Whether `within` ends while a task is busy. On threads of its own: one that never ends must
    /// not take the timer of the test.
    fn ends(within: impl Future<Output = ()> + Send + 'static) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            runtime.block_on(async { drop(tokio::spawn(within).await) });
            let _ = tell.send(());
        });
        told.recv_timeout(PATIENCE).is_ok()
    }

    #[test]
    fn a_busy_future_has_its_time_and_no_more() {
        assert!(ends(async { assert_eq!(timeout(LIMIT, busy()).await, Err(Elapsed)) }));
        let deadline = Instant::now() + LIMIT;
        assert!(ends(async move { assert_eq!(timeout_at(deadline, busy()).await, Err(Elapsed)) }));
    }

    #[test]
    fn a_timer_goes_off_beside_a_busy_future() {
        let beside = async {
            let (mut busy, mut timer) = (pin!(busy()), pin!(sleep(LIMIT)));
            poll_fn(|cx| {
                assert!(busy.as_mut().poll(cx).is_pending());
                timer.as_mut().poll(cx)
            })
            .await;
        };
        assert!(ends(beside));
        assert!(ends(async {
            tokio::select! {
                biased;
                () = busy() => {}
                () = sleep(LIMIT) => {}
            }
        }));
    }

    #[test]
    fn limits_within_limits_hold_too() {
        let inner = || async { assert_eq!(timeout(LIMIT, busy()).await, Err(Elapsed)) };
        assert!(ends(async move {
            // What is polled before it has used up the budget already.
            tokio::select! {
                biased;
                () = busy() => {}
                () = poll_fn({
                    let mut inner = Box::pin(inner());
                    move |cx| inner.as_mut().poll(cx)
                }) => {}
            }
        }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_ready_future_wins_over_the_time_limit() {
        assert_eq!(timeout(Duration::ZERO, async { 7 }).await, Ok(7));
        let mut timer = pin!(sleep(LIMIT));
        timer.as_mut().reset(Instant::now() + 2 * LIMIT);
        let began = Instant::now();
        timer.await;
        assert!(began.elapsed() >= 2 * LIMIT);
    }
}

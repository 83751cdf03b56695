//! Waiting for what must come: polls until it is there, and fails with what was seen last.

use std::fmt::Debug;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

/// How long a test waits for what should come at once. Long, for a machine with much else to do.
pub const LONG: Duration = Duration::from_secs(20);

/// Polls `look` until `enough` says yes, and gives what it saw.
///
/// # Panics
/// When [`LONG`] is over.
pub async fn eventually<T: Debug>(
    what: &str,
    mut look: impl AsyncFnMut() -> T,
    mut enough: impl FnMut(&T) -> bool,
) -> T {
    let end = Instant::now() + LONG;
    loop {
        let seen = look().await;
        if enough(&seen) {
            return seen;
        }
        assert!(Instant::now() < end, "{what}: still {seen:?}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Waits at most `limit`.
///
/// # Panics
/// When it takes longer.
pub async fn within<T>(limit: Duration, what: &str, work: impl Future<Output = T>) -> T {
    match timeout(limit, work).await {
        Ok(done) => done,
        Err(_) => panic!("{what}: not within {limit:?}"),
    }
}

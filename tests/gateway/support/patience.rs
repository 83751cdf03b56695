//! Waits for a condition: polls until it holds, and fails with the last observed value.

use std::fmt::Debug;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

/// Longest wait for something that should happen at once. It allows for a busy machine.
pub const LONG: Duration = Duration::from_secs(20);

/// Polls `observe` until `is_met` accepts its value, and returns that value.
///
/// # Panics
/// If that takes longer than [`LONG`].
pub async fn eventually<T: Debug>(
    what: &str,
    mut observe: impl AsyncFnMut() -> T,
    mut is_met: impl FnMut(&T) -> bool,
) -> T {
    let end = Instant::now() + LONG;
    loop {
        let value = observe().await;
        if is_met(&value) {
            return value;
        }
        assert!(Instant::now() < end, "{what}: still {value:?}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Awaits `work` for at most `limit`.
///
/// # Panics
/// If the work takes longer.
pub async fn within<T>(limit: Duration, what: &str, work: impl Future<Output = T>) -> T {
    match timeout(limit, work).await {
        Ok(done) => done,
        Err(_) => panic!("{what}: not within {limit:?}"),
    }
}

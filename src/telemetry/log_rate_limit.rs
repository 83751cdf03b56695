//! The rate limit of the process log, so that no caller can flood it by repeating a request.
//!
//! Messages are limited by callsite. The callsite is known before a message is formatted, and their
//! number is fixed, so this state does not grow with traffic. `debug` and `trace` are not limited.

use std::collections::HashMap;
use std::fmt::{Debug, Write};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::IntCounter;
use tokio::time::Instant;
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

/// Most messages of one callsite at once.
const BURST: u32 = 50;

/// Time after which one more is allowed.
const REFILL: Duration = Duration::from_secs(1);

/// Shortest time between two summaries of one callsite.
const SUMMARY: Duration = Duration::from_secs(10);

/// Longest sample of a suppressed message, in characters.
const MAX_SAMPLE: usize = 128;

/// The rate limit, by callsite.
#[derive(Debug)]
pub(super) struct LogRateLimit {
    /// `None` stands for panics.
    buckets: Mutex<HashMap<Option<Identifier>, Bucket>>,
    limited: IntCounter,
}

#[derive(Debug)]
struct Bucket {
    tokens: u32,
    refilled: Instant,
    /// The first message that was suppressed since the last summary.
    sample: String,
    suppressed: u64,
    summarized: Option<Instant>,
}

/// Whether a message is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Log,
    Suppress,
    /// Suppress it, as the first since the last summary.
    SuppressFirst,
}

/// Suppressed messages of one callsite.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Suppressed {
    /// The first of them.
    pub(super) sample: String,
    /// How many there were.
    pub(super) count: u64,
}

impl LogRateLimit {
    /// Creates the limit. `limited` counts suppressed messages.
    pub(super) fn new(limited: IntCounter) -> LogRateLimit {
        LogRateLimit { buckets: Mutex::default(), limited }
    }

    /// Whether this event is logged. Counts it if not.
    pub(super) fn admits(&self, event: &Event<'_>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO {
            return true;
        }
        self.allow(Some(metadata.callsite()), || message(event))
    }

    /// Whether a panic with this message is logged. Counts it if not.
    pub(super) fn admits_panic(&self, what: &str) -> bool {
        self.allow(None, || format!("panicked: {what}"))
    }

    fn allow(&self, callsite: Option<Identifier>, message: impl Fn() -> String) -> bool {
        let now = Instant::now();
        let decision = {
            let mut buckets = self.buckets.lock();
            buckets.entry(callsite.clone()).or_insert_with(|| Bucket::new(now)).take(now)
        };
        if decision == Decision::Log {
            return true;
        }
        self.limited.inc();
        if decision == Decision::SuppressFirst {
            // Not under the lock: formatting may panic, which calls this again.
            let sample: String = message().chars().take(MAX_SAMPLE).collect();
            let mut buckets = self.buckets.lock();
            buckets.entry(callsite).and_modify(|bucket| bucket.sample = sample);
        }
        false
    }

    /// Takes the summaries that are due, or `all` of them.
    pub(super) fn take_suppressed(&self, all: bool) -> Vec<Suppressed> {
        let now = Instant::now();
        let mut buckets = self.buckets.lock();
        let is_due = |bucket: &&mut Bucket| {
            let last = bucket.summarized.map(|last| now.duration_since(last));
            bucket.suppressed > 0 && (all || last.is_none_or(|passed| passed >= SUMMARY))
        };
        let due = buckets.values_mut().filter(is_due).map(|bucket| {
            bucket.summarized = Some(now);
            let sample = std::mem::take(&mut bucket.sample);
            Suppressed { sample, count: std::mem::take(&mut bucket.suppressed) }
        });
        due.collect()
    }
}

impl Bucket {
    fn new(now: Instant) -> Bucket {
        Bucket {
            tokens: BURST,
            refilled: now,
            sample: String::new(),
            suppressed: 0,
            summarized: None,
        }
    }

    fn take(&mut self, now: Instant) -> Decision {
        let passed = now.duration_since(self.refilled).as_millis() / REFILL.as_millis();
        let passed = u32::try_from(passed).unwrap_or(u32::MAX);
        if passed > 0 {
            self.tokens = self.tokens.saturating_add(passed).min(BURST);
            self.refilled = match self.tokens {
                BURST => now,
                _ => self.refilled + REFILL * passed,
            };
        }
        if self.tokens > 0 {
            self.tokens -= 1;
            return Decision::Log;
        }
        self.suppressed += 1;
        if self.suppressed == 1 { Decision::SuppressFirst } else { Decision::Suppress }
    }
}

/// The message of an event, without its fields.
fn message(event: &Event<'_>) -> String {
    struct Message(String);
    impl Visit for Message {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            if field.name() == "message" {
                // Writing to memory can't fail.
                let _ = write!(self.0, "{value:?}");
            }
        }
    }
    let mut message = Message(String::new());
    event.record(&mut message);
    message.0
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tracing::Subscriber;
    use tracing_subscriber::layer::{Context, SubscriberExt};
    use tracing_subscriber::{Layer, registry};

    use super::*;

    /// Counts the messages that a limit admits.
    struct Counting(Arc<LogRateLimit>, IntCounter);

    impl<S: Subscriber> Layer<S> for Counting {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            if self.0.admits(event) {
                self.1.inc();
            }
        }
    }

    fn counter() -> IntCounter {
        IntCounter::new("lines", "Lines.").unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_callsite_gets_a_burst_then_one_message_a_second_and_a_summary() {
        let (limited, admitted) = (counter(), counter());
        let limit = Arc::new(LogRateLimit::new(limited.clone()));
        let subscriber = registry().with(Counting(Arc::clone(&limit), admitted.clone()));
        let _guard = tracing::subscriber::set_default(subscriber);
        let refused = |count: u64| {
            for number in 0..count {
                tracing::warn!(number, "a call was refused");
            }
        };
        let burst = u64::from(BURST);
        refused(burst);
        assert_eq!((admitted.get(), limit.take_suppressed(false)), (burst, vec![]));
        refused(7);
        let suppressed =
            |count| vec![Suppressed { sample: "a call was refused".to_owned(), count }];
        assert_eq!((admitted.get(), limited.get()), (burst, 7));
        assert_eq!(limit.take_suppressed(false), suppressed(7));
        // Another callsite has a limit of its own.
        tracing::warn!("something else");
        assert_eq!(admitted.get(), burst + 1);

        tokio::time::advance(REFILL * 3).await;
        refused(5);
        assert_eq!(admitted.get(), burst + 1 + 3);
        // Not due yet, unless all are asked for.
        assert_eq!(limit.take_suppressed(false), vec![]);
        assert_eq!(limit.take_suppressed(true), suppressed(2));
        refused(1);
        tokio::time::advance(SUMMARY).await;
        assert_eq!(limit.take_suppressed(false), suppressed(1));

        tokio::time::advance(REFILL * BURST * 2).await;
        refused(burst + 1);
        assert_eq!(admitted.get(), burst + 1 + 3 + burst);
        assert_eq!(limited.get(), 7 + 2 + 1 + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn debug_messages_are_not_limited() {
        let (limited, admitted) = (counter(), counter());
        let limit = Arc::new(LogRateLimit::new(limited.clone()));
        let subscriber = registry().with(Counting(limit, admitted.clone()));
        let _guard = tracing::subscriber::set_default(subscriber);
        for _ in 0..BURST * 2 {
            tracing::debug!("a connection ended");
        }
        assert_eq!((admitted.get(), limited.get()), (u64::from(BURST * 2), 0));
    }
}

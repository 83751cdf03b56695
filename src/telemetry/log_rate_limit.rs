//! How many lines of one kind the process log takes, so that nobody fills it by doing the same thing
//! again and again.
//!
//! A kind is a place in the code that makes lines. The place is known before a line is formatted, and
//! there are as many as the program has, so nothing here grows with what callers do. LogWriter for those
//! who look for a mistake (`debug`, `trace`) are not limited.

use std::collections::HashMap;
use std::fmt::{Debug, Write};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::IntCounter;
use tokio::time::Instant;
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

/// LogWriter of one kind that are taken at once.
const BURST: u32 = 50;

/// Time in which a further one is.
const REFILL: Duration = Duration::from_secs(1);

/// Shortest time between two summaries of one kind.
const SUMMARY: Duration = Duration::from_secs(10);

/// Longest text by which a kind is shown.
const MAX_LIKE: usize = 128;

/// What each kind has of its limit.
#[derive(Debug)]
pub(super) struct LogRateLimit {
    /// By the place that makes the lines; `None`: panics.
    kinds: Mutex<HashMap<Option<Identifier>, Kind>>,
    limited: IntCounter,
}

#[derive(Debug)]
struct Kind {
    room: u32,
    refilled: Instant,
    /// The message of the first line that was left out since the last summary.
    like: String,
    left_out: u64,
    summed_up: Option<Instant>,
}

/// Whether a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    Yes,
    No,
    /// No, and it is the first since the last summary.
    FirstLeftOut,
}

/// LogWriter of one kind that were left out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Suppressed {
    /// The message of the first of them.
    pub(super) like: String,
    /// How many there were.
    pub(super) count: u64,
}

impl LogRateLimit {
    /// With room for a burst of each kind. `limited` counts what is left out.
    pub(super) fn new(limited: IntCounter) -> LogRateLimit {
        LogRateLimit { kinds: Mutex::default(), limited }
    }

    /// Whether the line of this event is to be written. If not, that is counted.
    pub(super) fn admits(&self, event: &Event<'_>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO {
            return true;
        }
        self.takes(Some(metadata.callsite()), || message(event))
    }

    /// Whether the line of a panic with this message is to be written. If not, that is counted.
    pub(super) fn admits_panic(&self, what: &str) -> bool {
        self.takes(None, || format!("panicked: {what}"))
    }

    fn takes(&self, kind: Option<Identifier>, message: impl Fn() -> String) -> bool {
        let now = Instant::now();
        let taken = {
            let mut kinds = self.kinds.lock();
            kinds.entry(kind.clone()).or_insert_with(|| Kind::new(now)).take(now)
        };
        if taken == Taken::Yes {
            return true;
        }
        self.limited.inc();
        if taken == Taken::FirstLeftOut {
            // Not under the lock: what makes a message may panic, and then asks again.
            let like: String = message().chars().take(MAX_LIKE).collect();
            let mut kinds = self.kinds.lock();
            kinds.entry(kind).and_modify(|kind| kind.like = like);
        }
        false
    }

    /// What was left out of each kind whose summary is due, or of `all`; it is forgotten by that.
    pub(super) fn left_out(&self, all: bool) -> Vec<Suppressed> {
        let now = Instant::now();
        let mut kinds = self.kinds.lock();
        let is_due = |kind: &&mut Kind| {
            let last = kind.summed_up.map(|last| now.duration_since(last));
            kind.left_out > 0 && (all || last.is_none_or(|passed| passed >= SUMMARY))
        };
        let due = kinds.values_mut().filter(is_due).map(|kind| {
            kind.summed_up = Some(now);
            let like = std::mem::take(&mut kind.like);
            Suppressed { like, count: std::mem::take(&mut kind.left_out) }
        });
        due.collect()
    }
}

impl Kind {
    fn new(now: Instant) -> Kind {
        Kind { room: BURST, refilled: now, like: String::new(), left_out: 0, summed_up: None }
    }

    fn take(&mut self, now: Instant) -> Taken {
        let passed = now.duration_since(self.refilled).as_millis() / REFILL.as_millis();
        let passed = u32::try_from(passed).unwrap_or(u32::MAX);
        if passed > 0 {
            self.room = self.room.saturating_add(passed).min(BURST);
            self.refilled = match self.room {
                BURST => now,
                _ => self.refilled + REFILL * passed,
            };
        }
        if self.room > 0 {
            self.room -= 1;
            return Taken::Yes;
        }
        self.left_out += 1;
        if self.left_out == 1 { Taken::FirstLeftOut } else { Taken::No }
    }
}

/// The message of an event, as far as it is needed to know which one it is.
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

    /// Counts the lines that a limit admits.
    struct Counting(Arc<LogRateLimit>, IntCounter);

    impl<S: Subscriber> Layer<S> for Counting {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            if self.0.admits(event) {
                self.1.inc();
            }
        }
    }

    fn counter() -> IntCounter {
        IntCounter::new("lines", "LogWriter.").unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn of_one_kind_there_is_a_burst_and_then_one_a_second_and_a_summary() {
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
        assert_eq!((admitted.get(), limit.left_out(false)), (burst, vec![]));
        refused(7);
        let left_out = |count| vec![Suppressed { like: "a call was refused".to_owned(), count }];
        assert_eq!((admitted.get(), limited.get()), (burst, 7));
        assert_eq!(limit.left_out(false), left_out(7));
        // Another kind has room of its own.
        tracing::warn!("something else");
        assert_eq!(admitted.get(), burst + 1);

        tokio::time::advance(REFILL * 3).await;
        refused(5);
        assert_eq!(admitted.get(), burst + 1 + 3);
        // Not as often as that, unless all is to be told.
        assert_eq!(limit.left_out(false), vec![]);
        assert_eq!(limit.left_out(true), left_out(2));
        refused(1);
        tokio::time::advance(SUMMARY).await;
        assert_eq!(limit.left_out(false), left_out(1));

        tokio::time::advance(REFILL * BURST * 2).await;
        refused(burst + 1);
        assert_eq!(admitted.get(), burst + 1 + 3 + burst);
        assert_eq!(limited.get(), 7 + 2 + 1 + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn lines_for_who_looks_for_a_mistake_are_not_limited() {
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

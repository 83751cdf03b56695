//! Which operations a target denies, and for how long requests avoid it for that.
//!
//! ```text
//!          denied                 confirmed                 time is over
//!   fine ----------> suspected ----------------> denied ------------------> due
//!    ^                                             ^                         | one request tries
//!    |                                             | denied again            v
//!    +---------------------------------------------+---------------------- tried
//!                       answered
//! ```
//! The denial of one request does not affect others, since the request may have named a resource of its own,
//! such as a guardrail. A denial is confirmed by a request that names its model alone, or by several clients.
//! Each operation has a state of its own, which a success clears. Every transition is a plain function of the
//! state and `now`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use http::StatusCode;
use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::time::Instant;
use uuid::Uuid;

use super::outage::{Outage, of_denial};
use crate::bedrock::error::{Reported, plain_text};
use crate::bedrock::{Extras, Operation};

/// So many clients confirm a denial of which none is certain, if all are denied within
/// [`CONFIRMATION_WINDOW`].
const MIN_CLIENTS: usize = 3;

/// The time within which [`MIN_CLIENTS`] clients must be denied.
const CONFIRMATION_WINDOW: Duration = Duration::from_secs(600);

/// Divides the pause after a denial that only several clients confirm: a request that names fewer resources
/// may succeed, so the operation is tested again sooner.
const UNCERTAIN_PAUSE_DIVISOR: u32 = 10;

/// How long other requests avoid a denied operation while one request tests it.
const TEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest message that is kept, in characters.
const MAX_MESSAGE: usize = 300;

/// Longest name of an error that is kept, in characters.
const MAX_NAME: usize = 64;

/// The error with which a target denied a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The status.
    pub status: StatusCode,
    /// The error's name.
    pub name: String,
    /// Its message, bounded and without control characters.
    pub message: String,
    /// The request that was denied; `None` if another replica sent it.
    pub request_id: Option<Uuid>,
}

impl Denial {
    /// From an error answer to this request.
    pub fn new(status: StatusCode, reported: &Reported, request_id: Uuid) -> Denial {
        let name = plain_text(reported.name.as_deref().unwrap_or("-"), MAX_NAME);
        let message = plain_text(&reported.message, MAX_MESSAGE);
        Denial { status, name, message, request_id: Some(request_id) }
    }
}

/// An operation that was denied.
#[derive(Clone, Debug)]
pub struct DeniedOperation {
    /// The operation.
    pub operation: Operation,
    /// Until when requests avoid it; `None` as long as the denial is not confirmed. In the past, the next
    /// request tests it.
    pub until: Option<Instant>,
    /// When it was first denied.
    pub since: SystemTime,
    /// The latest denial.
    pub denial: Denial,
    window_start: Instant,
    /// The clients that were denied, at most [`MIN_CLIENTS`].
    clients: SmallVec<[u64; MIN_CLIENTS]>,
}

/// What follows from a denial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The request itself may be the reason.
    Suspected,
    /// Requests avoid the operation for this long.
    Confirmed(Duration),
}

/// The state of one target's access.
#[derive(Clone, Debug, Default)]
pub struct Access {
    operations: SmallVec<[DeniedOperation; 1]>,
    /// The confirmed denial that has ended last.
    last: Option<Box<Outage>>,
}

impl Access {
    /// A request of `client` that names these `extras` was denied an operation. Requests avoid an operation
    /// whose denial is confirmed for `pause`.
    pub fn denied(
        &mut self,
        operation: Operation,
        denial: Denial,
        (client, extras): (u64, Extras),
        now: Instant,
        pause: Duration,
    ) -> Verdict {
        let entry = self.entry(operation, &denial, now);
        entry.denial = denial;
        let was_confirmed = entry.until.is_some();
        let pause = match extras {
            Extras::None => pause,
            Extras::Unknown => {
                if !was_confirmed
                    && now.saturating_duration_since(entry.window_start) > CONFIRMATION_WINDOW
                {
                    entry.window_start = now;
                    entry.clients.clear();
                }
                if entry.clients.len() < MIN_CLIENTS && !entry.clients.contains(&client) {
                    entry.clients.push(client);
                }
                if !was_confirmed && entry.clients.len() < MIN_CLIENTS {
                    return Verdict::Suspected;
                }
                pause / UNCERTAIN_PAUSE_DIVISOR
            }
            Extras::Resources => {
                // If this request was the test, its outcome shows nothing.
                if let Some(until) = &mut entry.until {
                    *until = (*until).min(now);
                }
                return Verdict::Suspected;
            }
        };
        entry.until = entry.until.max(Some(now + pause));
        Verdict::Confirmed(pause)
    }

    /// Another replica has confirmed a denial.
    pub fn denied_elsewhere(&mut self, operation: Operation, now: Instant, pause: Duration) {
        let denial = Denial {
            status: StatusCode::FORBIDDEN,
            name: "-".to_owned(),
            message: "another replica was denied".to_owned(),
            request_id: None,
        };
        let entry = self.entry(operation, &denial, now);
        entry.until = entry.until.max(Some(now + pause));
    }

    /// The operation has succeeded. True if requests avoided it before.
    pub fn record_success(&mut self, operation: Operation) -> bool {
        let ended = self.find(operation).filter(|entry| entry.until.is_some());
        let until = Some(SystemTime::now());
        let ended = ended.map(|entry| Outage { until, ..of_denial(entry) });
        let was_out = ended.is_some();
        self.last = ended.map(Box::new).or_else(|| self.last.take());
        self.operations.retain(|entry| entry.operation != operation);
        was_out
    }

    /// The denial for which requests avoid an operation now.
    pub fn denial(&self, operation: Operation, now: Instant) -> Option<&Denial> {
        let entry = self.find(operation)?;
        entry.until.is_some_and(|until| now < until).then_some(&entry.denial)
    }

    /// Whether a request may try the operation. After the time of a denial one request at a time may.
    pub fn try_operation(&mut self, operation: Operation, now: Instant) -> bool {
        let mut all = self.operations.iter_mut();
        let Some(entry) = all.find(|entry| entry.operation == operation) else {
            return true;
        };
        match &mut entry.until {
            Some(until) if now < *until => false,
            Some(until) => {
                *until = now + TEST_TIMEOUT;
                true
            }
            None => true,
        }
    }

    /// The confirmed denial that has ended last.
    pub fn last_outage(&self) -> Option<&Outage> {
        self.last.as_deref()
    }

    /// The operations that were denied.
    pub fn operations(&self) -> &[DeniedOperation] {
        &self.operations
    }

    fn find(&self, operation: Operation) -> Option<&DeniedOperation> {
        self.operations.iter().find(|entry| entry.operation == operation)
    }

    fn entry(
        &mut self,
        operation: Operation,
        denial: &Denial,
        now: Instant,
    ) -> &mut DeniedOperation {
        let known = self.operations.iter().position(|entry| entry.operation == operation);
        let at = known.unwrap_or_else(|| {
            self.operations.push(DeniedOperation {
                operation,
                until: None,
                since: SystemTime::now(),
                denial: denial.clone(),
                window_start: now,
                clients: SmallVec::new(),
            });
            self.operations.len() - 1
        });
        #[expect(clippy::indexing_slicing, reason = "it was found or pushed just now")]
        &mut self.operations[at]
    }
}

/// The access of a target in use. Requests to a target that denies nothing take no lock.
#[derive(Debug, Default)]
pub(super) struct SharedAccess {
    has_denials: AtomicBool,
    access: Mutex<Access>,
}

impl SharedAccess {
    /// Whether nothing was denied, which is the usual case.
    pub(super) fn is_clean(&self) -> bool {
        !self.has_denials.load(Ordering::Acquire)
    }

    /// Reads or changes the state.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut Access) -> T) -> T {
        let mut access = self.access.lock();
        let result = act(&mut access);
        self.has_denials.store(!access.operations.is_empty(), Ordering::Release);
        result
    }

    /// Takes over the state of the same target under an older config.
    pub(super) fn take_over(&self, before: &SharedAccess) {
        let known = before.access.lock().clone();
        self.with(|access| *access = known);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const PAUSE: Duration = Duration::from_secs(600);
    const OPERATION: Operation = Operation::ConverseStream;

    fn denial() -> Denial {
        let reported = Reported {
            name: Some("AccessDeniedException".to_owned()),
            message: "not\u{7} authorized".to_owned(),
            ..Reported::default()
        };
        Denial::new(StatusCode::FORBIDDEN, &reported, Uuid::nil())
    }

    fn deny(access: &mut Access, client: u64, extras: Extras, now: Instant) -> Verdict {
        access.denied(OPERATION, denial(), (client, extras), now, PAUSE)
    }

    #[test]
    fn one_plain_request_confirms_for_its_operation_alone() {
        let (mut access, now) = (Access::default(), Instant::now());
        assert_eq!(deny(&mut access, 1, Extras::None, now), Verdict::Confirmed(PAUSE));
        assert_eq!(access.denial(OPERATION, now).unwrap().message, "not authorized");
        for other in Operation::ALL.into_iter().filter(|other| *other != OPERATION) {
            assert!(
                access.denial(other, now).is_none() && access.try_operation(other, now),
                "{other:?}"
            );
        }
    }

    #[test]
    fn a_single_client_does_not_confirm_a_denial_of_a_request_with_extras() {
        let (mut access, now) = (Access::default(), Instant::now());
        for _ in 0..1000 {
            for extras in [Extras::Unknown, Extras::Resources] {
                assert_eq!(deny(&mut access, 1, extras, now), Verdict::Suspected);
            }
        }
        assert!(access.denial(OPERATION, now).is_none() && access.try_operation(OPERATION, now));
        assert_eq!(access.operations().len(), 1);
        assert_eq!(access.operations()[0].clients.len(), 1);
    }

    #[test]
    fn several_clients_confirm_for_a_while_unless_each_named_something() {
        let (mut access, now) = (Access::default(), Instant::now());
        for client in 0..100 {
            let verdict = deny(&mut access, client, Extras::Resources, now);
            assert_eq!(verdict, Verdict::Suspected);
        }
        assert_eq!(deny(&mut access, 1, Extras::Unknown, now), Verdict::Suspected);
        assert_eq!(deny(&mut access, 2, Extras::Unknown, now), Verdict::Suspected);
        let verdict = deny(&mut access, 3, Extras::Unknown, now);
        assert_eq!(verdict, Verdict::Confirmed(MINUTE));
        assert!(access.denial(OPERATION, now).is_some());
        assert!(access.denial(OPERATION, now + MINUTE).is_none());
    }

    #[test]
    fn denials_long_ago_or_before_a_success_do_not_count() {
        let (mut access, now) = (Access::default(), Instant::now());
        for (client, minutes) in [(1, 0), (2, 1), (3, 12), (4, 13)] {
            let verdict = deny(&mut access, client, Extras::Unknown, now + MINUTE * minutes);
            assert_eq!(verdict, Verdict::Suspected, "{client}");
        }
        assert!(!access.record_success(OPERATION), "no request avoided it");
        let later = now + MINUTE * 14;
        assert_eq!(deny(&mut access, 5, Extras::Unknown, later), Verdict::Suspected);
    }

    #[test]
    fn after_a_denial_one_request_tests_the_operation() {
        let (mut access, now) = (Access::default(), Instant::now());
        deny(&mut access, 1, Extras::None, now);
        assert!(!access.try_operation(OPERATION, now + PAUSE - MINUTE));
        let due = now + PAUSE;
        assert!(access.try_operation(OPERATION, due), "the test");
        assert!(!access.try_operation(OPERATION, due), "others avoid it");
        deny(&mut access, 1, Extras::None, due);
        assert!(access.denial(OPERATION, due + PAUSE - MINUTE).is_some(), "as long again");
        assert!(access.try_operation(OPERATION, due + PAUSE));
        assert!(access.record_success(OPERATION));
        assert!(
            access.try_operation(OPERATION, due + PAUSE)
                && access.try_operation(OPERATION, due + PAUSE)
        );
    }

    #[test]
    fn a_test_without_an_outcome_makes_room_for_the_next() {
        let (mut access, now) = (Access::default(), Instant::now());
        deny(&mut access, 1, Extras::None, now);
        let due = now + PAUSE;
        assert!(access.try_operation(OPERATION, due));
        deny(&mut access, 1, Extras::Resources, due);
        assert!(access.try_operation(OPERATION, due), "a request without extras may try now");
        assert!(access.try_operation(OPERATION, due + TEST_TIMEOUT), "that one had no outcome");
    }

    proptest! {
        /// Whatever happens, the state is bounded, and requests avoid an operation only for denials that count.
        #[test]
        fn state_is_bounded_and_operations_are_avoided_only_for_denials_that_count(
            steps in prop::collection::vec((0..4u8, 0..Operation::ALL.len(), 0..50u64), 0..200),
        ) {
            let (mut access, now) = (Access::default(), Instant::now());
            let mut counted = std::collections::HashMap::<Operation, Vec<u64>>::new();
            for (act, at, client) in steps {
                let operation = Operation::ALL[at];
                let extras = match act {
                    0 => { access.record_success(operation); counted.remove(&operation); continue; }
                    1 => Extras::Resources,
                    2 => Extras::Unknown,
                    _ => Extras::None,
                };
                access.denied(operation, denial(), (client, extras), now, PAUSE);
                let known = counted.entry(operation).or_default();
                match extras {
                    Extras::None => known.extend([1000, 1001, 1002]),
                    Extras::Unknown if !known.contains(&client) => known.push(client),
                    _ => {}
                }
                if access.denial(operation, now).is_some() {
                    prop_assert!(known.len() >= MIN_CLIENTS);
                }
            }
            prop_assert!(access.operations().len() <= Operation::ALL.len());
            prop_assert!(access.operations().iter().all(|it| it.clients.len() <= MIN_CLIENTS));
        }
    }
}

//! What is known of a target's access: which operations it was denied, and for how long the others
//! keep away from it for that.
//!
//! ```text
//!          denied                 confirmed                 time is over
//!   fine ----------> suspected ----------------> denied ------------------> due
//!    ^                                             ^                         | one request tries
//!    |                                             | denied again            v
//!    +---------------------------------------------+---------------------- tried
//!                       answered
//! ```
//! One request's denial takes nothing from the others: the request may have asked for something of
//! its own. A denial is confirmed by a request that asks for its model alone, or by several
//! clients. Each operation has a state of its own, and an answer to it clears that. Every transition
//! is a plain function of the state and `now`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use http::StatusCode;
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::bedrock::error::{Reported, plain_text};
use crate::bedrock::{Extras, Operation};

/// Clients that must have been denied, where none of them asked for its model alone.
const SEVERAL: usize = 3;

/// Within this time they must have been.
const WINDOW: Duration = Duration::from_secs(600);

/// What only several clients have met is tried again after this part of the time: those who ask
/// for less may fare better.
const PART: u32 = 10;

/// For how long the request that tries a target has it for itself, if nothing is heard of it.
const TRIAL: Duration = Duration::from_secs(10);

/// Longest message that is kept, in characters.
const MAX_MESSAGE: usize = 300;

/// Longest name of an error that is kept, in characters.
const MAX_NAME: usize = 64;

/// What a target said when it denied a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The status.
    pub status: StatusCode,
    /// The error's name.
    pub name: String,
    /// Its message, bounded and without control characters.
    pub message: String,
}

impl Denial {
    /// What an error answer says.
    pub fn new(status: StatusCode, reported: &Reported) -> Denial {
        let name = plain_text(reported.name.as_deref().unwrap_or("-"), MAX_NAME);
        Denial { status, name, message: plain_text(&reported.message, MAX_MESSAGE) }
    }
}

/// What is known of one operation.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The operation.
    pub operation: Operation,
    /// Until when requests keep away; `None` as long as the denial is not confirmed. Past: the next
    /// request tries.
    pub until: Option<Instant>,
    /// When it was first denied.
    pub since: SystemTime,
    /// The latest denial.
    pub denial: Denial,
    began: Instant,
    /// Those who were denied, as far as they count: never more than [`SEVERAL`].
    clients: SmallVec<[u64; SEVERAL]>,
}

/// What a denial has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may be the request's own.
    Suspected,
    /// Requests keep away for this long.
    Confirmed(Duration),
}

/// The state of one target's access.
#[derive(Clone, Debug, Default)]
pub struct Access {
    standings: SmallVec<[Standing; 1]>,
}

impl Access {
    /// A request of `client`, which asks for these `extras`, was denied an operation. A confirmed
    /// denial keeps requests away for `pause`.
    pub fn denied(
        &mut self,
        operation: Operation,
        denial: Denial,
        (client, extras): (u64, Extras),
        now: Instant,
        pause: Duration,
    ) -> Verdict {
        let standing = self.standing(operation, &denial, now);
        standing.denial = denial;
        let was_confirmed = standing.until.is_some();
        let pause = match extras {
            Extras::None => pause,
            Extras::Unknown => {
                if !was_confirmed && now.saturating_duration_since(standing.began) > WINDOW {
                    standing.began = now;
                    standing.clients.clear();
                }
                if standing.clients.len() < SEVERAL && !standing.clients.contains(&client) {
                    standing.clients.push(client);
                }
                if !was_confirmed && standing.clients.len() < SEVERAL {
                    return Verdict::Suspected;
                }
                pause / PART
            }
            Extras::Resources => {
                // If that was the one to try, it has told nothing.
                if let Some(until) = &mut standing.until {
                    *until = (*until).min(now);
                }
                return Verdict::Suspected;
            }
        };
        standing.until = standing.until.max(Some(now + pause));
        Verdict::Confirmed(pause)
    }

    /// Another replica has confirmed a denial.
    pub fn denied_elsewhere(&mut self, operation: Operation, now: Instant, pause: Duration) {
        let denial = Denial {
            status: StatusCode::FORBIDDEN,
            name: "-".to_owned(),
            message: "another replica was denied".to_owned(),
        };
        let standing = self.standing(operation, &denial, now);
        standing.until = standing.until.max(Some(now + pause));
    }

    /// The operation was answered. True if requests kept away from it before.
    pub fn answered(&mut self, operation: Operation) -> bool {
        let was_out = self.find(operation).is_some_and(|standing| standing.until.is_some());
        self.standings.retain(|standing| standing.operation != operation);
        was_out
    }

    /// The denial for which requests keep away from an operation now.
    pub fn denial(&self, operation: Operation, now: Instant) -> Option<&Denial> {
        let standing = self.find(operation)?;
        standing.until.is_some_and(|until| now < until).then_some(&standing.denial)
    }

    /// Lets a request in; where the time of a denial is over, one at a time.
    pub fn enter(&mut self, operation: Operation, now: Instant) -> bool {
        let mut all = self.standings.iter_mut();
        let Some(standing) = all.find(|standing| standing.operation == operation) else {
            return true;
        };
        match &mut standing.until {
            Some(until) if now < *until => false,
            Some(until) => {
                *until = now + TRIAL;
                true
            }
            None => true,
        }
    }

    /// What is known of operations that were denied.
    pub fn standings(&self) -> &[Standing] {
        &self.standings
    }

    fn find(&self, operation: Operation) -> Option<&Standing> {
        self.standings.iter().find(|standing| standing.operation == operation)
    }

    fn standing(&mut self, operation: Operation, denial: &Denial, now: Instant) -> &mut Standing {
        let known = self.standings.iter().position(|standing| standing.operation == operation);
        let at = known.unwrap_or_else(|| {
            self.standings.push(Standing {
                operation,
                until: None,
                since: SystemTime::now(),
                denial: denial.clone(),
                began: now,
                clients: SmallVec::new(),
            });
            self.standings.len() - 1
        });
        // Was found or pushed just now.
        #[expect(clippy::indexing_slicing)]
        &mut self.standings[at]
    }
}

/// The access of a target that is in use. Who asks of one that was never denied takes no lock.
#[derive(Debug, Default)]
pub(super) struct Shared {
    is_known: AtomicBool,
    access: Mutex<Access>,
}

impl Shared {
    /// Whether nothing was denied, as nearly always.
    pub(super) fn is_clean(&self) -> bool {
        !self.is_known.load(Ordering::Acquire)
    }

    /// Looks at the state, or changes it.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut Access) -> T) -> T {
        let mut access = self.lock();
        let result = act(&mut access);
        self.is_known.store(!access.standings.is_empty(), Ordering::Release);
        result
    }

    /// Takes over what is known of the same target under an older config.
    pub(super) fn take_over(&self, before: &Shared) {
        let known = before.lock().clone();
        self.with(|access| *access = known);
    }

    fn lock(&self) -> MutexGuard<'_, Access> {
        // Transitions are whole before the lock is let go, so a poisoned state is a valid one.
        self.access.lock().unwrap_or_else(PoisonError::into_inner)
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
        };
        Denial::new(StatusCode::FORBIDDEN, &reported)
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
            assert!(access.denial(other, now).is_none() && access.enter(other, now), "{other:?}");
        }
    }

    #[test]
    fn one_client_does_not_confirm_by_what_it_asks_for_besides() {
        let (mut access, now) = (Access::default(), Instant::now());
        for _ in 0..1000 {
            for extras in [Extras::Unknown, Extras::Resources] {
                assert_eq!(deny(&mut access, 1, extras, now), Verdict::Suspected);
            }
        }
        assert!(access.denial(OPERATION, now).is_none() && access.enter(OPERATION, now));
        assert_eq!(access.standings().len(), 1);
        assert_eq!(access.standings()[0].clients.len(), 1);
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
    fn who_was_denied_long_ago_or_before_an_answer_does_not_count() {
        let (mut access, now) = (Access::default(), Instant::now());
        for (client, minutes) in [(1, 0), (2, 1), (3, 12), (4, 13)] {
            let verdict = deny(&mut access, client, Extras::Unknown, now + MINUTE * minutes);
            assert_eq!(verdict, Verdict::Suspected, "{client}");
        }
        assert!(!access.answered(OPERATION), "nobody kept away");
        let later = now + MINUTE * 14;
        assert_eq!(deny(&mut access, 5, Extras::Unknown, later), Verdict::Suspected);
    }

    #[test]
    fn afterwards_one_request_tries_and_its_outcome_counts() {
        let (mut access, now) = (Access::default(), Instant::now());
        deny(&mut access, 1, Extras::None, now);
        assert!(!access.enter(OPERATION, now + PAUSE - MINUTE));
        let due = now + PAUSE;
        assert!(access.enter(OPERATION, due), "the one that tries");
        assert!(!access.enter(OPERATION, due), "the others keep away");
        deny(&mut access, 1, Extras::None, due);
        assert!(access.denial(OPERATION, due + PAUSE - MINUTE).is_some(), "as long again");
        assert!(access.enter(OPERATION, due + PAUSE));
        assert!(access.answered(OPERATION));
        assert!(access.enter(OPERATION, due + PAUSE) && access.enter(OPERATION, due + PAUSE));
    }

    #[test]
    fn a_trial_that_tells_nothing_makes_room_for_the_next() {
        let (mut access, now) = (Access::default(), Instant::now());
        deny(&mut access, 1, Extras::None, now);
        let due = now + PAUSE;
        assert!(access.enter(OPERATION, due));
        deny(&mut access, 1, Extras::Resources, due);
        assert!(access.enter(OPERATION, due), "a request without extras may try now");
        assert!(access.enter(OPERATION, due + TRIAL), "nothing was heard of that one");
    }

    proptest! {
        /// Whatever happens: what is kept is bounded, and only counting denials keep anybody away.
        #[test]
        fn it_is_bounded_and_blames_nobody_without_reason(
            steps in prop::collection::vec((0..4u8, 0..Operation::ALL.len(), 0..50u64), 0..200),
        ) {
            let (mut access, now) = (Access::default(), Instant::now());
            let mut counted = std::collections::HashMap::<Operation, Vec<u64>>::new();
            for (act, at, client) in steps {
                let operation = Operation::ALL[at];
                let extras = match act {
                    0 => { access.answered(operation); counted.remove(&operation); continue; }
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
                    prop_assert!(known.len() >= SEVERAL);
                }
            }
            prop_assert!(access.standings().len() <= Operation::ALL.len());
            prop_assert!(access.standings().iter().all(|it| it.clients.len() <= SEVERAL));
        }
    }
}

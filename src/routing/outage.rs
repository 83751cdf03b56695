//! Why a target takes no traffic, since when, until when, and which request showed it.
//!
//! A cooldown, a drain and a confirmed denial each keep an [`Outage`] of their own while they last, and the
//! last one that has ended. The texts are for operators.

use std::time::SystemTime;

use tokio::time::Instant;
use uuid::Uuid;

use super::access::DeniedOperation;
use super::cooldown::State;
use super::target::Target;

/// What took a target out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutageReason {
    /// A quota per minute is used up.
    Throttled,
    /// A quota per day is used up.
    Exhausted,
    /// Too many attempts failed.
    Failed,
    /// Too many answers broke off or stalled.
    Stalled,
    /// The target denies an operation.
    Denied,
    /// An operator has taken it out.
    Drained,
}

impl OutageReason {
    /// The name in the admin API and the process log.
    pub fn name(self) -> &'static str {
        match self {
            OutageReason::Throttled => "throttled",
            OutageReason::Exhausted => "exhausted",
            OutageReason::Failed => "failed",
            OutageReason::Stalled => "stalled",
            OutageReason::Denied => "denied",
            OutageReason::Drained => "drained",
        }
    }
}

/// The cause of an outage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutageCause {
    /// What took the target out.
    pub reason: OutageReason,
    /// What the last failed attempt met, in one line.
    pub message: String,
    /// The request that met it; `None` if this replica has not sent it.
    pub request_id: Option<Uuid>,
}

impl OutageCause {
    /// The cause of a cooldown that another replica has begun.
    pub(super) fn elsewhere(is_quota: bool) -> OutageCause {
        let (reason, message) = match is_quota {
            true => (OutageReason::Throttled, "another replica was throttled"),
            false => (OutageReason::Failed, "attempts of another replica failed"),
        };
        OutageCause { reason, message: message.to_owned(), request_id: None }
    }

    /// The cause of a drain.
    pub(super) fn drained() -> OutageCause {
        let message = "an operator has drained the target".to_owned();
        OutageCause { reason: OutageReason::Drained, message, request_id: None }
    }
}

/// A time in which a target was out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// The latest cause.
    pub cause: OutageCause,
    /// When it began.
    pub since: SystemTime,
    /// When the next request may try the target, or when the outage ended. `None` if that is not known.
    pub until: Option<SystemTime>,
}

/// The outage that lasts, if one does, and the last one that has ended.
#[derive(Clone, Debug, Default)]
pub(super) struct Outages {
    current: Option<Box<Outage>>,
    last: Option<Box<Outage>>,
}

impl Outages {
    /// Begins an outage, or names a newer cause of the one that lasts.
    pub(super) fn begin(&mut self, cause: OutageCause) {
        match &mut self.current {
            Some(current) => current.cause = cause,
            None => {
                let since = SystemTime::now();
                self.current = Some(Box::new(Outage { cause, since, until: None }));
            }
        }
    }

    /// Ends the outage that lasts.
    pub(super) fn end(&mut self) {
        if let Some(mut ended) = self.current.take() {
            ended.until = Some(SystemTime::now());
            self.last = Some(ended);
        }
    }

    /// The outage that lasts.
    pub(super) fn current(&self) -> Option<&Outage> {
        self.current.as_deref()
    }

    /// The last outage that has ended.
    pub(super) fn last(&self) -> Option<&Outage> {
        self.last.as_deref()
    }
}

impl Target {
    /// Why the target takes no inference, or not every operation.
    pub fn outage(&self, now: Instant) -> Option<Outage> {
        let cooldown = self.cooldown();
        let until = match cooldown.state(now) {
            State::Available => {
                drop(cooldown);
                return self.denied_outage(now);
            }
            State::Cooling(until) => wall_time(until, now),
            State::Probing | State::Drained => None,
        };
        Some(Outage { until, ..cooldown.outage()?.clone() })
    }

    /// Why the target takes no CountTokens.
    pub fn count_tokens_outage(&self, now: Instant) -> Option<Outage> {
        let cooldown = self.count_tokens_cooldown();
        let until = match cooldown.state(now) {
            State::Available => return None,
            State::Cooling(until) => wall_time(until, now),
            State::Probing | State::Drained => None,
        };
        Some(Outage { until, ..cooldown.outage()?.clone() })
    }

    /// The outage that has ended last.
    pub fn last_outage(&self) -> Option<Outage> {
        let cooled = self.cooldown().last_outage();
        let denied = self.access.with(|access| access.last_outage().cloned());
        cooled.into_iter().chain(denied).max_by_key(|outage| outage.until)
    }

    fn denied_outage(&self, now: Instant) -> Option<Outage> {
        let denials = self.denials();
        let standing = denials.iter().filter(|it| it.until.is_some_and(|until| now < until));
        let longest = standing.max_by_key(|denied| denied.until)?;
        let until = longest.until.and_then(|until| wall_time(until, now));
        Some(Outage { until, ..of_denial(longest) })
    }
}

/// The outage of an operation that requests avoid.
pub(super) fn of_denial(denied: &DeniedOperation) -> Outage {
    let denial = &denied.denial;
    let error = match &*denial.name {
        "-" => denial.status.as_u16().to_string(),
        name => name.to_owned(),
    };
    let message = match &*denial.message {
        "" => format!("{}: {error}", denied.operation.name()),
        message => format!("{}: {error}: {message}", denied.operation.name()),
    };
    let (reason, request_id) = (OutageReason::Denied, denial.request_id);
    let cause = OutageCause { reason, message, request_id };
    Outage { cause, since: denied.since, until: None }
}

/// The wall-clock time of an instant that is still to come.
fn wall_time(instant: Instant, now: Instant) -> Option<SystemTime> {
    SystemTime::now().checked_add(instant.saturating_duration_since(now))
}

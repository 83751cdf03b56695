//! Why no candidate of a request can answer it, in the words that the client gets.
//!
//! The message counts the candidates that are throttled, failed, denied access and so on, and names
//! the time to retry. Only if waiting for quota would help is it a throttle.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use super::candidate_state::{CandidateState, LeaveReason};
use super::routed::RoutedRequest;
use crate::bedrock::error::whole_seconds;
use crate::routing::cooldown::State;
use crate::routing::{Candidates, Excess};
use crate::telemetry::OTHER;

/// When to try again if nothing shows when that would help.
pub(super) const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(1);

/// A target that recovers later than this does not count: `Target::due` returns 366 days for a
/// drained target.
const NEVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Why a candidate does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// It was throttled and cools down.
    Throttled,
    /// It has no quota left.
    NoQuota,
    /// A quota of the day has no tokens left for it.
    NoDailyQuota,
    /// The request takes more than its whole quota, and was throttled.
    Oversized,
    /// It failed on this request.
    Failed,
    /// It is ejected after failures.
    Out,
    /// No connection to it.
    Unreachable,
    /// It denied what was asked for.
    Denied,
    /// It does not support the request.
    Unsupported,
    /// An operator has taken it out.
    Drained,
    /// The gateway has no credentials or connections for it.
    Unusable,
}

impl Cause {
    /// In the order of the message: causes that a wait can cure come first.
    const ALL: [Cause; 11] = [
        Cause::Throttled,
        Cause::NoQuota,
        Cause::NoDailyQuota,
        Cause::Oversized,
        Cause::Failed,
        Cause::Out,
        Cause::Unreachable,
        Cause::Denied,
        Cause::Unsupported,
        Cause::Drained,
        Cause::Unusable,
    ];

    fn of(
        routed: &RoutedRequest,
        index: usize,
        state: &CandidateState,
        now: Instant,
    ) -> Option<Cause> {
        Some(match state.leave_reason {
            Some(LeaveReason::Denied(_)) => Cause::Denied,
            Some(LeaveReason::Unsupported(_) | LeaveReason::Untranslatable) => Cause::Unsupported,
            Some(LeaveReason::Oversized(_)) => Cause::Oversized,
            Some(LeaveReason::Failed(_)) => Cause::Failed,
            Some(LeaveReason::Unreachable) => Cause::Unreachable,
            Some(LeaveReason::Unusable) => Cause::Unusable,
            None => {
                let candidate = routed.candidate(index)?;
                let (target, demand) = (&candidate.target, candidate.demand);
                match target.state_for(demand, now) {
                    State::Drained => Cause::Drained,
                    _ if target.is_throttled(demand) => Cause::Throttled,
                    State::Cooling(_) | State::Probing => Cause::Out,
                    State::Available if target.day_full_until(demand, now).is_some() => {
                        Cause::NoDailyQuota
                    }
                    State::Available => Cause::NoQuota,
                }
            }
        })
    }

    /// Whether waiting for quota helps.
    fn is_quota(self) -> bool {
        matches!(self, Cause::Throttled | Cause::NoQuota | Cause::NoDailyQuota)
    }

    /// The message's words for one target, or for many.
    fn phrase(self, many: bool) -> &'static str {
        match (self, many) {
            (Cause::Throttled, false) => "is throttled",
            (Cause::Throttled, true) => "are throttled",
            (Cause::NoQuota, false) => "has no quota left",
            (Cause::NoQuota, true) => "have no quota left",
            (Cause::NoDailyQuota, false) => "has no tokens of its daily quota left",
            (Cause::NoDailyQuota, true) => "have no tokens of their daily quotas left",
            (Cause::Oversized, false) => "has a quota that is smaller than this request",
            (Cause::Oversized, true) => "have quotas that are smaller than this request",
            (Cause::Failed, _) => "failed",
            (Cause::Out, false) => "is ejected after failures",
            (Cause::Out, true) => "are ejected after failures",
            (Cause::Unreachable, _) => "can't be reached",
            (Cause::Denied, false) => "denies access",
            (Cause::Denied, true) => "deny access",
            (Cause::Unsupported, false) => "does not support this request",
            (Cause::Unsupported, true) => "do not support this request",
            (Cause::Drained, false) => "is drained",
            (Cause::Drained, true) => "are drained",
            (Cause::Unusable, _) => "can't be used by the gateway at present",
        }
    }
}

/// Why the candidates of a request do not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shortage {
    /// Number of candidates by cause, in the order of [`Cause::ALL`].
    counts: [usize; Cause::ALL.len()],
    /// The target that should be available first, if that is known.
    first: Option<String>,
    /// The requested model, if no route names it: it is its own only target.
    model: Option<String>,
    /// Status and error name of the best candidate that denied the request.
    denial: Option<String>,
    due: Duration,
}

impl Shortage {
    /// The shortage of this request.
    pub(super) fn of(routed: &RoutedRequest, now: Instant) -> Shortage {
        let mut counts = [0; Cause::ALL.len()];
        for (index, state) in routed.candidates.iter().enumerate() {
            let cause = Cause::of(routed, index, state, now);
            let place = cause.and_then(|cause| Cause::ALL.iter().position(|it| *it == cause));
            if let Some(count) = place.and_then(|place| counts.get_mut(place)) {
                *count += 1;
            }
        }
        let denial = denial(routed);
        let mut shortage =
            Shortage { counts, first: None, model: None, denial, due: DEFAULT_RETRY_AFTER };
        let is_throttled = shortage.is_quota();
        // A candidate that failed this request may recover from its cooldown.
        let waits = |reason: Option<LeaveReason>| match reason {
            None => true,
            Some(LeaveReason::Failed(_) | LeaveReason::Unreachable) => !is_throttled,
            Some(_) => false,
        };
        let all = routed.candidates.iter().enumerate();
        let candidates: Candidates = all
            .filter_map(|(index, state)| {
                let candidate = routed.candidate(index)?;
                waits(state.leave_reason).then_some(candidate)
            })
            .collect();
        let group = &routed.route.group;
        if let Some((target, due)) = group.due(&candidates, now).filter(|(_, due)| *due < NEVER) {
            shortage.due = due.max(Duration::from_millis(1));
            if due > Duration::ZERO {
                shortage.first = Some(target.name.to_string());
            }
        }
        let is_unrouted = routed.route.targets.iter().all(|target| &*target.name == OTHER);
        if is_unrouted {
            shortage.first = None;
            let model = routed.call.model();
            shortage.model = Some(
                model.map_or_else(|| "The upstream".to_owned(), |it| format!("The model {it}")),
            );
        }
        shortage
    }

    /// Whether waiting for quota would help.
    pub(super) fn is_quota(&self) -> bool {
        self.causes_present().any(|(cause, _)| cause.is_quota())
    }

    /// When to try again.
    pub(super) fn due(&self) -> Duration {
        self.due
    }

    /// The message's words for a cause, with the denial's error.
    fn phrase(&self, cause: Cause, many: bool) -> Cow<'static, str> {
        match &self.denial {
            Some(denial) if cause == Cause::Denied => {
                format!("{} ({denial})", cause.phrase(many)).into()
            }
            _ => cause.phrase(many).into(),
        }
    }

    fn causes_present(&self) -> impl Iterator<Item = (Cause, usize)> {
        Cause::ALL.into_iter().zip(self.counts).filter(|(_, count)| *count > 0)
    }
}

/// The error of the best target that denied the request, without its text, which is the
/// operator's.
fn denial(routed: &RoutedRequest) -> Option<String> {
    let (index, status) = routed.candidates.iter().enumerate().find_map(|(index, state)| {
        match state.leave_reason {
            Some(LeaveReason::Denied(status)) => Some((index, status.as_u16())),
            _ => None,
        }
    })?;
    let known = routed.target(index)?.denials().into_iter();
    let name = known
        .filter(|standing| standing.operation == routed.call.operation)
        .map(|standing| standing.denial)
        .find(|denial| denial.status.as_u16() == status && denial.name != "-")
        .map(|denial| denial.name);
    Some(match name {
        Some(name) => format!("{status} {name}"),
        None => status.to_string(),
    })
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_quota() {
            f.write_str("Too many requests, please wait before trying again. ")?;
        }
        let all: usize = self.counts.iter().sum();
        let kinds = self.causes_present().count();
        match (&self.model, all) {
            (_, 0) => f.write_str("There is no target for this request")?,
            (Some(model), _) => {
                for (cause, _) in self.causes_present().take(1) {
                    write!(f, "{model} {}", self.phrase(cause, false))?;
                }
            }
            (None, 1) => {
                for (cause, _) in self.causes_present() {
                    write!(f, "The only target for this request {}", self.phrase(cause, false))?;
                }
            }
            (None, _) if kinds == 1 => {
                for (cause, _) in self.causes_present() {
                    write!(f, "All targets {}", self.phrase(cause, true))?;
                }
            }
            (None, _) => {
                write!(f, "Of {all} targets ")?;
                for (number, (cause, count)) in self.causes_present().enumerate() {
                    let before = match number {
                        0 => "",
                        _ if number + 1 == kinds => " and ",
                        _ => ", ",
                    };
                    write!(f, "{before}{count} {}", self.phrase(cause, count > 1))?;
                }
            }
        }
        let seconds = whole_seconds(self.due);
        match &self.first {
            Some(first) => write!(f, "; {first} should be available first, in {seconds} s."),
            None => write!(f, "; try again in {seconds} s."),
        }
    }
}

/// The excess, if size is the only reason for failure.
pub(super) fn excess(routed: &RoutedRequest) -> Option<Excess> {
    let now = Instant::now();
    let mut nearest: Option<Excess> = None;
    for (index, state) in routed.candidates.iter().enumerate() {
        match state.leave_reason {
            Some(LeaveReason::Oversized(excess)) => {
                nearest = nearest.filter(|it| it.quota >= excess.quota).or(Some(excess));
            }
            _ => match Cause::of(routed, index, state, now)? {
                Cause::Denied | Cause::Unsupported | Cause::Drained => {}
                _ => return None,
            },
        }
    }
    nearest
}

/// The message to a client whose request is larger than the quotas of all targets.
pub(super) fn describe(excess: &Excess) -> String {
    let Excess { tokens, input, quota, is_default } = *excess;
    let output = tokens.saturating_sub(input);
    let whose = if is_default {
        "the model's own maximum, since the request sets none"
    } else {
        "its maximum"
    };
    let advice = match quota.saturating_sub(input) {
        0 => "Send less input".to_owned(),
        room if is_default => format!(
            "Set a maximum of output tokens (max_tokens, or inferenceConfig.maxTokens) of at most {room}"
        ),
        room => format!("Lower the maximum of output tokens to at most {room}"),
    };
    format!(
        "The request reserves {tokens} quota tokens when it starts: an estimated {input} input tokens and {output} output \
         tokens ({whose}). The quota is {quota} tokens per minute, so this request can never fit. {advice}."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shortage(causes: &[(Cause, usize)]) -> Shortage {
        let counts = Cause::ALL
            .map(|cause| causes.iter().find(|(it, _)| *it == cause).map_or(0, |(_, count)| *count));
        let due = Duration::from_millis(12_300);
        Shortage { counts, first: None, model: None, denial: None, due }
    }

    #[test]
    fn the_message_counts_the_candidates_by_cause() {
        for (causes, wanted) in [
            (&[(Cause::Out, 1)][..], "The only target for this request is ejected after failures;"),
            (&[(Cause::Drained, 3)], "All targets are drained;"),
            (
                &[(Cause::Denied, 3), (Cause::Unreachable, 2), (Cause::Unsupported, 1)],
                "Of 6 targets 2 can't be reached, 3 deny access and 1 does not support this request;",
            ),
        ] {
            let shortage = shortage(causes);
            assert_eq!(shortage.to_string(), format!("{wanted} try again in 13 s."));
            assert!(!shortage.is_quota(), "{shortage}");
        }
    }

    #[test]
    fn only_a_shortage_of_quota_asks_the_client_to_wait() {
        let mut message = shortage(&[(Cause::Throttled, 1), (Cause::Denied, 3)]);
        message.first = Some("haiku".to_owned());
        assert!(message.is_quota());
        assert_eq!(
            message.to_string(),
            "Too many requests, please wait before trying again. Of 4 targets 1 is throttled and 3 deny access; \
             haiku should be available first, in 13 s."
        );
        message.denial = Some("403 AccessDeniedException".to_owned());
        assert!(
            message.to_string().contains("3 deny access (403 AccessDeniedException);"),
            "{message}"
        );
        for cause in Cause::ALL {
            let waits = [Cause::Throttled, Cause::NoQuota, Cause::NoDailyQuota].contains(&cause);
            assert_eq!(shortage(&[(cause, 1)]).is_quota(), waits, "{cause:?}");
        }
    }

    #[test]
    fn a_model_without_a_route_is_named_as_the_client_named_it() {
        let mut message = shortage(&[(Cause::Throttled, 1)]);
        message.model = Some("The model x".to_owned());
        assert!(
            message.to_string().ends_with(". The model x is throttled; try again in 13 s."),
            "{message}"
        );
    }

    #[test]
    fn a_request_beyond_the_quota_is_told_what_would_fit() {
        let excess = |input, output, is_default| Excess {
            tokens: input + output,
            input,
            quota: 3000,
            is_default,
        };
        let own = describe(&excess(120, 64_000, true));
        for part in ["64120", "120 input", "64000 output", "3000 tokens per minute", "at most 2880"]
        {
            assert!(own.contains(part), "{part}: {own}");
        }
        assert!(describe(&excess(120, 4000, false)).contains("Lower the maximum"));
        assert!(describe(&excess(5000, 10, false)).contains("Send less input"));
    }
}

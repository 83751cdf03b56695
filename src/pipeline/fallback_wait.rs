//! How long a request stays with the model that it asks for before another model may answer, and how
//! such waits end.
//!
//! A request says it with `x-sluice-wait-before-fallback: 5s`, else its client's entry in the config,
//! else its route. It is never longer than the request may wait at all, and ends a moment before
//! that, so that another model can still be taken. A request whose route has one target, or that may
//! not wait, costs no more than a look at this.

use std::time::Duration;

use http::HeaderName;
use tokio::time::Instant;

use super::deadline::{WaitBudget, duration_header};
use super::inbound::InternalRequest;
use super::routed::RoutedRequest;
use crate::telemetry::Choice;

static WAIT: HeaderName = HeaderName::from_static("x-sluice-wait-before-fallback");

/// How long before its end a wait is left for another model, at most: time to be taken from the
/// queue.
const LAST_MOMENT: Duration = Duration::from_millis(100);

/// How the wait of a request for its model ended, as metrics name it: by whose answer it got.
pub(super) fn result(choice: Option<Choice>) -> &'static str {
    match choice {
        Some(Choice::First) => "first_choice",
        Some(Choice::Other) => "other",
        None => "ended",
    }
}

/// From when on another model than the one asked for may answer. `None`: at once.
pub(super) fn fallback_from(routed: &RoutedRequest, wait_budget: &WaitBudget) -> Option<Instant> {
    if routed.candidates.len() < 2 {
        return None;
    }
    let wait = wait(routed);
    if wait.is_zero() {
        return None;
    }
    let now = Instant::now();
    Some((now + wait).min(last_moment(wait_budget.wait_deadline(now), now)))
}

/// The moment before `end` in which a request is still served.
pub(super) fn last_moment(end: Instant, now: Instant) -> Instant {
    let left = end.saturating_duration_since(now);
    now + left.saturating_sub(LAST_MOMENT.min(left / 10))
}

/// How long the request waits for its model. The module that makes an internal request chose the
/// model, so the client's own wait does not apply.
fn wait(routed: &RoutedRequest) -> Duration {
    let of_route = routed.route.wait_before_fallback;
    if routed.head.extensions.get::<InternalRequest>().is_some() {
        return of_route;
    }
    let max_wait = routed.context.gateway().config.queue.max_wait;
    let requested_wait =
        duration_header(&routed.head.headers, &WAIT).map(|requested| requested.min(max_wait));
    let of_client = || routed.context.policy()?.wait_before_fallback();
    requested_wait.or_else(of_client).unwrap_or(of_route)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_that_is_no_duration_counts_as_none_and_one_that_is_too_long_as_the_longest() {
        let asked_with = |value: &str| {
            let mut headers = http::HeaderMap::new();
            headers.insert(&WAIT, value.parse().unwrap());
            duration_header(&headers, &WAIT)
        };
        assert_eq!(asked_with("1500ms"), Some(Duration::from_millis(1500)));
        assert_eq!(asked_with("0s"), Some(Duration::ZERO));
        assert_eq!(asked_with("999999999999999999999s"), Some(Duration::MAX));
        for garbage in ["", "soon", "-5s", "5", "5s5s s"] {
            assert_eq!(asked_with(garbage), None, "{garbage}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_leaves_a_moment_before_its_end() {
        let now = Instant::now();
        let left = |millis| {
            let end = now + Duration::from_millis(millis);
            (last_moment(end, now) - now).as_millis()
        };
        assert_eq!([left(0), left(100), left(1_000), left(45_000)], [0, 90, 900, 44_900]);
    }
}

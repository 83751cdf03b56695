//! When a request must have been answered, and how long it may wait in the queue. Both depend on the
//! config, and on how long the client waits, if it announces that.
//!
//! AWS SDKs with a time limit send it as `amz-sdk-request: ttl=20261123T120000Z; ...`; any client may
//! send `x-sluice-max-wait: 20s`. A request is never queued beyond either.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName};
use tokio::time::Instant;

use super::inbound::InternalRequest;
use super::routed::RoutedRequest;
use crate::bedrock::sigv4::amz_date::parse_amz_date;

static SDK_REQUEST: HeaderName = HeaderName::from_static("amz-sdk-request");
static MAX_WAIT: HeaderName = HeaderName::from_static("x-sluice-max-wait");

/// How long a request may still wait, over all its waits.
#[derive(Debug)]
pub(super) struct WaitBudget {
    pub(super) left: Duration,
    pub(super) deadline: Instant,
}

impl WaitBudget {
    /// When a wait that begins now ends at the latest.
    pub(super) fn wait_deadline(&self, now: Instant) -> Instant {
        self.deadline.min(now + self.left)
    }
}

/// When a request must have been answered.
pub(super) fn deadline(routed: &RoutedRequest) -> Instant {
    let internal = routed.head.extensions.get::<InternalRequest>();
    let server = &routed.context.gateway().config.server;
    match internal {
        Some(internal) => internal.deadline,
        None if routed.is_bidirectional() => {
            routed.context.timing.started + server.bidirectional_timeout
        }
        None => routed.context.timing.started + server.request_timeout,
    }
}

/// How long a request may wait in the queue: as long as its client and the config allow, and not
/// beyond `deadline`. An internal request that stands for itself may wait until its deadline, unless the queue is
/// off.
pub(super) fn wait_budget(routed: &RoutedRequest, deadline: Instant) -> WaitBudget {
    let max_wait = routed.context.gateway().config.queue.max_wait;
    let internal = routed.head.extensions.get::<InternalRequest>();
    if internal.is_some_and(|it| it.part_of.is_none()) && !max_wait.is_zero() {
        let left = deadline.saturating_duration_since(Instant::now());
        return WaitBudget { left, deadline };
    }
    let client_wait = client_wait(&routed.head.headers, SystemTime::now());
    WaitBudget { left: client_wait.map_or(max_wait, |wait| wait.min(max_wait)), deadline }
}

/// How long the client waits from `now` on; zero if its time is over.
fn client_wait(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let ttl = text(&SDK_REQUEST).and_then(time_to_live);
    let until_ttl = ttl.map(|ttl| ttl.duration_since(now).unwrap_or_default());
    [until_ttl, duration_header(headers, &MAX_WAIT)].into_iter().flatten().min()
}

/// The duration that a client sends in this header. One that is too long for its type counts as the
/// longest, since each header has a bound. A value that is not a duration is ignored.
pub(super) fn duration_header(headers: &HeaderMap, name: &HeaderName) -> Option<Duration> {
    let text = headers.get(name)?.to_str().ok()?;
    match humantime::parse_duration(text) {
        Ok(duration) => Some(duration),
        // The same error stands for a fraction of a nanosecond.
        Err(humantime::DurationError::NumberOverflow) if !text.contains('.') => Some(Duration::MAX),
        Err(_) => None,
    }
}

/// The `ttl` of an `amz-sdk-request` header.
fn time_to_live(value: &str) -> Option<SystemTime> {
    let ttl = value.split(';').find_map(|part| part.trim().strip_prefix("ttl="))?;
    let seconds = parse_amz_date(ttl).and_then(|seconds| u64::try_from(seconds).ok())?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// 2026-11-23T12:00:00Z
    const NOON: u64 = 1_795_435_200;

    fn at_noon(name: &'static str, value: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
        client_wait(&headers, SystemTime::UNIX_EPOCH + Duration::from_secs(NOON))
    }

    #[test]
    fn the_time_to_live_of_an_sdk_is_read() {
        let seconds = |value| at_noon("amz-sdk-request", value).map(|wait| wait.as_secs());
        assert_eq!(seconds("ttl=20261123T120030Z; attempt=1; max=3"), Some(30));
        assert_eq!(seconds("attempt=1; ttl=20261123T120030Z"), Some(30));
        assert_eq!(seconds("ttl=20261123T115959Z"), Some(0));
        assert_eq!(seconds("attempt=1; max=3"), None);
        for garbage in ["ttl=", "ttl=Z", "ttl=T", "ttl=20261123T12003Z", "ttl=2026é123T120030Z"] {
            assert_eq!(seconds(garbage), None, "{garbage}");
        }
    }

    #[test]
    fn a_client_limits_its_wait_with_a_header() {
        assert_eq!(at_noon("x-sluice-max-wait", "1500ms"), Some(Duration::from_millis(1500)));
        assert_eq!(at_noon("x-sluice-max-wait", "soon"), None);
        for endless in ["999999999999999999999s", "18446744073709551615days"] {
            assert_eq!(at_noon("x-sluice-max-wait", endless), Some(Duration::MAX), "{endless}");
        }
    }
}

//! The headers by which OpenAI's and Anthropic's clients see what is left of their limits.
//!
//! The gateway takes them from its own buckets: from the limits of the client where it has some, else from
//! the quota of the target that answered. A limit that does not exist has no header, and what is left has
//! none where it is not known.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;

use crate::bedrock::Dialect;
use crate::bedrock::sigv4::amz_date::amz_date;
use crate::quota::{Snapshot, TokenLimit};

#[cfg(test)]
mod tests;

/// The longest time until a limit is whole again that a header announces.
const MAX_RESET: Duration = Duration::from_secs(24 * 60 * 60);

/// One limit of a minute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// Units per minute.
    pub per_minute: f64,
    /// Units that may come at once after a pause.
    burst: f64,
    /// Units that are left; `None` if that is not known.
    pub remaining: Option<f64>,
}

impl Limit {
    fn of(per_minute: Option<f64>, remaining: Option<f64>) -> Option<Limit> {
        let per_minute = per_minute.filter(|it| it.is_finite() && *it > 0.0)?;
        Some(Limit {
            per_minute,
            burst: per_minute,
            remaining: remaining.filter(|it| it.is_finite()),
        })
    }

    /// A rate of requests a minute, of which `burst` may come at once and `left` still can.
    pub fn of_rate(per_minute: f64, burst: u32, left: u32) -> Option<Limit> {
        let limit = Limit::of(Some(per_minute), Some(left.into()))?;
        Some(Limit { burst: burst.into(), ..limit })
    }

    fn of_tokens(limit: Option<TokenLimit>) -> Option<Limit> {
        let limit = limit?;
        Limit::of(limit.tpm, limit.available)
    }

    /// The free share; 1 if it is not known.
    fn share(&self) -> f64 {
        self.remaining.map_or(1.0, |remaining| remaining / self.per_minute)
    }

    /// What is left, as clients read it: never below zero, and never above the limit.
    fn left(&self) -> Option<u64> {
        Some(self.remaining?.clamp(0.0, self.per_minute) as u64)
    }

    /// The time until the limit is whole again.
    fn reset(&self) -> Option<Duration> {
        let missing = self.burst - self.remaining?;
        let seconds = (missing * 60.0 / self.per_minute).max(0.0);
        Some(Duration::try_from_secs_f64(seconds).unwrap_or(MAX_RESET).min(MAX_RESET))
    }
}

/// The limits that bind a request.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RateLimits {
    /// Requests.
    pub requests: Option<Limit>,
    /// Tokens: of input and output together, or the scarcer of the two where they count apart.
    pub tokens: Option<Limit>,
    /// Tokens of input, where they count apart.
    pub input_tokens: Option<Limit>,
    /// Tokens of output, where they count apart.
    pub output_tokens: Option<Limit>,
}

impl RateLimits {
    /// The limits of a quota.
    pub fn of(quota: &Snapshot) -> RateLimits {
        let (input_tokens, output_tokens) =
            (Limit::of_tokens(quota.input), Limit::of_tokens(quota.output));
        let apart = [input_tokens, output_tokens].into_iter().flatten();
        let scarcer = apart.min_by(|one, other| one.share().total_cmp(&other.share()));
        RateLimits {
            requests: Limit::of(quota.rpm, quota.requests_available),
            tokens: Limit::of(quota.tpm, quota.tokens_available).or(scarcer),
            input_tokens,
            output_tokens,
        }
    }

    /// The limits of a client, `own`, and those of the `target` that answered where it has none.
    pub fn of_client_or_target(own: &Snapshot, target: Option<&Snapshot>) -> RateLimits {
        let own = RateLimits::of(own);
        let target = target.map(RateLimits::of).unwrap_or_default();
        let tokens = if own.tokens.is_some() { own } else { target };
        RateLimits { requests: own.requests.or(target.requests), ..tokens }
    }
}

/// The names of the three headers of a limit: the limit, what is left, and when it is whole again.
type Names = [HeaderName; 3];

const OPENAI_REQUESTS: Names = [
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
];
const OPENAI_TOKENS: Names = [
    HeaderName::from_static("x-ratelimit-limit-tokens"),
    HeaderName::from_static("x-ratelimit-remaining-tokens"),
    HeaderName::from_static("x-ratelimit-reset-tokens"),
];
const ANTHROPIC_REQUESTS: Names = [
    HeaderName::from_static("anthropic-ratelimit-requests-limit"),
    HeaderName::from_static("anthropic-ratelimit-requests-remaining"),
    HeaderName::from_static("anthropic-ratelimit-requests-reset"),
];
const ANTHROPIC_TOKENS: Names = [
    HeaderName::from_static("anthropic-ratelimit-tokens-limit"),
    HeaderName::from_static("anthropic-ratelimit-tokens-remaining"),
    HeaderName::from_static("anthropic-ratelimit-tokens-reset"),
];
const ANTHROPIC_INPUT_TOKENS: Names = [
    HeaderName::from_static("anthropic-ratelimit-input-tokens-limit"),
    HeaderName::from_static("anthropic-ratelimit-input-tokens-remaining"),
    HeaderName::from_static("anthropic-ratelimit-input-tokens-reset"),
];
const ANTHROPIC_OUTPUT_TOKENS: Names = [
    HeaderName::from_static("anthropic-ratelimit-output-tokens-limit"),
    HeaderName::from_static("anthropic-ratelimit-output-tokens-remaining"),
    HeaderName::from_static("anthropic-ratelimit-output-tokens-reset"),
];

/// Puts the headers of these limits into `headers`, in place of an upstream's own. Bedrock's own dialect
/// has none.
pub fn insert(headers: &mut HeaderMap, dialect: Dialect, limits: &RateLimits, now: SystemTime) {
    let RateLimits { requests, tokens, input_tokens, output_tokens } = *limits;
    let mut fields = Fields::default();
    match dialect {
        Dialect::Bedrock => return,
        Dialect::OpenAi => {
            let as_time_left = |text: &mut String, reset| write_duration(text, reset);
            fields.limit(OPENAI_REQUESTS, requests, as_time_left);
            fields.limit(OPENAI_TOKENS, tokens, as_time_left);
        }
        Dialect::Anthropic => {
            let as_time = |text: &mut String, reset| write_time(text, now, reset);
            fields.limit(ANTHROPIC_REQUESTS, requests, as_time);
            fields.limit(ANTHROPIC_TOKENS, tokens, as_time);
            fields.limit(ANTHROPIC_INPUT_TOKENS, input_tokens, as_time);
            fields.limit(ANTHROPIC_OUTPUT_TOKENS, output_tokens, as_time);
        }
    }
    fields.put_into(headers);
}

/// Headers whose values stand one behind the other in one text, so that they take memory only once.
#[derive(Debug, Default)]
struct Fields {
    text: String,
    /// The names, and where the value of each ends.
    ends: SmallVec<[(HeaderName, usize); 12]>,
}

impl Fields {
    fn limit(
        &mut self,
        [limit, remaining, reset]: Names,
        of: Option<Limit>,
        write_reset: impl Fn(&mut String, Duration),
    ) {
        let Some(of) = of else { return };
        self.field(limit, |text| write_number(text, of.per_minute as u64));
        let Some(left) = of.left() else { return };
        self.field(remaining, |text| write_number(text, left));
        if let Some(time) = of.reset() {
            self.field(reset, |text| write_reset(text, time));
        }
    }

    fn field(&mut self, name: HeaderName, write: impl FnOnce(&mut String)) {
        write(&mut self.text);
        self.ends.push((name, self.text.len()));
    }

    fn put_into(self, headers: &mut HeaderMap) {
        headers.reserve(self.ends.len());
        let text = Bytes::from(self.text);
        let mut start = 0;
        for (name, end) in self.ends {
            let value = text.slice(start..end);
            start = end;
            // A time that no clock can have was not written.
            if let (false, Ok(value)) = (value.is_empty(), HeaderValue::from_maybe_shared(value)) {
                headers.insert(name, value);
            }
        }
    }
}

/// Whether a header is one of these, so that those of an upstream are not passed on: its limits are not the
/// client's.
pub fn is_rate_limit(name: &HeaderName) -> bool {
    name.as_str().starts_with("x-ratelimit-") || name.as_str().starts_with("anthropic-ratelimit-")
}

fn write_number(text: &mut String, number: u64) {
    text.push_str(itoa::Buffer::new().format(number));
}

/// A time left as OpenAI writes it: `120ms`, `1s`, `6m0s`, `1h0m0s`. It is rounded up.
fn write_duration(text: &mut String, left: Duration) {
    let mut part = |number: u64, unit: &str| {
        write_number(text, number);
        text.push_str(unit);
    };
    if left < Duration::from_secs(1) {
        let millis = left.as_micros().div_ceil(1000);
        return part(u64::try_from(millis).unwrap_or(u64::MAX), "ms");
    }
    let seconds = rounded_up(left);
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        part(hours, "h");
    }
    if hours > 0 || minutes > 0 {
        part(minutes, "m");
    }
    part(rest, "s");
}

/// A point in time as Anthropic writes it, by RFC 3339, rounded up to a second. Nothing is written of a time that
/// no clock can have.
fn write_time(text: &mut String, now: SystemTime, left: Duration) {
    let at = now.checked_add(left).and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let Some(seconds) = at.and_then(|at| i64::try_from(rounded_up(at)).ok()) else { return };
    text.push_str(str::from_utf8(&amz_date(seconds).rfc3339()).unwrap_or_default());
    text.push('Z');
}

fn rounded_up(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

use proptest::prelude::*;

use super::*;

/// 2026-11-30T00:00:00Z.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_996_800)
}

fn written(dialect: Dialect, limits: &RateLimits) -> Vec<(String, String)> {
    let mut headers = HeaderMap::new();
    insert(&mut headers, dialect, limits, now());
    let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
    let mut all: Vec<_> = headers.iter().map(|(name, it)| (name.to_string(), text(it))).collect();
    all.sort();
    all
}

fn expected(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn quota() -> Snapshot {
    Snapshot {
        rpm: Some(60.0),
        requests_available: Some(59.0),
        tpm: Some(10_000.0),
        tokens_available: Some(-500.0),
        ..Snapshot::default()
    }
}

#[test]
fn openai_clients_see_what_is_left_and_the_time_until_all_is() {
    assert_eq!(
        written(Dialect::OpenAi, &RateLimits::of(&quota())),
        expected(&[
            ("x-ratelimit-limit-requests", "60"),
            ("x-ratelimit-limit-tokens", "10000"),
            ("x-ratelimit-remaining-requests", "59"),
            ("x-ratelimit-remaining-tokens", "0"),
            ("x-ratelimit-reset-requests", "1s"),
            ("x-ratelimit-reset-tokens", "1m3s"),
        ])
    );
}

#[test]
fn anthropic_clients_see_the_time_at_which_all_is_left() {
    let apart = Snapshot {
        input: Some(TokenLimit {
            tpm: Some(6000.0),
            available: Some(3000.0),
            ..Default::default()
        }),
        output: Some(TokenLimit { tpm: Some(600.0), available: Some(0.0), ..Default::default() }),
        ..Snapshot::default()
    };
    assert_eq!(
        written(Dialect::Anthropic, &RateLimits::of(&apart)),
        expected(&[
            ("anthropic-ratelimit-input-tokens-limit", "6000"),
            ("anthropic-ratelimit-input-tokens-remaining", "3000"),
            ("anthropic-ratelimit-input-tokens-reset", "2026-11-30T00:00:30Z"),
            ("anthropic-ratelimit-output-tokens-limit", "600"),
            ("anthropic-ratelimit-output-tokens-remaining", "0"),
            ("anthropic-ratelimit-output-tokens-reset", "2026-11-30T00:01:00Z"),
            ("anthropic-ratelimit-tokens-limit", "600"),
            ("anthropic-ratelimit-tokens-remaining", "0"),
            ("anthropic-ratelimit-tokens-reset", "2026-11-30T00:01:00Z"),
        ])
    );
}

#[test]
fn a_limit_that_does_not_exist_has_no_header() {
    for dialect in [Dialect::Bedrock, Dialect::OpenAi, Dialect::Anthropic] {
        assert_eq!(written(dialect, &RateLimits::default()), []);
    }
    assert_eq!(written(Dialect::Bedrock, &RateLimits::of(&quota())), []);
    let unknown = Snapshot { rpm: Some(60.0), ..Snapshot::default() };
    let wanted = expected(&[("x-ratelimit-limit-requests", "60")]);
    assert_eq!(written(Dialect::OpenAi, &RateLimits::of(&unknown)), wanted);
}

#[test]
fn limits_of_the_client_come_before_those_of_the_target() {
    let own = Snapshot { tpm: Some(100.0), tokens_available: Some(50.0), ..Snapshot::default() };
    let limits = RateLimits::of_client_or_target(&own, Some(&quota()));
    assert_eq!(limits.tokens, Limit::of(Some(100.0), Some(50.0)));
    assert_eq!(limits.requests, Limit::of(Some(60.0), Some(59.0)));
    let none = Snapshot::default();
    let limits = RateLimits::of_client_or_target(&none, Some(&quota()));
    assert_eq!(limits, RateLimits::of(&quota()));
    assert_eq!(RateLimits::of_client_or_target(&none, None), RateLimits::default());
}

#[test]
fn times_left_are_written_as_openai_writes_them() {
    for (millis, text) in [
        (0, "0ms"),
        (120, "120ms"),
        (1000, "1s"),
        (1001, "2s"),
        (60_000, "1m0s"),
        (360_000, "6m0s"),
        (3_600_000, "1h0m0s"),
        (86_400_000, "24h0m0s"),
    ] {
        let mut written = String::new();
        write_duration(&mut written, Duration::from_millis(millis));
        assert_eq!(written, text);
    }
}

proptest! {
    #[test]
    fn no_numbers_make_it_panic(per_minute: f64, remaining: f64, apart: f64) {
        let apart = TokenLimit { tpm: Some(apart), available: Some(remaining), ..Default::default() };
        let snapshot = Snapshot {
            rpm: Some(per_minute),
            requests_available: Some(remaining),
            input: Some(apart),
            output: Some(apart),
            ..Snapshot::default()
        };
        for dialect in [Dialect::OpenAi, Dialect::Anthropic] {
            written(dialect, &RateLimits::of(&snapshot));
        }
    }
}

#[test]
fn a_rate_is_whole_again_when_its_burst_is() {
    // Two requests a second, of which ten may come at once and four are left.
    let limits = RateLimits { requests: Limit::of_rate(120.0, 10, 4), ..RateLimits::default() };
    assert_eq!(
        written(Dialect::OpenAi, &limits),
        expected(&[
            ("x-ratelimit-limit-requests", "120"),
            ("x-ratelimit-remaining-requests", "4"),
            ("x-ratelimit-reset-requests", "3s"),
        ])
    );
}

//! What admission promises, over an hour of traffic at quotas, above and below them.
//! `cargo bench --bench hour` prints the same hour as a table, with other ways to compare.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests"
)]

mod day;
#[allow(dead_code, reason = "the benchmark uses the rest")]
mod simulation;
mod small_quota;

use simulation::{Hour, Mode, play, table};

const SEED: u64 = 1;

#[track_caller]
fn hour(mode: Mode) -> Hour {
    let hour = play(mode, SEED);
    let row = table(std::slice::from_ref(&hour));
    assert!(hour.requests > 15_000 && hour.refused > 0, "more than the quotas take: {row}");
    assert_eq!(hour.answered + hour.refused, hour.requests, "{row}");
    assert_eq!(hour.in_flight, 0, "everything is settled");
    hour
}

#[test]
fn with_configured_quotas_nothing_is_throttled_and_nothing_is_left_unused() {
    let hour = hour(Mode::Configured);
    assert_eq!(hour.throttled, 0);
    assert_eq!(hour.attempts, hour.answered, "one attempt for each answer");
    assert_eq!(hour.refused_with_room, 0);
    assert!(hour.used.iter().all(|share| *share > 0.97), "{:?}", hour.used);
}

#[test]
fn without_known_quotas_few_attempts_are_throttled() {
    let hour = hour(Mode::Learned);
    assert!(hour.later_attempts > 10_000);
    assert!(hour.later_throttles() < 0.02, "{}", hour.later_throttles());
    assert!(hour.share_used() > 0.8, "{:?}", hour.used);
}

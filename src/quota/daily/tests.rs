//! What a daily quota admits: never more than its figure, by all replicas together, and most of it.

use proptest::prelude::*;

use super::super::{DailyQuotas, DayClock};
use super::*;

const HOUR: Duration = Duration::from_secs(3600);

/// Quotas on tokio's time, from a noon on.
fn quotas(replicas: u32) -> DailyQuotas {
    let start = humantime::parse_rfc3339("2026-11-29T12:00:00Z").unwrap();
    DailyQuotas::on_clock(DayClock::Following { start, origin: Instant::now() }, replicas)
}

fn end(mut reservation: DailyReservation, cost: u64) {
    reservation.charge(Some(cost.into()));
}

/// Has each replica in turn write its sums to a store and hear what it holds.
fn sync(replicas: &[DailyQuotas], store: &mut Vec<(usize, Entry)>) {
    for (number, quotas) in replicas.iter().enumerate() {
        let entries = quotas.entries(true);
        for entry in &entries {
            let is_same = |it: &(usize, Entry)| it.0 == number && it.1.period == entry.period;
            store.retain(|it| !is_same(it));
            store.push((number, entry.clone()));
        }
        let sum = |entry: &Entry| {
            let is_same =
                |it: &&(usize, Entry)| it.1.name == entry.name && it.1.period == entry.period;
            let all = store.iter().filter(is_same);
            all.map(|it| it.1.own).sum::<u64>()
        };
        let sums: Vec<u64> = entries.iter().map(sum).collect();
        quotas.confirm(&entries, &sums);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_takes_its_maximum_and_is_charged_what_it_used() {
    let quotas = quotas(1);
    let quota = quotas.of("a", "a", 1000);
    let first = quota.take(600).unwrap();
    let full = quota.take(600).unwrap_err();
    assert!(full.until < Instant::now() + HOUR, "the first may give some back");
    end(first, 100);
    let second = quota.take(600).unwrap();
    assert_eq!((quota.snapshot().used, quota.snapshot().reserved), (100, 600));
    drop(second);
    assert_eq!((quota.snapshot().used, quota.snapshot().reserved), (100, 0), "it was not sent");
}

#[tokio::test(start_paused = true)]
async fn a_day_that_is_used_up_stays_so_until_midnight_utc() {
    let quotas = quotas(1);
    let quota = quotas.of("a", "a", 1000);
    end(quota.take(900).unwrap(), 900);
    let full = quota.take(500).unwrap_err();
    assert_eq!(full.until, Instant::now() + 12 * HOUR);
    assert!(quota.take(50).is_ok(), "a smaller one fits");
    tokio::time::advance(12 * HOUR).await;
    assert!(quota.take(500).is_ok());
    assert_eq!(quota.snapshot().used, 0);
    assert_eq!(quota.snapshot().resets_in, 24 * 3600);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_larger_than_the_quota_goes_alone() {
    let quotas = quotas(1);
    let quota = quotas.of("a", "a", 1000);
    let alone = quota.take(5000).unwrap();
    assert!(quota.take(1).is_err());
    end(alone, 10);
    assert!(quota.take(5000).is_err());
    assert!(quota.take(500).is_ok());
}

#[tokio::test(start_paused = true)]
async fn one_throttle_at_little_use_is_thin_evidence_and_two_targets_are_not() {
    let quotas = quotas(1);
    let quota = quotas.of("account", "account", 1000);
    end(quota.take(100).unwrap(), 100);
    assert!(!quota.refused("sonnet", HOUR));
    assert!(!quota.refused("sonnet", HOUR), "the same target again shows nothing new");
    assert!(quota.take(10).is_ok());
    assert!(quota.refused("haiku", HOUR));
    assert_eq!(quota.take(10).unwrap_err().until, Instant::now() + HOUR);
    let snapshot = quota.snapshot();
    assert_eq!((snapshot.learned_tpd, snapshot.available), (Some(100), Some(0)));
    tokio::time::advance(HOUR).await;
    assert!(quota.take(10).is_ok(), "the next one tests it");
    quota.reset();
    assert!(quota.take(10).is_ok());
    assert_eq!(quota.snapshot().learned_tpd, None);
}

#[tokio::test(start_paused = true)]
async fn throttles_that_are_far_apart_confirm_nothing() {
    let quotas = quotas(1);
    let quota = quotas.of("account", "account", 1000);
    assert!(!quota.refused("sonnet", HOUR));
    tokio::time::advance(HOUR).await;
    assert!(!quota.refused("haiku", HOUR));
    assert!(quota.take(10).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_throttle_of_a_quota_that_is_mostly_used_confirms_it_until_the_day_ends_at_most() {
    let quotas = quotas(1);
    let quota = quotas.of("a", "a", 1000);
    end(quota.take(900).unwrap(), 900);
    assert!(quota.take(10).is_ok());
    assert!(quota.refused("a", 100 * HOUR));
    assert_eq!(quota.take(10).unwrap_err().until, Instant::now() + 12 * HOUR);
    assert_eq!(quota.snapshot().learned_tpd, None, "the figure is right");
    tokio::time::advance(12 * HOUR).await;
    assert!(quota.take(10).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_quota_that_nobody_configured_is_learned_from_a_whole_day() {
    let quotas = quotas(1);
    let key: Arc<str> = "quota|x".into();
    let quota = Arc::new(DailyQuota::new("x", &key, &quotas.shared()));
    assert!(quota.refused("x", HOUR));
    assert_eq!(quota.snapshot().learned_tpd, None, "it has counted a part of the day");
    tokio::time::advance(13 * HOUR).await;
    end(quota.take(700).unwrap(), 700);
    assert!(quota.refused("x", HOUR));
    assert_eq!(quota.snapshot().learned_tpd, Some(700));
}

#[tokio::test(start_paused = true)]
async fn what_was_used_is_known_after_a_restart() {
    let mut store = Vec::new();
    let before = [quotas(1)];
    let quota = before[0].of("a", "a", 1000);
    end(quota.take(900).unwrap(), 900);
    sync(&before, &mut store);
    // The next process has another number in the store.
    let after = [quotas(1), quotas(1)];
    let quota = after[1].of("a", "a", 1000);
    let entries = after[1].entries(true);
    after[1].confirm(&entries, &[900]);
    assert_eq!(quota.snapshot().used, 900);
    assert!(quota.take(500).is_err());
}

#[tokio::test(start_paused = true)]
async fn an_older_configs_quota_is_kept_while_it_has_use() {
    let quotas = quotas(1);
    end(quotas.of("a", "a", 1000).take(900).unwrap(), 900);
    drop(quotas.of("b", "b", 1000));
    let entries = quotas.entries(true);
    assert_eq!(entries.len(), 2);
    quotas.confirm(&entries, &[900, 900]);
    assert!(quotas.of("a", "a", 2000).snapshot().used >= 900);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However requests come and end at three replicas, and however seldom they sync, together they never use more
    /// than the quota, and when all of them are refused, little is left.
    #[test]
    fn replicas_together_use_most_of_a_day_and_no_more(
        steps in prop::collection::vec((0..3usize, 10u64..200, 0.0f64..=1.0, any::<bool>()), 1..400),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            const TPD: u64 = 10_000;
            let replicas = [quotas(3), quotas(3), quotas(3)];
            replicas.iter().for_each(DailyQuotas::share_by_claims);
            let all: Vec<_> = replicas.iter().map(|it| it.of("a", "a", TPD)).collect();
            let mut store = Vec::new();
            let mut open: Vec<(DailyReservation, u64)> = Vec::new();
            let mut used = 0;
            for (at, tokens, share, ends) in steps {
                if let Ok(reservation) = all[at].take(tokens) {
                    open.push((reservation, (tokens as f64 * share) as u64));
                }
                let held: u64 = open.iter().map(|(it, _)| it.tokens).sum();
                assert!(used + held <= TPD, "{used} + {held}");
                if ends && let Some((reservation, cost)) = open.pop() {
                    end(reservation, cost);
                    used += cost;
                }
                if tokens % 3 == 0 {
                    sync(&replicas, &mut store);
                }
            }
            for (reservation, cost) in open.drain(..) {
                end(reservation, cost);
                used += cost;
            }
            sync(&replicas, &mut store);
            let mut refusals = 0;
            while refusals < 30 {
                match all.iter().find_map(|quota| quota.take(20).ok()) {
                    Some(reservation) => {
                        end(reservation, 20);
                        (used, refusals) = (used + 20, 0);
                    }
                    None => refusals += 1,
                }
                sync(&replicas, &mut store);
            }
            assert!(used <= TPD && used as f64 >= 0.97 * TPD as f64, "{used}");
        });
    }
}

//! That reservations conserve what is taken, and settle once.

use proptest::prelude::*;

use super::*;

fn quota(rpm: Option<u32>, tpm: Option<u64>) -> Arc<Quota> {
    let limits = QuotaLimits { rpm, tpm, floor_rpm: 1, floor_tpm: 10, ..QuotaLimits::default() };
    let learning = Learning::from(&crate::config::Learning {
        enabled: true,
        decrease: 0.5,
        increase: 0.1,
        floor_rpm: 1,
        floor_tpm: 10,
    });
    Arc::new(Quota::new(&limits, learning, Arc::default(), Instant::now()))
}

fn tokens_left(quota: &Quota) -> f64 {
    quota.snapshot(Instant::now()).tokens_available.unwrap()
}

#[tokio::test(start_paused = true)]
async fn unused_tokens_come_back_at_once() {
    let quota = quota(None, Some(1000));
    let mut reservation = quota.take(800, Instant::now()).unwrap();
    assert_eq!(tokens_left(&quota), 200.0);
    reservation.charge(300);
    drop(reservation);
    assert_eq!(tokens_left(&quota), 700.0);
}

#[tokio::test(start_paused = true)]
async fn a_charge_above_the_reservation_becomes_a_debt() {
    let quota = quota(None, Some(1000));
    let mut reservation = quota.take(800, Instant::now()).unwrap();
    reservation.charge(1500);
    drop(reservation);
    assert_eq!(tokens_left(&quota), -500.0);
    assert!(quota.take(1, Instant::now()).unwrap_err() > Instant::now() + Duration::from_secs(29));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_not_sent_gives_back_its_unit_too() {
    let quota = quota(Some(1), None);
    let reservation = quota.take(10, Instant::now()).unwrap();
    assert!(quota.take(10, Instant::now()).is_err());
    drop(reservation);
    let mut reservation = quota.take(10, Instant::now()).unwrap();
    reservation.charge(10);
    drop(reservation);
    assert!(quota.take(10, Instant::now()).is_err(), "this one was sent");
}

#[test]
fn the_scarcer_kind_decides_how_many_requests_go_through() {
    assert_eq!(quota(None, None).per_minute(100.0), None);
    assert_eq!(quota(Some(50), Some(1000)).per_minute(100.0), Some(10.0));
    assert_eq!(quota(Some(50), Some(1000)).per_minute(1.0), Some(50.0));
}

#[tokio::test(start_paused = true)]
async fn a_throttle_of_requests_does_not_empty_the_tokens() {
    let quota = quota(Some(100), Some(1000));
    quota.throttled(Dimension::Tokens, Instant::now());
    let now = quota.snapshot(Instant::now());
    assert_eq!((now.learned_rpm, now.learned_tpm), (None, Some(500.0)));
    assert_eq!((now.configured_rpm, now.configured_tpm), (None, Some(1000.0)));
}

proptest! {
    /// Conservation: whatever order requests come and end in, what is held plus what was
    /// charged plus what is left is the capacity (on a clock that stands still).
    #[test]
    fn reserved_less_refunded_is_used(
        steps in prop::collection::vec((any::<bool>(), 1u64..400, prop::option::of(0u64..800)), 1..100)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let quota = quota(Some(10_000), Some(100_000));
            let mut held: Vec<Reservation> = Vec::new();
            let (mut charged, mut sent) = (0, 0);
            for (arrives, tokens, charge) in steps {
                if arrives {
                    held.push(quota.take(tokens, Instant::now()).unwrap());
                } else if let (Some(mut reservation), Some(charge)) = (held.pop(), charge) {
                    reservation.charge(charge);
                    charged += charge;
                    sent += 1;
                }
                let now = quota.snapshot(Instant::now());
                let holding: u64 = held.iter().map(Reservation::taken).sum();
                let tokens = now.tokens_available.unwrap() + (holding + charged) as f64;
                assert!((tokens - 100_000.0).abs() < 1e-6, "{tokens}");
                let requests = now.requests_available.unwrap() + (held.len() + sent) as f64;
                assert!((requests - 10_000.0).abs() < 1e-6, "{requests}");
                assert_eq!(now.in_flight, held.len() as u64);
            }
        });
    }
}

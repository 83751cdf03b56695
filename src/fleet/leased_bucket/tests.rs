//! A leased bucket with a scripted ledger, on a clock that the tests move.

use super::*;
use crate::fleet::{LearnedLimit, LinkState};

const CONFIG: BucketConfig = BucketConfig { per_minute: 600.0, capacity: 600.0 };
const SECOND: Duration = Duration::from_secs(1);

fn status(link: LinkState) -> Arc<SharedStatus> {
    Arc::new(SharedStatus::from_pointee(FleetStatus {
        link,
        ever_connected: true,
        replicas: 3,
        sync_interval: Duration::from_millis(100),
        max_lease: 0.25,
        lease_idle: 5 * SECOND,
    }))
}

fn set(status: &SharedStatus, link: LinkState) {
    status.store(Arc::new(FleetStatus { link, ..FleetStatus::clone(&status.load()) }));
}

fn grant(granted_now: f64, granted_later: f64, due_in: Duration) -> LeaseGrant {
    let learned = LearnedLimit::default();
    let (level, at, used_in_a_minute) = (0.0, 0, 0.0);
    LeaseGrant { granted_now, granted_later, due_in, level, at, used_in_a_minute, learned }
}

fn request(bucket: &mut LeasedBucket, now: Instant) -> Option<LeaseRequest> {
    bucket.next_request(Some(CONFIG), now)
}

#[test]
fn a_lease_request_covers_queued_requests_and_their_due_time() {
    let now = Instant::now();
    let mut bucket = LeasedBucket::new(status(LinkState::Connected), now);
    assert!(request(&mut bucket, now).is_none(), "there is no demand");
    assert!(bucket.when(5.0, CONFIG, now) > now);
    assert!(bucket.record_shortage(5.0, now));
    assert!(!bucket.record_shortage(5.0, now), "a sync is under way for it");
    bucket.set_backlog(12.0, now);
    let sent = request(&mut bucket, now).unwrap();
    assert_eq!((sent.minimum, sent.wanted), (5.0, 12.0));
    bucket.apply_grant(&grant(2.0, 10.0, SECOND), now);
    assert_eq!(bucket.level(CONFIG, now), 2.0);
    let due = bucket.when(5.0, CONFIG, now);
    assert!(due >= now + SECOND && due < now + SECOND + SECOND / 100);
    assert_eq!(bucket.when(5.0, CONFIG, due), due);
    assert_eq!(bucket.level(CONFIG, due), 12.0);
}

#[test]
fn unused_units_are_returned() {
    let now = Instant::now();
    let mut bucket = LeasedBucket::new(status(LinkState::Connected), now);
    bucket.record_shortage(1.0, now);
    request(&mut bucket, now).unwrap();
    bucket.apply_grant(&grant(100.0, 0.0, Duration::ZERO), now);
    bucket.take(1.0, now);
    let idle = now + 6 * SECOND;
    let sent = request(&mut bucket, idle).unwrap();
    assert_eq!((sent.held, sent.returned_total, sent.wanted), (0.0, 99.0, 0.0));
    bucket.apply_grant(&grant(0.0, 0.0, Duration::ZERO), idle);
    assert!(bucket.is_settled(idle));
}

#[test]
fn a_debt_is_leased_next() {
    let now = Instant::now();
    let mut bucket = LeasedBucket::new(status(LinkState::Connected), now);
    bucket.take(10.0, now);
    bucket.give_back(-30.0);
    let later = now + 10 * SECOND;
    let sent = request(&mut bucket, later).unwrap();
    assert_eq!((sent.minimum, sent.wanted), (40.0, 40.0), "as a whole");
}

/// A bucket that has taken 800 where there are 600, and booked what it owes.
fn overdrawn(now: Instant) -> LeasedBucket {
    let mut bucket = LeasedBucket::new(status(LinkState::Connected), now);
    bucket.record_shortage(600.0, now);
    request(&mut bucket, now).unwrap();
    bucket.apply_grant(&grant(600.0, 0.0, Duration::ZERO), now);
    bucket.take(800.0, now);
    let sent = request(&mut bucket, now).unwrap();
    assert_eq!((sent.held, sent.minimum, sent.wanted), (0.0, 200.0, 200.0), "the debt alone");
    bucket.apply_grant(&LeaseGrant { level: -200.0, ..grant(0.0, 200.0, 20 * SECOND) }, now);
    bucket
}

#[test]
fn units_that_a_large_request_did_not_use_are_not_kept_for_the_next() {
    let now = Instant::now();
    let mut bucket = overdrawn(now);
    bucket.give_back(795.0);
    let soon = now + SECOND / 10;
    let sent = request(&mut bucket, soon).unwrap();
    assert_eq!((sent.held, sent.returned_total, sent.wanted), (0.0, 795.0, 0.0));
    bucket.apply_grant(&LeaseGrant { level: 596.0, ..grant(0.0, 0.0, Duration::ZERO) }, soon);
    assert!(bucket.is_settled(soon + 3 * SECOND));
}

#[test]
fn booked_units_are_returned_when_they_would_be_there_sooner() {
    let now = Instant::now();
    let mut bucket = overdrawn(now);
    assert!(
        !bucket.record_shortage(600.0, now) || bucket.when(600.0, CONFIG, now) > now + 10 * SECOND
    );
    bucket.give_back(795.0);
    let soon = now + SECOND / 10;
    // Five are missing of six hundred, and flow in within half a second.
    let when = bucket.when(600.0, CONFIG, now);
    assert!((now + SECOND / 2..now + SECOND).contains(&when), "{:?}", when - now);
    let sent = request(&mut bucket, soon).unwrap();
    assert_eq!(
        (sent.held, sent.returned_total, sent.minimum, sent.wanted),
        (595.0, 200.0, 5.0, 5.0)
    );
    bucket.apply_grant(&LeaseGrant { level: -4.0, ..grant(1.0, 4.0, SECOND * 2 / 5) }, soon);
    assert_eq!(bucket.when(600.0, CONFIG, soon + SECOND / 2), soon + SECOND / 2);
}

#[test]
fn a_long_wait_ends_early_when_other_replicas_return_units() {
    let now = Instant::now();
    let mut bucket = LeasedBucket::new(status(LinkState::Connected), now);
    bucket.record_shortage(600.0, now);
    request(&mut bucket, now).unwrap();
    // Another replica holds it all.
    bucket.apply_grant(&LeaseGrant { level: -600.0, ..grant(0.0, 600.0, 60 * SECOND) }, now);
    let soon = now + SECOND / 10;
    bucket.record_shortage(600.0, soon);
    let sent = request(&mut bucket, soon).unwrap();
    assert_eq!(
        (sent.held, sent.returned_total, sent.wanted),
        (600.0, 0.0, 0.0),
        "it requests nothing and reads the level"
    );
    bucket.apply_grant(&LeaseGrant { level: -10.0, ..grant(0.0, 0.0, Duration::ZERO) }, soon);
    bucket.record_shortage(600.0, soon);
    let sent = request(&mut bucket, soon).unwrap();
    assert_eq!((sent.held, sent.returned_total, sent.wanted), (0.0, 600.0, 600.0), "it books anew");
}

#[test]
fn units_that_are_due_soon_stay_booked() {
    let now = Instant::now();
    let mut bucket = LeasedBucket::new(status(LinkState::Connected), now);
    bucket.record_shortage(1.0, now);
    bucket.set_backlog(20.0, now);
    request(&mut bucket, now).unwrap();
    bucket.apply_grant(&LeaseGrant { level: -30.0, ..grant(0.0, 10.0, SECOND) }, now);
    for tenth in 1..9 {
        let then = now + tenth * SECOND / 10;
        bucket.record_shortage(1.0, then);
        bucket.set_backlog(20.0, then);
        let sent = request(&mut bucket, then).unwrap();
        assert_eq!((sent.held, sent.returned_total), (10.0, 0.0), "{tenth}");
        let level = -30.0 + f64::from(tenth);
        bucket.apply_grant(&LeaseGrant { level, ..grant(0.0, 0.0, Duration::ZERO) }, then);
    }
}

#[test]
fn the_ledgers_available_units_are_known_beside_the_held_ones() {
    let now = Instant::now();
    let mut bucket = LeasedBucket::new(status(LinkState::Connected), now);
    assert_eq!(bucket.left_in_ledger(CONFIG, now), 600.0, "nothing was used yet");
    assert!(!bucket.request_refresh(now) && bucket.request_refresh(now + 2 * SECOND));
    assert!(request(&mut bucket, now + 2 * SECOND).is_some(), "a sync for that alone");
    bucket.apply_grant(&LeaseGrant { level: 250.0, ..grant(0.0, 0.0, Duration::ZERO) }, now);
    assert_eq!(bucket.left_in_ledger(CONFIG, now + SECOND), 260.0);
    assert!(request(&mut bucket, now + SECOND).is_none(), "and once");
}

#[test]
fn the_fleet_has_what_the_ledger_had_left_and_what_has_flowed_in_since() {
    let now = Instant::now();
    let status = status(LinkState::Connected);
    let mut bucket = LeasedBucket::new(Arc::clone(&status), now);
    assert!(bucket.is_in_fleet(1.0, CONFIG, now), "nothing is known to be used");
    bucket.record_shortage(4.0, now);
    request(&mut bucket, now).unwrap();
    bucket.apply_grant(&grant(4.0, 0.0, Duration::ZERO), now);
    assert!(bucket.is_in_fleet(4.0, CONFIG, now), "it holds them");
    assert!(!bucket.is_in_fleet(5.0, CONFIG, now), "the ledger has none left");
    assert!(bucket.is_in_fleet(5.0, CONFIG, now + SECOND));
    set(&status, LinkState::Degraded(now));
    assert!(!bucket.is_in_fleet(50.0, CONFIG, now + 5 * SECOND), "the ledger grants nothing");
}

#[test]
fn without_the_ledger_it_has_its_share_of_the_flow_and_reports_it_later() {
    let now = Instant::now();
    let status = status(LinkState::Connected);
    let mut bucket = LeasedBucket::new(Arc::clone(&status), now);
    bucket.record_shortage(4.0, now);
    request(&mut bucket, now).unwrap();
    bucket.apply_grant(&grant(4.0, 0.0, Duration::ZERO), now);
    set(&status, LinkState::Degraded(now));
    assert_eq!(bucket.level(CONFIG, now), 4.0, "what it holds stays");
    // A third of ten in a second.
    let level = bucket.level(CONFIG, now + 3 * SECOND);
    assert!((level - 14.0).abs() < 1e-6, "{level}");
    let later = now + 600 * SECOND;
    assert_eq!(bucket.level(CONFIG, later), 200.0, "no more than its share of the capacity");
    bucket.take(200.0, later);
    set(&status, LinkState::Resyncing(now));
    let sent = request(&mut bucket, later).unwrap();
    assert_eq!((sent.returned_total, sent.wanted), (-196.0, 0.0));
    set(&status, LinkState::Connected);
    bucket.apply_grant(&grant(0.0, 0.0, Duration::ZERO), later);
    assert_eq!(bucket.level(CONFIG, later + SECOND), 0.0, "nothing flows in any more");
}

#[test]
fn units_that_were_booked_out_do_not_flow_in_twice() {
    let now = Instant::now();
    let status = status(LinkState::Connected);
    let mut bucket = LeasedBucket::new(Arc::clone(&status), now);
    bucket.record_shortage(4.0, now);
    request(&mut bucket, now).unwrap();
    // The ledger has booked out all that flows in within the next second.
    bucket.apply_grant(&LeaseGrant { level: -10.0, ..grant(0.0, 4.0, SECOND / 2) }, now);
    set(&status, LinkState::Degraded(now));
    assert_eq!(bucket.level(CONFIG, now + SECOND), 4.0);
    let level = bucket.level(CONFIG, now + 4 * SECOND);
    assert!((level - 14.0).abs() < 1e-3, "{level}");
}

#[test]
fn an_overdrawable_bucket_takes_what_the_ledger_was_seen_to_have() {
    let now = Instant::now();
    let mut bucket = LeasedBucket::overdrawable(status(LinkState::Connected), now);
    assert_eq!(bucket.when(200.0, CONFIG, now), now, "its share, before anything is known");
    assert!(bucket.when(201.0, CONFIG, now) > now);
    bucket.take(10.0, now);
    request(&mut bucket, now).unwrap();
    bucket.apply_grant(&LeaseGrant { level: 50.0, ..grant(10.0, 0.0, Duration::ZERO) }, now);
    assert_eq!(bucket.when(50.0, CONFIG, now), now);
    bucket.take(50.0, now);
    assert!(bucket.when(1.0, CONFIG, now) > now);
}

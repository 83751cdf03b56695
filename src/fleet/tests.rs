//! The guarantees of the ledger, and its script on a real Redis compared with the ledger in memory.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;
use tokio::time::sleep;

use super::connection::{FleetConnection, Membership, Scripts};
use super::*;
use crate::config::{RedisKind, SharedRedis};
use crate::storage::redis::Server as RedisAddress;
use crate::system::reserved_port::ReservedPort;

const LEDGER: LedgerConfig = LedgerConfig {
    lease_ahead: Duration::from_secs(1),
    lease_ttl: Duration::from_secs(10),
    replicas: 3,
};
const BUCKET: BucketConfig = BucketConfig { per_minute: 600.0, capacity: 580.0 };
const SECOND: u64 = 1_000_000;

fn request(holder: &str, minimum: f64, wanted: f64) -> LeaseRequest {
    LeaseRequest {
        entry: "quota".to_owned(),
        holder: holder.to_owned(),
        bucket: Some(BUCKET),
        held: 0.0,
        returned_total: 0.0,
        returned_acknowledged: 0.0,
        granted_total: 0.0,
        used: 0.0,
        minimum,
        wanted,
        last_seen: None,
        proposal: None,
    }
}

#[test]
fn units_that_are_not_there_yet_are_booked_no_further_ahead_than_allowed() {
    let (mut entry, now) = (Entry::default(), 1000 * SECOND);
    let all = entry.sync(&request("a", 1.0, 580.0), &LEDGER, now);
    assert_eq!((all.granted_now, all.granted_later, all.level), (580.0, 0.0, 0.0));
    // Ten flow in within a second, of which each of three may book a third.
    let held = |granted_total| LeaseRequest {
        held: granted_total,
        granted_total,
        ..request("a", 1.0, 100.0)
    };
    let booked = entry.sync(&held(580.0), &LEDGER, now);
    assert_eq!(booked.granted_now, 0.0);
    assert!((booked.granted_later - 10.0 / 3.0).abs() < 1e-9);
    assert_eq!(booked.due_in.as_millis(), 333);
    let large = entry.sync(&request("b", 50.0, 60.0), &LEDGER, now);
    assert_eq!(large.granted_later, 50.0, "a request is granted whole");
    assert_eq!(large.due_in.as_millis(), 5333);
    let none = entry.sync(&request("c", 1.0, 1.0), &LEDGER, now);
    assert_eq!((none.granted_now, none.granted_later), (0.0, 0.0), "that much is booked already");
    // What is held counts as if it were still there.
    let has_used =
        LeaseRequest { granted_total: 580.0 + booked.granted_later, ..request("a", 0.0, 0.0) };
    entry.sync(&has_used, &LEDGER, now + 5 * SECOND);
    let later = entry.sync(&request("c", 1.0, 1.0), &LEDGER, now + 5 * SECOND);
    assert_eq!(later.granted_later, 1.0);
}

#[test]
fn held_units_count_against_the_capacity_until_their_lease_expires() {
    let (mut entry, now) = (Entry::default(), 1000 * SECOND);
    entry.sync(&request("a", 0.0, 100.0), &LEDGER, now);
    // A minute later everything would be there again.
    let grant = entry.sync(&request("b", 0.0, 1000.0), &LEDGER, now + 9 * SECOND);
    assert_eq!(grant.granted_now, 480.0);
    let full = entry.sync(&request("c", 0.0, 0.1), &LEDGER, now + 100 * SECOND);
    assert_eq!(full.level, 580.0 - 0.1, "all leases have expired");
}

#[test]
fn a_lost_answer_loses_no_units() {
    let (mut entry, now) = (Entry::default(), 1000 * SECOND);
    entry.sync(&request("a", 0.0, 100.0), &LEDGER, now);
    let again = entry.sync(&request("a", 0.0, 100.0), &LEDGER, now);
    assert_eq!((again.granted_now, again.level), (100.0, 480.0));
    // Returned units that are reported twice count once.
    let back =
        LeaseRequest { granted_total: 100.0, returned_total: 60.0, ..request("a", 0.0, 0.0) };
    assert_eq!(entry.sync(&back, &LEDGER, now).level, 540.0);
    assert_eq!(entry.sync(&back, &LEDGER, now).level, 540.0);
}

#[test]
fn what_was_granted_after_a_loss_counts_against_a_later_view_of_the_time_before() {
    let (mut entry, now) = (Entry::default(), 1000 * SECOND);
    let saw = |level: f64, ago: u64| Some(LedgerSnapshot { level, at: now - ago });
    // The older view misses what others were granted after it.
    let first = LeaseRequest { last_seen: saw(0.0, SECOND), ..request("a", 5.0, 5.0) };
    let grant = entry.sync(&first, &LEDGER, now);
    assert_eq!((grant.granted_now, grant.level), (5.0, 5.0));
    let second = LeaseRequest { last_seen: saw(-5.0, SECOND / 10), ..request("b", 0.0, 0.0) };
    let grant = entry.sync(&second, &LEDGER, now);
    assert!((grant.level - -9.0).abs() < 1e-9, "{}", grant.level);
}

#[test]
fn a_lost_entry_is_restored_from_what_replicas_saw() {
    let now = 1000 * SECOND;
    let last_seen = Some(LedgerSnapshot { level: -5.0, at: now - SECOND });
    let mut entry = Entry::default();
    let grant = entry.sync(&LeaseRequest { last_seen, ..request("a", 0.0, 0.0) }, &LEDGER, now);
    assert_eq!(grant.level, 5.0, "ten have flowed in since");
    // A replica that had seen nothing came first.
    let mut entry = Entry::default();
    entry.sync(&request("b", 0.0, 0.0), &LEDGER, now);
    let grant = entry.sync(&LeaseRequest { last_seen, ..request("a", 0.0, 0.0) }, &LEDGER, now);
    assert_eq!(grant.level, 5.0);
}

#[test]
fn of_two_limits_that_are_learned_at_once_the_first_counts() {
    let (mut entry, now) = (Entry::default(), 1000 * SECOND);
    let proposal = |version, per_minute| Some(LearnedLimit { version, per_minute });
    let lower = LeaseRequest { proposal: proposal(0, Some(300.0)), ..request("a", 0.0, 0.0) };
    let grant = entry.sync(&lower, &LEDGER, now);
    assert_eq!(grant.learned, LearnedLimit { version: 1, per_minute: Some(300.0) });
    assert_eq!(grant.level, 0.0, "the upstream has refused a request");
    let late = LeaseRequest { proposal: proposal(0, Some(210.0)), ..request("b", 0.0, 0.0) };
    assert_eq!(entry.sync(&late, &LEDGER, now).learned.per_minute, Some(300.0));
    let back = LeaseRequest { proposal: proposal(1, None), ..request("b", 0.0, 0.0) };
    assert_eq!(
        entry.sync(&back, &LEDGER, now).learned,
        LearnedLimit { version: 2, per_minute: None }
    );
}

#[test]
fn a_forgotten_limit_leaves_what_was_not_used() {
    let (mut entry, now) = (Entry::default(), 1000 * SECOND);
    entry.sync(&LeaseRequest { used: 100.0, ..request("a", 0.0, 0.0) }, &LEDGER, now);
    let lowered = LearnedLimit { version: 0, per_minute: Some(60.0) };
    let refused = entry.sync(
        &LeaseRequest { proposal: Some(lowered), ..request("a", 0.0, 0.0) },
        &LEDGER,
        now,
    );
    assert!(refused.level <= 0.0, "{refused:?}");
    let forgotten = LearnedLimit { version: refused.learned.version, per_minute: None };
    let reset = entry.sync(
        &LeaseRequest { proposal: Some(forgotten), ..request("b", 0.0, 0.0) },
        &LEDGER,
        now,
    );
    assert_eq!(reset.learned.per_minute, None);
    assert_eq!(reset.level, BUCKET.capacity - 100.0);
}

#[test]
fn the_use_of_a_minute_is_that_of_all_replicas() {
    let mut entry = Entry::default();
    let used = |holder, used| LeaseRequest { used, bucket: None, ..request(holder, 0.0, 0.0) };
    let start = 6000 * SECOND;
    entry.sync(&used("a", 30.0), &LEDGER, start);
    let grant = entry.sync(&used("b", 20.0), &LEDGER, start + 30 * SECOND);
    assert_eq!(grant.used_in_a_minute, 50.0);
    let grant = entry.sync(&used("b", 0.0), &LEDGER, start + 90 * SECOND);
    assert_eq!(grant.used_in_a_minute, 25.0);
}

/// A step of one of three replicas that only takes, never more than it was granted.
#[derive(Clone, Debug)]
struct Step {
    after: u64,
    holder: usize,
    minimum: f64,
    wanted: f64,
    keeps: f64,
    is_lost: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0u64..3_000_000, 0usize..3, 0.0f64..50.0, 0.0f64..100.0, 0.0f64..1.0, 0u8..10);
    let step = step.prop_map(|(after, holder, minimum, wanted, keeps, is_lost)| {
        let (minimum, wanted) = (minimum.min(wanted).round(), wanted.round());
        Step { after, holder, minimum, wanted, keeps, is_lost: is_lost == 0 }
    });
    prop::collection::vec(step, 1..150)
}

/// The state of a replica.
#[derive(Clone, Debug, Default)]
struct Replica {
    held: f64,
    returned_total: f64,
    returned_acknowledged: f64,
    granted_total: f64,
    last_seen: Option<LedgerSnapshot>,
}

impl Replica {
    fn request(&mut self, step: &Step) -> (LeaseRequest, f64) {
        // The rest was used.
        let given_back = (self.held * step.keeps / 2.0).floor();
        self.held = (self.held * step.keeps).floor() - given_back;
        self.returned_total += given_back;
        let request = LeaseRequest {
            held: self.held,
            returned_total: self.returned_total,
            returned_acknowledged: self.returned_acknowledged,
            granted_total: self.granted_total,
            used: 1.0,
            last_seen: self.last_seen,
            ..request(["a", "b", "c"][step.holder], step.minimum, step.wanted)
        };
        (request, given_back)
    }

    fn granted(&mut self, grant: &LeaseGrant) {
        self.held += grant.granted_now + grant.granted_later;
        self.granted_total += grant.granted_now + grant.granted_later;
        self.returned_acknowledged = self.returned_total;
        self.last_seen = Some(LedgerSnapshot { level: grant.level, at: grant.at });
    }
}

proptest! {
    /// Whatever replicas request and return, and whichever answers are lost: between any two instants no more
    /// becomes usable than the capacity plus what flows in, as long as no lease expires that is still in use.
    #[test]
    fn no_more_is_granted_than_there_is(steps in steps()) {
        let config = LedgerConfig { lease_ttl: Duration::from_secs(3600), ..LEDGER };
        let (mut entry, mut now) = (Entry::default(), 5000 * SECOND);
        let mut replicas = vec![Replica::default(); 3];
        // Units and the time from which they can be used; given back ones are negative.
        let mut given: Vec<(f64, f64)> = Vec::new();
        for step in &steps {
            now += step.after;
            let (request, given_back) = replicas[step.holder].request(step);
            given.push((now as f64, -given_back));
            let grant = entry.sync(&request, &config, now);
            if step.is_lost {
                continue;
            }
            given.push((now as f64, grant.granted_now));
            given.push((now as f64 + grant.due_in.as_micros() as f64, grant.granted_later));
            replicas[step.holder].granted(&grant);
        }
        given.sort_by(|one, other| one.0.total_cmp(&other.0));
        for (at, (from, _)) in given.iter().enumerate() {
            let mut sum = 0.0;
            for (until, units) in &given[at..] {
                sum += units;
                let flowed = (until - from) * BUCKET.per_minute / 60e6;
                prop_assert!(sum <= BUCKET.capacity + flowed + 0.01, "{sum} in {}", until - from);
            }
        }
    }
}

/// A Redis of the test's own.
struct Server {
    child: Child,
    _port: ReservedPort,
    _folder: TempDir,
    redis: SharedRedis,
}

impl Server {
    fn start() -> Server {
        let port = ReservedPort::new();
        let folder = tempfile::tempdir().unwrap();
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port.number().to_string(), "--save", ""])
            .arg("--dir")
            .arg(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let urls = format!("redis://127.0.0.1:{}/0", port.number()).as_str().into();
        let redis = SharedRedis { kind: RedisKind::Standalone, urls, master: String::new() };
        Server { child, _port: port, _folder: folder, redis }
    }

    async fn connect(&self, scripts: &Scripts) -> FleetConnection {
        let server = RedisAddress::new(&self.redis, Duration::from_secs(5)).unwrap();
        for _ in 0..1000 {
            if let Ok(connected) = super::connection::connect(&server, &scripts.channel()).await {
                return connected;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("Redis does not answer");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The script and the ledger in memory answer alike, at the times of Redis's clock.
#[tokio::test]
async fn the_script_answers_as_the_ledger_does() {
    let server = Server::start();
    let scripts = Scripts::new("test");
    let mut connection = server.connect(&scripts).await;
    let membership = Membership { replica: "r", ttl: Duration::from_secs(60), is_heartbeat: true };
    let mut random = fastrand::Rng::with_seed(7);
    let (mut entry, mut replicas) = (Entry::default(), vec![Replica::default(); 3]);
    for round in 0..300 {
        let step = Step {
            after: 0,
            holder: random.usize(0..3),
            minimum: f64::from(random.u32(0..20)),
            wanted: f64::from(random.u32(0..60)),
            keeps: random.f64(),
            is_lost: random.u8(0..10) == 0,
        };
        let (mut request, _) = replicas[step.holder].request(&step);
        if round % 50 == 20 {
            let per_minute = Some(600.0 - f64::from(round)).filter(|_| round % 100 == 20);
            request.proposal = Some(LearnedLimit { version: random.u64(0..3), per_minute });
        }
        if round % 40 == 10 {
            request.bucket = None;
        }
        let requests = std::slice::from_ref(&request);
        let reply = connection.sync(&scripts, &membership, &LEDGER, requests).await.unwrap();
        let config = LedgerConfig { replicas: reply.replicas, ..LEDGER };
        assert_eq!(reply.replicas, 1);
        let expected = entry.sync(&request, &config, reply.grants[0].at);
        let (grant, about) = (reply.grants[0], |one: f64, it: f64| (one - it).abs() < 1e-6);
        assert!(
            about(grant.granted_now, expected.granted_now),
            "{round}: {grant:?} {expected:?} {request:?}"
        );
        assert!(
            about(grant.granted_later, expected.granted_later),
            "{round}: {grant:?} {expected:?} {request:?}"
        );
        assert!(about(grant.level, expected.level), "{round}: {grant:?} {expected:?} {request:?}");
        assert!(about(grant.used_in_a_minute, expected.used_in_a_minute), "{round}");
        assert!(grant.due_in.abs_diff(expected.due_in) < Duration::from_millis(1), "{round}");
        assert_eq!(grant.learned, expected.learned, "{round}");
        if !step.is_lost && request.bucket.is_some() {
            replicas[step.holder].granted(&grant);
        }
        if round % 10 == 0 {
            sleep(Duration::from_millis(30)).await;
        }
    }
}

#[tokio::test]
async fn silent_members_expire_and_cooldowns_are_extended_never_shortened() {
    let server = Server::start();
    let scripts = Scripts::new("test");
    let mut connection = server.connect(&scripts).await;
    let ttl = Duration::from_millis(300);
    let member = |replica| Membership { replica, ttl, is_heartbeat: true };
    for (replica, count) in [("a", 1), ("b", 2), ("a", 2)] {
        let reply = connection.sync(&scripts, &member(replica), &LEDGER, &[]).await.unwrap();
        assert_eq!(reply.replicas, count, "{replica}");
    }
    sleep(Duration::from_millis(400)).await;
    let reply = connection.sync(&scripts, &member("b"), &LEDGER, &[]).await.unwrap();
    assert_eq!(reply.replicas, 1);

    let cooled = |seconds| FleetEvent::Cooled {
        target: "my target".to_owned(),
        pause: Duration::from_secs(seconds),
        throttles: 2,
        is_quota: true,
    };
    connection.publish(&scripts, "a", &cooled(60)).await.unwrap();
    connection.publish(&scripts, "b", &cooled(5)).await.unwrap();
    for version in [1, 2] {
        let message = connection.message().await.unwrap();
        assert_eq!(ReceivedEvent::parse(&message).unwrap().version, version);
    }
    let (version, cooling) = connection.cooldowns(&scripts).await.unwrap();
    assert_eq!(version, 2);
    let [FleetEvent::Cooled { pause, throttles: 2, is_quota: true, .. }] = cooling.as_slice()
    else {
        panic!("{cooling:?}");
    };
    assert!(*pause > Duration::from_secs(55), "{pause:?}");
    connection
        .publish(&scripts, "b", &FleetEvent::Recovered { target: "my target".to_owned() })
        .await
        .unwrap();
    assert_eq!(connection.cooldowns(&scripts).await.unwrap(), (3, vec![]));
    connection.publish(&scripts, "a", &cooled(60)).await.unwrap();
    connection.publish(&scripts, "b", &FleetEvent::Reset).await.unwrap();
    assert_eq!(connection.cooldowns(&scripts).await.unwrap(), (5, vec![]));
}

//! The ledger by its promises, and its script on a real Redis by the ledger in memory.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use proptest::prelude::*;
use tempfile::TempDir;
use tokio::time::sleep;

use super::link::{Connected, Presence, Scripts};
use super::*;
use crate::config::{RedisKind, SharedRedis};

const RULES: Rules =
    Rules { ahead: Duration::from_secs(1), lease_ttl: Duration::from_secs(10), replicas: 3 };
const TERMS: Terms = Terms { per_minute: 600.0, capacity: 580.0 };
const SECOND: u64 = 1_000_000;

fn ask(lessee: &str, need: f64, want: f64) -> Ask {
    Ask {
        entry: "quota".to_owned(),
        lessee: lessee.to_owned(),
        terms: Some(TERMS),
        held: 0.0,
        credit: 0.0,
        acknowledged: 0.0,
        received: 0.0,
        used: 0.0,
        need,
        want,
        seen: None,
        proposal: None,
    }
}

#[test]
fn what_is_not_there_yet_is_booked_and_no_further_than_allowed() {
    let (mut entry, now) = (Entry::default(), 1000 * SECOND);
    let all = entry.exchange(&ask("a", 1.0, 580.0), &RULES, now);
    assert_eq!((all.now, all.later, all.level), (580.0, 0.0, 0.0));
    // Ten flow in within a second, of which each of three may book a third.
    let held = |received| Ask { held: received, received, ..ask("a", 1.0, 100.0) };
    let booked = entry.exchange(&held(580.0), &RULES, now);
    assert_eq!(booked.now, 0.0);
    assert!((booked.later - 10.0 / 3.0).abs() < 1e-9);
    assert_eq!(booked.due.as_millis(), 333);
    let large = entry.exchange(&ask("b", 50.0, 60.0), &RULES, now);
    assert_eq!(large.later, 50.0, "a request is granted whole");
    assert_eq!(large.due.as_millis(), 5333);
    let none = entry.exchange(&ask("c", 1.0, 1.0), &RULES, now);
    assert_eq!((none.now, none.later), (0.0, 0.0), "that much is booked already");
    // What is held counts as if it were still there.
    let has_used = Ask { received: 580.0 + booked.later, ..ask("a", 0.0, 0.0) };
    entry.exchange(&has_used, &RULES, now + 5 * SECOND);
    let later = entry.exchange(&ask("c", 1.0, 1.0), &RULES, now + 5 * SECOND);
    assert_eq!(later.later, 1.0);
}

#[test]
fn what_is_held_counts_against_the_capacity_until_its_lease_is_void() {
    let (mut entry, now) = (Entry::default(), 1000 * SECOND);
    entry.exchange(&ask("a", 0.0, 100.0), &RULES, now);
    // A minute later everything would be there again.
    let grant = entry.exchange(&ask("b", 0.0, 1000.0), &RULES, now + 9 * SECOND);
    assert_eq!(grant.now, 480.0);
    let full = entry.exchange(&ask("c", 0.0, 0.1), &RULES, now + 100 * SECOND);
    assert_eq!(full.level, 580.0 - 0.1, "nobody was heard of");
}

#[test]
fn an_answer_that_was_lost_is_no_loss() {
    let (mut entry, now) = (Entry::default(), 1000 * SECOND);
    entry.exchange(&ask("a", 0.0, 100.0), &RULES, now);
    let again = entry.exchange(&ask("a", 0.0, 100.0), &RULES, now);
    assert_eq!((again.now, again.level), (100.0, 480.0));
    // What was given back and is said twice counts once.
    let back = Ask { received: 100.0, credit: 60.0, ..ask("a", 0.0, 0.0) };
    assert_eq!(entry.exchange(&back, &RULES, now).level, 540.0);
    assert_eq!(entry.exchange(&back, &RULES, now).level, 540.0);
}

#[test]
fn an_entry_that_was_lost_is_restored_from_what_was_seen() {
    let now = 1000 * SECOND;
    let seen = Some(Seen { level: -5.0, at: now - SECOND });
    let mut entry = Entry::default();
    let grant = entry.exchange(&Ask { seen, ..ask("a", 0.0, 0.0) }, &RULES, now);
    assert_eq!(grant.level, 5.0, "ten have flowed in since");
    // Somebody who knew nothing came first.
    let mut entry = Entry::default();
    entry.exchange(&ask("b", 0.0, 0.0), &RULES, now);
    let grant = entry.exchange(&Ask { seen, ..ask("a", 0.0, 0.0) }, &RULES, now);
    assert_eq!(grant.level, 5.0);
}

#[test]
fn of_two_who_learn_at_once_one_counts() {
    let (mut entry, now) = (Entry::default(), 1000 * SECOND);
    let proposal = |version, figure| Some(Learned { version, figure });
    let lower = Ask { proposal: proposal(0, Some(300.0)), ..ask("a", 0.0, 0.0) };
    let grant = entry.exchange(&lower, &RULES, now);
    assert_eq!(grant.learned, Learned { version: 1, figure: Some(300.0) });
    assert_eq!(grant.level, 0.0, "the upstream has said that it is empty");
    let late = Ask { proposal: proposal(0, Some(210.0)), ..ask("b", 0.0, 0.0) };
    assert_eq!(entry.exchange(&late, &RULES, now).learned.figure, Some(300.0));
    let back = Ask { proposal: proposal(1, None), ..ask("b", 0.0, 0.0) };
    assert_eq!(entry.exchange(&back, &RULES, now).learned, Learned { version: 2, figure: None });
}

#[test]
fn a_forgotten_limit_leaves_what_was_not_used() {
    let (mut entry, now) = (Entry::default(), 1000 * SECOND);
    entry.exchange(&Ask { used: 100.0, ..ask("a", 0.0, 0.0) }, &RULES, now);
    let lowered = Learned { version: 0, figure: Some(60.0) };
    let refused =
        entry.exchange(&Ask { proposal: Some(lowered), ..ask("a", 0.0, 0.0) }, &RULES, now);
    assert!(refused.level <= 0.0, "{refused:?}");
    let forgotten = Learned { version: refused.learned.version, figure: None };
    let reset =
        entry.exchange(&Ask { proposal: Some(forgotten), ..ask("b", 0.0, 0.0) }, &RULES, now);
    assert_eq!(reset.learned.figure, None);
    assert_eq!(reset.level, TERMS.capacity - 100.0);
}

#[test]
fn the_use_of_a_minute_is_that_of_all() {
    let mut entry = Entry::default();
    let used = |lessee, used| Ask { used, terms: None, ..ask(lessee, 0.0, 0.0) };
    let start = 6000 * SECOND;
    entry.exchange(&used("a", 30.0), &RULES, start);
    let grant = entry.exchange(&used("b", 20.0), &RULES, start + 30 * SECOND);
    assert_eq!(grant.used_in_a_minute, 50.0);
    let grant = entry.exchange(&used("b", 0.0), &RULES, start + 90 * SECOND);
    assert_eq!(grant.used_in_a_minute, 25.0);
}

/// A step of one of three replicas that only takes, never more than it was granted.
#[derive(Clone, Debug)]
struct Step {
    after: u64,
    lessee: usize,
    need: f64,
    want: f64,
    keeps: f64,
    is_lost: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0u64..3_000_000, 0usize..3, 0.0f64..50.0, 0.0f64..100.0, 0.0f64..1.0, 0u8..10);
    let step = step.prop_map(|(after, lessee, need, want, keeps, is_lost)| {
        let (need, want) = (need.min(want).round(), want.round());
        Step { after, lessee, need, want, keeps, is_lost: is_lost == 0 }
    });
    prop::collection::vec(step, 1..150)
}

/// What a replica knows.
#[derive(Clone, Debug, Default)]
struct Replica {
    held: f64,
    credit: f64,
    acknowledged: f64,
    received: f64,
    seen: Option<Seen>,
}

impl Replica {
    fn ask(&mut self, step: &Step) -> (Ask, f64) {
        // The rest was used.
        let given_back = (self.held * step.keeps / 2.0).floor();
        self.held = (self.held * step.keeps).floor() - given_back;
        self.credit += given_back;
        let ask = Ask {
            held: self.held,
            credit: self.credit,
            acknowledged: self.acknowledged,
            received: self.received,
            used: 1.0,
            seen: self.seen,
            ..ask(["a", "b", "c"][step.lessee], step.need, step.want)
        };
        (ask, given_back)
    }

    fn granted(&mut self, grant: &Grant) {
        self.held += grant.now + grant.later;
        self.received += grant.now + grant.later;
        self.acknowledged = self.credit;
        self.seen = Some(Seen { level: grant.level, at: grant.at });
    }
}

proptest! {
    /// Whatever replicas ask for, give back and do not hear: what is there to use by any time since
    /// any other is never more than the capacity and what has flowed in between; as long as no lease
    /// becomes void that is used all the same.
    #[test]
    fn no_more_is_granted_than_there_is(steps in steps()) {
        let rules = Rules { lease_ttl: Duration::from_secs(3600), ..RULES };
        let (mut entry, mut now) = (Entry::default(), 5000 * SECOND);
        let mut replicas = vec![Replica::default(); 3];
        // Units and the time from which they can be used; given back ones are negative.
        let mut given: Vec<(f64, f64)> = Vec::new();
        for step in &steps {
            now += step.after;
            let (ask, given_back) = replicas[step.lessee].ask(step);
            given.push((now as f64, -given_back));
            let grant = entry.exchange(&ask, &rules, now);
            if step.is_lost {
                continue;
            }
            given.push((now as f64, grant.now));
            given.push((now as f64 + grant.due.as_micros() as f64, grant.later));
            replicas[step.lessee].granted(&grant);
        }
        given.sort_by(|one, other| one.0.total_cmp(&other.0));
        for (at, (from, _)) in given.iter().enumerate() {
            let mut sum = 0.0;
            for (until, units) in &given[at..] {
                sum += units;
                let flowed = (until - from) * TERMS.per_minute / 60e6;
                prop_assert!(sum <= TERMS.capacity + flowed + 0.01, "{sum} in {}", until - from);
            }
        }
    }
}

/// A Redis of the test's own.
struct Server {
    child: Child,
    _folder: TempDir,
    redis: SharedRedis,
}

impl Server {
    fn start() -> Server {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let folder = tempfile::tempdir().unwrap();
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", ""])
            .arg("--dir")
            .arg(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let urls = format!("redis://127.0.0.1:{port}/0").as_str().into();
        let redis = SharedRedis { kind: RedisKind::Standalone, urls, master: String::new() };
        Server { child, _folder: folder, redis }
    }

    async fn connect(&self, scripts: &Scripts) -> Connected {
        let server = super::Server::new(&self.redis, Duration::from_secs(5)).unwrap();
        for _ in 0..1000 {
            if let Ok(connected) = super::link::connect(&server, &scripts.channel()).await {
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
async fn the_script_does_what_the_ledger_does() {
    let server = Server::start();
    let scripts = Scripts::new("test");
    let mut link = server.connect(&scripts).await;
    let presence = Presence { replica: "r", ttl: Duration::from_secs(60), is_heartbeat: true };
    let mut random = fastrand::Rng::with_seed(7);
    let (mut entry, mut replicas) = (Entry::default(), vec![Replica::default(); 3]);
    for round in 0..300 {
        let step = Step {
            after: 0,
            lessee: random.usize(0..3),
            need: f64::from(random.u32(0..20)),
            want: f64::from(random.u32(0..60)),
            keeps: random.f64(),
            is_lost: random.u8(0..10) == 0,
        };
        let (mut ask, _) = replicas[step.lessee].ask(&step);
        if round % 50 == 20 {
            let figure = Some(600.0 - f64::from(round)).filter(|_| round % 100 == 20);
            ask.proposal = Some(Learned { version: random.u64(0..3), figure });
        }
        if round % 40 == 10 {
            ask.terms = None;
        }
        let asks = std::slice::from_ref(&ask);
        let told = link.exchange(&scripts, &presence, &RULES, asks).await.unwrap();
        let rules = Rules { replicas: told.replicas, ..RULES };
        assert_eq!(told.replicas, 1);
        let expected = entry.exchange(&ask, &rules, told.grants[0].at);
        let (grant, about) = (told.grants[0], |one: f64, it: f64| (one - it).abs() < 1e-6);
        assert!(about(grant.now, expected.now), "{round}: {grant:?} {expected:?} {ask:?}");
        assert!(about(grant.later, expected.later), "{round}: {grant:?} {expected:?} {ask:?}");
        assert!(about(grant.level, expected.level), "{round}: {grant:?} {expected:?} {ask:?}");
        assert!(about(grant.used_in_a_minute, expected.used_in_a_minute), "{round}");
        assert!(grant.due.abs_diff(expected.due) < Duration::from_millis(1), "{round}");
        assert_eq!(grant.learned, expected.learned, "{round}");
        if !step.is_lost && ask.terms.is_some() {
            replicas[step.lessee].granted(&grant);
        }
        if round % 10 == 0 {
            sleep(Duration::from_millis(30)).await;
        }
    }
}

#[tokio::test]
async fn members_that_fall_silent_are_gone_and_cooldowns_are_extended_never_shortened() {
    let server = Server::start();
    let scripts = Scripts::new("test");
    let mut link = server.connect(&scripts).await;
    let ttl = Duration::from_millis(300);
    let present = |replica| Presence { replica, ttl, is_heartbeat: true };
    for (replica, count) in [("a", 1), ("b", 2), ("a", 2)] {
        let told = link.exchange(&scripts, &present(replica), &RULES, &[]).await.unwrap();
        assert_eq!(told.replicas, count, "{replica}");
    }
    sleep(Duration::from_millis(400)).await;
    let told = link.exchange(&scripts, &present("b"), &RULES, &[]).await.unwrap();
    assert_eq!(told.replicas, 1);

    let cooled = |seconds| Notice::Cooled {
        target: "my target".to_owned(),
        pause: Duration::from_secs(seconds),
        throttles: 2,
        is_quota: true,
    };
    link.tell(&scripts, "a", &cooled(60)).await.unwrap();
    link.tell(&scripts, "b", &cooled(5)).await.unwrap();
    for version in [1, 2] {
        let message = link.message().await.unwrap();
        assert_eq!(notice::read(&message).unwrap().version, version);
    }
    let (version, cooling) = link.cooldowns(&scripts).await.unwrap();
    assert_eq!(version, 2);
    let [Notice::Cooled { pause, throttles: 2, is_quota: true, .. }] = cooling.as_slice() else {
        panic!("{cooling:?}");
    };
    assert!(*pause > Duration::from_secs(55), "{pause:?}");
    link.tell(&scripts, "b", &Notice::Opened { target: "my target".to_owned() }).await.unwrap();
    assert_eq!(link.cooldowns(&scripts).await.unwrap(), (3, vec![]));
    link.tell(&scripts, "a", &cooled(60)).await.unwrap();
    link.tell(&scripts, "b", &Notice::Reset).await.unwrap();
    assert_eq!(link.cooldowns(&scripts).await.unwrap(), (5, vec![]));
}

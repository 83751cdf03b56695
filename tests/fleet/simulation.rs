//! Replicas with their leased buckets, one ledger, one upstream, and the requests between them.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use sluice::fleet::{
    BucketConfig, FleetStatus, LeaseGrant, LeasedBucket, Ledger, LedgerConfig, LinkState,
    SharedStatus,
};
use tokio::time::Instant;

/// Exchanges of all replicas in a second, as configured by default.
const MAX_EXCHANGES: f64 = 2000.0;
/// To Redis and back.
const ROUND_TRIP: Duration = Duration::from_millis(1);
const INTERVAL: Duration = Duration::from_millis(100);
const GAP: Duration = Duration::from_millis(2);
const AHEAD: Duration = Duration::from_secs(1);
const SETTLING: Duration = Duration::from_millis(700);

/// What is looked at begins after the first full bucket is used.
const WARM_UP: f64 = 150.0;
const LASTS: f64 = 60.0;
const FIRST: f64 = 110.0;
/// An outage begins and ends then.
const GONE: [f64; 2] = [160.0, 175.0];

/// Who waits longer is gone.
const PATIENCE: f64 = 30.0;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Quota {
    /// 6,000 requests a minute.
    Requests,
    /// 2,000,000 tokens a minute; a request reserves 500 to 8,000 and gives half of it back after two
    /// seconds.
    Tokens,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Load {
    /// Half as much again as the quota, the same on all replicas.
    Even,
    /// As much, four fifths of it on a twentieth of the replicas, and on one at least.
    Skewed,
    /// As much on the whole, in two seconds of ten.
    Bursty,
    /// Half of the quota, the same on all.
    Half,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Outage {
    /// The ledger is gone for a while.
    Gone,
    /// And empty when it is back.
    GoneAndEmptied,
    /// It is emptied, and there.
    Emptied,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Play {
    pub(crate) quota: Quota,
    pub(crate) load: Load,
    pub(crate) size: usize,
    pub(crate) outage: Option<Outage>,
    pub(crate) seed: u64,
}

/// What came of it.
#[derive(Clone, Default)]
pub(crate) struct Played {
    /// Units per minute that are allowed, that were asked for, and that were used.
    pub(crate) allowed: f64,
    pub(crate) offered: f64,
    pub(crate) used: f64,
    pub(crate) throttled: u64,
    pub(crate) exchanges: u64,
    waits: Vec<f64>,
    /// Of the flow, in the outage and in as much time after it.
    pub(crate) shares_around_the_outage: [f64; 2],
}

impl Played {
    /// Of what could be used.
    pub(crate) fn share_used(&self) -> f64 {
        self.used / self.allowed.min(self.offered)
    }

    pub(crate) fn exchanges_per_second(&self) -> f64 {
        self.exchanges as f64 / LASTS
    }

    fn wait(&self, share: f64) -> f64 {
        let mut waits = self.waits.clone();
        waits.sort_by(f64::total_cmp);
        waits[((waits.len() - 1) as f64 * share) as usize]
    }

    pub(crate) fn row(&self, quota: Quota, load: Load, size: usize) -> String {
        let quota = match quota {
            Quota::Requests => "6,000 requests",
            Quota::Tokens => "2,000,000 tokens",
        };
        let load = match load {
            Load::Even => "even",
            Load::Skewed => "skewed",
            Load::Bursty => "bursty",
            Load::Half => "half",
        };
        let wait = |share| match load {
            // Above the quota, a wait says how much more is asked for than there is.
            "half" => format!("{:.0} ms", self.wait(share) * 1000.0),
            _ => "-".to_owned(),
        };
        format!(
            "| {quota} | {load} | {size} | {:.0} % | {:.1} % | {} | {:.0} | {} | {} |\n",
            100.0 * self.offered / self.allowed,
            100.0 * self.share_used(),
            self.throttled,
            self.exchanges_per_second(),
            wait(0.5),
            wait(0.99),
        )
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Event {
    Arrives(usize),
    /// The replica's turn to exchange, if none came between.
    Turn(usize, u64),
    Answered(usize),
    /// Who waits there may have room.
    Look(usize, u64),
    Ends(usize, f64),
    Flush,
    Back,
    Settled,
}

struct Replica {
    bucket: LeasedBucket,
    queue: VecDeque<(f64, f64)>,
    /// Units that its queued requests need.
    waiting: f64,
    /// The number of the turn that counts.
    turn: u64,
    /// The same of looks at those who wait.
    look: u64,
    due: f64,
    last: f64,
    answer: Option<LeaseGrant>,
}

struct World {
    play: Play,
    origin: Instant,
    now: f64,
    random: fastrand::Rng,
    events: BinaryHeap<Reverse<(u64, u64)>>,
    kinds: Vec<Event>,
    replicas: Vec<Replica>,
    status: Arc<SharedStatus>,
    ledger: Ledger,
    bucket_config: BucketConfig,
    level: f64,
    level_at: f64,
    played: Played,
    used_then: [f64; 3],
}

/// Plays it to its end.
pub(crate) fn play(play: &Play) -> Played {
    let mut world = World::new(*play);
    world.run();
    world.finish()
}

impl World {
    fn new(play: Play) -> World {
        let per_minute = match play.quota {
            Quota::Requests => 6000.0,
            Quota::Tokens => 2_000_000.0,
        };
        let origin = Instant::now();
        let fair = Duration::from_secs_f64(play.size as f64 / MAX_EXCHANGES);
        let status = Arc::new(SharedStatus::from_pointee(FleetStatus {
            link: LinkState::Connected,
            ever_connected: true,
            replicas: play.size as u32,
            sync_interval: INTERVAL.max(fair),
            max_lease: 0.25,
            lease_idle: Duration::from_secs(5),
        }));
        let replica = || Replica {
            bucket: LeasedBucket::new(Arc::clone(&status), origin),
            queue: VecDeque::new(),
            waiting: 0.0,
            turn: 0,
            look: 0,
            due: 0.0,
            last: -1.0,
            answer: None,
        };
        let replicas = (0..play.size).map(|_| replica()).collect();
        let mut world = World {
            play,
            origin,
            now: 0.0,
            random: fastrand::Rng::with_seed(play.seed),
            events: BinaryHeap::new(),
            kinds: Vec::new(),
            replicas,
            status,
            ledger: Ledger::default(),
            bucket_config: BucketConfig { per_minute, capacity: per_minute * 0.97 },
            level: per_minute,
            level_at: 0.0,
            played: Played { allowed: per_minute, ..Played::default() },
            used_then: [0.0; 3],
        };
        for number in 0..play.size {
            world.next_arrival(number);
            let first = world.random.f64() * 0.1;
            world.turn_at(number, first);
        }
        match play.outage {
            Some(Outage::Emptied) => world.at(GONE[0], Event::Flush),
            Some(Outage::Gone | Outage::GoneAndEmptied) => {
                world.at(GONE[0], Event::Flush);
                world.at(GONE[1], Event::Back);
            }
            None => {}
        }
        world
    }

    fn at(&mut self, time: f64, event: Event) {
        let number = self.kinds.len() as u64;
        self.kinds.push(event);
        self.events.push(Reverse(((time * 1e6).ceil() as u64, number)));
    }

    fn instant(&self) -> Instant {
        self.origin + Duration::from_secs_f64(self.now)
    }

    fn seconds(&self, instant: Instant) -> f64 {
        instant.duration_since(self.origin).as_secs_f64()
    }

    fn run(&mut self) {
        let end = ((WARM_UP + LASTS) * 1e6) as u64;
        while let Some(Reverse((time, number))) = self.events.pop() {
            if time > end {
                return;
            }
            self.now = time as f64 / 1e6;
            match self.kinds[number as usize] {
                Event::Arrives(at) => self.arrives(at),
                Event::Turn(at, turn) if turn == self.replicas[at].turn => self.sync(at),
                Event::Turn(..) => {}
                Event::Answered(at) => {
                    let now = self.instant();
                    if let Some(grant) = self.replicas[at].answer.take() {
                        self.replicas[at].bucket.apply_grant(&grant, now);
                    }
                    self.serve(at);
                }
                Event::Look(at, look) if look == self.replicas[at].look => self.serve(at),
                Event::Look(..) => {}
                Event::Ends(at, back) => {
                    self.flow();
                    self.level = (self.level + back).min(self.bucket_config.per_minute);
                    self.note(-back);
                    self.replicas[at].bucket.give_back(back);
                    self.serve(at);
                }
                Event::Flush => match self.play.outage {
                    Some(Outage::Gone) => self.set_link(LinkState::Degraded(self.instant())),
                    Some(Outage::GoneAndEmptied) => {
                        self.ledger.flush();
                        self.set_link(LinkState::Degraded(self.instant()));
                    }
                    _ => self.ledger.flush(),
                },
                Event::Back => {
                    let LinkState::Degraded(since) = self.status.load().link else { continue };
                    self.set_link(LinkState::Resyncing(since));
                    self.at(self.now + SETTLING.as_secs_f64(), Event::Settled);
                }
                Event::Settled => self.set_link(LinkState::Connected),
            }
        }
    }

    fn set_link(&mut self, link: LinkState) {
        let status = FleetStatus::clone(&self.status.load());
        self.status.store(Arc::new(FleetStatus { link, ..status }));
        for at in 0..self.replicas.len() {
            self.serve(at);
        }
    }

    /// Requests per second of one replica now.
    fn rate(&self, at: usize) -> f64 {
        let mean = match self.play.quota {
            Quota::Requests => 1.0,
            // What is given back counts half.
            Quota::Tokens => 4250.0 * 0.5,
        };
        // More at first, which uses up what a full bucket has.
        let is_first = self.now < FIRST && self.play.load != Load::Half;
        let quota = self.bucket_config.per_minute / 60.0 / mean * if is_first { 2.0 } else { 1.0 };
        let size = self.replicas.len() as f64;
        match self.play.load {
            Load::Even => 1.5 * quota / size,
            Load::Half => 0.5 * quota / size,
            Load::Bursty if self.now % 10.0 < 2.0 => 7.5 * quota / size,
            Load::Bursty => 0.02 * quota / size,
            Load::Skewed => {
                let busy = (size / 20.0).ceil();
                let share = if (at as f64) < busy { 0.8 / busy } else { 0.2 / (size - busy) };
                1.5 * quota * share
            }
        }
    }

    fn next_arrival(&mut self, at: usize) {
        // Thinned out of the fastest, so that a rate that changes is met at once.
        let most = match self.play.load {
            Load::Half => self.rate(at),
            Load::Bursty => {
                let units = if self.play.quota == Quota::Tokens { 2125.0 } else { 1.0 };
                self.bucket_config.per_minute / 60.0 * 15.0 / self.replicas.len() as f64 / units
            }
            Load::Even | Load::Skewed => self.rate(at) * if self.now < FIRST { 1.0 } else { 2.0 },
        };
        let mut time = self.now;
        loop {
            time += -(1.0 - self.random.f64()).ln() / most;
            let now = std::mem::replace(&mut self.now, time);
            let is_taken = self.random.f64() * most <= self.rate(at);
            self.now = now;
            if is_taken || time > WARM_UP + LASTS {
                break;
            }
        }
        self.at(time, Event::Arrives(at));
    }

    fn arrives(&mut self, at: usize) {
        self.next_arrival(at);
        let units = match self.play.quota {
            Quota::Requests => 1.0,
            Quota::Tokens => 500.0 + (self.random.f64() * 7500.0).round(),
        };
        if self.now >= WARM_UP {
            let is_tokens = self.play.quota == Quota::Tokens;
            self.played.offered += units * if is_tokens { 0.5 } else { 1.0 };
        }
        self.replicas[at].queue.push_back((self.now, units));
        self.replicas[at].waiting += units;
        self.serve(at);
    }

    fn serve(&mut self, at: usize) {
        let now = self.instant();
        let mut urgent = false;
        loop {
            let replica = &mut self.replicas[at];
            while replica.queue.front().is_some_and(|(since, _)| self.now - since > PATIENCE) {
                replica.waiting -= replica.queue.pop_front().map_or(0.0, |(_, units)| units);
            }
            let Some((since, units)) = replica.queue.front().copied() else { break };
            let when = replica.bucket.when(units, self.bucket_config, now);
            if when > now {
                urgent |= replica.bucket.record_shortage(units, now);
                replica.look += 1;
                let look = replica.look;
                let time = self.seconds(when).min(self.now + 1.0);
                self.at(time, Event::Look(at, look));
                break;
            }
            replica.bucket.take(units, now);
            urgent |= replica.bucket.is_low(now);
            replica.queue.pop_front();
            replica.waiting -= units;
            self.send(at, units, since);
        }
        let replica = &mut self.replicas[at];
        let backlog = replica.waiting;
        replica.bucket.set_backlog(backlog, now);
        if urgent {
            let fair = self.play.size as f64 / MAX_EXCHANGES;
            let soonest = (replica.last + GAP.as_secs_f64().max(fair)).max(self.now);
            if soonest < replica.due {
                self.turn_at(at, soonest);
            }
        }
    }

    fn turn_at(&mut self, at: usize, time: f64) {
        let replica = &mut self.replicas[at];
        replica.turn += 1;
        replica.due = time;
        let turn = replica.turn;
        self.at(time, Event::Turn(at, turn));
    }

    fn send(&mut self, at: usize, units: f64, since: f64) {
        self.flow();
        if self.level < units {
            self.played.throttled += 1;
        }
        self.level -= units;
        self.note(units);
        if self.now >= WARM_UP {
            self.played.waits.push(self.now - since);
        }
        if self.play.quota == Quota::Tokens {
            self.at(self.now + 2.0, Event::Ends(at, units * 0.5));
        }
    }

    fn note(&mut self, units: f64) {
        if self.now >= WARM_UP {
            self.played.used += units;
        }
        let lasts = GONE[1] - GONE[0];
        for (sum, end) in self.used_then.iter_mut().zip([GONE[0], GONE[1], GONE[1] + lasts]) {
            if self.now < end {
                *sum += units;
            }
        }
    }

    fn flow(&mut self) {
        let flowed = (self.now - self.level_at) * self.bucket_config.per_minute / 60.0;
        self.level = (self.level + flowed).min(self.bucket_config.per_minute);
        self.level_at = self.now;
    }

    fn sync(&mut self, at: usize) {
        let now = self.instant();
        let status = self.status.load_full();
        let pause = status.sync_interval.as_secs_f64() * (0.9 + 0.2 * self.random.f64());
        self.turn_at(at, self.now + pause);
        if let LinkState::Degraded(_) = status.link {
            return;
        }
        let replica = &mut self.replicas[at];
        if replica.answer.is_some() {
            return;
        }
        let Some(mut request) = replica.bucket.next_request(Some(self.bucket_config), now) else {
            return;
        };
        self.replicas[at].last = self.now;
        request.entry = "quota".to_owned();
        request.holder = at.to_string();
        let (lease_ttl, replicas) = (Duration::from_secs(10), status.replicas);
        let config = LedgerConfig { lease_ahead: AHEAD, lease_ttl, replicas };
        let clock = 1_000_000_000 + (self.now * 1e6) as u64;
        let grant = self.ledger.sync(&[request], &config, clock)[0];
        self.replicas[at].answer = Some(grant);
        if self.now >= WARM_UP {
            self.played.exchanges += 1;
        }
        self.at(self.now + ROUND_TRIP.as_secs_f64(), Event::Answered(at));
    }

    fn finish(mut self) -> Played {
        let minutes = LASTS / 60.0;
        self.played.offered /= minutes;
        self.played.used /= minutes;
        let flow = self.bucket_config.per_minute / 60.0 * (GONE[1] - GONE[0]);
        let [before, during, after] = self.used_then;
        self.played.shares_around_the_outage = [(during - before) / flow, (after - during) / flow];
        self.played
    }
}

//! The task of a replica that talks to Redis for all that it shares.

use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::ledger::{Ask, Grant, Rules};
use super::link::{self, Connected, LinkError, Presence, Scripts};
use super::notice::{self, Notice};
use super::{Cooling, Lessee, Link, Shared, Standing};
use crate::system::time::{sleep, sleep_until};

/// Entries of one exchange; with more to say there are several in a row.
const BATCH: usize = 200;

/// Pause before a lost connection is made again.
const RETRY: Duration = Duration::from_millis(200);

/// Time in which all replicas notice that Redis is back and say what they took meanwhile.
const SETTLING: Duration = Duration::from_millis(700);

/// Shortest time between two exchanges, also where a purse runs low.
const GAP: Duration = Duration::from_millis(2);

/// A replica not heard of for so many heartbeats no longer counts.
const MISSED_HEARTBEATS: u32 = 5;

/// A lease of a replica that says nothing is void after this.
const LEASE_TTL: Duration = Duration::from_secs(10);

/// Talks to the others, for ever.
pub(super) async fn drive(shared: Arc<Shared>, mut inbox: mpsc::Receiver<Notice>) {
    let scripts = Scripts::new(&shared.config.prefix);
    let mut driver = Driver { shared, scripts, log: Log::default(), version: 0 };
    loop {
        let connected = link::connect(&driver.shared.server, &driver.scripts.channel()).await;
        let error = match connected {
            Ok(mut link) => driver.serve(&mut link, &mut inbox).await,
            Err(error) => error,
        };
        driver.lost(&error);
        sleep(RETRY).await;
        while let Ok(notice) = inbox.try_recv() {
            driver.remember(&notice, true);
        }
    }
}

struct Driver {
    shared: Arc<Shared>,
    scripts: Scripts,
    log: Log,
    /// The number of changes of cooldowns that are known here.
    version: u64,
}

/// What was logged last: one line per change.
#[derive(Default)]
struct Log {
    is_up: Option<bool>,
}

impl Log {
    fn is_now(&mut self, error: Option<&LinkError>) {
        let is_up = error.is_none();
        if self.is_up.replace(is_up) == Some(is_up) {
            return;
        }
        match error {
            None => tracing::info!("Redis is reachable: quotas and cooldowns are shared"),
            Some(error) => {
                tracing::error!(%error, "Redis is not reachable: going on with a share of each quota");
            }
        }
    }
}

/// When a driver has its turns. Every turn moves the time of the next one, whatever came of it.
#[derive(Debug)]
struct Turns {
    heartbeat: Instant,
    /// When all replicas have had the time to notice that Redis is back.
    settled: Option<Instant>,
    last: Instant,
    /// The earliest time of the next one.
    next: Instant,
}

/// What is due in a turn.
#[derive(Debug)]
struct Turn {
    is_heartbeat: bool,
    is_settled: bool,
}

impl Turns {
    /// From a first heartbeat on.
    fn new(now: Instant) -> Turns {
        Turns { heartbeat: now, settled: None, last: now, next: now }
    }

    fn settle_at(&mut self, at: Instant) {
        self.settled = Some(at);
    }

    /// When the next turn is due, with a heartbeat `every` so often.
    fn due(&self, every: Duration, has_askers: bool) -> Instant {
        let heartbeat = self.heartbeat + every;
        let due = if has_askers { self.next } else { heartbeat.max(self.next) };
        self.settled.map_or(due, |settled| settled.min(due))
    }

    fn begin(&mut self, now: Instant, every: Duration) -> Turn {
        let is_heartbeat = now >= self.heartbeat + every;
        if is_heartbeat {
            self.heartbeat = now;
        }
        let is_settled = self.settled.take_if(|settled| now >= *settled).is_some();
        Turn { is_heartbeat, is_settled }
    }

    fn ended(&mut self, now: Instant, pause: Duration) {
        (self.last, self.next) = (now, now + pause);
    }

    /// Somebody needs something before its time.
    fn hurry(&mut self, gap: Duration) {
        self.next = self.next.min(self.last + gap);
    }
}

/// Who asked, for which of its kinds.
type Asker = (Arc<dyn Lessee>, usize);

impl Driver {
    /// Serves until the connection is lost.
    async fn serve(
        &mut self,
        link: &mut Connected,
        inbox: &mut mpsc::Receiver<Notice>,
    ) -> LinkError {
        match self.go_on(link, inbox).await {
            Ok(()) => LinkError::Senseless,
            Err(error) => error,
        }
    }

    async fn go_on(
        &mut self,
        link: &mut Connected,
        inbox: &mut mpsc::Receiver<Notice>,
    ) -> Result<(), LinkError> {
        // Nothing of the ledger is read yet: what it counts is this replica alone.
        let every = self.shared.config.heartbeat;
        let mut turns = Turns::new(Instant::now());
        self.exchange(link, true).await?;
        self.met();
        self.catch_up(link).await?;
        turns.settle_at(Instant::now() + SETTLING);
        loop {
            let (pause, gap) = self.pauses();
            let has_askers = !self.active().is_empty();
            tokio::select! {
                biased;
                notice = inbox.recv() => match notice {
                    Some(notice) => self.tell(link, &notice).await?,
                    None => return Ok(()),
                },
                message = link.message() => match message {
                    Some(message) => self.received(&message),
                    None => return Err(lost()),
                },
                () = sleep_until(turns.due(every, has_askers)) => {
                    let turn = turns.begin(Instant::now(), every);
                    if turn.is_settled {
                        self.settled();
                    }
                    let version = self.exchange(link, turn.is_heartbeat).await?;
                    if version.is_some_and(|version| version != self.version) {
                        self.catch_up(link).await?;
                    }
                    // Replicas that were started together must not ask together.
                    turns.ended(Instant::now(), pause.mul_f64(0.9 + 0.2 * fastrand::f64()));
                }
                () = self.shared.hurry.notified() => turns.hurry(gap),
                // Somebody has something to say after a time when nobody had.
                () = self.shared.stirred.notified() => {}
            }
        }
    }

    /// The pause between two exchanges, and the shortest.
    fn pauses(&self) -> (Duration, Duration) {
        let config = &self.shared.config;
        let standing = self.shared.board.load();
        let fair = f64::from(standing.replicas) / f64::from(config.max_exchanges_per_second);
        let fair = Duration::from_secs_f64(fair);
        (config.exchange_interval.max(fair), GAP.max(fair))
    }

    /// Says and asks what there is to say and ask. Gives the number of changes of cooldowns; `None`
    /// when there was nothing.
    async fn exchange(
        &mut self,
        link: &mut Connected,
        is_heartbeat: bool,
    ) -> Result<Option<u64>, LinkError> {
        let (askers, asks) = self.collect();
        let mut version = None;
        let mut is_heartbeat = is_heartbeat;
        let mut batches = askers.chunks(BATCH).zip(asks.chunks(BATCH));
        loop {
            let batch = batches.next();
            let (askers, asks) = match batch {
                Some(batch) => batch,
                None if is_heartbeat => (&[][..], &[][..]),
                None => return Ok(version),
            };
            let config = &self.shared.config;
            let replica = self.shared.replica.as_str();
            let ttl = config.heartbeat * MISSED_HEARTBEATS;
            let presence = Presence { replica, ttl, is_heartbeat };
            let replicas = self.shared.board.load().replicas;
            let rules = Rules { ahead: config.lease_ahead, lease_ttl: LEASE_TTL, replicas };
            let began = Instant::now();
            let told = link.exchange(&self.scripts, &presence, &rules, asks).await;
            self.count(began, told.is_ok());
            let told = told?;
            is_heartbeat = false;
            version = Some(told.cooldowns);
            self.counted(told.replicas);
            let now = Instant::now();
            for (((lessee, kind), ask), grant) in askers.iter().zip(asks).zip(&told.grants) {
                self.count_grant(*kind, ask, grant);
                lessee.granted(*kind, grant, now);
            }
        }
    }

    fn collect(&self) -> (Vec<Asker>, Vec<Ask>) {
        let now = Instant::now();
        let active = std::mem::take(&mut *self.active());
        let (mut askers, mut asks, mut added) = (Vec::new(), Vec::new(), Vec::new());
        let mut listed = 0;
        for lessee in active.iter().filter_map(Weak::upgrade) {
            let Some(lease) = lessee.lease() else { continue };
            // First, so that who stirs from here on is not overlooked.
            lease.delist();
            let stays = lessee.asks(now, &mut added);
            for (kind, ask) in added.drain(..) {
                askers.push((Arc::clone(&lessee), kind));
                asks.push(ask);
            }
            if stays {
                listed += 1;
                lease.stir(false, || Arc::clone(&lessee));
            }
        }
        self.shared.metrics.fleet_leases.set(listed);
        (askers, asks)
    }

    fn active(&self) -> std::sync::MutexGuard<'_, Vec<Weak<dyn Lessee>>> {
        self.shared.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the others what this replica has met.
    async fn tell(&mut self, link: &mut Connected, notice: &Notice) -> Result<(), LinkError> {
        self.remember(notice, true);
        self.shared.metrics.fleet_notices.with_label_values(&["sent"]).inc();
        link.tell(&self.scripts, &self.shared.replica, notice).await
    }

    fn remember(&self, notice: &Notice, is_own: bool) {
        let now = Instant::now();
        let cooling = &self.shared.cooling;
        match notice {
            Notice::Cooled { target, pause, throttles, is_quota } => {
                cooling.retain(|_, cooling| cooling.until > now);
                let (until, throttles, is_quota) = (now + *pause, *throttles, *is_quota);
                cooling.insert(target.clone(), Cooling { until, throttles, is_quota, is_own });
            }
            Notice::Opened { target } | Notice::TargetReset { target } => {
                drop(cooling.remove(target));
            }
            Notice::Reset => cooling.clear(),
            Notice::Probed { .. } => {}
        }
    }

    fn received(&mut self, message: &str) {
        let Some(received) = notice::read(message) else { return };
        // One that was missed before it is seen in the next exchange, since then this is not the
        // number that is told there.
        if received.version == self.version + 1 {
            self.version = received.version;
        }
        if received.from != self.shared.replica {
            self.shared.metrics.fleet_notices.with_label_values(&["received"]).inc();
            self.pass_on(&received.notice);
        }
    }

    /// Reads what cooldowns run, and tells those that Redis has lost.
    async fn catch_up(&mut self, link: &mut Connected) -> Result<(), LinkError> {
        let (version, cooling) = link.cooldowns(&self.scripts).await?;
        let is_lost = version < self.version;
        for notice in &cooling {
            self.pass_on(notice);
        }
        self.version = version;
        if is_lost {
            let now = Instant::now();
            let cooling = self.shared.cooling.iter();
            let own = cooling.filter(|cooling| cooling.is_own && cooling.until > now);
            let notices: Vec<Notice> = own.map(|it| it.notice(it.key(), now)).collect();
            for notice in &notices {
                self.tell(link, notice).await?;
            }
        }
        Ok(())
    }

    fn pass_on(&self, notice: &Notice) {
        if !self.knows_more(notice) {
            self.remember(notice, false);
        }
        let followers = &self.shared.followers;
        let each = |target: &str, what: &dyn Fn(&dyn super::Follower)| {
            let Some(known) = followers.get(target).map(|known| known.clone()) else { return };
            known.iter().filter_map(Weak::upgrade).for_each(|follower| what(&*follower));
        };
        match notice {
            Notice::Cooled { target, pause, throttles, is_quota } => {
                each(target, &|it| it.cooled(*pause, *throttles, *is_quota));
            }
            Notice::Opened { target } => each(target, &|it| it.opened()),
            Notice::Probed { target } => each(target, &|it| it.probed()),
            Notice::TargetReset { target } => each(target, &|it| it.reset()),
            Notice::Reset => {
                let all = followers.iter().flat_map(|known| known.value().clone());
                let all: Vec<_> = all.collect();
                all.iter().filter_map(Weak::upgrade).for_each(|follower| follower.reset());
            }
        }
    }

    /// Whether a cooldown is known that lasts longer.
    fn knows_more(&self, notice: &Notice) -> bool {
        let Notice::Cooled { target, pause, .. } = notice else { return false };
        let until = Instant::now() + *pause;
        self.shared.cooling.get(target).is_some_and(|known| known.until >= until)
    }

    /// Redis answers.
    fn met(&mut self) {
        self.log.is_now(None);
        self.shared.metrics.dependency_up.with_label_values(&["redis"]).set(1);
        self.stand(|standing| {
            standing.link = match standing.link {
                Link::Joining | Link::Shared => Link::Shared,
                Link::Alone(since) | Link::Returning(since) => Link::Returning(since),
            };
            standing.has_met = true;
        });
    }

    /// All have had the time to say what they took meanwhile.
    fn settled(&self) {
        if let Link::Returning(_) = self.shared.board.load().link {
            self.stand(|standing| standing.link = Link::Shared);
        }
    }

    /// Redis does not answer.
    fn lost(&mut self, error: &LinkError) {
        self.log.is_now(Some(error));
        self.shared.metrics.dependency_up.with_label_values(&["redis"]).set(0);
        let now = Instant::now();
        if let Link::Alone(_) = self.shared.board.load().link {
            return;
        }
        self.stand(|standing| {
            standing.link = Link::Alone(standing.alone_since().unwrap_or(now));
        });
    }

    fn counted(&self, replicas: u32) {
        self.shared.metrics.fleet_replicas.set(i64::from(replicas));
        if self.shared.board.load().replicas != replicas {
            self.stand(|standing| standing.replicas = replicas);
            let (pause, _) = self.pauses();
            self.stand(|standing| standing.pause = pause);
        }
    }

    /// Changes the standing; who waits looks again.
    fn stand(&self, change: impl FnOnce(&mut Standing)) {
        let mut standing = Standing::clone(&self.shared.board.load());
        change(&mut standing);
        self.shared.board.store(Arc::new(standing));
        let active: Vec<_> = self.active().iter().filter_map(Weak::upgrade).collect();
        active.iter().for_each(|lessee| lessee.ring());
    }

    fn count(&self, began: Instant, is_ok: bool) {
        let metrics = &self.shared.metrics;
        let result = if is_ok { "ok" } else { "failed" };
        metrics.fleet_exchanges.with_label_values(&[result]).inc();
        metrics.fleet_exchange_duration.observe(began.elapsed().as_secs_f64());
    }

    fn count_grant(&self, kind: usize, ask: &Ask, grant: &Grant) {
        let kind = if kind == 0 { "requests" } else { "tokens" };
        let granted = grant.now + grant.later;
        let metrics = &self.shared.metrics;
        if granted > 0.0 {
            metrics.fleet_granted.with_label_values(&[kind]).inc_by(granted);
        } else if ask.need > 0.0 {
            metrics.fleet_starved.with_label_values(&[kind]).inc();
        }
    }
}

impl Cooling {
    fn notice(&self, target: &str, now: Instant) -> Notice {
        Notice::Cooled {
            target: target.to_owned(),
            pause: self.until.saturating_duration_since(now),
            throttles: self.throttles,
            is_quota: self.is_quota,
        }
    }
}

fn lost() -> LinkError {
    redis::RedisError::from((redis::ErrorKind::Io, "the connection was closed")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_millis(100);

    /// Turns in a minute on a clock that goes only when somebody sleeps.
    async fn turns_in_a_minute(
        every: Duration,
        has_askers: impl Fn(u32) -> bool,
        is_hurried: bool,
    ) -> (u32, u32) {
        let start = Instant::now();
        let mut turns = Turns::new(start);
        turns.settle_at(start + SETTLING);
        let (mut count, mut heartbeats) = (0, 0);
        while start.elapsed() < Duration::from_secs(60) {
            if is_hurried {
                turns.hurry(GAP);
            }
            sleep_until(turns.due(every, has_askers(count))).await;
            count += 1;
            assert!(count < 100_000, "it spins");
            heartbeats += u32::from(turns.begin(Instant::now(), every).is_heartbeat);
            turns.ended(Instant::now(), PAUSE);
        }
        (count, heartbeats)
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_driver_has_its_heartbeats_and_no_other_turns() {
        for seconds in [1, 5, 20] {
            let every = Duration::from_secs(seconds);
            let (count, heartbeats) = turns_in_a_minute(every, |_| false, false).await;
            assert!(heartbeats >= 60 / seconds as u32 - 1, "{seconds}: {heartbeats}");
            // One is for having settled.
            assert!(count <= 60 / seconds as u32 + 1, "{seconds}: {count}");
        }
        // Nobody asks, whatever they hurry.
        let (count, _) = turns_in_a_minute(Duration::from_secs(1), |_| false, true).await;
        assert!(count <= 61, "{count}");
    }

    #[tokio::test(start_paused = true)]
    async fn turns_of_those_who_ask_are_a_pause_apart_and_hurried_ones_a_gap() {
        let every = Duration::from_secs(1);
        let (count, _) = turns_in_a_minute(every, |_| true, false).await;
        assert!((550..=700).contains(&count), "{count}");
        let (count, _) = turns_in_a_minute(every, |_| true, true).await;
        assert!((20_000..=31_000).contains(&count), "{count}");
        let (count, _) = turns_in_a_minute(every, |turn| turn % 2 == 0, false).await;
        assert!(count <= 1300, "{count}");
    }

    proptest::proptest! {
        #[test]
        fn a_turn_that_was_had_is_not_due_again_at_once(
            every in 100u64..20_000, pause in 2u64..5_000, has_askers: bool, late in 0u64..60_000,
        ) {
            let (every, pause) = (Duration::from_millis(every), Duration::from_millis(pause));
            let mut turns = Turns::new(Instant::now());
            turns.settle_at(Instant::now() + SETTLING);
            for _ in 0..5 {
                let now = turns.due(every, has_askers) + Duration::from_millis(late);
                turns.begin(now, every);
                turns.ended(now, pause);
                proptest::prop_assert!(turns.due(every, has_askers) > now);
            }
        }
    }
}

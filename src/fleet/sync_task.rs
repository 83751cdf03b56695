//! The task that exchanges all of a replica's shared state with Redis.
//!
//! It opens the connection, syncs leases, publishes and receives events, and opens the connection again
//! after a failure. It alone changes the replica's [`FleetStatus`].

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::connection::{self, FleetConnection, FleetError, Membership, Scripts};
use super::event::{FleetEvent, ReceivedEvent};
use super::ledger::{LeaseGrant, LeaseRequest, LedgerConfig};
use super::shared::{FleetListener, LeaseHolder, RunningCooldown, Shared};
use super::status::{FleetStatus, LinkState};
use crate::system::time::{sleep, sleep_until};

/// Its name among the dependencies.
const DEPENDENCY: &str = "redis";

/// Entries of one command; more are synced in several commands in a row.
const BATCH: usize = 200;

/// Pauses before a lost connection is opened again: the first, doubled up to the longest.
const RETRY: Duration = Duration::from_millis(200);
const MAX_RETRY: Duration = Duration::from_millis(500);

/// Time for all replicas to notice that Redis is back and to report what they used meanwhile.
const SETTLING: Duration = Duration::from_millis(700);

/// Shortest time between two syncs, also when a bucket runs low.
const MIN_GAP: Duration = Duration::from_millis(2);

/// A replica that misses this many heartbeats no longer counts.
const MISSED_HEARTBEATS: u32 = 5;

/// The lease of a replica that is silent expires after this.
const LEASE_TTL: Duration = Duration::from_secs(10);

/// Runs the task. Never returns.
pub(super) async fn run(shared: Arc<Shared>, mut inbox: mpsc::Receiver<FleetEvent>) {
    let scripts = Scripts::new(&shared.config.prefix);
    let log = LinkLog::default();
    let mut task = SyncTask { shared, scripts, log, cooldowns_version: 0 };
    let mut pause = RETRY;
    loop {
        let connected = connection::connect(&task.shared.server, &task.scripts.channel()).await;
        let error = match connected {
            Ok(mut connection) => {
                pause = RETRY;
                task.serve(&mut connection, &mut inbox).await
            }
            Err(error) => error,
        };
        task.disconnected(&error);
        sleep(pause).await;
        pause = (pause * 2).min(MAX_RETRY);
        while let Ok(event) = inbox.try_recv() {
            task.remember(&event, true);
        }
    }
}

struct SyncTask {
    shared: Arc<Shared>,
    scripts: Scripts,
    log: LinkLog,
    /// The number of changes of cooldowns that are known here.
    cooldowns_version: u64,
}

/// Logs the link's changes, one line per change.
#[derive(Default)]
struct LinkLog {
    is_up: Option<bool>,
}

impl LinkLog {
    fn record(&mut self, error: Option<&FleetError>) {
        let is_up = error.is_none();
        if self.is_up.replace(is_up) == Some(is_up) {
            return;
        }
        match error {
            None => tracing::info!("Redis is reachable: quotas and cooldowns are shared"),
            Some(error) => {
                tracing::error!(%error, "Redis is not reachable: continuing with this replica's share of each quota");
            }
        }
    }
}

/// When the next sync is due. Each sync moves the time of the next, whatever its outcome.
#[derive(Debug)]
struct SyncSchedule {
    heartbeat: Instant,
    /// When all replicas have had the time to notice that Redis is back.
    settles_at: Option<Instant>,
    last: Instant,
    /// The earliest time of the next sync.
    next: Instant,
}

/// What a sync is for, besides leases.
#[derive(Debug)]
struct SyncRound {
    is_heartbeat: bool,
    is_settled: bool,
}

impl SyncSchedule {
    /// Starts with a heartbeat at `now`.
    fn new(now: Instant) -> SyncSchedule {
        SyncSchedule { heartbeat: now, settles_at: None, last: now, next: now }
    }

    fn settle_at(&mut self, at: Instant) {
        self.settles_at = Some(at);
    }

    /// When the next sync is due, with a heartbeat at this interval.
    fn due(&self, heartbeat_interval: Duration, has_active_holders: bool) -> Instant {
        let heartbeat = self.heartbeat + heartbeat_interval;
        let due = if has_active_holders { self.next } else { heartbeat.max(self.next) };
        self.settles_at.map_or(due, |settled| settled.min(due))
    }

    fn begin(&mut self, now: Instant, heartbeat_interval: Duration) -> SyncRound {
        let is_heartbeat = now >= self.heartbeat + heartbeat_interval;
        if is_heartbeat {
            self.heartbeat = now;
        }
        let is_settled = self.settles_at.take_if(|settled| now >= *settled).is_some();
        SyncRound { is_heartbeat, is_settled }
    }

    fn ended(&mut self, now: Instant, pause: Duration) {
        (self.last, self.next) = (now, now + pause);
    }

    /// Moves the next sync forward, but not closer to the last one than `gap`.
    fn advance(&mut self, gap: Duration) {
        self.next = self.next.min(self.last + gap);
    }
}

/// The holder of a request, and the kind of units that it is for.
type Requester = (Arc<dyn LeaseHolder>, usize);

impl SyncTask {
    /// Serves until the connection is lost.
    async fn serve(
        &mut self,
        connection: &mut FleetConnection,
        inbox: &mut mpsc::Receiver<FleetEvent>,
    ) -> FleetError {
        match self.serve_until_error(connection, inbox).await {
            Ok(()) => FleetError::Protocol,
            Err(error) => error,
        }
    }

    async fn serve_until_error(
        &mut self,
        connection: &mut FleetConnection,
        inbox: &mut mpsc::Receiver<FleetEvent>,
    ) -> Result<(), FleetError> {
        let heartbeat_interval = self.shared.config.heartbeat;
        let mut schedule = SyncSchedule::new(Instant::now());
        // A heartbeat first, so that this replica is counted.
        self.sync(connection, true).await?;
        self.connected();
        self.read_cooldowns(connection).await?;
        schedule.settle_at(Instant::now() + SETTLING);
        loop {
            let (pause, gap) = self.pauses();
            let has_active_holders = !self.shared.active.lock().is_empty();
            tokio::select! {
                biased;
                event = inbox.recv() => match event {
                    Some(event) => self.publish(connection, &event).await?,
                    None => return Ok(()),
                },
                message = connection.message() => match message {
                    Some(message) => self.received(&message),
                    None => return Err(connection_closed()),
                },
                () = sleep_until(schedule.due(heartbeat_interval, has_active_holders)) => {
                    let round = schedule.begin(Instant::now(), heartbeat_interval);
                    if round.is_settled {
                        self.settled();
                    }
                    let version = self.sync(connection, round.is_heartbeat).await?;
                    if version.is_some_and(|version| version != self.cooldowns_version) {
                        self.read_cooldowns(connection).await?;
                    }
                    // Jitter keeps replicas that were started together from syncing together.
                    schedule.ended(Instant::now(), pause.mul_f64(0.9 + 0.2 * fastrand::f64()));
                }
                () = self.shared.early_sync.notified() => schedule.advance(gap),
                // The first holder became active, which changes when the next sync is due.
                () = self.shared.activated.notified() => {}
            }
        }
    }

    /// The pause between two syncs, and the shortest one.
    fn pauses(&self) -> (Duration, Duration) {
        let config = &self.shared.config;
        let status = self.shared.status.load();
        let fair = f64::from(status.replicas) / f64::from(config.max_exchanges_per_second);
        let fair = Duration::from_secs_f64(fair);
        (config.exchange_interval.max(fair), MIN_GAP.max(fair))
    }

    /// Syncs all active holders. Gives the number of changes of cooldowns; `None` when there was nothing to
    /// sync.
    async fn sync(
        &mut self,
        connection: &mut FleetConnection,
        is_heartbeat: bool,
    ) -> Result<Option<u64>, FleetError> {
        let (requesters, requests) = self.collect();
        let mut version = None;
        let mut is_heartbeat = is_heartbeat;
        let mut batches = requesters.chunks(BATCH).zip(requests.chunks(BATCH));
        loop {
            let batch = batches.next();
            let (requesters, requests) = match batch {
                Some(batch) => batch,
                None if is_heartbeat => (&[][..], &[][..]),
                None => return Ok(version),
            };
            let config = &self.shared.config;
            let replica = self.shared.replica.as_str();
            let ttl = config.heartbeat * MISSED_HEARTBEATS;
            let membership = Membership { replica, ttl, is_heartbeat };
            let replicas = self.shared.status.load().replicas;
            let lease_ahead = config.lease_ahead;
            let config = LedgerConfig { lease_ahead, lease_ttl: LEASE_TTL, replicas };
            let began = Instant::now();
            let reply = connection.sync(&self.scripts, &membership, &config, requests).await;
            self.count_sync(began, reply.is_ok());
            let reply = reply?;
            is_heartbeat = false;
            version = Some(reply.cooldowns_version);
            self.set_replicas(reply.replicas);
            let now = Instant::now();
            for (((holder, kind), request), grant) in
                requesters.iter().zip(requests).zip(&reply.grants)
            {
                self.count_grant(*kind, request, grant);
                holder.granted(*kind, grant, now);
            }
        }
    }

    fn collect(&self) -> (Vec<Requester>, Vec<LeaseRequest>) {
        let now = Instant::now();
        let active = std::mem::take(&mut *self.shared.active.lock());
        let (mut requesters, mut requests, mut added) = (Vec::new(), Vec::new(), Vec::new());
        let mut remaining = 0;
        for holder in active.iter().filter_map(Weak::upgrade) {
            let Some(lease) = holder.lease() else { continue };
            // Before the holder is asked, so that a request for a sync from here on is not lost.
            lease.deactivate();
            let stays_active = holder.requests(now, &mut added);
            for (kind, request) in added.drain(..) {
                requesters.push((Arc::clone(&holder), kind));
                requests.push(request);
            }
            if stays_active {
                remaining += 1;
                lease.request_sync(false, || Arc::clone(&holder));
            }
        }
        self.shared.metrics.fleet_leases.with_label_values::<&str>(&[]).set(remaining);
        (requesters, requests)
    }

    /// Publishes what this replica has experienced.
    async fn publish(
        &mut self,
        connection: &mut FleetConnection,
        event: &FleetEvent,
    ) -> Result<(), FleetError> {
        self.remember(event, true);
        self.shared.metrics.fleet_notices.with_label_values(&["sent"]).inc();
        connection.publish(&self.scripts, &self.shared.replica, event).await
    }

    /// Keeps the running cooldowns up to date.
    fn remember(&self, event: &FleetEvent, is_own: bool) {
        let now = Instant::now();
        let cooldowns = &self.shared.cooldowns;
        match event {
            FleetEvent::Cooled { target, pause, throttles, is_quota } => {
                cooldowns.retain(|_, cooldown| cooldown.until > now);
                let (until, throttles, is_quota) = (now + *pause, *throttles, *is_quota);
                let cooldown = RunningCooldown { until, throttles, is_quota, is_own };
                cooldowns.insert(target.clone(), cooldown);
            }
            FleetEvent::Recovered { target } | FleetEvent::TargetReset { target } => {
                drop(cooldowns.remove(target));
            }
            FleetEvent::Reset => cooldowns.clear(),
            FleetEvent::ProbeStarted { .. } => {}
        }
    }

    fn received(&mut self, message: &str) {
        let Some(received) = ReceivedEvent::parse(message) else { return };
        // A gap in the versions means that an event was missed. The known version then stays behind, which
        // the next sync notices.
        if received.version == self.cooldowns_version + 1 {
            self.cooldowns_version = received.version;
        }
        if received.from != self.shared.replica {
            self.shared.metrics.fleet_notices.with_label_values(&["received"]).inc();
            self.pass_on(&received.event);
        }
    }

    /// Reads the running cooldowns from Redis, and publishes those that Redis has lost.
    async fn read_cooldowns(&mut self, connection: &mut FleetConnection) -> Result<(), FleetError> {
        let (version, running) = connection.cooldowns(&self.scripts).await?;
        let is_lost = version < self.cooldowns_version;
        for event in &running {
            self.pass_on(event);
        }
        self.cooldowns_version = version;
        if is_lost {
            let now = Instant::now();
            let cooldowns = self.shared.cooldowns.iter();
            let own = cooldowns.filter(|cooldown| cooldown.is_own && cooldown.until > now);
            let events: Vec<FleetEvent> = own.map(|it| it.to_event(it.key(), now)).collect();
            for event in &events {
                self.publish(connection, event).await?;
            }
        }
        Ok(())
    }

    fn pass_on(&self, event: &FleetEvent) {
        if !self.knows_longer_cooldown(event) {
            self.remember(event, false);
        }
        let listeners = &self.shared.listeners;
        let each = |target: &str, inform: &dyn Fn(&dyn FleetListener)| {
            let Some(known) = listeners.get(target).map(|known| known.clone()) else { return };
            known.iter().filter_map(Weak::upgrade).for_each(|listener| inform(&*listener));
        };
        match event {
            FleetEvent::Cooled { target, pause, throttles, is_quota } => {
                each(target, &|it| it.cooled(*pause, *throttles, *is_quota));
            }
            FleetEvent::Recovered { target } => each(target, &|it| it.recovered()),
            FleetEvent::ProbeStarted { target } => each(target, &|it| it.probe_started()),
            FleetEvent::TargetReset { target } => each(target, &|it| it.reset()),
            FleetEvent::Reset => {
                let all: Vec<_> =
                    listeners.iter().flat_map(|known| known.value().clone()).collect();
                all.iter().filter_map(Weak::upgrade).for_each(|listener| listener.reset());
            }
        }
    }

    fn knows_longer_cooldown(&self, event: &FleetEvent) -> bool {
        let FleetEvent::Cooled { target, pause, .. } = event else { return false };
        let until = Instant::now() + *pause;
        self.shared.cooldowns.get(target).is_some_and(|known| known.until >= until)
    }

    /// Redis answers.
    fn connected(&mut self) {
        self.log.record(None);
        self.shared.metrics.dependencies.works(DEPENDENCY);
        self.update_status(|status| {
            status.link = match status.link {
                LinkState::Connecting | LinkState::Connected => LinkState::Connected,
                LinkState::Degraded(since) | LinkState::Resyncing(since) => {
                    LinkState::Resyncing(since)
                }
            };
            status.ever_connected = true;
        });
    }

    /// All replicas have had the time to report what they used meanwhile.
    fn settled(&self) {
        if let LinkState::Resyncing(_) = self.shared.status.load().link {
            self.update_status(|status| status.link = LinkState::Connected);
        }
    }

    /// Redis does not answer.
    fn disconnected(&mut self, error: &FleetError) {
        self.log.record(Some(error));
        let address = self.shared.server.address();
        self.shared.metrics.dependencies.fails(DEPENDENCY, format_args!("{address}: {error}"));
        let now = Instant::now();
        if let LinkState::Degraded(_) = self.shared.status.load().link {
            return;
        }
        self.update_status(|status| {
            status.link = LinkState::Degraded(status.degraded_since().unwrap_or(now));
        });
    }

    fn set_replicas(&self, replicas: u32) {
        let gauge = self.shared.metrics.fleet_replicas.with_label_values::<&str>(&[]);
        gauge.set(i64::from(replicas));
        if self.shared.status.load().replicas != replicas {
            self.update_status(|status| status.replicas = replicas);
            let (pause, _) = self.pauses();
            self.update_status(|status| status.sync_interval = pause);
        }
    }

    /// Changes the status, and informs all holders of it.
    fn update_status(&self, change: impl FnOnce(&mut FleetStatus)) {
        let mut status = FleetStatus::clone(&self.shared.status.load());
        change(&mut status);
        self.shared.status.store(Arc::new(status));
        let active: Vec<_> = self.shared.active.lock().iter().filter_map(Weak::upgrade).collect();
        active.iter().for_each(|holder| holder.status_changed());
    }

    fn count_sync(&self, began: Instant, is_ok: bool) {
        let metrics = &self.shared.metrics;
        let result = if is_ok { "ok" } else { "failed" };
        metrics.fleet_exchanges.with_label_values(&[result]).inc();
        metrics.fleet_exchange_duration.observe(began.elapsed().as_secs_f64());
    }

    fn count_grant(&self, kind: usize, request: &LeaseRequest, grant: &LeaseGrant) {
        let kind = match kind {
            0 => "requests",
            2 => "output_tokens",
            _ => "tokens",
        };
        let granted = grant.total();
        let metrics = &self.shared.metrics;
        if granted > 0.0 {
            metrics.fleet_granted.with_label_values(&[kind]).inc_by(granted);
        } else if request.minimum > 0.0 {
            metrics.fleet_starved.with_label_values(&[kind]).inc();
        }
    }
}

fn connection_closed() -> FleetError {
    redis::RedisError::from((redis::ErrorKind::Io, "the connection was closed")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_millis(100);

    /// Syncs in a minute, on a clock that advances only while the task sleeps.
    async fn syncs_in_a_minute(
        every: Duration,
        has_active_holders: impl Fn(u32) -> bool,
        are_early: bool,
    ) -> (u32, u32) {
        let start = Instant::now();
        let mut schedule = SyncSchedule::new(start);
        schedule.settle_at(start + SETTLING);
        let (mut count, mut heartbeats) = (0, 0);
        while start.elapsed() < Duration::from_secs(60) {
            if are_early {
                schedule.advance(MIN_GAP);
            }
            sleep_until(schedule.due(every, has_active_holders(count))).await;
            count += 1;
            assert!(count < 100_000, "it spins");
            heartbeats += u32::from(schedule.begin(Instant::now(), every).is_heartbeat);
            schedule.ended(Instant::now(), PAUSE);
        }
        (count, heartbeats)
    }

    #[tokio::test(start_paused = true)]
    async fn without_active_holders_there_are_heartbeats_and_no_other_syncs() {
        for seconds in [1, 5, 20] {
            let every = Duration::from_secs(seconds);
            let (count, heartbeats) = syncs_in_a_minute(every, |_| false, false).await;
            assert!(heartbeats >= 60 / seconds as u32 - 1, "{seconds}: {heartbeats}");
            // One is for having settled.
            assert!(count <= 60 / seconds as u32 + 1, "{seconds}: {count}");
        }
        // An early sync without an active holder has nothing to do.
        let (count, _) = syncs_in_a_minute(Duration::from_secs(1), |_| false, true).await;
        assert!(count <= 61, "{count}");
    }

    #[tokio::test(start_paused = true)]
    async fn syncs_are_a_pause_apart_and_early_ones_a_gap() {
        let every = Duration::from_secs(1);
        let (count, _) = syncs_in_a_minute(every, |_| true, false).await;
        assert!((550..=700).contains(&count), "{count}");
        let (count, _) = syncs_in_a_minute(every, |_| true, true).await;
        assert!((20_000..=31_000).contains(&count), "{count}");
        let (count, _) = syncs_in_a_minute(every, |sync| sync % 2 == 0, false).await;
        assert!(count <= 1300, "{count}");
    }

    proptest::proptest! {
        #[test]
        fn no_sync_is_due_again_at_once(
            every in 100u64..20_000, pause in 2u64..5_000, has_active: bool, late in 0u64..60_000,
        ) {
            let (every, pause) = (Duration::from_millis(every), Duration::from_millis(pause));
            let mut schedule = SyncSchedule::new(Instant::now());
            schedule.settle_at(Instant::now() + SETTLING);
            for _ in 0..5 {
                let now = schedule.due(every, has_active) + Duration::from_millis(late);
                schedule.begin(now, every);
                schedule.ended(now, pause);
                proptest::prop_assert!(schedule.due(every, has_active) > now);
            }
        }
    }
}

//! One Bedrock quota: requests and tokens a minute, and what requests in flight have reserved of them.
//!
//! Bedrock takes a request's input and its maximum output at the start, charges what was really used at the
//! end, and gives the rest back at once. A [`Reservation`] does the same: it takes at the start, learns the
//! charge on the way, and settles when it is dropped. So every path settles once, and the path only decides
//! the charge.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::limit::{Learning, Limit};
use super::queue_signal::QueueSignal;
use crate::fleet::{Lease, LeaseGrant, LeaseHolder, LeaseRequest, LeasedBucket, SharedStatus};

/// The configured limits of a quota.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct QuotaLimits {
    /// Requests per minute.
    pub rpm: Option<u32>,
    /// Tokens per minute, input and output together.
    pub tpm: Option<u64>,
    /// The lowest limit that is learned, in requests per minute.
    pub floor_rpm: u32,
    /// The lowest limit that is learned, in tokens per minute.
    pub floor_tpm: u64,
    /// The share of a minute's units that its bucket does not hold; see [`SAFETY_MARGIN`].
    pub safety_margin: f64,
}

/// The share of a minute's units by which a mirror's bucket is smaller than the upstream's, so that it is full
/// a little earlier. A request arrives upstream a little later than it is counted here, and what would flow
/// into a full bucket meanwhile is lost there; and input is reserved here with a margin that is given back at
/// the end. Without this Sluice would admit more than Bedrock does after idle time. Under load it costs
/// nothing.
pub const SAFETY_MARGIN: f64 = 0.03;

/// How long a request waits at most for a grant of quota that the fleet has left. A grant takes one sync
/// with the ledger; the rest is for a Redis or a machine that is slow for a moment.
const GRANT_WAIT: Duration = Duration::from_secs(1);

/// The part of a quota that ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// Requests per minute.
    Requests,
    /// Tokens per minute.
    Tokens,
    /// The upstream did not name it.
    Unknown,
}

impl Dimension {
    /// The quota that is used up, by a throttle's message.
    pub fn of_throttle(message: &str) -> Dimension {
        let message = message.to_ascii_lowercase();
        match (message.contains("request"), message.contains("token")) {
            (true, false) => Dimension::Requests,
            (false, true) => Dimension::Tokens,
            _ => Dimension::Unknown,
        }
    }
}

/// The state of a quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Snapshot {
    /// The limit in force, in requests per minute; `None` if no limit is known.
    pub rpm: Option<f64>,
    /// Tokens per minute that count now.
    pub tpm: Option<f64>,
    /// The learned requests per minute, where they differ from the configured.
    pub learned_rpm: Option<f64>,
    /// The learned tokens per minute.
    pub learned_tpm: Option<f64>,
    /// The configured requests per minute, where learned ones count in their place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configured_rpm: Option<f64>,
    /// The configured tokens per minute, where learned ones count in their place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configured_tpm: Option<f64>,
    /// Requests that are left of it now; where replicas share it, for all of them as of the last sync.
    pub requests_available: Option<f64>,
    /// Tokens that are left of it now; below zero after an answer that cost more than was taken.
    pub tokens_available: Option<f64>,
    /// Requests of these that this replica holds; `None` where it shares the quota with no other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_held: Option<f64>,
    /// Tokens of these that this replica holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_held: Option<f64>,
    /// Requests that hold a reservation.
    pub in_flight: u64,
}

impl Snapshot {
    /// The free share of the scarcer of requests and tokens; 1 if no limit is known.
    pub fn headroom(&self) -> f64 {
        let share = |available: Option<f64>, limit: Option<f64>| match (available, limit) {
            (Some(available), Some(limit)) if limit > 0.0 => available / limit,
            _ => 1.0,
        };
        share(self.requests_available, self.rpm).min(share(self.tokens_available, self.tpm))
    }
}

/// A quota, shared by the targets that draw on it. Fields in memory order, as in `routing/target.rs`.
#[derive(Debug)]
#[repr(C)]
pub struct Quota {
    signal: Arc<QueueSignal>,
    /// Its lease, where other replicas draw on it too.
    lease: Option<Box<Lease>>,
    state: Mutex<State>,
    learning: Learning,
}

#[derive(Debug)]
#[repr(C)]
struct State {
    in_flight: u64,
    requests: Limit,
    tokens: Limit,
}

impl Quota {
    /// A quota with full buckets. `signal` is notified whenever something is given back.
    pub fn new(
        limits: &QuotaLimits,
        learning: Learning,
        signal: Arc<QueueSignal>,
        now: Instant,
    ) -> Quota {
        let limit = |configured, floor| Limit::new(configured, floor, limits.safety_margin, now);
        let state = State {
            requests: limit(limits.rpm.map(f64::from), f64::from(limits.floor_rpm)),
            tokens: limit(limits.tpm.map(|tpm| tpm as f64), limits.floor_tpm as f64),
            in_flight: 0,
        };
        Quota { state: Mutex::new(state), learning, signal, lease: None }
    }

    /// A quota that other replicas draw on too, by this lease; its buckets are empty.
    pub fn shared(
        limits: &QuotaLimits,
        learning: Learning,
        signal: Arc<QueueSignal>,
        lease: Lease,
        now: Instant,
    ) -> Arc<Quota> {
        Quota::leased(limits, learning, signal, lease, LeasedBucket::new, now)
    }

    /// The same for limits without a queue, see [`LeasedBucket::overdrawable`]; nothing is learned.
    pub fn overdrawable(
        limits: &QuotaLimits,
        signal: Arc<QueueSignal>,
        lease: Lease,
        now: Instant,
    ) -> Arc<Quota> {
        Quota::leased(limits, Learning::off(), signal, lease, LeasedBucket::overdrawable, now)
    }

    fn leased(
        limits: &QuotaLimits,
        learning: Learning,
        signal: Arc<QueueSignal>,
        lease: Lease,
        new_bucket: fn(Arc<SharedStatus>, Instant) -> LeasedBucket,
        now: Instant,
    ) -> Arc<Quota> {
        let limit = |configured, floor| {
            let bucket = new_bucket(Arc::clone(lease.status()), now);
            Limit::shared(configured, floor, limits.safety_margin, bucket, now)
        };
        let state = State {
            requests: limit(limits.rpm.map(f64::from), f64::from(limits.floor_rpm)),
            tokens: limit(limits.tpm.map(|tpm| tpm as f64), limits.floor_tpm as f64),
            in_flight: 0,
        };
        Arc::new(Quota { state: Mutex::new(state), learning, signal, lease: Some(Box::new(lease)) })
    }

    /// Reserves one request and `tokens`.
    ///
    /// # Errors
    /// With the time at which there will be room if no other request takes it before.
    pub fn take(self: &Arc<Self>, tokens: u64, now: Instant) -> Result<Reservation, Instant> {
        let mut state = self.state();
        let when = state.when(tokens, now);
        if when > now {
            if let Some(lease) = &self.lease {
                let lacks_requests = state.requests.record_shortage(1.0, now);
                let lacks_tokens = state.tokens.record_shortage(tokens as f64, now);
                drop(state);
                self.request_sync(lease, lacks_requests || lacks_tokens);
            }
            return Err(when);
        }
        state.requests.take(1.0, now);
        state.tokens.take(tokens as f64, now);
        state.requests.raise(&self.learning, now);
        state.tokens.raise(&self.learning, now);
        state.in_flight += 1;
        let is_low = state.requests.is_low(now) || state.tokens.is_low(now);
        drop(state);
        if let Some(lease) = &self.lease {
            self.request_sync(lease, is_low);
        }
        Ok(Reservation { quota: Arc::clone(self), taken: tokens, charge: None })
    }

    /// When there will be room for a request of `tokens`, if no other request takes it before.
    pub fn when(&self, tokens: u64, now: Instant) -> Instant {
        self.state().when(tokens, now)
    }

    /// Until when a request of `tokens` that found no room should wait for its grant. `None` if the quota is
    /// used up, or replicas do not share it. A grant may have come since the request looked, so room in this
    /// replica's lease counts as room in the fleet.
    pub fn grant_due(&self, tokens: u64, now: Instant) -> Option<Instant> {
        self.lease.as_ref()?;
        let mut state = self.state();
        let is_due =
            state.requests.is_in_fleet(1.0, now) && state.tokens.is_in_fleet(tokens as f64, now);
        is_due.then_some(now + GRANT_WAIT)
    }

    /// Whether there may be room for a request of `tokens` by `limit`. Requests in flight may give tokens back
    /// before; what they have taken of the requests a minute hardly ever comes back. What other replicas give
    /// back is not known, and does not come within moments.
    pub fn may_have_room_by(&self, tokens: u64, limit: Instant, now: Instant) -> bool {
        if self.lease.is_some() && limit > now + GRANT_WAIT {
            return true;
        }
        let mut state = self.state();
        state.requests.when(1.0, now) <= limit
            && (state.in_flight > 0 || state.tokens.when(tokens as f64, now) <= limit)
    }

    /// The configured tokens per minute.
    pub fn configured_tpm(&self) -> Option<u64> {
        self.state().tokens.configured().map(|figure| figure as u64)
    }

    /// How many requests of `tokens` each it lets through in a minute; `None` if no limit is known.
    pub fn per_minute(&self, tokens: f64) -> Option<f64> {
        let state = self.state();
        let by_tokens = state.tokens.per_minute().map(|limit| limit / tokens.max(1.0));
        let by_requests = state.requests.per_minute();
        by_tokens.into_iter().chain(by_requests).min_by(f64::total_cmp)
    }

    /// The upstream has throttled a request that this quota let through.
    pub fn throttled(&self, dimension: Dimension, now: Instant) {
        let mut state = self.state();
        if dimension != Dimension::Tokens {
            state.requests.throttled(&self.learning, now);
        }
        if dimension != Dimension::Requests {
            state.tokens.throttled(&self.learning, now);
        }
    }

    /// Sets what all queued requests need, so that leases fit it.
    pub fn set_backlog(&self, requests: u64, tokens: u64, now: Instant) {
        if self.lease.is_some() {
            let mut state = self.state();
            state.requests.set_backlog(requests as f64, now);
            state.tokens.set_backlog(tokens as f64, now);
        }
    }

    /// Whether nothing is lost if it is dropped: no request is in flight, and it is full, or it holds nothing
    /// of what replicas share.
    pub fn is_idle(&self, now: Instant) -> bool {
        if self.lease.is_none() {
            let snapshot = self.snapshot(now);
            return snapshot.in_flight == 0 && snapshot.headroom() >= 1.0;
        }
        let state = self.state();
        let is_settled = state.requests.is_settled(now) && state.tokens.is_settled(now);
        state.in_flight == 0 && is_settled
    }

    /// The free share of the scarcer of requests and tokens, for this replica or another.
    pub fn headroom(&self, now: Instant) -> f64 {
        self.snapshot(now).headroom()
    }

    /// Its state, for display. Where replicas share it and the last sync is some time ago, this requests a
    /// sync, so that the next snapshot is fresh.
    pub fn snapshot_and_refresh(self: &Arc<Self>, now: Instant) -> Snapshot {
        if let Some(lease) = &self.lease {
            let mut state = self.state();
            let is_old = [state.requests.request_refresh(now), state.tokens.request_refresh(now)]
                .contains(&true);
            drop(state);
            if is_old {
                self.request_sync(lease, true);
            }
        }
        self.snapshot(now)
    }

    fn request_sync(self: &Arc<Self>, lease: &Lease, is_urgent: bool) {
        lease.request_sync(is_urgent, || {
            let holder: Arc<dyn LeaseHolder> = Arc::clone(self) as Arc<dyn LeaseHolder>;
            holder
        });
    }

    /// Its state.
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        let mut state = self.state();
        Snapshot {
            rpm: state.requests.per_minute(),
            tpm: state.tokens.per_minute(),
            learned_rpm: state.requests.learned(),
            learned_tpm: state.tokens.learned(),
            configured_rpm: state.requests.learned().and(state.requests.configured()),
            configured_tpm: state.tokens.learned().and(state.tokens.configured()),
            requests_available: state.requests.available(now),
            tokens_available: state.tokens.available(now),
            requests_held: state.requests.held(now),
            tokens_held: state.tokens.held(now),
            in_flight: state.in_flight,
        }
    }

    /// Forgets what was inferred from throttles, at all replicas.
    pub fn reset(self: &Arc<Self>, now: Instant) {
        let mut state = self.state();
        state.requests.reset(now);
        state.tokens.reset(now);
        drop(state);
        if let Some(lease) = &self.lease {
            self.request_sync(lease, true);
        }
        self.signal.notify();
    }

    /// Takes over what `before` learned and holds; for the same quota under a newer config.
    /// Reservations of the old quota settle there and do not count here.
    pub fn take_over(&self, before: &Quota, now: Instant) {
        let before = before.state();
        let (requests, tokens) = (before.requests.clone(), before.tokens.clone());
        drop(before);
        let mut state = self.state();
        state.requests.take_over(&requests, now);
        state.tokens.take_over(&tokens, now);
    }

    fn settle(self: &Arc<Self>, taken: u64, charge: Option<u64>) {
        let now = Instant::now();
        let mut state = self.state();
        state.in_flight = state.in_flight.saturating_sub(1);
        match charge {
            Some(charge) => state.tokens.give_back(taken as f64 - charge as f64, now),
            None => {
                state.requests.give_back(1.0, now);
                state.tokens.give_back(taken as f64, now);
            }
        }
        drop(state);
        if let Some(lease) = &self.lease {
            self.request_sync(lease, false);
        }
        self.signal.notify();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl LeaseHolder for Quota {
    fn requests(&self, now: Instant, lease_requests: &mut Vec<(usize, LeaseRequest)>) -> bool {
        let Some(lease) = &self.lease else { return false };
        let mut state = self.state();
        let State { requests, tokens, .. } = &mut *state;
        // The names are part of the keys in Redis.
        let limits = [("requests", requests), ("tokens", tokens)];
        for (kind, (name, limit)) in limits.into_iter().enumerate() {
            if let Some(request) = limit.next_request(now) {
                let (entry, holder) = (lease.entry(name), lease.holder().to_owned());
                lease_requests.push((kind, LeaseRequest { entry, holder, ..request }));
            }
        }
        !(state.requests.is_settled(now) && state.tokens.is_settled(now))
    }

    fn granted(&self, kind: usize, grant: &LeaseGrant, now: Instant) {
        let mut state = self.state();
        let limit = if kind == 0 { &mut state.requests } else { &mut state.tokens };
        limit.apply_grant(grant, now);
        drop(state);
        self.signal.notify();
    }

    fn status_changed(&self) {
        self.signal.notify();
    }

    fn lease(&self) -> Option<&Lease> {
        self.lease.as_deref()
    }
}

impl State {
    fn when(&mut self, tokens: u64, now: Instant) -> Instant {
        self.requests.when(1.0, now).max(self.tokens.when(tokens as f64, now))
    }
}

/// What one request has reserved of a quota, settled once, when dropped. Without a charge it gives everything
/// back: the request was not sent, or the upstream took nothing for it.
#[derive(Debug)]
pub struct Reservation {
    quota: Arc<Quota>,
    taken: u64,
    charge: Option<u64>,
}

impl Reservation {
    /// Tokens that were reserved at the start.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Sets what the request costs as far as is known by now, in tokens of the quota.
    pub fn charge(&mut self, tokens: u64) {
        self.charge = Some(tokens);
    }

    /// The request costs nothing: the upstream did not process it.
    pub fn charge_nothing(&mut self) {
        self.charge = None;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.quota.settle(self.taken, self.charge);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quota(rpm: Option<u32>, tpm: Option<u64>) -> Arc<Quota> {
        let limits = QuotaLimits { rpm, tpm, floor_rpm: 1, floor_tpm: 10, safety_margin: 0.0 };
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
        assert!(
            quota.take(1, Instant::now()).unwrap_err() > Instant::now() + Duration::from_secs(29)
        );
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
}

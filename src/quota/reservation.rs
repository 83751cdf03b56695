//! One Bedrock quota: requests and tokens a minute, and what requests in flight have reserved of them.
//!
//! Bedrock takes a request's input and its maximum output at the start, charges what was really used at the
//! end, and gives the rest back at once. A [`Reservation`] does the same: it takes at the start, learns the
//! charge on the way, and settles when it is dropped. So every path settles once, and the path only decides
//! the charge. Where input and output tokens are counted apart, each has a limit of its own; see `tokens.rs`.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::daily::DailyReservations;
use super::limit::{Learning, Limit};
use super::queue_signal::QueueSignal;
use super::quota_limits::{Dimension, QuotaLimits};
use super::snapshot::{Snapshot, TokenLimit};
use super::tokens::{Counting, TokenCharge, TokenDemand};
use crate::fleet::{Lease, LeaseGrant, LeaseHolder, LeaseRequest, LeasedBucket, SharedStatus};

/// How long a request waits at most for a grant of quota that the fleet has left. A grant takes one sync
/// with the ledger; the rest is for a Redis or a machine that is slow for a moment.
const GRANT_WAIT: Duration = Duration::from_secs(1);

/// A quota, shared by the targets that draw on it. Fields in memory order, as in `routing/target.rs`.
#[derive(Debug)]
#[repr(C)]
pub struct Quota {
    signal: Arc<QueueSignal>,
    /// Its lease, where other replicas draw on it too.
    lease: Option<Box<Lease>>,
    counting: Counting,
    state: Mutex<State>,
    learning: Learning,
}

#[derive(Debug)]
#[repr(C)]
struct State {
    in_flight: u64,
    requests: Limit,
    /// Of all tokens, or of input tokens.
    tokens: Limit,
    /// Of output tokens, where they are counted apart.
    output: Option<Box<Limit>>,
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
        let state = Mutex::new(State::of(limits, limit));
        Quota { counting: limits.counting(), state, learning, signal, lease: None }
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
        let state = Mutex::new(State::of(limits, limit));
        let lease = Some(Box::new(lease));
        Arc::new(Quota { counting: limits.counting(), state, learning, signal, lease })
    }

    /// Whether input and output tokens are counted apart.
    pub fn counts_apart(&self) -> bool {
        self.counting == Counting::Apart
    }

    /// Reserves one request and its tokens.
    ///
    /// # Errors
    /// With the time at which there will be room if no other request takes it before.
    pub fn take(
        self: &Arc<Self>,
        demand: impl Into<TokenDemand>,
        now: Instant,
    ) -> Result<Reservation, Instant> {
        let demand = demand.into();
        let (tokens, output) = self.units(demand);
        let mut state = self.state();
        let when = state.when(tokens, output, now);
        if when > now {
            if let Some(lease) = &self.lease {
                let lacks_units = state.record_shortage(tokens, output, now);
                drop(state);
                self.request_sync(lease, lacks_units);
            }
            return Err(when);
        }
        state.requests.take(1.0, now);
        state.tokens.take(tokens, now);
        state.requests.raise(&self.learning, now);
        state.tokens.raise(&self.learning, now);
        let mut is_low = state.requests.is_low(now) || state.tokens.is_low(now);
        if let Some(limit) = &mut state.output {
            limit.take(output, now);
            limit.raise(&self.learning, now);
            is_low |= limit.is_low(now);
        }
        state.in_flight += 1;
        drop(state);
        if let Some(lease) = &self.lease {
            self.request_sync(lease, is_low);
        }
        Ok(Reservation { quota: Arc::clone(self), demand, charge: None, daily: None })
    }

    /// When there will be room for a request, if no other request takes it before.
    pub fn when(&self, demand: impl Into<TokenDemand>, now: Instant) -> Instant {
        let (tokens, output) = self.units(demand.into());
        self.state().when(tokens, output, now)
    }

    /// Until when a request that found no room should wait for its grant. `None` if the quota is used up, or
    /// replicas do not share it. A grant may have come since the request looked, so room in this replica's lease
    /// counts as room in the fleet.
    pub fn grant_due(&self, demand: impl Into<TokenDemand>, now: Instant) -> Option<Instant> {
        self.lease.as_ref()?;
        let (tokens, output) = self.units(demand.into());
        let mut state = self.state();
        let is_due = state.requests.is_in_fleet(1.0, now)
            && state.tokens.is_in_fleet(tokens, now)
            && state.output.as_mut().is_none_or(|limit| limit.is_in_fleet(output, now));
        is_due.then_some(now + GRANT_WAIT)
    }

    /// Whether there may be room for a request by `limit`. Requests in flight may give tokens back before; what
    /// they have taken of the requests a minute hardly ever comes back. What other replicas give back is not
    /// known, and does not come within moments.
    pub fn may_have_room_by(
        &self,
        demand: impl Into<TokenDemand>,
        limit: Instant,
        now: Instant,
    ) -> bool {
        if self.lease.is_some() && limit > now + GRANT_WAIT {
            return true;
        }
        let (tokens, output) = self.units(demand.into());
        let mut state = self.state();
        state.requests.when(1.0, now) <= limit
            && (state.in_flight > 0 || state.tokens_when(tokens, output, now) <= limit)
    }

    /// The configured tokens per minute, of all tokens or of input tokens.
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

    /// The upstream has throttled a request that this quota let through. Where it counts tokens apart and does
    /// not say which ran out, the one that has less left did.
    pub fn throttled(&self, dimension: Dimension, now: Instant) {
        let mut state = self.state();
        if dimension != Dimension::Tokens {
            state.requests.throttled(&self.learning, now);
        }
        if dimension != Dimension::Requests {
            state.scarcer_tokens(now).throttled(&self.learning, now);
        }
    }

    /// Sets what all queued requests need, so that leases fit it.
    pub fn set_backlog(&self, requests: u64, tokens: u64, now: Instant) {
        if self.lease.is_some() {
            let mut state = self.state();
            state.requests.set_backlog(requests as f64, now);
            state.tokens.set_backlog(tokens as f64, now);
            // What queued requests need of a quota of output tokens is not known.
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
        state.in_flight == 0 && state.is_settled(now)
    }

    /// The free share of the scarcest of its limits, for this replica or another.
    pub fn headroom(&self, now: Instant) -> f64 {
        self.snapshot(now).headroom()
    }

    /// Its state, for display. Where replicas share it and the last sync is some time ago, this requests a
    /// sync, so that the next snapshot is fresh.
    pub fn snapshot_and_refresh(self: &Arc<Self>, now: Instant) -> Snapshot {
        if let Some(lease) = &self.lease {
            let mut state = self.state();
            let is_old = [state.requests.request_refresh(now), state.tokens.request_refresh(now)];
            let output = state.output.as_mut().is_some_and(|limit| limit.request_refresh(now));
            let is_old = output || is_old.contains(&true);
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
        let counts_apart = self.counts_apart();
        let mut state = self.state();
        let state = &mut *state;
        let output = state.output.as_mut().map(|limit| token_limit(limit, now));
        let common = Snapshot {
            rpm: state.requests.per_minute(),
            learned_rpm: state.requests.learned(),
            configured_rpm: state.requests.learned().and(state.requests.configured()),
            requests_available: state.requests.available(now),
            requests_held: state.requests.held(now),
            in_flight: state.in_flight,
            output,
            ..Snapshot::default()
        };
        let tokens = token_limit(&mut state.tokens, now);
        if counts_apart {
            return Snapshot { input: Some(tokens), ..common };
        }
        Snapshot {
            tpm: tokens.tpm,
            learned_tpm: tokens.learned_tpm,
            configured_tpm: tokens.learned_tpm.and(state.tokens.configured()),
            tokens_available: tokens.available,
            tokens_held: tokens.held,
            ..common
        }
    }

    /// Forgets what was inferred from throttles, at all replicas.
    pub fn reset(self: &Arc<Self>, now: Instant) {
        let mut state = self.state();
        state.requests.reset(now);
        state.tokens.reset(now);
        state.output.as_mut().into_iter().for_each(|limit| limit.reset(now));
        drop(state);
        if let Some(lease) = &self.lease {
            self.request_sync(lease, true);
        }
        self.signal.notify();
    }

    /// Takes over what `before` learned and holds; for the same quota under a newer config.
    /// Reservations of the old quota settle there and do not count here.
    pub fn take_over(&self, before: &Quota, now: Instant) {
        let (had, has) = (before.counting, self.counting);
        let before = before.state();
        let (requests, tokens) = (before.requests.clone(), before.tokens.clone());
        let output = before.output.clone();
        drop(before);
        let mut state = self.state();
        state.requests.take_over(&requests, now);
        if had == has {
            state.tokens.take_over(&tokens, now);
        }
        if let (Some(limit), Some(before)) = (&mut state.output, output) {
            limit.take_over(&before, now);
        }
    }

    /// What a request takes of the limit of all or input tokens, and of that of output tokens.
    fn units(&self, demand: TokenDemand) -> (f64, f64) {
        let (tokens, output) = self.counting.taken(demand);
        (tokens as f64, output as f64)
    }

    fn settle(self: &Arc<Self>, demand: TokenDemand, charge: Option<TokenCharge>) {
        let now = Instant::now();
        let (tokens, output) = self.units(demand);
        let charged = charge.map(|charge| self.counting.charged(charge)).unwrap_or_default();
        let mut state = self.state();
        state.in_flight = state.in_flight.saturating_sub(1);
        if charge.is_none() {
            state.requests.give_back(1.0, now);
        }
        state.tokens.give_back(tokens - charged.0 as f64, now);
        if let Some(limit) = &mut state.output {
            limit.give_back(output - charged.1 as f64, now);
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
        let State { requests, tokens, output, .. } = &mut *state;
        // The names are part of the keys in Redis. Versions that count in another way have other keys.
        let tokens_name = if self.counting == Counting::Apart { "input" } else { "tokens" };
        let limits = [("requests", requests), (tokens_name, tokens)].into_iter();
        let output = output.as_deref_mut().map(|limit| ("output", limit));
        for (kind, (name, limit)) in limits.chain(output).enumerate() {
            if let Some(request) = limit.next_request(now) {
                let (entry, holder) = (lease.entry(name), lease.holder().to_owned());
                lease_requests.push((kind, LeaseRequest { entry, holder, ..request }));
            }
        }
        !state.is_settled(now)
    }

    fn granted(&self, kind: usize, grant: &LeaseGrant, now: Instant) {
        let mut state = self.state();
        let State { requests, tokens, output, .. } = &mut *state;
        match (kind, output) {
            (0, _) => requests.apply_grant(grant, now),
            (2, Some(output)) => output.apply_grant(grant, now),
            _ => tokens.apply_grant(grant, now),
        }
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
    /// The limits of requests, of all or input tokens, and of output tokens, each made by `limit` from its
    /// configured figure and the lowest that is learned.
    fn of(limits: &QuotaLimits, limit: impl Fn(Option<f64>, f64) -> Limit) -> State {
        let of_tokens =
            |tpm: Option<u64>| limit(tpm.map(|tpm| tpm as f64), limits.floor_tpm as f64);
        let (tokens, output) = match limits.counting() {
            Counting::Together => (of_tokens(limits.tpm), None),
            Counting::Apart => {
                (of_tokens(limits.input_tpm), Some(Box::new(of_tokens(limits.output_tpm))))
            }
        };
        let requests = limit(limits.rpm.map(f64::from), f64::from(limits.floor_rpm));
        State { in_flight: 0, requests, tokens, output }
    }

    fn when(&mut self, tokens: f64, output: f64, now: Instant) -> Instant {
        self.requests.when(1.0, now).max(self.tokens_when(tokens, output, now))
    }

    fn tokens_when(&mut self, tokens: f64, output: f64, now: Instant) -> Instant {
        let when = self.tokens.when(tokens, now);
        self.output.as_mut().map_or(when, |limit| when.max(limit.when(output, now)))
    }

    /// A request has found too little. True if an early sync can help.
    fn record_shortage(&mut self, tokens: f64, output: f64, now: Instant) -> bool {
        let lacks_requests = self.requests.record_shortage(1.0, now);
        let lacks_tokens = self.tokens.record_shortage(tokens, now);
        let limit = self.output.as_mut();
        let lacks_output = limit.is_some_and(|limit| limit.record_shortage(output, now));
        lacks_requests || lacks_tokens || lacks_output
    }

    fn is_settled(&self, now: Instant) -> bool {
        self.requests.is_settled(now)
            && self.tokens.is_settled(now)
            && self.output.as_ref().is_none_or(|limit| limit.is_settled(now))
    }

    /// The limit of tokens, or of the two that has the smaller share left.
    fn scarcer_tokens(&mut self, now: Instant) -> &mut Limit {
        let State { tokens, output, .. } = self;
        let Some(output) = output else { return tokens };
        let share = |limit: &mut Limit| {
            let left = limit.available(now).zip(limit.per_minute());
            left.map_or(1.0, |(left, limit)| left / limit)
        };
        if share(output) < share(tokens) { output } else { tokens }
    }
}

fn token_limit(limit: &mut Limit, now: Instant) -> TokenLimit {
    TokenLimit {
        tpm: limit.per_minute(),
        learned_tpm: limit.learned(),
        available: limit.available(now),
        held: limit.held(now),
    }
}

/// What one request has reserved of a quota, and of the daily quotas beside it, settled once, when dropped. Without
/// a charge it gives everything back: the request was not sent, or the upstream took nothing for it.
#[derive(Debug)]
pub struct Reservation {
    quota: Arc<Quota>,
    demand: TokenDemand,
    charge: Option<TokenCharge>,
    daily: Option<DailyReservations>,
}

impl Reservation {
    /// Holds what the request has taken of daily quotas, until both are settled.
    pub fn hold_daily(&mut self, daily: DailyReservations) {
        self.daily = Some(daily);
    }

    /// Tokens that were reserved at the start.
    pub fn taken(&self) -> u64 {
        self.demand.total
    }

    /// Sets what the request costs as far as is known by now.
    pub fn charge(&mut self, charge: impl Into<TokenCharge>) {
        self.charge = Some(charge.into());
    }

    /// The request costs nothing: the upstream did not process it.
    pub fn charge_nothing(&mut self) {
        self.charge = None;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // Before the quota wakes those that wait.
        for daily in self.daily.iter_mut().flat_map(|daily| daily.iter_mut()) {
            daily.charge(self.charge);
        }
        drop(self.daily.take());
        self.quota.settle(self.demand, self.charge);
    }
}

#[cfg(test)]
mod tests;

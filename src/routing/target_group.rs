//! Targets that can stand in for one another, and the queue of requests that wait for any of them.
//!
//! While the queue is empty, a request takes the first target that has quota left and touches nothing but that target.
//! Otherwise it joins the queue. A task of the group, the dispatcher, hands out targets in the queue's order;
//! it wakes on the [`QueueSignal`] and when the next target is due. So no request overtakes another, and only
//! those wake that can go.
//!
//! A queued request that finds no quota left claims the quota that will suffice for it first: none behind it takes
//! from that quota. So small requests do not starve a large one, while targets that it does not claim stay in
//! use. Operations that draw on no quota, such as CountTokens, do not wait for those that do, nor the other
//! way round.
//!
//! A waiter may leave out some of its candidates until an instant, to stay with the model that it asks for. It
//! keeps its place meanwhile, claims no quota of those that it leaves out, and the dispatcher wakes at that
//! instant at the latest.
//!
//! A waiter leaves the queue without a target when none of its candidates can recover in its time any more,
//! such as when the last of them is drained.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::candidate::{Candidate, Candidates, left_out_until, may_recover_by};
use super::cooldown::Blocked;
use super::permit::Permit;
use super::target::Target;
use crate::quota::{FairQueue, Flow, QueueSignal, Quota, Ticket};
use crate::system::time::sleep_until;

/// Longest pause between two rounds of the dispatcher while requests wait: capacity that other replicas
/// return is seen only by polling.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Targets that routes or quotas connect, and the queue for them.
#[derive(Debug, Default)]
pub struct TargetGroup {
    signal: Arc<QueueSignal>,
    queue: Mutex<FairQueue<Waiter>>,
    /// The quotas that waiters claimed in the dispatcher's last round.
    claimed: Mutex<SmallVec<[Arc<Quota>; 4]>>,
    dispatcher: OnceLock<AbortOnDropHandle<()>>,
}

#[derive(Debug)]
struct Waiter {
    candidates: Candidates,
    /// When its wait ends at the latest.
    wait_until: Instant,
    granted: oneshot::Sender<Grant>,
}

/// What a queued request is handed.
#[derive(Debug)]
struct Grant {
    index: usize,
    permit: Permit,
    /// The better candidates whose quota others ahead claim.
    claimed_better: Vec<usize>,
}

/// A queued request, which leaves the queue when this is dropped.
#[derive(Debug)]
pub struct QueuedRequest<'a> {
    group: &'a TargetGroup,
    ticket: Ticket,
    granted: oneshot::Receiver<Grant>,
    claimed_better: Vec<usize>,
}

impl QueuedRequest<'_> {
    /// Waits for the request's turn. `None` if no candidate can recover in time, or the group is gone.
    pub async fn granted(&mut self) -> Option<(usize, Permit)> {
        let Grant { index, permit, claimed_better } = (&mut self.granted).await.ok()?;
        self.claimed_better = claimed_better;
        Some((index, permit))
    }

    /// After the grant: the better candidates that were passed over because others ahead claimed their quota.
    pub fn claimed_better(&self) -> &[usize] {
        &self.claimed_better
    }

    /// Lets the request use all its candidates from `at` on, or from when it would anyway. It keeps its place.
    pub fn use_all_from(&self, at: Instant) {
        if let Some(waiter) = self.group.queue().get_mut(self.ticket) {
            for candidate in &mut waiter.candidates {
                candidate.not_before = candidate.not_before.map(|before| before.min(at));
            }
        }
        self.group.signal.notify();
    }
}

impl Drop for QueuedRequest<'_> {
    fn drop(&mut self) {
        let was_served = self.group.queue().remove(self.ticket).is_none();
        if !was_served {
            self.group.signal.waiter_left();
            // The next in the queue may use the quota that this request claimed.
            self.group.signal.notify();
        }
    }
}

impl TargetGroup {
    /// What wakes the dispatcher.
    pub fn signal(&self) -> &Arc<QueueSignal> {
        &self.signal
    }

    /// The number of queued requests.
    pub fn waiting(&self) -> usize {
        self.signal.waiting()
    }

    /// Takes the first candidate that has quota left, if the queue is empty.
    pub fn enter(&self, candidates: impl Iterator<Item = Candidate>) -> Option<(usize, Permit)> {
        enter(&self.signal, candidates)
    }

    /// Takes the first candidate that has quota left and whose quota no waiter claims, for a request that the queue
    /// has no slot for. It takes nothing that a waiter is about to get.
    pub fn enter_past_queue(
        &self,
        candidates: impl Iterator<Item = Candidate>,
    ) -> Option<(usize, Permit)> {
        let now = Instant::now();
        let claimed = self.claimed.lock().clone();
        let mut free = candidates.filter(|candidate| {
            let quota = candidate.target.quota();
            !candidate.demand.draws_on_quota() || !claimed.iter().any(|it| Arc::ptr_eq(it, quota))
        });
        free.find_map(|candidate| {
            let permit = candidate.target.enter(candidate.demand, now).ok()?;
            Some((candidate.index, permit))
        })
    }

    /// The indices of those candidates whose quota a waiter claims.
    pub fn claimed_among(&self, candidates: impl Iterator<Item = Candidate>) -> Vec<usize> {
        let claimed = self.claimed.lock().clone();
        let is_claimed = |candidate: &Candidate| {
            let quota = candidate.target.quota();
            candidate.demand.draws_on_quota() && claimed.iter().any(|it| Arc::ptr_eq(it, quota))
        };
        candidates.filter(is_claimed).map(|candidate| candidate.index).collect()
    }

    /// Joins the queue, for a request that waits until `wait_until`. Must be called within a tokio runtime.
    pub fn enqueue(
        self: &Arc<Self>,
        flow: Flow,
        candidates: Candidates,
        wait_until: Instant,
    ) -> QueuedRequest<'_> {
        self.dispatcher
            .get_or_init(|| AbortOnDropHandle::new(tokio::spawn(dispatch(Arc::downgrade(self)))));
        let best = candidates.first().filter(|candidate| candidate.demand.draws_on_quota());
        let cost = best.map_or(0, |candidate| candidate.demand.tokens());
        let (sender, granted) = oneshot::channel();
        let waiter = Waiter { candidates, wait_until, granted: sender };
        let ticket = self.queue().push(flow, cost, waiter);
        self.signal.waiter_joined();
        QueuedRequest { group: self, ticket, granted, claimed_better: Vec::new() }
    }

    /// The target that is likely to serve a request with these candidates first, and in how long, behind all
    /// that are queued.
    pub fn due(&self, candidates: &[Candidate], now: Instant) -> Option<(Arc<Target>, Duration)> {
        let due = |candidate: &Candidate| candidate.target.due(candidate.demand, now);
        let first = candidates.iter().min_by_key(|candidate| due(candidate))?;
        let alone = due(first).saturating_duration_since(now);
        Some((Arc::clone(&first.target), alone + self.time_to_drain(candidates, now)))
    }

    /// How long it takes until the targets of these candidates have served all that are queued.
    fn time_to_drain(&self, candidates: &[Candidate], now: Instant) -> Duration {
        let (waiting, cost) = {
            let queue = self.queue();
            (queue.len() as f64, queue.cost() as f64)
        };
        let draws_on_quota = candidates.iter().any(|candidate| candidate.demand.draws_on_quota());
        if waiting == 0.0 || !draws_on_quota {
            return Duration::ZERO;
        }
        let mut seen: SmallVec<[*const Quota; 8]> = SmallVec::new();
        let mut per_minute = 0.0;
        for candidate in candidates {
            if !candidate.target.is_free(candidate.demand, now) {
                continue;
            }
            let quota = candidate.target.quota();
            if seen.contains(&Arc::as_ptr(quota)) {
                continue;
            }
            seen.push(Arc::as_ptr(quota));
            match quota.per_minute(cost / waiting) {
                Some(requests) => per_minute += requests,
                // No known limit claims up the queue here.
                None => return Duration::ZERO,
            }
        }
        if per_minute <= 0.0 {
            return Duration::ZERO;
        }
        // No request waits for days.
        Duration::try_from_secs_f64(waiting * 60.0 / per_minute).unwrap_or(DAY).min(DAY)
    }

    /// One round of the dispatcher: hands out targets in the queue's order. Gives the time of the next round,
    /// if no signal comes before.
    fn dispatch_round(&self, now: Instant) -> Option<Instant> {
        let mut queue = self.queue();
        let mut served: Vec<(Ticket, Grant)> = Vec::new();
        let mut hopeless: Vec<Ticket> = Vec::new();
        let mut claimed: SmallVec<[Arc<Quota>; 4]> = SmallVec::new();
        let mut next: Option<Instant> = None;
        for (ticket, waiter) in queue.iter() {
            match waiter.try_dispatch(&claimed, now) {
                Turn::Go(grant) => served.push((ticket, grant)),
                Turn::Wait { claims, next_turn } => {
                    claimed.extend(claims.map(Arc::clone));
                    next = next.into_iter().chain(next_turn).min();
                }
                Turn::Never => hopeless.push(ticket),
            }
        }
        for ticket in hopeless {
            // Dropping its side of the channel ends its wait.
            if queue.remove(ticket).is_some() {
                self.signal.waiter_left();
            }
        }
        *self.claimed.lock() = claimed;
        report_backlogs(&queue, &served, now);
        for (ticket, grant) in served {
            if let Some(waiter) = queue.serve(ticket) {
                self.signal.waiter_left();
                // If the request has just gone away, dropping its permit gives the quota back. That takes
                // the signal and not the queue's lock.
                drop(waiter.granted.send(grant));
            }
        }
        next
    }

    fn queue(&self) -> MutexGuard<'_, FairQueue<Waiter>> {
        self.queue.lock()
    }
}

/// Takes the first candidate that has quota left, if the queue of this signal is empty. Operations that draw on no
/// quota pass the queue: they take nothing from those in it.
pub(super) fn enter(
    signal: &QueueSignal,
    mut candidates: impl Iterator<Item = Candidate>,
) -> Option<(usize, Permit)> {
    let is_queue = signal.waiting() > 0;
    let now = Instant::now();
    candidates.find_map(|candidate| {
        let (target, demand) = (&candidate.target, candidate.demand);
        if is_queue && demand.draws_on_quota() && !target.has_reserved_room(demand, now) {
            return None;
        }
        let permit = candidate.target.enter(candidate.demand, now).ok()?;
        Some((candidate.index, permit))
    })
}

/// Reports to each quota what queued requests need of it that would take it first, so that leases fit that.
fn report_backlogs(queue: &FairQueue<Waiter>, served: &[(Ticket, Grant)], now: Instant) {
    let mut backlogs: SmallVec<[(&Arc<Quota>, u64, u64); 8]> = SmallVec::new();
    for (ticket, waiter) in queue.iter() {
        let is_served = served.binary_search_by_key(&ticket, |(served, ..)| *served).is_ok();
        let counted = waiter.candidates.iter().filter(|it| it.demand.draws_on_quota());
        let best = counted.clone().find(|it| it.not_before.is_none_or(|at| at <= now));
        let best = best.or_else(|| counted.clone().next()).map(|best| best.index);
        for candidate in counted {
            let quota = candidate.target.quota();
            let is_needed = best == Some(candidate.index) && !is_served;
            let (count, tokens) = if is_needed { (1, candidate.demand.tokens()) } else { (0, 0) };
            match backlogs.iter_mut().find(|(known, ..)| Arc::ptr_eq(known, quota)) {
                Some((_, known_count, known_tokens)) => {
                    *known_count += count;
                    *known_tokens = known_tokens.saturating_add(tokens);
                }
                None => backlogs.push((quota, count, tokens)),
            }
        }
    }
    for (quota, count, tokens) in backlogs {
        quota.set_backlog(count, tokens, now);
    }
}

enum Turn<'a> {
    /// A candidate has quota left.
    Go(Grant),
    /// None has quota left.
    Wait {
        /// The quota that the waiter claims, if it waits for one. Otherwise those behind may take what comes.
        claims: Option<&'a Arc<Quota>>,
        /// When it may have its turn without a signal, if that is known.
        next_turn: Option<Instant>,
    },
    /// None can have room before the wait ends.
    Never,
}

impl Waiter {
    fn try_dispatch(&self, claimed: &[Arc<Quota>], now: Instant) -> Turn<'_> {
        let left_out_until = left_out_until(&self.candidates, now);
        let mut first: Option<(Option<&Arc<Quota>>, Instant)> = None;
        let mut day_until: Option<Instant> = None;
        let mut waits_for_others = false;
        for candidate in &self.candidates {
            if left_out_until.is_some() && candidate.not_before.is_some() {
                continue;
            }
            let (target, demand) = (&candidate.target, candidate.demand);
            let draws_on_quota = demand.draws_on_quota() && !target.has_reserved_room(demand, now);
            let quota = draws_on_quota.then(|| target.quota());
            if quota.is_some_and(|quota| claimed.iter().any(|it| Arc::ptr_eq(it, quota))) {
                waits_for_others = true;
                continue;
            }
            match candidate.target.enter(candidate.demand, now) {
                Ok(permit) => {
                    let index = candidate.index;
                    let claimed_better = self.claimed_better(index, claimed);
                    return Turn::Go(Grant { index, permit, claimed_better });
                }
                Err(Blocked::Until(until)) if first.is_none_or(|(_, least)| until < least) => {
                    first = Some((quota, until));
                }
                // The quota of a minute is left to those behind.
                Err(Blocked::DailyQuota(until)) => {
                    day_until = day_until.into_iter().chain([until]).min();
                }
                Err(Blocked::Until(_) | Blocked::Probing | Blocked::Drained) => {}
            }
        }
        // Who claims a quota may have room at its target, so a waiter behind need not look.
        if !waits_for_others && !may_recover_by(&self.candidates, self.wait_until, now) {
            return Turn::Never;
        }
        let (claims, due) = first.unzip();
        Turn::Wait {
            claims: claims.flatten(),
            next_turn: due.into_iter().chain(left_out_until).chain(day_until).min(),
        }
    }

    /// The candidates above the one with this index whose quota is among those that others claim.
    fn claimed_better(&self, index: usize, claimed: &[Arc<Quota>]) -> Vec<usize> {
        let better = self.candidates.iter().take_while(|candidate| candidate.index != index);
        let is_claimed = |it: &&Candidate| {
            let quota = it.target.quota();
            it.demand.draws_on_quota() && claimed.iter().any(|it| Arc::ptr_eq(it, quota))
        };
        better.filter(is_claimed).map(|candidate| candidate.index).collect()
    }
}

/// The dispatcher: serves the queue whenever there may be room, as long as the group lives.
async fn dispatch(group: Weak<TargetGroup>) {
    loop {
        let Some(strong) = group.upgrade() else { return };
        let next = strong.dispatch_round(Instant::now());
        let signal = Arc::clone(&strong.signal);
        drop(strong);
        match next {
            Some(next) => {
                tokio::select! {
                    () = signal.notified() => {}
                    () = sleep_until(next.min(Instant::now() + POLL_INTERVAL)) => {}
                }
            }
            None => signal.notified().await,
        }
    }
}

#[cfg(test)]
mod tests;

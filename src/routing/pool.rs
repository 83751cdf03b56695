//! Targets that stand in for one another, and the line of requests that wait for one of them.
//!
//! A request that finds nobody waiting takes the first target with room, without touching
//! anything but that target. Otherwise it joins the line, and a task of the pool's own, woken by
//! the [`QueueSignal`] or when the next room is due, hands out targets in the line's order. So nobody
//! barges in, and exactly those are woken that can go. The first in line who finds no room holds
//! the target that will have room for it first, and nobody behind takes from that one's quota:
//! small requests can't starve a big one, while the targets that it does not hold stay in use.
//! What draws on no quota, as CountTokens, does not wait for those that do, nor they for it.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use smallvec::SmallVec;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::candidate::{Candidate, Candidates};
use super::cooldown::{Blocked, State};
use super::target::{Permit, Target};
use crate::quota::{FairQueue, Flow, QueueSignal, Quota, Ticket};
use crate::system::time::sleep_until;

/// Who waits is looked at so often at least: what other replicas leave is known by asking for it.
const LOOK: Duration = Duration::from_secs(1);

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A set of targets that are connected by routes or quotas, and the line for them.
#[derive(Debug, Default)]
pub struct Pool {
    signal: Arc<QueueSignal>,
    line: Mutex<FairQueue<Waiter>>,
    pump: OnceLock<AbortOnDropHandle<()>>,
}

#[derive(Debug)]
struct Waiter {
    candidates: Candidates,
    granted: oneshot::Sender<(usize, Permit)>,
}

/// A place in the line, left when dropped.
#[derive(Debug)]
pub struct Waiting<'a> {
    pool: &'a Pool,
    ticket: Ticket,
    granted: oneshot::Receiver<(usize, Permit)>,
}

impl Waiting<'_> {
    /// Waits for the turn. `None` only when the pool is no more.
    pub async fn granted(&mut self) -> Option<(usize, Permit)> {
        (&mut self.granted).await.ok()
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let served = self.pool.line().remove(self.ticket).is_none();
        if !served {
            self.pool.signal.waiter_left();
            // Whoever stood behind may hold what this one held.
            self.pool.signal.notify();
        }
    }
}

impl Pool {
    /// What wakes the line.
    pub fn signal(&self) -> &Arc<QueueSignal> {
        &self.signal
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.signal.waiting()
    }

    /// Takes the first candidate that has room, if nobody waits.
    pub fn enter(&self, candidates: impl Iterator<Item = Candidate>) -> Option<(usize, Permit)> {
        enter(&self.signal, candidates)
    }

    /// Joins the line. Must be called within a tokio runtime.
    pub fn join(self: &Arc<Self>, flow: Flow, candidates: Candidates) -> Waiting<'_> {
        self.pump.get_or_init(|| AbortOnDropHandle::new(tokio::spawn(pump(Arc::downgrade(self)))));
        let counted = candidates.first().filter(|candidate| candidate.demand.draws_on_quota());
        let cost = counted.map_or(0, |candidate| candidate.demand.tokens());
        let (sender, granted) = oneshot::channel();
        let ticket = self.line().push(flow, cost, Waiter { candidates, granted: sender });
        self.signal.waiter_joined();
        Waiting { pool: self, ticket, granted }
    }

    /// In how long a request with these candidates is likely to be served, and by which target: all
    /// who wait come first.
    pub fn due(&self, candidates: &[Candidate], now: Instant) -> Option<(Arc<Target>, Duration)> {
        let due = |candidate: &Candidate| candidate.target.due(candidate.demand, now);
        let first = candidates.iter().min_by_key(|candidate| due(candidate))?;
        let alone = due(first).saturating_duration_since(now);
        Some((Arc::clone(&first.target), alone + self.line_takes(candidates, now)))
    }

    /// How long it takes until all who wait now are served by the targets of these candidates.
    fn line_takes(&self, candidates: &[Candidate], now: Instant) -> Duration {
        let (waiting, cost) = {
            let line = self.line();
            (line.len() as f64, line.cost() as f64)
        };
        let is_counted = candidates.iter().any(|candidate| candidate.demand.draws_on_quota());
        if waiting == 0.0 || !is_counted {
            return Duration::ZERO;
        }
        let mut seen: SmallVec<[*const Quota; 8]> = SmallVec::new();
        let mut per_minute = 0.0;
        let free =
            candidates.iter().filter(|candidate| candidate.target.is_free(candidate.demand, now));
        for target in free.map(|candidate| &candidate.target) {
            let quota = Arc::as_ptr(target.quota());
            if seen.contains(&quota) {
                continue;
            }
            seen.push(quota);
            match target.quota().per_minute(cost / waiting) {
                Some(requests) => per_minute += requests,
                // Nobody knows what holds the line up here.
                None => return Duration::ZERO,
            }
        }
        if per_minute <= 0.0 {
            return Duration::ZERO;
        }
        // Whoever waits for days has left before.
        Duration::try_from_secs_f64(waiting * 60.0 / per_minute).unwrap_or(DAY).min(DAY)
    }

    /// Hands out targets in the line's order; tells when to look again at the latest.
    fn serve(&self, now: Instant) -> Option<Instant> {
        let mut line = self.line();
        let mut served: Vec<(Ticket, usize, Permit)> = Vec::new();
        let mut held: SmallVec<[*const Quota; 8]> = SmallVec::new();
        let mut next: Option<Instant> = None;
        for (ticket, waiter) in line.iter() {
            match waiter.turn(&held, now) {
                Turn::Go(index, permit) => served.push((ticket, index, permit)),
                Turn::Hold(quota, until) => {
                    held.extend(quota);
                    next = Some(next.map_or(until, |next| next.min(until)));
                }
                Turn::Pass => {}
            }
        }
        tell_backlogs(&line, &served, now);
        for (ticket, index, permit) in served {
            if let Some(waiter) = line.serve(ticket) {
                self.signal.waiter_left();
                // Who has left in this moment gives the permit back by dropping it; that needs
                // the signal, not this lock.
                drop(waiter.granted.send((index, permit)));
            }
        }
        next
    }

    fn line(&self) -> MutexGuard<'_, FairQueue<Waiter>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the first candidate that has room, if nobody waits for the signal. What draws on no quota passes
/// those who wait: it takes nothing of theirs.
pub(super) fn enter(
    signal: &QueueSignal,
    mut candidates: impl Iterator<Item = Candidate>,
) -> Option<(usize, Permit)> {
    let is_line = signal.waiting() > 0;
    let now = Instant::now();
    candidates.find_map(|candidate| {
        if is_line && candidate.demand.draws_on_quota() {
            return None;
        }
        let permit = candidate.target.enter(candidate.demand, now).ok()?;
        Some((candidate.index, permit))
    })
}

/// Tells each quota what those need of it who would take it first, so that it is leased to fit.
fn tell_backlogs(line: &FairQueue<Waiter>, served: &[(Ticket, usize, Permit)], now: Instant) {
    let mut backlogs: SmallVec<[(&Arc<Quota>, u64, u64); 8]> = SmallVec::new();
    for (ticket, waiter) in line.iter() {
        let is_served = served.binary_search_by_key(&ticket, |(served, ..)| *served).is_ok();
        let counted =
            waiter.candidates.iter().filter(|candidate| candidate.demand.draws_on_quota());
        for (place, candidate) in counted.enumerate() {
            let quota = candidate.target.quota();
            let (count, tokens) =
                if place == 0 && !is_served { (1, candidate.demand.tokens()) } else { (0, 0) };
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

enum Turn {
    /// The waiter's turn on one of its candidates.
    Go(usize, Permit),
    /// None has room before then; this quota will have it first, if that is what is waited for.
    Hold(Option<*const Quota>, Instant),
    /// None has room, and those behind may take what comes.
    Pass,
}

impl Waiter {
    fn turn(&self, held: &[*const Quota], now: Instant) -> Turn {
        let mut first: Option<(Option<*const Quota>, Instant)> = None;
        for candidate in &self.candidates {
            let counted = candidate.demand.draws_on_quota();
            let quota = counted.then(|| Arc::as_ptr(candidate.target.quota()));
            if quota.is_some_and(|quota| held.contains(&quota)) {
                continue;
            }
            match candidate.target.enter(candidate.demand, now) {
                Ok(permit) => return Turn::Go(candidate.index, permit),
                Err(Blocked::Until(until)) if first.is_none_or(|(_, least)| until < least) => {
                    first = Some((quota, until));
                }
                Err(Blocked::Until(_) | Blocked::Probing | Blocked::Drained) => {}
            }
        }
        first.map_or(Turn::Pass, |(quota, until)| Turn::Hold(quota, until))
    }
}

/// Serves the line whenever there may be room, as long as the pool lives.
async fn pump(pool: std::sync::Weak<Pool>) {
    loop {
        let Some(strong) = pool.upgrade() else { return };
        let next = strong.serve(Instant::now());
        let signal = Arc::clone(&strong.signal);
        drop(strong);
        match next {
            Some(next) => {
                tokio::select! {
                    () = signal.notified() => {}
                    () = sleep_until(next.min(Instant::now() + LOOK)) => {}
                }
            }
            None => signal.notified().await,
        }
    }
}

/// Whether some candidate may have room within `limit`: a wait that is bound to fail is not begun.
/// A quota may get room before it is due, since what is in flight may be given back; a cooldown
/// ends when it ends.
pub fn is_hopeful(candidates: &[Candidate], limit: Instant, now: Instant) -> bool {
    candidates.iter().any(|candidate| match candidate.target.state_for(candidate.demand, now) {
        State::Cooling(until) => until <= limit,
        State::Available | State::Probing => true,
        State::Drained => false,
    })
}

#[cfg(test)]
mod tests;

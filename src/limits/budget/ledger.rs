//! The sums of each client: what its requests hold, and what it has spent in this day and month.
//!
//! Money that this process has spent is kept apart from what others have, as the store tells; so
//! whatever a store does, or however often it is asked, nothing of one's own is lost or counted
//! twice. What no store could be told yet is kept, also when its day or month is over, up to
//! [`MAX_LEFT`] of them. The periods are those that the clock shows, also when it was set back: then
//! what was spent in them counts again. A clock that is kept exact may step over the end of a period
//! and back: [`MAX_STEP`] is no more than that until it has lasted for [`STEP_LASTS`].

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::atomic::{self, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::OverBudget;
use super::store::{Entry, Kind, Period};

/// How far a clock that is kept exact steps back, and how long until it is where it was.
const MAX_STEP: Duration = Duration::from_secs(60);
const STEP_LASTS: Duration = Duration::from_secs(20);

/// Periods of one client that are kept when they are over, or the clock was set.
const MAX_LEFT: usize = 8;

/// The ledgers of all clients that have a budget, or had one under an older config.
#[derive(Debug, Default)]
pub struct Ledgers {
    of_clients: Mutex<HashMap<Arc<str>, Arc<Ledger>>>,
    news: Arc<News>,
}

/// What ledgers have to tell.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Rung when something was spent, or is to be asked.
    spent: Notify,
    /// Nano-dollars that no store was told of and that are no longer kept.
    dropped: AtomicU64,
}

impl Ledgers {
    pub(super) fn of(&self, client: &Arc<str>, now: SystemTime) -> Arc<Ledger> {
        let ledger = || Arc::new(Ledger::new(client, Arc::clone(&self.news), now));
        Arc::clone(self.all().entry(Arc::clone(client)).or_insert_with(ledger))
    }

    /// Waits until something was spent since the last time that this was waited for.
    pub(super) async fn something_is_spent(&self) {
        self.news.spent.notified().await;
    }

    /// Nano-dollars that no store was told of and that are no longer kept, since this was asked last.
    pub(super) fn take_dropped(&self) -> u64 {
        self.news.dropped.swap(0, atomic::Ordering::Relaxed)
    }

    /// Nano-dollars that the store was not told of yet. What counts in a day and in a month counts
    /// twice.
    pub(super) fn untold(&self) -> u64 {
        let untold = |ledger: &Arc<Ledger>| ledger.locked().all().map(Purse::untold).sum::<u64>();
        self.all().values().map(untold).sum()
    }

    /// Has the store told all that is known of each sum: it may have lost it.
    pub(super) fn restore(&self) {
        self.all().values().for_each(|ledger| ledger.locked().restore());
    }

    /// What there is to tell or to ask a store; `every` asks for all sums, known or not.
    pub(super) fn entries(&self, every: bool, now: SystemTime) -> Vec<Entry> {
        self.all().values().flat_map(|ledger| ledger.entries(every, now)).collect()
    }

    /// Notes what a store said to the entries it was told.
    pub(super) fn told(&self, entries: &[Entry], sums: &[u64], now: SystemTime) {
        let mut all = self.all();
        for (entry, sum) in entries.iter().zip(sums) {
            if let Some(ledger) = all.get(&entry.client) {
                ledger.told(entry, *sum);
            }
        }
        // One that has no budget any more may get one back, and has then spent what it has spent.
        all.retain(|_, ledger| Arc::strong_count(ledger) > 1 || ledger.has_spent(now));
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Ledger>>> {
        // Every change is whole before the lock is let go.
        self.of_clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
pub(super) struct Ledger {
    client: Arc<str>,
    state: Mutex<State>,
    news: Arc<News>,
}

#[derive(Debug)]
struct State {
    /// What requests under way hold. It counts in whatever period it is settled in. Wide enough for
    /// any number of holds of any size: a sum that was cut off would let go of what others hold.
    reserved: u128,
    /// The last request that was let in although it may cost more than is left: its number, and what
    /// it holds.
    last: Option<(u64, u64)>,
    /// How many requests were let in.
    admitted: u64,
    /// What holds are multiplied by today, in thousandths: above 1,000 once a request has cost more
    /// than it held.
    stretch: u64,
    purses: [Purse; 2],
    /// Of other periods than those, the newest last.
    left: Vec<Purse>,
}

/// Holds are as they come.
const UNSTRETCHED: u64 = 1000;

/// Nothing costs so many times what it held.
const MAX_STRETCH: u64 = 1_000_000;

/// What one request holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    /// Which one it is.
    number: u64,
    /// Nano-dollars.
    pub(super) amount: u64,
    /// Whether it may come to cost more, and is looked at while it does.
    is_metered: bool,
    /// Of the amount, what a metered request has not cost yet.
    ahead: u64,
}

/// What was spent in one period.
#[derive(Debug)]
struct Purse {
    period: Period,
    /// By this process.
    own: u64,
    /// Of that, what the store knows.
    told: u64,
    /// By others, or by this one before it was started, as far as the store said.
    others: u64,
    /// Whether the store was asked.
    is_known: bool,
    /// Whether the store has less than is known.
    is_lost: bool,
    /// Since when the clock is before the period.
    behind: Option<Instant>,
}

impl Purse {
    fn new(period: Period) -> Purse {
        Purse { period, own: 0, told: 0, others: 0, is_known: false, is_lost: false, behind: None }
    }

    fn spent(&self) -> u64 {
        self.own.saturating_add(self.others)
    }

    fn untold(&self) -> u64 {
        self.own.saturating_sub(self.told)
    }

    /// What the store was last known to hold.
    fn known(&self) -> u64 {
        self.told.saturating_add(self.others)
    }

    /// The period that takes the place of this one.
    fn next(&mut self, now: SystemTime) -> Option<Period> {
        let period = Period::at(self.period.kind, now);
        match period.number.cmp(&self.period.number) {
            Ordering::Equal => {
                self.behind = None;
                None
            }
            Ordering::Greater => Some(period),
            Ordering::Less => {
                let behind = *self.behind.get_or_insert_with(Instant::now);
                let is_far = now + MAX_STEP < self.period.start();
                (is_far || behind.elapsed() >= STEP_LASTS).then_some(period)
            }
        }
    }

    /// Notes what the store said to an entry.
    fn told(&mut self, entry: &Entry, sum: u64) {
        let expected = self.known().saturating_add(entry.own.saturating_sub(self.told));
        self.told = entry.own;
        self.is_known = true;
        // Within a period a sum only grows.
        self.is_lost = sum < expected;
        if !self.is_lost {
            self.others = sum.saturating_sub(entry.own);
        }
    }
}

impl State {
    /// Turns to the periods that have come, or have come back. Gives the nano-dollars that are
    /// dropped for want of room, if it turned.
    fn roll(&mut self, now: SystemTime) -> Option<u64> {
        let mut dropped = None;
        for purse in &mut self.purses {
            let Some(period) = purse.next(now) else { continue };
            let known = self.left.iter().position(|left| left.period == period);
            let next = known.map(|place| self.left.remove(place));
            let mut next = next.unwrap_or_else(|| Purse::new(period));
            // Others may have spent in it meanwhile.
            (next.is_known, next.behind) = (false, None);
            let left = std::mem::replace(purse, next);
            self.stretch = UNSTRETCHED;
            let dropped = dropped.get_or_insert(0u64);
            if left.spent() > 0 {
                self.left.push(left);
            }
            if self.left.len() > MAX_LEFT {
                *dropped += self.left.remove(0).untold();
            }
        }
        dropped
    }

    /// Those of all periods.
    fn all(&self) -> impl Iterator<Item = &Purse> {
        self.purses.iter().chain(&self.left)
    }

    fn restore(&mut self) {
        for purse in self.purses.iter_mut().chain(&mut self.left) {
            purse.is_lost = purse.spent() > 0;
        }
    }
}

impl Ledger {
    fn new(client: &Arc<str>, news: Arc<News>, now: SystemTime) -> Ledger {
        let purses = Kind::ALL.map(|kind| Purse::new(Period::at(kind, now)));
        let state = Mutex::new(State {
            reserved: 0,
            last: None,
            admitted: 0,
            stretch: UNSTRETCHED,
            purses,
            left: Vec::new(),
        });
        Ledger { client: Arc::clone(client), state, news }
    }

    pub(super) fn client(&self) -> &str {
        &self.client
    }

    /// What was spent in this day and in this month.
    pub(super) fn spent(&self, now: SystemTime) -> [u64; 2] {
        self.state(now).purses.each_ref().map(Purse::spent)
    }

    /// Lets a request in that can cost so much at most, if anything is left. Of those that may cost
    /// more than is left there is one at a time: it holds what is left, and so nobody else gets in.
    pub(super) fn reserve(
        &self,
        limits: &[(Kind, Option<u64>); 2],
        most: u64,
        now: SystemTime,
    ) -> Result<Held, OverBudget> {
        let mut state = self.state(now);
        let most = u128::from(most) * u128::from(state.stretch) / u128::from(UNSTRETCHED);
        let amount = u64::try_from(most).unwrap_or(u64::MAX);
        let mut is_last = false;
        for ((kind, limit), purse) in limits.iter().zip(&state.purses) {
            let Some(limit) = *limit else { continue };
            let spent = purse.spent();
            if spent >= limit {
                return Err(OverBudget::UsedUp { period: purse.period, spent, limit });
            }
            let held = u128::from(spent).saturating_add(state.reserved);
            if held >= u128::from(limit) {
                return Err(OverBudget::Held(*kind));
            }
            is_last |= held.saturating_add(u128::from(amount)) > u128::from(limit);
        }
        state.reserved = state.reserved.saturating_add(u128::from(amount));
        state.admitted += 1;
        let number = state.admitted;
        if is_last {
            state.last = Some((number, amount));
        }
        Ok(Held { number, amount, is_metered: false, ahead: amount })
    }

    /// Notes what a request has cost so far whose cost nothing bounds. It holds that, and as much
    /// ahead of it as it did at its start.
    ///
    /// # Errors
    /// When that, with what is spent and held, uses up a budget. What the last request holds is left
    /// out: it is the one by which a client may go beyond.
    pub(super) fn run(
        &self,
        limits: &[(Kind, Option<u64>); 2],
        held: &mut Held,
        cost: u64,
        now: SystemTime,
    ) -> Result<(), OverBudget> {
        let mut state = self.state(now);
        let amount = cost.saturating_add(held.ahead);
        state.reserved =
            state.reserved.saturating_sub(held.amount.into()).saturating_add(amount.into());
        held.is_metered = true;
        held.amount = amount;
        let last = match &mut state.last {
            Some((number, last)) if *number == held.number => {
                *last = amount;
                0
            }
            Some((_, last)) => *last,
            None => 0,
        };
        let others = u128::from(last).saturating_add(held.ahead.into());
        let held = state.reserved.saturating_sub(others);
        for ((_, limit), purse) in limits.iter().zip(&state.purses) {
            let Some(limit) = *limit else { continue };
            let spent = u128::from(purse.spent()).saturating_add(held);
            if spent >= u128::from(limit) {
                let spent = u64::try_from(spent).unwrap_or(u64::MAX);
                return Err(OverBudget::UsedUp { period: purse.period, spent, limit });
            }
        }
        Ok(())
    }

    /// Lets go of what a request held, and notes what it did cost. True if later holds are larger
    /// for that.
    pub(super) fn settle(&self, held: Held, cost: u64, now: SystemTime) -> bool {
        let mut state = self.state(now);
        state.reserved = state.reserved.saturating_sub(held.amount.into());
        if state.last.is_some_and(|(number, _)| number == held.number) {
            state.last = None;
        }
        for purse in &mut state.purses {
            purse.own = purse.own.saturating_add(cost);
        }
        let is_above = cost > held.amount && held.amount > 0 && !held.is_metered;
        if is_above {
            let ratio = u128::from(state.stretch) * u128::from(cost) / u128::from(held.amount) + 1;
            let stretch = u64::try_from(ratio).unwrap_or(MAX_STRETCH).min(MAX_STRETCH);
            state.stretch = state.stretch.max(stretch);
        }
        drop(state);
        if cost > 0 {
            self.news.spent.notify_one();
        }
        is_above
    }

    fn entries(&self, every: bool, now: SystemTime) -> Vec<Entry> {
        let state = self.state(now);
        let is_wanted = |it: &&Purse| it.untold() > 0 || it.is_lost;
        let current = state.purses.iter();
        let wanted = current.filter(|it| every || !it.is_known || is_wanted(it));
        let wanted = wanted.chain(state.left.iter().filter(is_wanted));
        let entry = |purse: &Purse| Entry {
            client: Arc::clone(&self.client),
            period: purse.period,
            known: purse.known(),
            added: purse.untold(),
            own: purse.own,
            restores: purse.is_lost,
        };
        wanted.map(entry).collect()
    }

    fn told(&self, entry: &Entry, sum: u64) {
        let mut state = self.locked();
        let State { purses, left, .. } = &mut *state;
        let of_period = |purse: &&mut Purse| purse.period == entry.period;
        purses.iter_mut().chain(left).filter(of_period).for_each(|it| it.told(entry, sum));
    }

    fn has_spent(&self, now: SystemTime) -> bool {
        let state = self.state(now);
        let has_spent = state.purses.iter().any(|purse| purse.own > 0);
        has_spent || state.left.iter().any(|purse| purse.untold() > 0)
    }

    fn state(&self, now: SystemTime) -> MutexGuard<'_, State> {
        let mut state = self.locked();
        if let Some(dropped) = state.roll(now) {
            self.news.dropped.fetch_add(dropped, atomic::Ordering::Relaxed);
            // So that the store is asked for the new sums at once.
            self.news.spent.notify_one();
        }
        state
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        // Every change is whole before the lock is let go.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;

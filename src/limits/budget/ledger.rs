//! The sums of each client: what its requests reserve, and what it has spent in this day and month.
//!
//! What this process has spent is kept apart from what others have spent, as the store reports it. So
//! nothing of one's own is lost or counted twice, whatever the store does and however often a sync is
//! repeated. Spending that no store has confirmed is kept, even when its day or month is over, for up
//! to [`MAX_PAST_PERIODS`] periods.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{self, AtomicU64};
use std::time::SystemTime;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::OverBudget;
use crate::storage::sums::{Entry, Kind, Period, PeriodSum};

/// Most periods of one client that are kept after they have ended, or after the clock was set.
const MAX_PAST_PERIODS: usize = 8;

/// The ledgers of all clients that have a budget, or had one in an older config.
#[derive(Debug, Default)]
pub struct BudgetLedgers {
    by_client: Mutex<HashMap<Arc<str>, Arc<BudgetLedger>>>,
    signal: Arc<SyncSignal>,
}

/// Tells the task that syncs the ledgers what there is to sync.
#[derive(Debug, Default)]
pub(super) struct SyncSignal {
    /// Notified when something was spent, or a new period needs its sums.
    spent: Notify,
    /// Nano-dollars that were discarded before a store confirmed them.
    discarded: AtomicU64,
}

impl BudgetLedgers {
    pub(super) fn of(&self, client: &Arc<str>, now: SystemTime) -> Arc<BudgetLedger> {
        let ledger = || Arc::new(BudgetLedger::new(client, Arc::clone(&self.signal), now));
        Arc::clone(self.all().entry(Arc::clone(client)).or_insert_with(ledger))
    }

    /// Whether no client has a budget, and none had one that has spending in this day or month.
    pub(super) fn is_empty(&self) -> bool {
        self.all().is_empty()
    }

    /// Waits until something is spent, or was since the last wait.
    pub(super) async fn spending_changed(&self) {
        self.signal.spent.notified().await;
    }

    /// Nano-dollars that were discarded since the last call before a store confirmed them.
    pub(super) fn take_discarded(&self) -> u64 {
        self.signal.discarded.swap(0, atomic::Ordering::Relaxed)
    }

    /// Nano-dollars that the store has not confirmed yet. Spending counts in a day and in a month, and
    /// so twice here.
    pub(super) fn unsynced(&self) -> u64 {
        let unsynced = |ledger: &Arc<BudgetLedger>| {
            ledger.locked().all().map(PeriodSum::unsynced).sum::<u64>()
        };
        self.all().values().map(unsynced).sum()
    }

    /// Marks every sum as lost by the store, so that the next sync writes all that is known.
    pub(super) fn restore(&self) {
        self.all().values().for_each(|ledger| ledger.locked().restore());
    }

    /// The entries of the next sync; with `every` those of all sums, also where nothing has changed.
    pub(super) fn entries(&self, every: bool, now: SystemTime) -> Vec<Entry> {
        self.all().values().flat_map(|ledger| ledger.entries(every, now)).collect()
    }

    /// Takes over the sums that the store has after a sync of these entries.
    pub(super) fn confirm(&self, entries: &[Entry], sums: &[u64], now: SystemTime) {
        let mut all = self.all();
        for (entry, sum) in entries.iter().zip(sums) {
            if let Some(ledger) = all.get(&entry.name) {
                ledger.confirm(entry, *sum);
            }
        }
        // A client without a budget may get one back, and its spending still counts then.
        all.retain(|_, ledger| Arc::strong_count(ledger) > 1 || ledger.has_spending(now));
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<BudgetLedger>>> {
        self.by_client.lock()
    }
}

#[derive(Debug)]
pub(super) struct BudgetLedger {
    client: Arc<str>,
    state: Mutex<State>,
    signal: Arc<SyncSignal>,
}

#[derive(Debug)]
struct State {
    /// The sum of all reservations. Each counts in the period in which it is settled. Wide enough for
    /// any number of reservations of any size: a saturated sum would release those of others.
    reserved: u128,
    /// The latest request that was admitted although it may cost more than is left: its number and its
    /// reservation.
    last: Option<(u64, u64)>,
    /// The number of requests that were admitted.
    admitted: u64,
    /// The factor of reservations today, in thousandths: above 1,000 once a request has cost more than
    /// it had reserved.
    scale: u64,
    current: [PeriodSum; 2],
    /// Earlier periods, and later ones after the clock was set back; the newest last.
    past: Vec<PeriodSum>,
}

/// Reservations are not scaled.
const UNSCALED: u64 = 1000;

/// No request costs a larger multiple of its reservation.
const MAX_SCALE: u64 = 1_000_000;

/// The reservation of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ReservedAmount {
    /// The number of the request.
    number: u64,
    /// Nano-dollars.
    pub(super) amount: u64,
    /// Whether its cost is unbounded and measured while it is answered.
    is_metered: bool,
    /// The part of the amount that a metered request has not cost yet.
    ahead: u64,
}

impl State {
    /// Switches to the periods that the clock shows. If any has changed, gives the nano-dollars that
    /// were discarded for it.
    fn roll(&mut self, now: SystemTime) -> Option<u64> {
        let mut discarded = None;
        for spending in &mut self.current {
            let Some(period) = spending.next(now) else { continue };
            let known = self.past.iter().position(|past| past.period() == period);
            let next = known.map(|place| self.past.remove(place));
            let mut next = next.unwrap_or_else(|| PeriodSum::new(period));
            // Other processes may have spent in it meanwhile.
            next.reopen();
            let past = std::mem::replace(spending, next);
            self.scale = UNSCALED;
            let discarded = discarded.get_or_insert(0u64);
            if past.total() > 0 {
                self.past.push(past);
            }
            if self.past.len() > MAX_PAST_PERIODS {
                *discarded += self.past.remove(0).unsynced();
            }
        }
        discarded
    }

    /// The spending of all periods.
    fn all(&self) -> impl Iterator<Item = &PeriodSum> {
        self.current.iter().chain(&self.past)
    }

    fn restore(&mut self) {
        self.current.iter_mut().chain(&mut self.past).for_each(PeriodSum::restore);
    }
}

impl BudgetLedger {
    fn new(client: &Arc<str>, signal: Arc<SyncSignal>, now: SystemTime) -> BudgetLedger {
        let current = Kind::ALL.map(|kind| PeriodSum::new(Period::at(kind, now)));
        let state = Mutex::new(State {
            reserved: 0,
            last: None,
            admitted: 0,
            scale: UNSCALED,
            current,
            past: Vec::new(),
        });
        BudgetLedger { client: Arc::clone(client), state, signal }
    }

    pub(super) fn client(&self) -> &str {
        &self.client
    }

    /// What was spent in this day and in this month.
    pub(super) fn spent(&self, now: SystemTime) -> [u64; 2] {
        self.state(now).current.each_ref().map(PeriodSum::total)
    }

    /// Admits a request that can cost `most`, if anything is left. Of the requests that may cost more
    /// than is left one is admitted at a time: it reserves all that is left.
    pub(super) fn reserve(
        &self,
        limits: &[(Kind, Option<u64>); 2],
        most: u64,
        now: SystemTime,
    ) -> Result<ReservedAmount, OverBudget> {
        let mut state = self.state(now);
        let most = u128::from(most) * u128::from(state.scale) / u128::from(UNSCALED);
        let amount = u64::try_from(most).unwrap_or(u64::MAX);
        let mut is_last = false;
        for ((kind, limit), spending) in limits.iter().zip(&state.current) {
            let Some(limit) = *limit else { continue };
            let spent = spending.total();
            if spent >= limit {
                return Err(OverBudget::UsedUp { period: spending.period(), spent, limit });
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
        Ok(ReservedAmount { number, amount, is_metered: false, ahead: amount })
    }

    /// Raises the reservation of a request of unbounded cost to what it has cost so far, plus as much
    /// ahead as it reserved at its start.
    ///
    /// # Errors
    /// When that, with what is spent and reserved, uses up a budget. The reservation of the latest
    /// oversized request is left out: by that one a client may go beyond its budget.
    pub(super) fn raise(
        &self,
        limits: &[(Kind, Option<u64>); 2],
        held: &mut ReservedAmount,
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
        for ((_, limit), spending) in limits.iter().zip(&state.current) {
            let Some(limit) = *limit else { continue };
            let spent = u128::from(spending.total()).saturating_add(held);
            if spent >= u128::from(limit) {
                let spent = u64::try_from(spent).unwrap_or(u64::MAX);
                return Err(OverBudget::UsedUp { period: spending.period(), spent, limit });
            }
        }
        Ok(())
    }

    /// Releases a reservation and books what the request did cost. True if that raises the factor of
    /// later reservations.
    pub(super) fn settle(&self, held: ReservedAmount, cost: u64, now: SystemTime) -> bool {
        let mut state = self.state(now);
        state.reserved = state.reserved.saturating_sub(held.amount.into());
        if state.last.is_some_and(|(number, _)| number == held.number) {
            state.last = None;
        }
        for spending in &mut state.current {
            spending.add(cost);
        }
        let is_above = cost > held.amount && held.amount > 0 && !held.is_metered;
        if is_above {
            let ratio = u128::from(state.scale) * u128::from(cost) / u128::from(held.amount) + 1;
            let scale = u64::try_from(ratio).unwrap_or(MAX_SCALE).min(MAX_SCALE);
            state.scale = state.scale.max(scale);
        }
        drop(state);
        if cost > 0 {
            self.signal.spent.notify_one();
        }
        is_above
    }

    fn entries(&self, every: bool, now: SystemTime) -> Vec<Entry> {
        let state = self.state(now);
        let current = state.current.iter().filter(|it| every || it.needs_sync());
        let wanted = current.chain(state.past.iter().filter(|it| it.needs_write()));
        wanted.map(|spending| spending.entry(&self.client)).collect()
    }

    fn confirm(&self, entry: &Entry, sum: u64) {
        let mut state = self.locked();
        let State { current, past, .. } = &mut *state;
        let of_period = |spending: &&mut PeriodSum| spending.period() == entry.period;
        current.iter_mut().chain(past).filter(of_period).for_each(|it| it.confirm(entry, sum));
    }

    fn has_spending(&self, now: SystemTime) -> bool {
        let state = self.state(now);
        let has_spending = state.current.iter().any(|spending| spending.own() > 0);
        has_spending || state.past.iter().any(|spending| spending.unsynced() > 0)
    }

    fn state(&self, now: SystemTime) -> MutexGuard<'_, State> {
        let mut state = self.locked();
        if let Some(discarded) = state.roll(now) {
            self.signal.discarded.fetch_add(discarded, atomic::Ordering::Relaxed);
            // The sums of the new period are needed at once.
            self.signal.spent.notify_one();
        }
        state
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

#[cfg(test)]
mod tests;

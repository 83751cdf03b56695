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
use crate::state::budgets::{Entry, Kind, Period};

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
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const LIMITS: [(Kind, Option<u64>); 2] =
        [(Kind::Daily, Some(1_000)), (Kind::Monthly, Some(4_000))];

    fn start() -> SystemTime {
        humantime::parse_rfc3339("2026-11-28T22:00:00Z").unwrap()
    }

    #[derive(Clone, Debug)]
    enum Event {
        Ask(u64),
        Run {
            which: usize,
            more: u64,
        },
        End {
            which: usize,
            cost: u64,
        },
        /// To so many hours after the start, later or earlier than now.
        Set(u64),
        Flush {
            fails: bool,
            loses_answer: bool,
        },
        Other(u64),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            (1u64..300).prop_map(Event::Ask),
            (any::<usize>(), 0u64..90).prop_map(|(which, more)| Event::Run { which, more }),
            (any::<usize>(), 0u64..300).prop_map(|(which, cost)| Event::End { which, cost }),
            (0u64..72).prop_map(Event::Set),
            (any::<bool>(), any::<bool>())
                .prop_map(|(fails, loses_answer)| Event::Flush { fails, loses_answer }),
            (1u64..200).prop_map(Event::Other),
        ]
    }

    proptest! {
        /// Against a list of all that was paid, and a store that writes each process's figure.
        #[test]
        fn it_agrees_with_a_list_of_payments(events in prop::collection::vec(event(), 1..120)) {
            let mut now = start();
            let client: Arc<str> = "a".into();
            let ledger = Ledger::new(&client, Arc::default(), now);
            let mut paid: Vec<(SystemTime, u64)> = Vec::new();
            let mut by_others: Vec<(SystemTime, u64)> = Vec::new();
            // What each request holds, and has cost so far.
            let mut open: Vec<(Held, u64)> = Vec::new();
            let mut stored: HashMap<Period, u64> = HashMap::new();
            // What others had spent when the store was last heard.
            let mut heard: HashMap<Period, u64> = HashMap::new();
            let within = |list: &[(SystemTime, u64)], period: Period| -> u64 {
                let here = |(at, _): &&(SystemTime, u64)| Period::at(period.kind, *at) == period;
                list.iter().filter(here).map(|(_, cost)| cost).sum()
            };
            let sum = |list: &[(SystemTime, u64)], kind, now| within(list, Period::at(kind, now));
            for event in events {
                match event {
                    Event::Ask(most) => {
                        let reserved: u64 = open.iter().map(|it| it.0.amount).sum();
                        let room = LIMITS.iter().all(|(kind, limit)| {
                            let others = heard.get(&Period::at(*kind, now)).copied().unwrap_or(0);
                            sum(&paid, *kind, now) + others + reserved < limit.unwrap()
                        });
                        let got = ledger.reserve(&LIMITS, most, now);
                        prop_assert_eq!(got.is_ok(), room);
                        open.extend(got.map(|held| (held, 0)));
                    }
                    Event::End { which, cost } if !open.is_empty() => {
                        let (held, so_far) = open.swap_remove(which % open.len());
                        let cost = if held.is_metered { so_far } else { cost.min(held.amount) };
                        ledger.settle(held, cost, now);
                        paid.push((now, cost));
                    }
                    Event::Run { which, more } if !open.is_empty() => {
                        let which = which % open.len();
                        let (held, so_far) = &mut open[which];
                        *so_far += more;
                        let goes_on = ledger.run(&LIMITS, held, *so_far, now).is_ok();
                        prop_assert_eq!(held.amount, *so_far + held.ahead);
                        let ahead = held.ahead;
                        let reserved: u64 = open.iter().map(|it| it.0.amount).sum();
                        let room = |but: u64| LIMITS.iter().all(|(kind, limit)| {
                            let others = heard.get(&Period::at(*kind, now)).copied().unwrap_or(0);
                            sum(&paid, *kind, now) + others + reserved - but < limit.unwrap()
                        });
                        // One of the others may be left out, that which may go beyond.
                        let most = open.iter().enumerate().filter(|(it, _)| *it != which);
                        let most = most.map(|(_, it)| it.0.amount).max().unwrap_or(0);
                        prop_assert!(!room(ahead) || goes_on);
                        prop_assert!(!goes_on || room(ahead + most));
                    }
                    Event::End { .. } | Event::Run { .. } => {}
                    Event::Set(hours) => now = start() + Duration::from_secs(hours * 3600),
                    Event::Other(cost) => by_others.push((now, cost)),
                    Event::Flush { fails, loses_answer } => {
                        let entries = ledger.entries(true, now);
                        if fails { continue; }
                        for entry in &entries {
                            if entry.added > 0 { stored.insert(entry.period, entry.own); }
                            if loses_answer { continue; }
                            let others = within(&by_others, entry.period);
                            let own = stored.get(&entry.period).copied().unwrap_or(0);
                            ledger.told(entry, own + others);
                            heard.insert(entry.period, others);
                        }
                    }
                }
                for (kind, spent) in Kind::ALL.into_iter().zip(ledger.spent(now)) {
                    let others = heard.get(&Period::at(kind, now)).copied().unwrap_or(0);
                    prop_assert_eq!(spent, sum(&paid, kind, now) + others);
                }
            }
            // A last flush brings all of it to the store.
            let entries = ledger.entries(true, now);
            for entry in entries {
                prop_assert_eq!(entry.own, within(&paid, entry.period));
                stored.insert(entry.period, entry.own);
            }
            for (at, _) in &paid {
                for period in Kind::ALL.map(|kind| Period::at(kind, *at)) {
                    prop_assert_eq!(stored.get(&period).copied().unwrap_or(0), within(&paid, period));
                }
            }
        }
    }

    fn spend(ledger: &Ledger, cost: u64, now: SystemTime) {
        ledger.settle(Held::default(), cost, now);
    }

    #[test]
    fn a_clock_that_jumps_and_comes_back_finds_what_was_spent() {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        let year = 365 * DAY;
        let ledger = Ledger::new(&"a".into(), Arc::default(), start());
        spend(&ledger, 1000, start());
        for (at, own) in [
            (start() + 2 * DAY, 1),
            (start() - 2 * DAY, 2),
            (start() - 30 * year, 3),
            (start() + 80 * year, 4),
        ] {
            assert_eq!(ledger.spent(at)[0], 0, "a day of its own");
            let held = ledger.reserve(&LIMITS, 1, at).unwrap();
            ledger.settle(held, 0, at);
            spend(&ledger, own, at);
            assert_eq!(ledger.spent(at)[0], own);
            assert_eq!(ledger.spent(start())[0], 1000);
            assert!(ledger.reserve(&LIMITS, 1, start()).is_err());
        }
        // All of it is told to the store, whenever that is there.
        let told: u64 = ledger.entries(false, start()).iter().map(|entry| entry.added).sum();
        assert_eq!(told, 2 * 1010);
    }

    #[tokio::test(start_paused = true)]
    async fn a_small_step_back_over_midnight_changes_nothing_unless_it_lasts() {
        let second = Duration::from_secs(1);
        let midnight = Period::at(Kind::Daily, start()).end();
        let ledger = Ledger::new(&"a".into(), Arc::default(), midnight - second);
        spend(&ledger, 5, midnight - second);
        spend(&ledger, 7, midnight);
        assert_eq!(ledger.spent(midnight - second)[0], 7);
        tokio::time::advance(5 * second).await;
        assert_eq!(ledger.spent(midnight - second)[0], 7);
        assert_eq!(ledger.spent(midnight)[0], 7);
        // A step of its own, from here on.
        tokio::time::advance(18 * second).await;
        assert_eq!(ledger.spent(midnight - 30 * second)[0], 7);
        tokio::time::advance(18 * second).await;
        assert_eq!(ledger.spent(midnight - 12 * second)[0], 7);
        tokio::time::advance(3 * second).await;
        assert_eq!(ledger.spent(midnight - 10 * second)[0], 5);
        assert_eq!(ledger.spent(midnight)[0], 7);
    }

    #[test]
    fn what_no_store_was_told_is_kept_to_a_bound_and_counted_beyond() {
        let ledgers = Ledgers::default();
        let ledger = ledgers.of(&"a".into(), start());
        for day in 0..12 {
            spend(&ledger, 1, start() + Duration::from_secs(day * 24 * 3600));
        }
        let now = start() + Duration::from_secs(11 * 24 * 3600);
        let entries = ledgers.entries(false, now);
        let days = entries.iter().filter(|entry| entry.period.kind == Kind::Daily);
        let days: u64 = days.map(|entry| entry.added).sum();
        let left = ledgers.take_dropped() + entries.iter().map(|entry| entry.added).sum::<u64>();
        assert_eq!((left, ledgers.take_dropped()), (24, 0));
        assert!((8..12).contains(&days), "{days}");
        assert_eq!(ledgers.untold(), entries.iter().map(|entry| entry.added).sum::<u64>());
    }

    #[test]
    fn a_store_that_has_less_than_it_had_is_told_all_that_is_known() {
        let ledgers = Ledgers::default();
        let ledger = ledgers.of(&"a".into(), start());
        spend(&ledger, 5, start());
        let tell = |sums: [u64; 2]| {
            let entries = ledgers.entries(false, start());
            ledgers.told(&entries, &sums, start());
            entries
        };
        // Seven more are others'.
        assert_eq!(tell([12, 12]).len(), 2);
        assert_eq!(tell([0, 0]).len(), 0);
        spend(&ledger, 1, start());
        // The file is another one: it has what was added and nothing else.
        let added = tell([1, 1]);
        assert!(added.iter().all(|entry| entry.added == 1 && !entry.restores), "{added:?}");
        assert_eq!(ledger.spent(start()), [13, 13]);
        let lost = tell([13, 13]);
        assert!(
            lost.iter().all(|it| (it.known, it.added, it.restores) == (13, 0, true)),
            "{lost:?}"
        );
        assert_eq!(tell([0, 0]).len(), 0);
        ledgers.restore();
        assert_eq!(tell([13, 13]).len(), 2);
    }

    #[test]
    fn parallel_requests_go_beyond_a_budget_by_less_than_one_reservation() {
        let ledger = Ledger::new(&"a".into(), Arc::default(), start());
        let admitted = (0..100).filter(|_| ledger.reserve(&LIMITS, 150, start()).is_ok()).count();
        assert_eq!(admitted, 7);
        let held = Held { amount: 150, ..Held::default() };
        (0..admitted).for_each(|_| assert!(!ledger.settle(held, 150, start())));
        assert_eq!(ledger.spent(start()), [1050, 1050]);
        let refused = ledger.reserve(&LIMITS, 1, start()).unwrap_err();
        assert!(matches!(refused, OverBudget::UsedUp { spent: 1050, limit: 1000, .. }));
        let tomorrow = start() + Duration::from_secs(3 * 3600);
        assert!(ledger.reserve(&LIMITS, 1, tomorrow).is_ok());
        assert_eq!(ledger.spent(tomorrow), [0, 1050]);
    }

    #[test]
    fn streams_and_what_others_hold_are_within_a_budget_together() {
        let ledger = Ledger::new(&"a".into(), Arc::default(), start());
        let reserve = |most| ledger.reserve(&LIMITS, most, start());
        let runs = |held: &mut Held, cost| ledger.run(&LIMITS, held, cost, start());
        let (mut one, mut other) = (reserve(10).unwrap(), reserve(10).unwrap());
        let usual = reserve(200).unwrap();
        assert_eq!((runs(&mut one, 300), runs(&mut other, 400)), (Ok(()), Ok(())));
        assert!(reserve(100).is_ok(), "the last: it may go beyond");
        assert_eq!(reserve(1), Err(OverBudget::Held(Kind::Daily)));
        // 200 are held, 10 ahead of the other; the last does not count.
        assert_eq!(runs(&mut one, 389), Ok(()));
        let over = runs(&mut one, 390).unwrap_err();
        assert!(matches!(over, OverBudget::UsedUp { spent: 1000, limit: 1000, .. }));
        ledger.settle(usual, 150, start());
        assert_eq!(runs(&mut one, 400), Ok(()));
        ledger.settle(one, 400, start());
        ledger.settle(other, 400, start());
        assert_eq!(ledger.spent(start()), [950, 950]);
    }

    #[test]
    fn of_requests_of_unknown_size_there_is_one_at_a_time() {
        let ledger = Ledger::new(&"a".into(), Arc::default(), start());
        let reserve = |most| ledger.reserve(&LIMITS, most, start());
        let usual = reserve(600).unwrap();
        let unknown = reserve(u64::MAX).unwrap();
        for most in [1, 300, u64::MAX] {
            assert_eq!(reserve(most), Err(OverBudget::Held(Kind::Daily)));
        }
        // It lets go of what it held, and of nothing else.
        ledger.settle(unknown, 5, start());
        assert!(reserve(u64::MAX).is_ok());
        ledger.settle(usual, 500, start());
        assert_eq!(ledger.spent(start()), [505, 505]);
    }

    #[test]
    fn what_costs_more_than_it_held_makes_later_holds_larger_until_the_next_day() {
        let ledger = Ledger::new(&"a".into(), Arc::default(), start());
        let held = ledger.reserve(&LIMITS, 10, start()).unwrap();
        assert!(ledger.settle(held, 25, start()));
        let held = ledger.reserve(&LIMITS, 10, start()).unwrap();
        assert_eq!(held.amount, 25);
        assert!(!ledger.settle(held, 25, start()));
        let tomorrow = start() + Duration::from_secs(3 * 3600);
        assert_eq!(ledger.reserve(&LIMITS, 10, tomorrow).unwrap().amount, 10);
    }

    #[test]
    fn a_client_that_has_no_budget_any_more_is_forgotten_with_the_month() {
        let ledgers = Ledgers::default();
        let ledger = ledgers.of(&"a".into(), start());
        ledger.settle(Held::default(), 5, start());
        drop(ledger);
        let entries = ledgers.entries(false, start());
        assert_eq!(entries.len(), 2);
        ledgers.told(&entries, &[5, 5], start());
        // A budget that comes back finds what was spent.
        assert_eq!(ledgers.of(&"a".into(), start()).spent(start()), [5, 5]);
        let next_month = start() + Duration::from_secs(4 * 24 * 3600);
        ledgers.told(&[], &[], next_month);
        assert_eq!(ledgers.all().len(), 0);
    }
}

//! That nothing that is spent is lost or counted twice, and what holds promise.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

const LIMITS: [(Kind, Option<u64>); 2] = [(Kind::Daily, Some(1_000)), (Kind::Monthly, Some(4_000))];

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
    fn the_ledger_agrees_with_a_list_of_payments(events in prop::collection::vec(event(), 1..120)) {
        let mut now = start();
        let client: Arc<str> = "a".into();
        let ledger = BudgetLedger::new(&client, Arc::default(), now);
        let mut paid: Vec<(SystemTime, u64)> = Vec::new();
        let mut by_others: Vec<(SystemTime, u64)> = Vec::new();
        // What each request holds, and has cost so far.
        let mut open: Vec<(ReservedAmount, u64)> = Vec::new();
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
                    let goes_on = ledger.raise(&LIMITS, held, *so_far, now).is_ok();
                    prop_assert_eq!(held.amount, *so_far + held.ahead);
                    let ahead = held.ahead;
                    let reserved: u64 = open.iter().map(|it| it.0.amount).sum();
                    let room = |but: u64| LIMITS.iter().all(|(kind, limit)| {
                        let others = heard.get(&Period::at(*kind, now)).copied().unwrap_or(0);
                        sum(&paid, *kind, now) + others + reserved - but < limit.unwrap()
                    });
                    // One of the others may be left out, the one that may go beyond.
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
                        ledger.confirm(entry, own + others);
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

fn spend(ledger: &BudgetLedger, cost: u64, now: SystemTime) {
    ledger.settle(ReservedAmount::default(), cost, now);
}

#[test]
fn a_clock_that_jumps_and_comes_back_keeps_what_was_spent() {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let year = 365 * DAY;
    let ledger = BudgetLedger::new(&"a".into(), Arc::default(), start());
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
    // All of it is written as soon as the store is up.
    let added: u64 = ledger.entries(false, start()).iter().map(|entry| entry.added).sum();
    assert_eq!(added, 2 * 1010);
}

#[tokio::test(start_paused = true)]
async fn a_small_step_back_over_midnight_changes_nothing_unless_it_lasts() {
    let second = Duration::from_secs(1);
    let midnight = Period::at(Kind::Daily, start()).end();
    let ledger = BudgetLedger::new(&"a".into(), Arc::default(), midnight - second);
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
fn unsynced_spending_is_kept_up_to_a_bound_and_counted_beyond() {
    let ledgers = BudgetLedgers::default();
    let ledger = ledgers.of(&"a".into(), start());
    for day in 0..12 {
        spend(&ledger, 1, start() + Duration::from_secs(day * 24 * 3600));
    }
    let now = start() + Duration::from_secs(11 * 24 * 3600);
    let entries = ledgers.entries(false, now);
    let days = entries.iter().filter(|entry| entry.period.kind == Kind::Daily);
    let days: u64 = days.map(|entry| entry.added).sum();
    let total = ledgers.take_discarded() + entries.iter().map(|entry| entry.added).sum::<u64>();
    assert_eq!((total, ledgers.take_discarded()), (24, 0));
    assert!((8..12).contains(&days), "{days}");
    assert_eq!(ledgers.unsynced(), entries.iter().map(|entry| entry.added).sum::<u64>());
}

#[test]
fn a_store_that_has_lost_spending_gets_all_that_is_known() {
    let ledgers = BudgetLedgers::default();
    let ledger = ledgers.of(&"a".into(), start());
    spend(&ledger, 5, start());
    let tell = |sums: [u64; 2]| {
        let entries = ledgers.entries(false, start());
        ledgers.confirm(&entries, &sums, start());
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
    assert!(lost.iter().all(|it| (it.known, it.added, it.restores) == (13, 0, true)), "{lost:?}");
    assert_eq!(tell([0, 0]).len(), 0);
    ledgers.restore();
    assert_eq!(tell([13, 13]).len(), 2);
}

#[test]
fn parallel_requests_go_beyond_a_budget_by_less_than_one_reservation() {
    let ledger = BudgetLedger::new(&"a".into(), Arc::default(), start());
    let admitted = (0..100).filter(|_| ledger.reserve(&LIMITS, 150, start()).is_ok()).count();
    assert_eq!(admitted, 7);
    let held = ReservedAmount { amount: 150, ..ReservedAmount::default() };
    (0..admitted).for_each(|_| assert!(!ledger.settle(held, 150, start())));
    assert_eq!(ledger.spent(start()), [1050, 1050]);
    let refused = ledger.reserve(&LIMITS, 1, start()).unwrap_err();
    assert!(matches!(refused, OverBudget::UsedUp { spent: 1050, limit: 1000, .. }));
    let tomorrow = start() + Duration::from_secs(3 * 3600);
    assert!(ledger.reserve(&LIMITS, 1, tomorrow).is_ok());
    assert_eq!(ledger.spent(tomorrow), [0, 1050]);
}

#[test]
fn streams_and_reservations_of_others_stay_within_a_budget_together() {
    let ledger = BudgetLedger::new(&"a".into(), Arc::default(), start());
    let reserve = |most| ledger.reserve(&LIMITS, most, start());
    let runs = |held: &mut ReservedAmount, cost| ledger.raise(&LIMITS, held, cost, start());
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
fn requests_of_unbounded_cost_are_admitted_one_at_a_time() {
    let ledger = BudgetLedger::new(&"a".into(), Arc::default(), start());
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
fn a_request_that_costs_more_than_it_reserved_raises_later_reservations_until_the_next_day() {
    let ledger = BudgetLedger::new(&"a".into(), Arc::default(), start());
    let held = ledger.reserve(&LIMITS, 10, start()).unwrap();
    assert!(ledger.settle(held, 25, start()));
    let held = ledger.reserve(&LIMITS, 10, start()).unwrap();
    assert_eq!(held.amount, 25);
    assert!(!ledger.settle(held, 25, start()));
    let tomorrow = start() + Duration::from_secs(3 * 3600);
    assert_eq!(ledger.reserve(&LIMITS, 10, tomorrow).unwrap().amount, 10);
}

#[test]
fn a_client_without_a_budget_any_more_is_dropped_with_the_month() {
    let ledgers = BudgetLedgers::default();
    let ledger = ledgers.of(&"a".into(), start());
    ledger.settle(ReservedAmount::default(), 5, start());
    drop(ledger);
    let entries = ledgers.entries(false, start());
    assert_eq!(entries.len(), 2);
    ledgers.confirm(&entries, &[5, 5], start());
    // A budget that comes back finds what was spent.
    assert_eq!(ledgers.of(&"a".into(), start()).spent(start()), [5, 5]);
    let next_month = start() + Duration::from_secs(4 * 24 * 3600);
    ledgers.confirm(&[], &[], next_month);
    assert_eq!(ledgers.all().len(), 0);
}

//! The order in which waiting requests are served: fair between clients, by tokens.
//!
//! This is start-time fair queueing (Goyal, Vin and Cheng, 1996). Each request of a client gets a
//! start tag: the virtual time at its arrival, or the finish tag of the client's request before
//! it, whichever is later; its finish tag lies its cost, divided by its priority's weight, after
//! that. The lowest start tag is served first. Two clients that both wait get shares that differ
//! by no more than one request of each, whatever the sizes of their requests, and a request's
//! place is settled when it arrives, so none starves.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::config::Priority;

/// Requests of one client at one priority, which are served in their order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// The client.
    pub client: Arc<str>,
    /// The priority.
    pub priority: Priority,
}

/// A place in the queue; lower is served first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket {
    start: u64,
    number: u64,
}

/// The queue of waiters of type `W`.
#[derive(Debug)]
pub struct FairQueue<W> {
    waiting: BTreeMap<Ticket, Entry<W>>,
    flows: HashMap<Flow, Backlog>,
    virtual_time: u64,
    next_number: u64,
    cost: u64,
}

#[derive(Debug)]
struct Entry<W> {
    flow: Flow,
    cost: u64,
    waiter: W,
}

#[derive(Debug)]
struct Backlog {
    finish: u64,
    waiting: usize,
}

impl<W> Default for FairQueue<W> {
    fn default() -> FairQueue<W> {
        FairQueue {
            waiting: BTreeMap::new(),
            flows: HashMap::new(),
            virtual_time: 0,
            next_number: 0,
            cost: 0,
        }
    }
}

impl<W> FairQueue<W> {
    /// Adds a waiter whose request costs `tokens`.
    pub fn push(&mut self, flow: Flow, tokens: u64, waiter: W) -> Ticket {
        let cost = tokens.max(1);
        let backlog = self
            .flows
            .entry(flow.clone())
            .or_insert(Backlog { finish: self.virtual_time, waiting: 0 });
        let start = backlog.finish.max(self.virtual_time);
        backlog.finish = start.saturating_add(cost.saturating_mul(SCALE) / weight(flow.priority));
        backlog.waiting += 1;
        let ticket = Ticket { start, number: self.next_number };
        self.next_number += 1;
        self.cost = self.cost.saturating_add(cost);
        self.waiting.insert(ticket, Entry { flow, cost, waiter });
        ticket
    }

    /// The waiters in the order in which they are to be served.
    pub fn iter(&self) -> impl Iterator<Item = (Ticket, &W)> {
        self.waiting.iter().map(|(ticket, entry)| (*ticket, &entry.waiter))
    }

    /// The waiter with this place.
    pub fn get_mut(&mut self, ticket: Ticket) -> Option<&mut W> {
        self.waiting.get_mut(&ticket).map(|entry| &mut entry.waiter)
    }

    /// Removes a waiter that is served.
    pub fn serve(&mut self, ticket: Ticket) -> Option<W> {
        self.virtual_time = self.virtual_time.max(ticket.start);
        self.remove(ticket)
    }

    /// Removes a waiter that has left.
    pub fn remove(&mut self, ticket: Ticket) -> Option<W> {
        let entry = self.waiting.remove(&ticket)?;
        self.cost = self.cost.saturating_sub(entry.cost);
        if let Some(backlog) = self.flows.get_mut(&entry.flow) {
            backlog.waiting -= 1;
            // A client with no other waiter starts anew, without debt or credit.
            if backlog.waiting == 0 {
                self.flows.remove(&entry.flow);
            }
        }
        Some(entry.waiter)
    }

    /// The number of waiters.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether there are no waiters.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Tokens that the waiting requests cost together.
    pub fn cost(&self) -> u64 {
        self.cost
    }
}

/// Virtual time per token, so that division by a weight loses nothing that matters.
const SCALE: u64 = 16;

/// The share of a priority against others. Each has one, so low priorities are served slowly and never starve.
fn weight(priority: Priority) -> u64 {
    match priority {
        Priority::High => 16,
        Priority::Normal => 4,
        Priority::Low => 1,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn flow(client: &str, priority: Priority) -> Flow {
        Flow { client: client.into(), priority }
    }

    /// Serves the first waiter.
    fn next<W>(queue: &mut FairQueue<W>) -> Option<W> {
        let ticket = queue.iter().next()?.0;
        queue.serve(ticket)
    }

    #[test]
    fn a_client_with_many_requests_does_not_hold_up_one_with_few() {
        let mut queue = FairQueue::default();
        for i in 0..100 {
            queue.push(flow("many", Priority::Normal), 100, ("many", i));
        }
        queue.push(flow("few", Priority::Normal), 100, ("few", 0));
        let order: Vec<_> = std::iter::from_fn(|| next(&mut queue)).collect();
        let place = order.iter().position(|waiter| *waiter == ("few", 0)).unwrap();
        assert!(place <= 1, "{place}");
    }

    #[test]
    fn within_a_client_the_order_is_that_of_arrival() {
        let mut queue = FairQueue::default();
        for i in 0..10u64 {
            queue.push(flow("a", Priority::Normal), 10 - i, i);
        }
        let order: Vec<_> = std::iter::from_fn(|| next(&mut queue)).collect();
        assert_eq!(order, (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn a_high_priority_gets_more_and_a_low_one_something() {
        let mut queue = FairQueue::default();
        for priority in [Priority::Low, Priority::Normal, Priority::High] {
            for _ in 0..200 {
                queue.push(flow("client", priority), 10, priority);
            }
        }
        let first: Vec<_> = std::iter::from_fn(|| next(&mut queue)).take(105).collect();
        let count = |priority| first.iter().filter(|served| **served == priority).count();
        assert!(count(Priority::High) >= 78, "{}", count(Priority::High));
        assert!(count(Priority::Normal) >= 18, "{}", count(Priority::Normal));
        assert!(count(Priority::Low) >= 4, "{}", count(Priority::Low));
    }

    #[test]
    fn a_waiter_that_leaves_takes_its_cost_with_it() {
        let mut queue = FairQueue::default();
        let ticket = queue.push(flow("a", Priority::Normal), 70, 1);
        queue.push(flow("a", Priority::Normal), 30, 2);
        assert_eq!(queue.remove(ticket), Some(1));
        assert_eq!(queue.remove(ticket), None);
        assert_eq!((queue.len(), queue.cost()), (1, 30));
        assert_eq!(next(&mut queue), Some(2));
        assert!(queue.is_empty() && queue.flows.is_empty());
    }

    proptest! {
        /// The fairness bound: while two clients of one priority both wait, the tokens that they were served
        /// differ by at most the largest request of each.
        #[test]
        fn shares_differ_by_no_more_than_a_request_of_each(
            sizes in prop::collection::vec((0usize..3, 1u64..5000), 30..200)
        ) {
            let names = ["a", "b", "c"];
            let mut queue = FairQueue::default();
            for (client, cost) in &sizes {
                queue.push(flow(names[*client], Priority::Normal), *cost, (*client, *cost));
            }
            let largest = |client| {
                sizes.iter().filter(|(c, _)| *c == client).map(|(_, cost)| *cost).max().unwrap_or(0)
            };
            let mut left = [0usize; 3];
            for (client, _) in &sizes { left[*client] += 1; }
            let mut served = [0u64; 3];
            while let Some((client, cost)) = next(&mut queue) {
                served[client] += cost;
                left[client] -= 1;
                for one in 0..3 {
                    for other in 0..3 {
                        if left[one] > 0 && left[other] > 0 {
                            let bound = largest(one) + largest(other);
                            prop_assert!(served[one].abs_diff(served[other]) <= bound);
                        }
                    }
                }
            }
        }

        /// No waiter starves: however many arrive after it, it is served after at most what the others may
        /// have by its start tag.
        #[test]
        fn a_waiter_is_served_however_many_arrive_after_it(cost in 1u64..2000, others in 1usize..20) {
            let mut queue = FairQueue::default();
            for _ in 0..5 { queue.push(flow("rival", Priority::Normal), 100, false); }
            queue.push(flow("big", Priority::Normal), cost, true);
            let mut served = 0;
            loop {
                for _ in 0..others { queue.push(flow("rival", Priority::Normal), 100, false); }
                served += 1;
                if next(&mut queue) == Some(true) { break; }
                prop_assert!(served < 10);
            }
        }
    }
}

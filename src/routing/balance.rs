//! The order of a route's targets for one request.
//!
//! The route's own order decides between different models. Among neighbours that serve the same model, in several
//! regions or accounts, a route may put the one with most free quota first, or the faster one; and a request
//! with a cached prompt goes where the cache is.

use std::cmp::{Ordering, Reverse};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use tokio::time::Instant;

use super::target::Target;
use crate::config::Balance;

/// Orders the targets of a route, each beside its position there. `prefix` is the key of the request's cached
/// prompt, if it has one: such requests go to the same target as long as that takes traffic, since no other has
/// the cache.
pub fn order(targets: &mut [(usize, &Arc<Target>)], balance: Balance, prefix: Option<u64>) {
    if prefix.is_none() && balance == Balance::Priority {
        return;
    }
    let now = Instant::now();
    for equals in targets.chunk_by_mut(|(_, one), (_, other)| one.is_same_model(other)) {
        if equals.len() < 2 {
            continue;
        }
        match (prefix, balance) {
            // Rendezvous hashing: stable, and spread over the targets.
            (Some(prefix), _) => {
                equals.sort_by_cached_key(|(_, target)| Reverse(affinity(prefix, &target.name)));
            }
            (None, Balance::Priority) => {}
            (None, Balance::Headroom) => equals.sort_by(|(_, one), (_, other)| {
                let free = |target: &Target| target.headroom(now);
                free(other).partial_cmp(&free(one)).unwrap_or(Ordering::Equal)
            }),
            (None, Balance::Latency) => faster_of_two_first(equals),
        }
    }
}

/// Power of two choices: of two random targets the faster comes first. That keeps all requests from going to the
/// target that was fastest a moment ago.
fn faster_of_two_first(equals: &mut [(usize, &Arc<Target>)]) {
    let one = fastrand::usize(..equals.len());
    let other = (one + fastrand::usize(1..equals.len())) % equals.len();
    let average = |index: usize| equals.get(index).map(|(_, target)| target.latency.average());
    let faster = if average(other) < average(one) { other } else { one };
    if let Some(up_to) = equals.get_mut(..=faster) {
        up_to.rotate_right(1);
    }
}

fn affinity(prefix: u64, name: &str) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    (prefix, name).hash(&mut hasher);
    hasher.finish()
}

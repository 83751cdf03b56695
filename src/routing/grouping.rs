//! Which targets of a config belong to one group, because routes, legacy endpoints or quotas connect them.

use std::collections::HashMap;

use crate::config::Config;

/// For each target, in the config's order, the number of its group.
pub(super) fn group_numbers(config: &Config) -> Vec<usize> {
    let mut sets = DisjointSets::new(config.targets.len());
    let routed = config.routes.iter().map(|route| &route.targets);
    for targets in routed.chain([&config.legacy.models]) {
        targets.windows(2).for_each(|pair| {
            if let [one, other] = pair {
                sets.join(*one, *other);
            }
        });
    }
    let mut last_with: HashMap<usize, usize> = HashMap::new();
    for (index, target) in config.targets.iter().enumerate() {
        if let Some(other) = target.quota.and_then(|quota| last_with.insert(quota, index)) {
            sets.join(index, other);
        }
    }
    (0..config.targets.len()).map(|index| sets.root(index)).collect()
}

/// A partition of numbers, by union-find with path halving: a join takes nearly constant time.
struct DisjointSets(Vec<usize>);

impl DisjointSets {
    /// The numbers below `len`, each in a set of its own.
    fn new(len: usize) -> DisjointSets {
        DisjointSets((0..len).collect())
    }

    /// The number that stands for the set of this one.
    fn root(&mut self, mut number: usize) -> usize {
        while let Some(parent) = self.0.get(number).copied().filter(|parent| *parent != number) {
            let above = self.0.get(parent).copied().unwrap_or(parent);
            if let Some(slot) = self.0.get_mut(number) {
                *slot = above;
            }
            number = above;
        }
        number
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.root(one), self.root(other));
        if let Some(slot) = self.0.get_mut(one) {
            *slot = other;
        }
    }
}

//! The signing keys that were derived from one secret. Deriving one takes four HMACs, and the key
//! stays the same for a day, region and service. So a signer, and a verifier of many requests, keep
//! the keys that they have derived.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::{Scope, SigningKey};

/// Signing keys of one secret, by day, region and service. Beyond its capacity it drops the oldest.
#[derive(Debug)]
pub struct SigningKeyCache {
    capacity: usize,
    /// The oldest first. Read by every request and written once a day, so readers take no lock.
    keys: ArcSwap<Vec<Entry>>,
}

#[derive(Clone, Debug)]
struct Entry {
    day: Box<str>,
    region: Box<str>,
    service: Box<str>,
    key: Arc<SigningKey>,
}

impl SigningKeyCache {
    /// An empty cache for so many keys.
    pub fn new(capacity: usize) -> SigningKeyCache {
        SigningKeyCache { capacity, keys: ArcSwap::default() }
    }

    /// The key for a scope.
    pub fn get(&self, scope: &Scope<'_>) -> Option<Arc<SigningKey>> {
        let keys = self.keys.load();
        let entry = keys.iter().find(|entry| entry.is_for(scope));
        entry.map(|entry| Arc::clone(&entry.key))
    }

    /// Adds the key for a scope, unless there is one.
    pub fn insert(&self, scope: &Scope<'_>, key: &Arc<SigningKey>) {
        self.keys.rcu(|keys| {
            if keys.iter().any(|entry| entry.is_for(scope)) {
                return Arc::clone(keys);
            }
            let excess = (keys.len() + 1).saturating_sub(self.capacity);
            let new = Entry {
                day: scope.date.into(),
                region: scope.region.into(),
                service: scope.service.into(),
                key: Arc::clone(key),
            };
            Arc::new(keys.iter().skip(excess).cloned().chain([new]).collect())
        });
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        self.keys.load().len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Entry {
    fn is_for(&self, scope: &Scope<'_>) -> bool {
        *self.day == *scope.date && *self.region == *scope.region && *self.service == *scope.service
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sigv4::{MANTLE_SERVICE, SERVICE, TERMINATOR};

    #[test]
    fn keys_are_found_by_their_scope_and_the_oldest_goes_first() {
        let cache = SigningKeyCache::new(2);
        let scope = |date, region| Scope { date, region, service: SERVICE, terminator: TERMINATOR };
        let add = |date, region| {
            let key = Arc::new(SigningKey::derive("secret", &scope(date, region)));
            cache.insert(&scope(date, region), &key);
            key
        };
        let first = add("20261123", "eu-west-1");
        let again = add("20261123", "eu-west-1");
        let found = cache.get(&scope("20261123", "eu-west-1")).unwrap();
        assert!(Arc::ptr_eq(&found, &first) && !Arc::ptr_eq(&found, &again));
        assert!(cache.get(&scope("20261123", "us-east-1")).is_none());
        assert!(cache.get(&scope("20261124", "eu-west-1")).is_none());
        let of_mantle = Scope { service: MANTLE_SERVICE, ..scope("20261123", "eu-west-1") };
        assert!(cache.get(&of_mantle).is_none());
        add("20261123", "us-east-1");
        add("20261124", "eu-west-1");
        assert_eq!(cache.len(), 2);
        assert!(cache.get(&scope("20261123", "eu-west-1")).is_none());
        assert!(cache.get(&scope("20261124", "eu-west-1")).is_some());
    }
}

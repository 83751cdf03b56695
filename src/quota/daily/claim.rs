//! What one replica may use of a day that replicas share through a store.
//!
//! A replica writes a claim to the store before it uses it: what its requests have cost and taken, and some ahead.
//! The store answers with the sum of all claims. If that is within the quota, the claim is granted. Otherwise the
//! replica keeps what was granted before, and claims less. A claim is lowered here before it is lowered in the
//! store. So at any time the sum of what is granted is at most the sum of the claims in the store when the last of
//! them was granted, and that is within the quota. Nothing depends on how old a replica's view of the others is.
//!
//! The claims of a process that was killed stay until the day ends: its requests in flight are charged upstream.

/// How far ahead a replica claims, in what it has taken since the last sync.
const SYNCS_AHEAD: u64 = 2;

/// What one replica may use of one day, and has asked for. Units are tokens.
#[derive(Debug, Default)]
pub(super) struct Claim {
    /// It may use this much in the whole day.
    granted: u64,
    /// What the other replicas claimed at the last sync.
    others: u64,
    /// What was taken since the last sync.
    taken: u64,
    /// The size of large requests, lately.
    size: u64,
    /// What a request needed and was not granted.
    shortage: u64,
}

/// What a claim is bounded by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// The tokens of the whole day.
    pub(super) limit: u64,
    /// The number of replicas.
    pub(super) replicas: u32,
}

impl Bounds {
    /// The part of what is left that one replica may count as its own.
    fn share(self, claimed: u64) -> u64 {
        self.limit.saturating_sub(claimed) / u64::from(self.replicas.max(1))
    }
}

impl Claim {
    /// The claim of a day that has just begun. So little is safe, since nobody has used most of it in an instant.
    pub(super) fn of_new_day(bounds: Bounds) -> Claim {
        Claim { granted: bounds.share(0) / 100, ..Claim::default() }
    }

    /// Tokens that the replica may use in the whole day. While the store is unreachable that is its share of what
    /// nobody had claimed.
    pub(super) fn allowance(&self, bounds: Bounds, is_reachable: bool) -> u64 {
        let ahead =
            if is_reachable { 0 } else { bounds.share(self.others.saturating_add(self.granted)) };
        self.granted.saturating_add(ahead)
    }

    /// A request takes `tokens`, after which `used` of the claim is in use. True if a sync should come early.
    pub(super) fn take(&mut self, tokens: u64, used: u64) -> bool {
        self.taken = self.taken.saturating_add(tokens);
        self.size = self.size.max(tokens);
        self.granted < used.saturating_add(self.size)
    }

    /// A request needs more than is granted.
    pub(super) fn lacks(&mut self, tokens: u64) {
        self.shortage = self.shortage.max(tokens);
    }

    /// The claim to write, of which `used` is in use. `draw` is a random number: where too little is left for
    /// every replica to have what its requests need, one of them gets it.
    pub(super) fn next(&mut self, used: u64, bounds: Bounds, draw: u32) -> u64 {
        let left = bounds.limit.saturating_sub(self.others).saturating_sub(used);
        let share = left / u64::from(bounds.replicas.max(1));
        let flow = match self.taken {
            0 => 0,
            taken => taken.saturating_mul(SYNCS_AHEAD).saturating_add(self.size),
        };
        let wanted = flow.max(self.shortage);
        let ahead = match self.shortage {
            shortage if share >= shortage => wanted.min(share),
            shortage if left >= shortage && draw.is_multiple_of(bounds.replicas.max(1)) => shortage,
            _ => 0,
        };
        self.size -= self.size / 8;
        (self.taken, self.shortage) = (0, 0);
        let claim = used.saturating_add(ahead);
        self.granted = self.granted.min(claim);
        claim
    }

    /// The store holds `claim` of this replica, and `sum` of all.
    pub(super) fn answered(&mut self, claim: u64, sum: u64, limit: u64) {
        self.others = sum.saturating_sub(claim);
        if sum <= limit {
            self.granted = self.granted.max(claim);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: u64 = 10_000;

    /// One replica: its claim, what its requests have cost and taken, and the claim that it has written and not
    /// heard of yet.
    #[derive(Default)]
    struct Replica {
        claim: Claim,
        used: u64,
        held: Vec<u64>,
        unheard: Option<(u64, u64)>,
    }

    impl Replica {
        fn in_use(&self) -> u64 {
            self.used + self.held.iter().sum::<u64>()
        }

        fn take(&mut self, tokens: u64, bounds: Bounds) -> bool {
            let used = self.in_use() + tokens;
            if used > self.claim.allowance(bounds, true) {
                self.claim.lacks(tokens);
                return false;
            }
            self.claim.take(tokens, used);
            self.held.push(tokens);
            true
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Take(usize, u64),
        End(usize, f64),
        /// Writes the claim; the answer is heard later, or never.
        Write(usize, u32),
        Hear(usize),
        Lose(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..3usize, 1u64..900).prop_map(|(at, tokens)| Step::Take(at, tokens)),
            3 => (0..3usize, 0.0f64..=1.0).prop_map(|(at, share)| Step::End(at, share)),
            3 => (0..3usize, any::<u32>()).prop_map(|(at, draw)| Step::Write(at, draw)),
            3 => (0..3usize).prop_map(Step::Hear),
            1 => (0..3usize).prop_map(Step::Lose),
        ]
    }

    proptest! {
        /// In whatever order replicas take, end, write and hear, they never have more in use than the quota.
        #[test]
        fn replicas_never_use_more_than_the_quota(steps in prop::collection::vec(step(), 1..300)) {
            let bounds = Bounds { limit: LIMIT, replicas: 3 };
            let mut replicas: [Replica; 3] = Default::default();
            let mut store = [0u64; 3];
            for step in steps {
                match step {
                    Step::Take(at, tokens) => {
                        replicas[at].take(tokens, bounds);
                    }
                    Step::End(at, share) => {
                        if let Some(tokens) = replicas[at].held.pop() {
                            replicas[at].used += (tokens as f64 * share) as u64;
                        }
                    }
                    Step::Write(at, draw) => {
                        let used = replicas[at].in_use();
                        store[at] = replicas[at].claim.next(used, bounds, draw);
                        replicas[at].unheard = Some((store[at], store.iter().sum()));
                    }
                    Step::Hear(at) => {
                        if let Some((claim, sum)) = replicas[at].unheard.take() {
                            replicas[at].claim.answered(claim, sum, LIMIT);
                        }
                    }
                    Step::Lose(at) => replicas[at].unheard = None,
                }
                let in_use: u64 = replicas.iter().map(Replica::in_use).sum();
                prop_assert!(in_use <= LIMIT, "{in_use}");
            }
        }

        /// Requests that are small next to the quota use most of it, at whichever replicas they come.
        #[test]
        fn replicas_use_most_of_the_quota(seed: u64, weights in prop::array::uniform3(1u32..20)) {
            let bounds = Bounds { limit: LIMIT, replicas: 3 };
            let mut dice = fastrand::Rng::with_seed(seed);
            let mut replicas: [Replica; 3] = Default::default();
            let mut store = [0u64; 3];
            for _ in 0..3000 {
                for (at, replica) in replicas.iter_mut().enumerate() {
                    for _ in 0..weights[at] {
                        if replica.take(50, bounds) {
                            replica.held.pop();
                            replica.used += dice.u64(10..=50);
                        }
                    }
                    store[at] = replica.claim.next(replica.in_use(), bounds, dice.u32(..));
                    replica.claim.answered(store[at], store.iter().sum(), LIMIT);
                }
            }
            let used: u64 = replicas.iter().map(|replica| replica.used).sum();
            prop_assert!((LIMIT - 2 * 50..=LIMIT).contains(&used), "{used}");
        }
    }

    #[test]
    fn without_the_store_a_replica_has_its_share_of_what_nobody_had_claimed() {
        let bounds = Bounds { limit: 900, replicas: 3 };
        let mut claim = Claim::default();
        assert_eq!(claim.allowance(bounds, true), 0);
        assert_eq!(claim.allowance(bounds, false), 300);
        claim.lacks(90);
        let asked = claim.next(0, bounds, 0);
        claim.answered(asked, asked + 510, 900);
        assert_eq!(claim.allowance(bounds, true), 90);
        assert_eq!(claim.allowance(bounds, false), 90 + 100);
    }
}

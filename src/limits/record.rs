//! What the gateway has of each client that the config names, side by side in one record: what it
//! may ask for, how much of it, what it may spend. A request finds its client's record once, by
//! what it presents. Of many clients most are in no cache when they call, so each further place
//! to look at costs.
//!
//! A reload makes the records anew. What was used of a limit that stays goes on, and so does the
//! count of open requests, also of a client that was gone in between.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use tokio::time::Instant;

use super::budget::{Account, Ledgers};
use super::policy::Policy;
use super::rates::Own;
use crate::config;
use crate::fleet::Fleet;
use crate::quota::QueueSignal;
use crate::telemetry::Number;

/// A client that the config names.
#[derive(Debug)]
#[repr(C)]
pub struct Member {
    /// Its name.
    pub name: Arc<str>,
    policy: Option<Box<Policy>>,
    account: Option<Arc<Account>>,
    pub(super) limits: Own,
    pub(super) open: Arc<Open>,
    /// The number of its name as a label.
    pub number: Number,
}

impl Member {
    /// What it may ask for, where that is less than everything.
    pub fn policy(&self) -> Option<&Policy> {
        self.policy.as_deref()
    }

    /// What it may spend, where that is not any amount.
    pub fn account(&self) -> Option<&Arc<Account>> {
        self.account.as_ref()
    }
}

/// How many requests a client has open.
#[derive(Debug, Default)]
pub(super) struct Open(AtomicU32);

impl Open {
    /// Counts one more, unless there are `max`. True if it is counted.
    pub(super) fn enter(&self, max: u32) -> bool {
        let one_more = |open: u32| (open < max).then(|| open.saturating_add(1));
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    /// Counts one less.
    pub(super) fn leave(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The clients that the config names.
#[derive(Debug, Default)]
pub struct Members {
    by_name: HashMap<Arc<str>, Arc<Member>>,
    /// The open requests of those that an older config named, as long as there are any.
    gone: HashMap<Arc<str>, Weak<Open>>,
    ledgers: Arc<Ledgers>,
    /// Rung for all of them: nobody waits for a limit of a client.
    signal: Arc<QueueSignal>,
}

impl Members {
    /// The records of these clients, after those of an older config `before`. With a `fleet` their
    /// limits are those of all its replicas.
    ///
    /// # Errors
    /// When a pattern of a policy is none, which the config has checked.
    pub fn new(
        clients: &[config::Client],
        before: Option<&Members>,
        fleet: Option<&Fleet>,
    ) -> Result<Members, config::GlobError> {
        let ledgers = before.map(|before| Arc::clone(&before.ledgers)).unwrap_or_default();
        let signal = before.map(|before| Arc::clone(&before.signal)).unwrap_or_default();
        let (now, today) = (Instant::now(), SystemTime::now());
        let member = |client: &config::Client| {
            let name: Arc<str> = client.name.as_str().into();
            let known = before.and_then(|before| before.by_name.get(&name));
            let gone = || before?.gone.get(&name)?.upgrade();
            let open = known.map(|known| Arc::clone(&known.open)).or_else(gone);
            let member = Member {
                policy: Policy::of(&client.policy)?.map(Box::new),
                account: Account::of(client, &ledgers, today),
                limits: Own::new(client, known.map(|known| &known.limits), fleet, &signal, now),
                open: open.unwrap_or_default(),
                number: Number::default(),
                name: Arc::clone(&name),
            };
            Ok((name, Arc::new(member)))
        };
        let by_name: HashMap<_, _> = clients.iter().map(member).collect::<Result<_, _>>()?;
        let known = before.into_iter().flat_map(|before| &before.by_name);
        let known = known.map(|(name, member)| (name, Arc::downgrade(&member.open)));
        let gone = before.into_iter().flat_map(|before| &before.gone);
        let gone = gone.map(|(name, open)| (name, Weak::clone(open)));
        let gone = known
            .chain(gone)
            .filter(|(name, open)| !by_name.contains_key(*name) && open.strong_count() > 0);
        let gone = gone.map(|(name, open)| (Arc::clone(name), open)).collect();
        Ok(Members { by_name, gone, ledgers, signal })
    }

    /// The client of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Member>> {
        self.by_name.get(name)
    }

    /// Every client.
    pub fn all(&self) -> impl Iterator<Item = &Member> {
        self.by_name.values().map(AsRef::as_ref)
    }

    /// What was spent, for whoever keeps it.
    pub fn ledgers(&self) -> &Arc<Ledgers> {
        &self.ledgers
    }
}

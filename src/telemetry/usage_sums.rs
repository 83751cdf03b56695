//! What the requests of each client and of each API, and the answers of each model, come to since the start: sums over
//! the counters of requests, for the status page.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use super::Outcome;
use super::labels::NO_LABEL;
use super::request_counters::{Entry, RequestCounters};
use crate::bedrock::{Api, Operation};

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsageSum {
    /// Requests that ended.
    pub requests: u64,
    /// Requests that failed through no fault of their client.
    pub failed: u64,
    /// Requests that the client's own mistake, limit or disconnect ended.
    pub client_errors: u64,
    /// Input tokens.
    pub input: u64,
    /// Output tokens.
    pub output: u64,
    /// Tokens read from the prompt cache.
    pub cache_read: u64,
    /// Tokens written to the prompt cache.
    pub cache_write: u64,
    /// Nano-dollars, of the tokens with a known price.
    pub cost: u64,
}

impl UsageSum {
    /// Tokens of all kinds.
    pub fn tokens(&self) -> u64 {
        self.input + self.output + self.cache_read + self.cache_write
    }

    fn add(&mut self, entry: &Entry, outcome: Option<&Outcome>) {
        let requests = entry.requests.load(Ordering::Relaxed);
        self.requests += requests;
        match outcome {
            Some(outcome) if outcome.is_failure() => self.failed += requests,
            Some(Outcome::Success) | None => {}
            Some(_) => self.client_errors += requests,
        }
        let sums = [&mut self.input, &mut self.output, &mut self.cache_read, &mut self.cache_write];
        for (sum, tokens) in sums.into_iter().zip(&entry.tokens) {
            *sum += tokens.load(Ordering::Relaxed);
        }
        self.cost += entry.cost.load(Ordering::Relaxed);
    }
}

impl RequestCounters {
    /// The sums of each client, by its label id.
    pub fn by_client(&self) -> HashMap<u32, UsageSum> {
        let mut sums = HashMap::<u32, UsageSum>::new();
        self.each(|key, entry| {
            let outcome = Outcome::ALL.get(usize::from(key.outcome));
            sums.entry(key.client).or_default().add(entry, outcome);
        });
        sums
    }

    /// The sums of each API; those of requests that are no operation have none.
    pub fn by_api(&self) -> HashMap<Option<Api>, UsageSum> {
        let mut sums = HashMap::<Option<Api>, UsageSum>::new();
        self.each(|key, entry| {
            let outcome = Outcome::ALL.get(usize::from(key.outcome));
            let operation = Operation::ALL.get(usize::from(key.operation));
            sums.entry(operation.map(|it| it.api())).or_default().add(entry, outcome);
        });
        sums
    }

    /// The sums of each model whose answers have reported their usage, by the model's label id.
    pub fn by_model(&self) -> HashMap<u32, UsageSum> {
        let mut sums = HashMap::<u32, UsageSum>::new();
        self.each(|key, entry| {
            if key.model != NO_LABEL {
                let outcome = Outcome::ALL.get(usize::from(key.outcome));
                sums.entry(key.model).or_default().add(entry, outcome);
            }
        });
        sums
    }
}

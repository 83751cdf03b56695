//! The upstream of the hour: four models with quotas, and how long they take.

use std::time::Duration;

use sluice::bedrock::Usage;
use sluice::simulator::{ModelSettings, Quotas, Refused, Reservation};
use tokio::time::sleep;

use super::traffic::{LARGEST_REQUEST, Request};

/// A model with its quota.
pub(super) struct Target {
    pub(super) name: &'static str,
    pub(super) model: &'static str,
    pub(super) rpm: u64,
    pub(super) tpm: u64,
    pub(super) burndown: u32,
    pub(super) cooldown_seconds: u64,
}

/// Tokens are scarce at the first and the third, requests at the others.
pub(super) const TARGETS: [Target; 4] = [
    Target {
        name: "sonnet-4",
        model: "anthropic.claude-sonnet-4-20250514-v1:0",
        rpm: 100,
        tpm: 400_000,
        burndown: 5,
        cooldown_seconds: 60,
    },
    Target {
        name: "sonnet-35-v2",
        model: "anthropic.claude-3-5-sonnet-20241022-v2:0",
        rpm: 50,
        tpm: 400_000,
        burndown: 1,
        cooldown_seconds: 60,
    },
    Target {
        name: "sonnet-3",
        model: "anthropic.claude-3-sonnet-20240229-v1:0",
        rpm: 200,
        tpm: 300_000,
        burndown: 1,
        cooldown_seconds: 60,
    },
    Target {
        name: "haiku-3",
        model: "anthropic.claude-3-haiku-20240307-v1:0",
        rpm: 60,
        tpm: 1_000_000,
        burndown: 1,
        cooldown_seconds: 30,
    },
];

/// The share of a quota that is not worth mentioning: the gateway's buckets are full a little before
/// the upstream's, and hold a little more of it than the upstream takes.
const A_LITTLE: f64 = 0.05;

/// Requests and tokens of a model.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Amounts {
    pub(super) requests: f64,
    pub(super) tokens: f64,
}

/// The simulator's quotas of all targets.
pub(super) struct Upstream(Quotas);

impl Upstream {
    pub(super) fn new() -> Upstream {
        let quotas = Quotas::default();
        for target in &TARGETS {
            let settings = ModelSettings {
                rpm: Some(target.rpm),
                tpm: Some(target.tpm),
                burndown: Some(target.burndown),
                ..ModelSettings::default()
            };
            quotas.set(target.model, settings);
        }
        Upstream(quotas)
    }

    /// Starts to answer, or throttles.
    pub(super) fn begin(&self, model: &str, request: &Request) -> Result<Answer, Refused> {
        let usage = Usage { input: request.input, ..Usage::default() };
        let reservation = self.0.take(model, usage, request.max_output)?;
        Ok(Answer { reservation, output: request.output })
    }

    /// Whether some target has room for a request of `tokens`: for one of the largest besides, that
    /// may be ahead of it in line, and for more than a little.
    pub(super) fn has_room(&self, tokens: u64) -> bool {
        let standings = self.0.states();
        TARGETS.iter().filter_map(|target| Some((target, standings.get(target.model)?))).any(
            |(target, standing)| {
                let requests = 2.0 + A_LITTLE * target.rpm as f64;
                let tokens = (tokens + LARGEST_REQUEST) as f64 + A_LITTLE * target.tpm as f64;
                standing.requests_left.is_none_or(|left| left >= requests)
                    && standing.tokens_left.is_none_or(|left| left >= tokens)
            },
        )
    }

    /// What is left of each target's quota, as far as it is not overdrawn.
    pub(super) fn left(&self) -> [Amounts; TARGETS.len()] {
        let standings = self.0.states();
        TARGETS.each_ref().map(|target| {
            let standing = standings.get(target.model);
            let requests = standing.and_then(|it| it.requests_left).unwrap_or_default();
            let tokens = standing.and_then(|it| it.tokens_left).unwrap_or_default();
            Amounts { requests, tokens: tokens.max(0.0) }
        })
    }

    /// What each target charged so far.
    pub(super) fn charged(&self) -> [Amounts; TARGETS.len()] {
        let books = self.0.accounts();
        TARGETS.each_ref().map(|target| {
            let account = books.get(target.model).copied().unwrap_or_default();
            let output = account.output_tokens * u64::from(target.burndown);
            Amounts {
                requests: account.calls as f64,
                tokens: (account.input_tokens + output) as f64,
            }
        })
    }

    pub(super) fn in_flight(&self) -> u64 {
        self.0.accounts().values().map(|account| account.in_flight).sum()
    }
}

/// An answer that has begun.
pub(super) struct Answer {
    reservation: Reservation,
    output: u64,
}

impl Answer {
    /// Writes the answer to its end, at 60 tokens a second, and settles.
    pub(super) async fn end(mut self) -> Usage {
        sleep(Duration::from_secs_f64(self.output as f64 / 60.0)).await;
        self.reservation.generated(self.output);
        self.reservation.usage()
    }
}

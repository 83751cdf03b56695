//! Amazon Bedrock Runtime in your own process, for tests, development and the demo.
//!
//! The way of a request: `server` accepts the connection. `handler` reads the request, logs it
//! (`log`), has its credentials verified (`authenticate`, `signature`), injects a scripted fault (`fault`,
//! `inject`, `wire`) and passes it to `model`, `apis` (those of OpenAI and Anthropic), `guardrail`,
//! `async_invoke`, `bidirectional`, `control_plane` or `service_quotas`; the last two describe the account
//! of the settings (`account`). `model` has it checked (`validation`), takes its quota (`quota`) and has the
//! answer written (`answer`, `stream`), which echoes the request or is scripted (`scripted_answers`). `control` is the
//! HTTP API that scripts all this.
//!
//! Signatures are verified with code of its own, so that a mistake in the signer of a gateway does
//! not meet the same mistake here.

#![allow(clippy::disallowed_methods, reason = "no request of a user waits for its timers")]

mod account;
mod answer;
mod apis;
mod asked;
mod async_invoke;
mod authenticate;
mod bidirectional;
mod control;
mod control_plane;
mod fault;
mod guardrail;
mod handler;
mod inject;
mod log;
mod model;
mod produced;
mod quota;
mod reply;
mod scripted_answers;
mod server;
mod service_quotas;
mod settings;
mod signature;
mod stream;
#[cfg(test)]
mod tests;
mod thoughts;
mod validation;
mod wire;
mod writer;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;

pub use account::{AccountControl, AccountModel, AccountQuota, AccountSettings, AccountTooLarge};
pub use fault::{Fault, FaultRule, Faults, MAX_RULES, TooManyRules};
pub use log::{Ending, Entry, Log};
pub use quota::{Account, QuotaState, Quotas, Refused, Reservation};
pub use scripted_answers::{
    Answers, MAX_ANSWER_BYTES, OddStream, Script, ScriptedAnswer, ScriptedPart, StopReason,
    TooManyAnswers,
};
pub use settings::{
    ACCOUNT, DEFAULT_ACCESS_KEY_ID, DEFAULT_BEARER_TOKEN, DEFAULT_SECRET_ACCESS_KEY, Latency,
    ModelSettings, PlayedEndpoint, ServedTier, Settings,
};
pub use signature::{Received, Refusal, Verified, sha256_hex, verify};

/// A simulator whose port is taken and that waits to be served.
#[derive(Debug)]
pub struct Simulator {
    listener: TcpListener,
    addr: SocketAddr,
    shared: Arc<State>,
}

/// What a process that embeds the simulator scripts and reads it with. Clones share it.
#[derive(Debug, Clone)]
pub struct Controls {
    /// The scripted faults.
    pub faults: Faults,
    /// The scripted answers.
    pub answers: Answers,
    /// Quotas, caps and latency of models, and what they have answered.
    pub quotas: Quotas,
    /// The account whose models, profiles and quotas are listed.
    pub account: AccountControl,
    /// The requests that were received.
    pub log: Log,
}

impl Simulator {
    /// Takes the port.
    ///
    /// # Errors
    /// The address is in use or not this machine's, or the account has too many entries.
    pub async fn bind(settings: Settings) -> io::Result<Self> {
        let listener = TcpListener::bind(settings.listen).await?;
        let addr = listener.local_addr()?;
        let quotas = Quotas::default();
        for (model, limits) in &settings.models {
            quotas.set(model, *limits);
        }
        let account = AccountControl::default();
        account.set(settings.account.clone()).map_err(io::Error::other)?;
        let shared = State {
            account,
            log: Log::new(settings.log_capacity, settings.log_body_bytes),
            faults: Faults::default(),
            answers: Answers::default(),
            invocations: async_invoke::Invocations::default(),
            responses: apis::Responses::default(),
            quotas,
            settings,
        };
        Ok(Self { listener, addr, shared: Arc::new(shared) })
    }

    /// The address that the simulator listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its endpoint URL, for SDKs and the gateway.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The URL of its control API.
    pub fn control_url(&self) -> String {
        format!("http://{}{}", self.addr, control::PREFIX)
    }

    /// Scripts and reads it from within the process.
    pub fn controls(&self) -> Controls {
        Controls {
            faults: self.shared.faults.clone(),
            answers: self.shared.answers.clone(),
            quotas: self.shared.quotas.clone(),
            account: self.shared.account.clone(),
            log: self.shared.log.clone(),
        }
    }

    /// Serves until `shutdown` resolves; open connections then have a second to end.
    ///
    /// # Errors
    /// The listener can't go on.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        server::serve(self.listener, self.shared, shutdown).await
    }
}

#[derive(Debug)]
struct State {
    settings: Settings,
    log: Log,
    faults: Faults,
    answers: Answers,
    quotas: Quotas,
    account: AccountControl,
    invocations: async_invoke::Invocations,
    responses: apis::Responses,
}

impl State {
    /// The randomness of one exchange: the same seed and number give the same bytes.
    fn rng(&self, seq: u64) -> fastrand::Rng {
        let spread = seq.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        fastrand::Rng::with_seed(self.settings.seed ^ spread)
    }
}

/// The README's example, which `cargo test --doc` runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

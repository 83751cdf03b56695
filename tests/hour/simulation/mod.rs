//! An hour of traffic over four targets, on a paused clock: the gateway's own admission and
//! routing against the simulator's quotas, without sockets.
//!
//! The same requests, made from a seed, are played in several [`Mode`]s. Everything that decides
//! is the gateway's code: targets, quotas, the line, cooldowns. Only the network and the time that
//! a model takes are made up here.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a simulation of figures of its own"
)]

mod request;
mod table;
mod traffic;
mod upstream;

use std::sync::Arc;
use std::time::Duration;

use prometheus::IntGauge;
use sluice::config::{Config, Env};
use sluice::quota::QueueLimits;
use sluice::routing::{OutageCause, OutageReason, Router};
use tokio::time::{Instant, sleep_until};

pub(crate) use table::table;

use request::{Outcome, World};
use traffic::Traffic;
use upstream::{Amounts, TARGETS, Upstream};

const MINUTE: Duration = Duration::from_secs(60);

/// The longest wait in line.
const MAX_WAIT: Duration = Duration::from_secs(45);

/// In an overload, the minutes at its start in which what the quiet time saved up is spent; they
/// do not count for the use of the quotas.
const SAVED_UP_MINUTES: u32 = 3;

/// The cause of every cooldown.
pub(crate) fn throttled() -> OutageCause {
    OutageCause { reason: OutageReason::Throttled, message: String::new(), request_id: None }
}

/// What the gateway knows and does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Quotas are configured.
    Configured,
    /// No quota is configured; they are learned from throttles.
    Learned,
    /// No quota is known or learned; those that find every target cooling wait in line.
    FallbackAndLine,
    /// A throttled target cools down and the next is asked; nobody waits in line.
    FallbackOnly,
    /// Three attempts with pauses on a target, then the next; nobody waits in line.
    RetryFirst,
}

impl Mode {
    pub(crate) const ALL: [Mode; 5] = [
        Mode::Configured,
        Mode::Learned,
        Mode::FallbackAndLine,
        Mode::FallbackOnly,
        Mode::RetryFirst,
    ];

    fn name(self) -> &'static str {
        match self {
            Mode::Configured => "admission, quotas configured",
            Mode::Learned => "admission, quotas learned",
            Mode::FallbackAndLine => "fallback and a line, no quotas",
            Mode::FallbackOnly => "fallback only",
            Mode::RetryFirst => "3 tries with 1, 2, 4 s, then the next",
        }
    }

    fn config(self) -> String {
        let has_line = !matches!(self, Mode::FallbackOnly | Mode::RetryFirst);
        let mut text = format!(
            "[upstream]\nregion = \"us-east-1\"\naccess_key_id = \"AKIDHOUR\"\n\
             secret_access_key = \"env:SECRET\"\n\
             [queue]\nmax_wait = \"{}s\"\n[learning]\nenabled = {}\n",
            if has_line { MAX_WAIT.as_secs() } else { 0 },
            matches!(self, Mode::Configured | Mode::Learned),
        );
        if self == Mode::RetryFirst {
            text += "[fallback]\nstrategy = \"retry_first\"\n";
        }
        for target in &TARGETS {
            text += &format!(
                "[targets.{}]\nmodel = \"{}\"\noutput_burndown = {}\nmax_output_tokens = 4096\n\
                 cooldown = \"{}s\"\n",
                target.name, target.model, target.burndown, target.cooldown_seconds
            );
            if self == Mode::Configured {
                text += &format!("rpm = {}\ntpm = {}\n", target.rpm, target.tpm);
            }
        }
        let names: Vec<String> = TARGETS.iter().map(|it| format!("\"{}\"", it.name)).collect();
        text + &format!(
            "[[routes]]\nmodels = [\"{}\"]\ntargets = [{}]\n",
            TARGETS[0].model,
            names.join(", ")
        )
    }
}

/// What came of one hour.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Hour {
    pub(crate) mode: Mode,
    pub(crate) requests: usize,
    pub(crate) answered: usize,
    pub(crate) refused: usize,
    /// Refused while a target had room by [`Upstream::has_room`].
    pub(crate) refused_with_room: usize,
    /// Time in line of those that were answered, in order.
    pub(crate) waits: Vec<Duration>,
    pub(crate) attempts: usize,
    pub(crate) throttled: usize,
    /// The same, after the first five minutes.
    pub(crate) later_attempts: usize,
    pub(crate) later_throttled: usize,
    /// The share of each target's quota that was used in overload.
    pub(crate) used: [f64; TARGETS.len()],
    /// What the upstream holds for requests when all are done.
    pub(crate) in_flight: u64,
}

impl Hour {
    /// The same of all targets together, each counting as much as another.
    pub(crate) fn share_used(&self) -> f64 {
        self.used.iter().sum::<f64>() / self.used.len() as f64
    }

    /// The share of attempts that were throttled after the first five minutes.
    pub(crate) fn later_throttles(&self) -> f64 {
        self.later_throttled as f64 / self.later_attempts.max(1) as f64
    }
}

/// Plays the hour that `seed` makes.
pub(crate) fn play(mode: Mode, seed: u64) -> Hour {
    fastrand::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(hour(mode, seed))
}

async fn hour(mode: Mode, seed: u64) -> Hour {
    let traffic = Traffic::new(seed);
    let env: Env = [("SECRET", "not used")].into_iter().collect();
    let config = Config::from_toml(&mode.config(), "hour.toml", &env)
        .unwrap_or_else(|error| panic!("{error}"))
        .config;
    let router = Router::new(&config, None, None).expect("a router");
    let gauge = |name: &str| IntGauge::new(name, "of the hour").expect("a gauge");
    let waiting = QueueLimits::new(&config.queue, gauge("waiting"), gauge("bytes"));
    let start = Instant::now();
    let world = Arc::new(World { config, router, waiting, upstream: Upstream::new() });
    let requests = traffic.requests.len();

    let overloads = tokio::spawn(measure(Arc::clone(&world), traffic.overloads, start));
    let mut under_way = Vec::with_capacity(requests);
    for request in traffic.requests {
        sleep_until(start + request.arrival).await;
        let world = Arc::clone(&world);
        under_way.push(tokio::spawn(async move { world.serve(&request).await }));
    }
    let mut outcomes: Vec<Outcome> = Vec::with_capacity(requests);
    for one in under_way {
        outcomes.push(one.await.expect("a request that ends"));
    }
    summary(mode, start, &outcomes, overloads.await.expect("the measures"), &world)
}

fn summary(
    mode: Mode,
    start: Instant,
    outcomes: &[Outcome],
    used: [f64; TARGETS.len()],
    world: &World,
) -> Hour {
    let count = |filter: fn(&&Outcome) -> bool| outcomes.iter().filter(filter).count();
    let mut waits: Vec<Duration> =
        outcomes.iter().filter(|it| it.is_answered).map(|it| it.waited).collect();
    waits.sort_unstable();
    let attempts = || outcomes.iter().flat_map(|it| &it.attempts);
    let later = || attempts().filter(|it| it.at.duration_since(start) > 5 * MINUTE);
    Hour {
        mode,
        requests: outcomes.len(),
        answered: count(|it| it.is_answered),
        refused: count(|it| !it.is_answered),
        refused_with_room: count(|it| !it.is_answered && it.was_room),
        waits,
        attempts: attempts().count(),
        throttled: attempts().filter(|it| it.is_throttled).count(),
        later_attempts: later().count(),
        later_throttled: later().filter(|it| it.is_throttled).count(),
        used,
        in_flight: world.upstream.in_flight(),
    }
}

/// The share of each target's quota that was used in the overloads, by the upstream's own books:
/// of its requests or its tokens, whichever is scarcer there.
async fn measure(
    world: Arc<World>,
    overloads: Vec<(Duration, Duration)>,
    start: Instant,
) -> [f64; TARGETS.len()] {
    let mut used = [Amounts::default(); TARGETS.len()];
    let mut available = [Amounts::default(); TARGETS.len()];
    for (from, to) in overloads {
        let from = from + MINUTE * SAVED_UP_MINUTES;
        sleep_until(start + from).await;
        let (before, left) = (world.upstream.charged(), world.upstream.left());
        sleep_until(start + to).await;
        let after = world.upstream.charged();
        let minutes = (to - from).as_secs_f64() / MINUTE.as_secs_f64();
        for (index, target) in TARGETS.iter().enumerate() {
            used[index].requests += after[index].requests - before[index].requests;
            used[index].tokens += after[index].tokens - before[index].tokens;
            available[index].requests += left[index].requests + minutes * target.rpm as f64;
            available[index].tokens += left[index].tokens + minutes * target.tpm as f64;
        }
    }
    std::array::from_fn(|index| {
        let of_requests = used[index].requests / available[index].requests;
        let of_tokens = used[index].tokens / available[index].tokens;
        of_requests.max(of_tokens)
    })
}

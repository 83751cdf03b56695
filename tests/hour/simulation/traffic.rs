//! The requests of the hour, made from a seed.

use std::time::Duration;

use fastrand::Rng;
use sluice::config::Priority;

use super::MINUTE;

/// The hour in minutes, and the requests a minute in them. All quotas together take about 340 a
/// minute of such requests.
const PHASES: [(u32, f64); 5] = [(8, 100.0), (22, 510.0), (8, 80.0), (15, 510.0), (7, 120.0)];

/// More than this is more than the quotas take.
const OVERLOAD: f64 = 340.0;

/// Clients with their share of the requests: two that send much, and some that send little.
const CLIENTS: [(&str, f64); 10] = [
    ("batch-1", 0.25),
    ("batch-2", 0.25),
    ("app-1", 0.1),
    ("app-2", 0.1),
    ("app-3", 0.08),
    ("app-4", 0.08),
    ("app-5", 0.05),
    ("app-6", 0.04),
    ("app-7", 0.03),
    ("app-8", 0.02),
];

/// Requests that come at once, at most.
const LARGEST_BURST: u64 = 15;

const SMALLEST_INPUT: f64 = 200.0;
const LARGEST_INPUT: f64 = 20_000.0;
const MAX_OUTPUTS: [u64; 5] = [256, 512, 1024, 2048, 4096];

/// The most that one request takes at its start, in tokens.
pub(super) const LARGEST_REQUEST: u64 = LARGEST_INPUT as u64 + MAX_OUTPUTS[4];

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// After the start of the hour.
    pub(super) arrival: Duration,
    pub(super) client: &'static str,
    pub(super) priority: Priority,
    /// Tokens, as the upstream counts them.
    pub(super) input: u64,
    pub(super) text_bytes: usize,
    pub(super) max_output: u64,
    /// Tokens that the answer has.
    pub(super) output: u64,
    /// From the request's arrival upstream to the head of the answer.
    pub(super) head: Duration,
    /// One way.
    pub(super) network: Duration,
}

impl Request {
    fn new(dice: &mut Rng, arrival: Duration, client: &'static str) -> Request {
        // As many between 200 and 400 tokens as between 10,000 and 20,000.
        let spread = (LARGEST_INPUT / SMALLEST_INPUT).ln();
        let input = SMALLEST_INPUT * (spread * dice.f64()).exp();
        let max_output = MAX_OUTPUTS[dice.usize(..MAX_OUTPUTS.len())];
        let bytes_per_token = 3.5 + dice.f64();
        let priority = match dice.u32(..20) {
            0 => Priority::High,
            1..=2 => Priority::Low,
            _ => Priority::Normal,
        };
        Request {
            arrival,
            client,
            priority,
            input: input as u64,
            text_bytes: (input * bytes_per_token) as usize,
            max_output,
            output: (max_output as f64 * (0.1 + 0.5 * dice.f64())) as u64,
            head: Duration::from_secs_f64(0.3 + 0.4 * dice.f64() + input / 20_000.0),
            network: Duration::from_millis(dice.u64(5..40)),
        }
    }
}

/// All requests of an hour.
pub(super) struct Traffic {
    /// In the order of their arrival.
    pub(super) requests: Vec<Request>,
    /// When there is more demand than quota, from and to.
    pub(super) overloads: Vec<(Duration, Duration)>,
}

impl Traffic {
    pub(super) fn new(seed: u64) -> Traffic {
        let mut dice = Rng::with_seed(seed);
        let mut traffic = Traffic { requests: Vec::new(), overloads: Vec::new() };
        let mut from = Duration::ZERO;
        for (minutes, per_minute) in PHASES {
            let to = from + MINUTE * minutes;
            traffic.fill(&mut dice, from, to, per_minute);
            if per_minute > OVERLOAD {
                traffic.overloads.push((from, to));
            }
            from = to;
        }
        traffic
    }

    /// Bursts of clients' requests at random times, so many a minute on average.
    fn fill(&mut self, dice: &mut Rng, from: Duration, to: Duration, per_minute: f64) {
        let mean_burst = (1 + LARGEST_BURST) as f64 / 2.0;
        let mut at = from;
        loop {
            let pause = -(1.0 - dice.f64()).ln() * mean_burst * 60.0 / per_minute;
            at += Duration::from_secs_f64(pause);
            if at >= to {
                return;
            }
            let client = client(dice);
            for _ in 0..dice.u64(1..=LARGEST_BURST) {
                self.requests.push(Request::new(dice, at, client));
            }
        }
    }
}

fn client(dice: &mut Rng) -> &'static str {
    let mut place = dice.f64();
    for (name, share) in CLIENTS {
        if place < share {
            return name;
        }
        place -= share;
    }
    CLIENTS[0].0
}

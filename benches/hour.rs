//! An hour of traffic with and without admission, as a Markdown table.

#![allow(clippy::print_stdout, reason = "the table is what it is for")]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the simulation's own figures"
)]

#[path = "../tests/hour/simulation/mod.rs"]
mod simulation;

use simulation::{Mode, play, table};

const SEED: u64 = 1;

fn main() {
    // `cargo test --benches` runs it too; the tests play the hour on their own.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(SEED);
    let hours: Vec<_> = Mode::ALL.into_iter().map(|mode| play(mode, seed)).collect();
    println!("{}", table(&hours));
    for hour in &hours {
        println!("{:?} {:.3?}", hour.mode, hour.used);
    }
}

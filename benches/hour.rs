//! An hour of traffic with and without admission, as a Markdown table. `HOUR_SEED` sets another
//! seed than 1.

#![allow(clippy::print_stdout, reason = "the table is what it is for")]

#[path = "../tests/hour/simulation/mod.rs"]
mod simulation;

use simulation::{Hour, Mode, play, table};

fn main() {
    // A test run builds and starts benchmarks too; the tests play the hour on their own.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let seed = std::env::var("HOUR_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let hours: Vec<Hour> = Mode::ALL.into_iter().map(|mode| play(mode, seed)).collect();
    println!("{}", table(&hours));
}

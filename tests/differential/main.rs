//! Our readers of streams against those of the SDKs: the same bytes in the same pieces give the same events, or
//! this gateway refuses what an SDK takes. It never reads another event.
//!
//! `DIFFERENTIAL_SECONDS` or `DIFFERENTIAL_COUNT` make the run longer, and `DIFFERENTIAL_SEED` another;
//! `fuzz/differential` sets them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![allow(clippy::indexing_slicing, clippy::print_stdout, reason = "tests")]

mod event_stream;
mod sse;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

/// Streams of a usual run.
const USUAL: u64 = 1500;

/// A stream, and what a decoder has read in it.
#[derive(Debug, Deserialize)]
struct Case<E> {
    chunks: Vec<String>,
    events: Vec<E>,
    /// What the decoder raised, after these events.
    raised: Option<String>,
    /// Whether every reader must read it.
    is_plain: bool,
}

impl<E> Case<E> {
    fn chunks(&self) -> impl Iterator<Item = Bytes> {
        self.chunks.iter().map(|chunk| hex::decode(chunk).unwrap().into())
    }
}

/// Checks each stream that the script makes, with the seeds of a fuzz target among them. Returns their number.
fn each_case<E: for<'de> Deserialize<'de>>(
    decoder: &str,
    target: &str,
    mut check: impl FnMut(&Case<E>),
) -> u64 {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join(".venv/bin/python");
    assert!(python.exists(), "{} is missing: `./test` installs it", python.display());
    let set = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seed = set("DIFFERENTIAL_SEED").unwrap_or(7);
    let mut job =
        json!({"decoder": decoder, "seed": seed, "seeds": root.join("fuzz/seeds").join(target)});
    match (set("DIFFERENTIAL_COUNT"), set("DIFFERENTIAL_SECONDS")) {
        (None, Some(seconds)) => job["seconds"] = seconds.into(),
        (count, _) => job["count"] = count.unwrap_or(USUAL).into(),
    }
    let mut child = Command::new(python)
        .arg(root.join("tests/differential/streams.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(job.to_string().as_bytes()).unwrap();
    let mut number = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        check(&serde_json::from_str(&line.unwrap()).unwrap());
        number += 1;
    }
    assert!(child.wait().unwrap().success());
    println!("{decoder}: {number} streams");
    number
}

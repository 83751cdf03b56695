//! How long frames were under way, from their writing to their reading.
//!
//! A short run keeps every delay, for its quantiles. A long one with many streams would keep millions, so
//! it counts the frames, and those that were late, by the second in which they were read.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

/// The delays of one connection, or of all.
#[derive(Clone, Default)]
pub(crate) struct FrameDelays {
    /// Every delay, unless frames are counted.
    kept: Vec<Duration>,
    counting: Option<Counting>,
    /// What was counted, by the second.
    seconds: Vec<Second>,
}

/// When the seconds begin, and above which delay a frame is late.
#[derive(Clone, Copy)]
struct Counting {
    began: Instant,
    late: Duration,
}

/// The frames that were read in one second.
#[derive(Clone, Copy, Default)]
struct Second {
    frames: u64,
    late: u64,
    longest: Duration,
}

impl FrameDelays {
    /// Counts by the second after `began`, and keeps no delay; a frame is late whose delay is above `late`.
    pub(crate) fn counted(began: Instant, late: Duration) -> FrameDelays {
        FrameDelays { counting: Some(Counting { began, late }), ..FrameDelays::default() }
    }

    pub(crate) fn note(&mut self, delay: Duration) {
        let Some(Counting { began, late }) = self.counting else { return self.kept.push(delay) };
        let one = Second { frames: 1, late: u64::from(delay > late), longest: delay };
        self.add(began.elapsed().as_secs() as usize, one);
    }

    pub(crate) fn join(&mut self, other: FrameDelays) {
        self.kept.extend(other.kept);
        for (number, second) in other.seconds.into_iter().enumerate() {
            self.add(number, second);
        }
    }

    /// Every delay; empty if frames are counted.
    pub(crate) fn kept(&self) -> &[Duration] {
        &self.kept
    }

    /// Of each second the frames, the late ones and the longest delay in microseconds.
    pub(crate) fn seconds(&self) -> Value {
        let shown = |it: &Second| json!([it.frames, it.late, it.longest.as_micros() as u64]);
        self.seconds.iter().map(shown).collect()
    }

    fn add(&mut self, number: usize, more: Second) {
        if self.seconds.len() <= number {
            self.seconds.resize(number + 1, Second::default());
        }
        if let Some(second) = self.seconds.get_mut(number) {
            second.frames += more.frames;
            second.late += more.late;
            second.longest = second.longest.max(more.longest);
        }
    }
}

//! Estimates of a request's tokens before the upstream has counted them.
//!
//! Bytes per token differ by language, model and the JSON around the text, so the ratio is
//! learned for each target from the counts that its answers carry, with how much it varies, and so
//! is how much of a request's maximum an answer really uses, and how long answers are to requests that
//! name no maximum.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};

/// Before anything is learned; English text in JSON has about this many bytes to a token.
const BYTES_PER_TOKEN: f32 = 4.0;

/// Before anything is learned, answers are assumed to use their maximum.
const OUTPUT_SHARE: f32 = 1.0;

/// Weight of a new observation.
const WEIGHT: f32 = 0.1;

/// Before anything is learned, how far the ratio of a request is from the usual one, on average.
const DEVIATION: f32 = 0.25;

/// An estimate assumes a ratio this many deviations below the usual one: to reserve too much until the answer
/// ends costs less than a throttle.
const DEVIATIONS: f32 = 3.0;

/// Tokens of an image, about, at the size that models scale it to.
const TOKENS_PER_MEDIUM: u64 = 1600;

/// The last answers to requests without a maximum that count...
const RECENT: usize = 64;

/// ...once there are this many.
const MIN_ANSWERS: usize = 16;

/// This share of them stays within the output that is assumed of the next...
const WITHIN: f64 = 0.95;

/// ...which is at least this.
const LEAST_OUTPUT: u64 = 256;

/// What one target's answers have taught. Concurrent updates may lose an observation, and no more.
#[derive(Debug)]
pub struct Estimator {
    bytes_per_token: AtomicF32,
    deviation: AtomicF32,
    output_share: AtomicF32,
    /// What answers to requests without a maximum mostly stay within; zero while that is not known.
    free_output: AtomicU64,
    free_outputs: Box<Mutex<Outputs>>,
}

impl Default for Estimator {
    fn default() -> Estimator {
        Estimator {
            bytes_per_token: AtomicF32::new(BYTES_PER_TOKEN),
            deviation: AtomicF32::new(DEVIATION),
            output_share: AtomicF32::new(OUTPUT_SHARE),
            free_output: AtomicU64::new(0),
            free_outputs: Box::default(),
        }
    }
}

impl Estimator {
    /// The input tokens of a body with this many bytes of text and JSON, and this many images, documents or
    /// other media, whose bytes do not count as text. A cautious estimate: few bodies have more.
    pub fn input(&self, text_bytes: usize, media: usize) -> u64 {
        let usual = self.bytes_per_token.get();
        let dense = (usual - DEVIATIONS * self.deviation.get()).max(usual / 2.0);
        let text = text_bytes as f32 / dense;
        text.ceil() as u64 + media as u64 * TOKENS_PER_MEDIUM
    }

    /// The likely output tokens of an answer that may have up to `max`.
    pub fn output(&self, max: u64) -> u64 {
        (max as f32 * self.output_share.get()).ceil() as u64
    }

    /// Output tokens to assume of a request without a maximum, at most `most`.
    pub fn free_output(&self, most: u64) -> u64 {
        match self.free_output.load(Ordering::Relaxed) {
            0 => most,
            usual => usual.max(LEAST_OUTPUT).min(most),
        }
    }

    /// Whether a request without a maximum was answered.
    pub fn has_free_output(&self) -> bool {
        self.outputs().count > 0
    }

    /// Learns from the whole answer to a request without a maximum.
    pub fn learn_free_output(&self, output: u64) {
        let mut outputs = self.outputs();
        outputs.add(output);
        self.free_output.store(outputs.high().unwrap_or(0), Ordering::Relaxed);
    }

    fn outputs(&self) -> MutexGuard<'_, Outputs> {
        self.free_outputs.lock()
    }

    /// Bytes per token, as learned so far.
    pub fn bytes_per_token(&self) -> f32 {
        self.bytes_per_token.get()
    }

    /// Learns from an answer's counts.
    pub fn learn(&self, text_bytes: usize, media: usize, input: u64, max: u64, output: u64) {
        // An image's tokens are not known apart from the text's, so only pure text teaches.
        if media == 0 && input > 0 && text_bytes > 0 {
            let seen = (text_bytes as f32 / input as f32).clamp(0.25, 50.0);
            self.deviation.learn((seen - self.bytes_per_token.get()).abs());
            self.bytes_per_token.learn(seen);
        }
        if max > 0 {
            self.output_share.learn((output as f32 / max as f32).clamp(0.0, 1.0));
        }
    }

    /// Takes over what the same target has learned under an older config.
    pub fn take_over(&self, before: &Estimator) {
        self.bytes_per_token.set(before.bytes_per_token.get());
        self.deviation.set(before.deviation.get());
        self.output_share.set(before.output_share.get());
        *self.outputs() = before.outputs().clone();
        let usual = before.free_output.load(Ordering::Relaxed);
        self.free_output.store(usual, Ordering::Relaxed);
    }
}

/// The lengths of the last answers.
#[derive(Clone, Debug)]
struct Outputs {
    last: [u64; RECENT],
    count: usize,
}

impl Default for Outputs {
    fn default() -> Outputs {
        Outputs { last: [0; RECENT], count: 0 }
    }
}

impl Outputs {
    fn add(&mut self, output: u64) {
        if let Some(place) = self.last.get_mut(self.count % RECENT) {
            *place = output;
        }
        self.count = self.count.wrapping_add(1).max(1);
    }

    /// What [`WITHIN`] of them stay within; at least one token, once there are enough.
    fn high(&self) -> Option<u64> {
        let known = self.count.min(RECENT);
        if known < MIN_ANSWERS {
            return None;
        }
        let mut sorted = self.last;
        let sorted = sorted.get_mut(..known)?;
        sorted.sort_unstable();
        let place = (known as f64 * WITHIN).ceil() as usize;
        sorted.get(place.saturating_sub(1)).map(|output| (*output).max(1))
    }
}

#[derive(Debug)]
struct AtomicF32(AtomicU32);

impl AtomicF32 {
    fn new(value: f32) -> AtomicF32 {
        AtomicF32(AtomicU32::new(value.to_bits()))
    }

    fn get(&self) -> f32 {
        f32::from_bits(self.0.load(Ordering::Relaxed))
    }

    fn set(&self, value: f32) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    fn learn(&self, seen: f32) {
        let known = self.get();
        self.set(known + WEIGHT * (seen - known));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_approaches_the_count() {
        let estimator = Estimator::default();
        assert!(
            (1050..1400).contains(&estimator.input(4000, 0)),
            "a margin while nothing is known"
        );
        for _ in 0..60 {
            estimator.learn(4000, 0, 2000, 1000, 100);
        }
        let input = estimator.input(4000, 0);
        assert!((2000..2200).contains(&input), "{input}");
        let output = estimator.output(1000);
        assert!((100..110).contains(&output), "{output}");
    }

    #[test]
    fn a_request_without_a_maximum_is_assumed_to_have_a_long_answer() {
        let estimator = Estimator::default();
        assert_eq!(estimator.free_output(64_000), 64_000, "nothing is known");
        assert!(!estimator.has_free_output());
        for _ in 1..MIN_ANSWERS {
            estimator.learn_free_output(1000);
        }
        assert!(estimator.has_free_output());
        assert_eq!(estimator.free_output(64_000), 64_000, "too little is known");
        estimator.learn_free_output(1000);
        assert_eq!(estimator.free_output(64_000), 1000);
        assert_eq!(estimator.free_output(500), 500, "never above the most");
        let newer = Estimator::default();
        newer.take_over(&estimator);
        assert_eq!(newer.free_output(64_000), 1000);
        // One long answer in a hundred does not count, one in ten does.
        for number in 0..RECENT {
            estimator.learn_free_output(if number == 0 { 60_000 } else { 1000 });
        }
        assert_eq!(estimator.free_output(64_000), 1000);
        for number in 0..RECENT {
            estimator.learn_free_output(if number % 10 == 0 { 60_000 } else { 1000 });
        }
        assert_eq!(estimator.free_output(64_000), 60_000);
        for _ in 0..RECENT {
            estimator.learn_free_output(0);
        }
        assert_eq!(estimator.free_output(64_000), LEAST_OUTPUT, "never below the floor");
    }

    proptest::proptest! {
        #[test]
        fn the_assumed_output_keeps_its_bounds_and_covers_most_of_the_last_answers(
            outputs in proptest::collection::vec(0u64..200_000, 0..200),
            most in 1u64..100_000,
        ) {
            let estimator = Estimator::default();
            outputs.iter().for_each(|output| estimator.learn_free_output(*output));
            let assumed = estimator.free_output(most);
            assert!(assumed <= most && assumed >= most.min(LEAST_OUTPUT));
            let last = &outputs[outputs.len().saturating_sub(RECENT)..];
            if last.len() >= MIN_ANSWERS && assumed < most {
                let within = last.iter().filter(|output| **output <= assumed).count();
                assert!(within as f64 >= WITHIN * last.len() as f64);
            }
        }
    }

    #[test]
    fn where_bodies_differ_the_estimate_covers_the_densest() {
        let estimator = Estimator::default();
        let mut dice = fastrand::Rng::with_seed(1);
        for _ in 0..1000 {
            let input = 4000.0 / (3.5 + dice.f32());
            estimator.learn(4000, 0, input as u64, 0, 0);
        }
        let (input, densest) = (estimator.input(4000, 0), 4000.0 / 3.5);
        assert!(input as f32 >= 0.98 * densest && (input as f32) < 1.25 * densest, "{input}");
    }

    #[test]
    fn an_image_counts_as_an_image_and_teaches_nothing_of_text() {
        let estimator = Estimator::default();
        assert_eq!(estimator.input(400, 2), estimator.input(400, 0) + 3200);
        estimator.learn(400, 1, 9000, 0, 0);
        assert_eq!(estimator.bytes_per_token(), BYTES_PER_TOKEN);
    }
}

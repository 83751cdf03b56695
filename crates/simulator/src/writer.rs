//! Plays an answer as the events of a stream, one token after the other.

use bytes::Bytes;

use super::produced::{Part, Produced};
use super::settings::Latency;
use super::stream::{Script, Step};

/// Writes the events of an answer in the form of its API.
pub(super) trait Writer: Send {
    /// The events before the first part.
    fn opening(&mut self, produced: &Produced) -> Vec<Bytes>;
    /// The events at the beginning of a part, the `at`th.
    fn begin(&mut self, produced: &Produced, at: usize, part: &Part) -> Vec<Bytes>;
    /// A piece of a part: one token.
    fn delta(&mut self, produced: &Produced, at: usize, part: &Part, text: &str) -> Vec<Bytes>;
    /// The events at the end of a part.
    fn end(&mut self, produced: &Produced, at: usize, part: &Part) -> Vec<Bytes>;
    /// The events after the last part.
    fn closing(&mut self, produced: &Produced) -> Vec<Bytes>;
}

/// What is written next.
enum Stage {
    Opening,
    Begin(usize),
    Delta(usize, String),
    End(usize),
    Closing,
}

/// An answer as a script of events.
pub(super) fn events(
    mut writer: impl Writer + 'static,
    produced: Produced,
    latency: Latency,
    mut rng: fastrand::Rng,
) -> Script {
    let parts = produced.parts.clone().into_iter().enumerate();
    let parts = parts.flat_map(|(at, part)| {
        let deltas = part.pieces().into_iter().map(move |piece| Stage::Delta(at, piece));
        std::iter::once(Stage::Begin(at)).chain(deltas).chain([Stage::End(at)])
    });
    // Tokens that no event shows are counted with the next one.
    let mut hidden = 0;
    let stages = std::iter::once(Stage::Opening).chain(parts).chain([Stage::Closing]);
    Box::new(stages.flat_map(move |stage| {
        let part = |at: usize| produced.parts.get(at);
        let (events, token) = match stage {
            Stage::Opening => (writer.opening(&produced), 0),
            Stage::Begin(at) => {
                (part(at).map(|part| writer.begin(&produced, at, part)).unwrap_or_default(), 0)
            }
            Stage::Delta(at, text) => (
                part(at).map(|part| writer.delta(&produced, at, part, &text)).unwrap_or_default(),
                1,
            ),
            Stage::End(at) => {
                (part(at).map(|part| writer.end(&produced, at, part)).unwrap_or_default(), 0)
            }
            Stage::Closing => (writer.closing(&produced), 0),
        };
        let pause = latency.for_tokens(token, &mut rng);
        hidden += token;
        let mut steps = Vec::with_capacity(events.len() + 1);
        if !pause.is_zero() {
            steps.push(Step::Wait(pause));
        }
        for bytes in events {
            let tokens = std::mem::take(&mut hidden);
            steps.push(Step::Send { bytes, frames: 1, tokens });
        }
        steps
    }))
}

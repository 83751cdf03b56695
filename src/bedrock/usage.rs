//! Token counts that an answer carries: in response headers, in JSON bodies of every family, and
//! in the frames of both kinds of stream.
//!
//! Counts are read on the way past and are never a reason to hold or change an answer: what
//! can't be read counts as not told.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;

use super::event_stream::{Frame, Kind};
use super::json::{JsonError, Scanner};

/// Tokens of one answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Fresh input.
    pub input: u64,
    /// Output, thinking included.
    pub output: u64,
    /// Input read from a prompt cache.
    pub cache_read: u64,
    /// Input written to a prompt cache.
    pub cache_write: u64,
}

/// What the headers of the Invoke operations that tell of counts begin with.
const PREFIX: &str = "x-amzn-bedrock-";
const INPUT: &str = "input-token-count";

impl Usage {
    /// Reads the `X-Amzn-Bedrock-*-Token-Count` headers of the Invoke operations.
    pub fn from_headers(headers: &HeaderMap) -> Option<Usage> {
        let (mut usage, mut has_input) = (Usage::default(), false);
        for (name, value) in headers {
            let Some(what) = name.as_str().strip_prefix(PREFIX) else { continue };
            let place = match what {
                INPUT => &mut usage.input,
                "output-token-count" => &mut usage.output,
                "cache-read-input-token-count" => &mut usage.cache_read,
                "cache-write-input-token-count" => &mut usage.cache_write,
                _ => continue,
            };
            if let Some(count) = value.to_str().ok().and_then(|text| text.parse().ok()) {
                *place = count;
                has_input |= what == INPUT;
            }
        }
        has_input.then_some(usage)
    }

    /// Reads a JSON answer of Converse, CountTokens or any model family.
    pub fn from_body(body: &[u8]) -> Option<Usage> {
        let mut counts = Counts::default();
        counts.answer(&mut Scanner::new(body)).ok()?;
        counts.seen.then_some(counts.usage)
    }

    /// Reads a frame of a stream: `metadata` of ConverseStream, or the chunk of an Invoke stream
    /// that carries the invocation metrics. Other frames cost a comparison or a substring search.
    pub fn from_frame(frame: &Frame<'_>) -> Option<Usage> {
        match frame.kind() {
            Kind::Event("metadata") => Usage::from_body(frame.payload),
            Kind::Event("chunk") if may_have_metrics(frame.payload) => {
                Usage::from_body(&chunk(frame.payload)?)
            }
            _ => None,
        }
    }

    /// Reads the first frame of a stream: Anthropic's `message_start` tells what the input was.
    pub fn from_first_frame(frame: &Frame<'_>) -> Option<Usage> {
        if frame.kind() != Kind::Event("chunk") {
            return None;
        }
        let chunk = chunk(frame.payload)?;
        let mut counts = Counts::default();
        Scanner::new(&chunk)
            .object(|key, scanner| match key {
                "message" => scanner.object(|key, scanner| match key {
                    "usage" => scanner.object(|key, scanner| counts.count(key, scanner)),
                    _ => Ok(()),
                }),
                _ => Ok(()),
            })
            .ok()?;
        counts.seen.then_some(counts.usage)
    }
}

/// The model's own JSON in the payload of a `chunk`.
fn chunk(payload: &[u8]) -> Option<Vec<u8>> {
    let mut chunk = None;
    Scanner::new(payload)
        .object(|key, scanner| {
            if key == "bytes" {
                chunk = STANDARD.decode(scanner.string()?.as_bytes()).ok();
            }
            Ok(())
        })
        .ok()?;
    chunk
}

#[derive(Default)]
struct Counts {
    usage: Usage,
    seen: bool,
}

impl Counts {
    fn answer(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        scanner.object(|key, scanner| match key {
            "usage" | "amazon-bedrock-invocationMetrics" => {
                scanner.object(|key, scanner| self.count(key, scanner))
            }
            // Titan's answers keep their output counts one level down.
            "results" => scanner.array(|scanner| {
                scanner.object(|key, scanner| match key {
                    "tokenCount" => {
                        self.usage.output += scanner.count()?.map_or(0, |(count, _)| count);
                        Ok(())
                    }
                    _ => Ok(()),
                })
            }),
            // What a bidirectional stream has used so far.
            "event" => scanner.object(|key, scanner| match key {
                "usageEvent" => scanner.object(|key, scanner| self.count(key, scanner)),
                _ => Ok(()),
            }),
            key => self.count(key, scanner),
        })
    }

    fn count(&mut self, key: &str, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        let mut is_input = false;
        let slot = match key {
            "inputTokens"
            | "input_tokens"
            | "prompt_tokens"
            | "inputTokenCount"
            | "inputTextTokenCount"
            | "prompt_token_count"
            | "totalInputTokens" => {
                is_input = true;
                &mut self.usage.input
            }
            "outputTokens"
            | "output_tokens"
            | "completion_tokens"
            | "outputTokenCount"
            | "generation_token_count"
            | "totalOutputTokens" => &mut self.usage.output,
            "cacheReadInputTokens" | "cache_read_input_tokens" | "cacheReadInputTokenCount" => {
                &mut self.usage.cache_read
            }
            "cacheWriteInputTokens"
            | "cache_creation_input_tokens"
            | "cacheWriteInputTokenCount" => &mut self.usage.cache_write,
            _ => return Ok(()),
        };
        if let Some((count, _)) = scanner.count()? {
            *slot = count;
            self.seen |= is_input;
        }
        Ok(())
    }
}

/// Whether a chunk's payload may hold the invocation metrics or a `usageEvent`: looks for the
/// base64 of either word at each of the three alignments it can have.
fn may_have_metrics(payload: &[u8]) -> bool {
    // The whole triples of each word from its first, second and third byte on.
    const NEEDLES: [&[u8]; 6] = [
        b"YmVkcm9jay1pbnZvY2F0aW9u",
        b"ZWRyb2NrLWludm9jYXRpb25N",
        b"ZHJvY2staW52b2NhdGlvbk1l",
        b"dXNhZ2VFdmVu",
        b"c2FnZUV2ZW50",
        b"YWdlRXZl",
    ];
    NEEDLES.iter().any(|needle| memchr::memmem::find(payload, needle).is_some())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::super::event_stream;
    use super::*;

    fn usage(input: u64, output: u64, cache_read: u64, cache_write: u64) -> Usage {
        Usage { input, output, cache_read, cache_write }
    }

    #[test]
    fn every_familys_body_is_read() {
        for (body, wanted) in [
            (
                r#"{"usage":{"input_tokens":3,"output_tokens":4,"cache_read_input_tokens":5,"cache_creation_input_tokens":6}}"#,
                usage(3, 4, 5, 6),
            ),
            (
                r#"{"output":{},"usage":{"inputTokens":3,"outputTokens":4,"totalTokens":7}}"#,
                usage(3, 4, 0, 0),
            ),
            (
                r#"{"usage":{"inputTokens":3,"outputTokens":4,"cacheReadInputTokenCount":5,"cacheWriteInputTokenCount":6}}"#,
                usage(3, 4, 5, 6),
            ),
            (
                r#"{"inputTextTokenCount":3,"results":[{"tokenCount":1},{"tokenCount":2}]}"#,
                usage(3, 3, 0, 0),
            ),
            (r#"{"embedding":[0.1],"inputTextTokenCount":3}"#, usage(3, 0, 0, 0)),
            (
                r#"{"generation":"x","prompt_token_count":3,"generation_token_count":4}"#,
                usage(3, 4, 0, 0),
            ),
            (
                r#"{"choices":[{"usage":9}],"usage":{"prompt_tokens":3,"completion_tokens":4}}"#,
                usage(3, 4, 0, 0),
            ),
        ] {
            assert_eq!(Usage::from_body(body.as_bytes()), Some(wanted), "{body}");
        }
        assert_eq!(Usage::from_body(b"{\"content\":[]}"), None);
        assert_eq!(Usage::from_body(b"nonsense"), None);
    }

    #[test]
    fn headers_serve_every_family() {
        let mut headers = HeaderMap::new();
        assert_eq!(Usage::from_headers(&headers), None);
        headers.insert("x-amzn-bedrock-input-token-count", HeaderValue::from_static("3"));
        headers.insert("x-amzn-bedrock-output-token-count", HeaderValue::from_static("4"));
        assert_eq!(Usage::from_headers(&headers), Some(usage(3, 4, 0, 0)));
    }

    #[test]
    fn the_vectors_frames_are_read() {
        let vectors: Vec<serde_json::Value> =
            serde_json::from_str(include_str!("../../tests/vectors/eventstream.json")).unwrap();
        let mut found = Vec::new();
        for vector in vectors {
            let hex = vector["hex"].as_str().unwrap();
            let bytes: Vec<u8> = (0..hex.len())
                .step_by(2)
                .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap())
                .collect();
            found.extend(Usage::from_frame(&Frame::read(&bytes).unwrap().unwrap()));
        }
        assert_eq!(found, [usage(11, 7, 0, 0), usage(11, 7, 5, 0)]);
    }

    proptest! {
        #[test]
        fn metrics_are_found_at_every_alignment(before in "[a-z]{0,9}", input: u32, output: u32) {
            let inner = format!(
                r#"{{"t":"{before}","amazon-bedrock-invocationMetrics":{{"inputTokenCount":{input},"outputTokenCount":{output}}}}}"#
            );
            let payload = format!(r#"{{"bytes":"{}","p":"ab"}}"#, STANDARD.encode(inner));
            let bytes = event_stream::event("chunk", payload);
            let frame = Frame::read(&bytes).unwrap().unwrap();
            prop_assert_eq!(Usage::from_frame(&frame), Some(usage(input.into(), output.into(), 0, 0)));
        }
    }
}

//! Token counts that an answer carries: in response headers, in JSON bodies of every family, and
//! in the frames of both kinds of stream.
//!
//! Counts are read on the way past and are never a reason to hold or change an answer:
//! an unreadable count is ignored.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;

use super::event_stream::{Frame, Kind};
use super::json::{JsonError, Scanner, Type};
use super::service_tier::ServiceTier;

/// Tokens of one answer. No token is counted twice: what was read from a cache or written to one is
/// no part of the fresh input, however the answer reports it.
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
    /// Of what was written to a prompt cache: for an hour, which costs more.
    pub cache_write_1h: u64,
    /// The service tier that served the request, if the answer says it.
    pub tier: Option<ServiceTier>,
}

/// Prefix of the headers with token counts of the Invoke operations.
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
        usage.tier = ServiceTier::in_headers(headers);
        has_input.then_some(usage)
    }

    /// All input, fresh or cached: its length decides which prices count.
    pub fn whole_input(&self) -> u64 {
        self.input.saturating_add(self.cache_read).saturating_add(self.cache_write)
    }

    /// Reads a JSON answer of Converse, CountTokens or any model family.
    pub fn from_body(body: &[u8]) -> Option<Usage> {
        let mut counts = Counts::default();
        counts.answer(&mut Scanner::new(body)).ok()?;
        counts.usage()
    }

    /// These counts, completed with the cache counts of another part of the same answer, where this part
    /// has less: headers and metrics have neither the lifetime of a cache write nor, for some
    /// families, that there is a cache.
    pub fn refined_by(self, other: Usage) -> Usage {
        let own = Usage { tier: self.tier.or(other.tier), ..self };
        own.with_cache_counts(other)
    }

    fn with_cache_counts(self, other: Usage) -> Usage {
        let other_cached = other.cache_read.saturating_add(other.cache_write);
        let is_silent = self.cache_read == 0 && self.cache_write == 0 && other_cached > 0;
        // Fresh input alone, or all of it.
        let is_same = [other.input, other.input.saturating_add(other_cached)].contains(&self.input);
        if is_silent && is_same {
            return Usage { output: self.output, tier: self.tier, ..other };
        }
        if self.cache_write_1h == 0 && self.cache_write == other.cache_write {
            return Usage { cache_write_1h: other.cache_write_1h, ..self };
        }
        self
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

    /// Reads the first frame of a stream: Anthropic's `message_start` has the input's counts.
    pub fn from_first_frame(frame: &Frame<'_>) -> Option<Usage> {
        if frame.kind() != Kind::Event("chunk") {
            return None;
        }
        let chunk = chunk(frame.payload)?;
        let mut counts = Counts::default();
        Scanner::new(&chunk)
            .object(|key, scanner| match key {
                "message" => scanner.object(|key, scanner| match key {
                    "usage" => scanner.object(|key, scanner| counts.usage.count(key, scanner)),
                    _ => Ok(()),
                }),
                _ => Ok(()),
            })
            .ok()?;
        counts.usage()
    }

    /// Whether the first frame of a stream has the lifetime of a cache write. No
    /// other frame of such a stream does.
    pub fn is_split_in(frame: &Frame<'_>) -> bool {
        // The whole triples of "ephemeral_1h_input" from its first, second and third byte on.
        const NEEDLES: [&[u8]; 3] =
            [b"ZXBoZW1lcmFsXzFoX2lucHV0", b"cGhlbWVyYWxfMWhfaW5w", b"aGVtZXJhbF8xaF9pbnB1"];
        frame.kind() == Kind::Event("chunk") && has_one_of(frame.payload, &NEEDLES)
    }
}

/// The model's own JSON in the payload of a `chunk`.
pub(super) fn chunk(payload: &[u8]) -> Option<Vec<u8>> {
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

/// The counts of an answer, by their place in it.
#[derive(Default)]
struct Counts {
    usage: ReportedCounts,
    metrics: ReportedCounts,
    /// Counts beside the answer's text.
    beside: ReportedCounts,
    tier: Option<ServiceTier>,
}

impl Counts {
    fn answer(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        scanner.object(|key, scanner| match key {
            "usage" => scanner.object(|key, scanner| self.usage.count(key, scanner)),
            "amazon-bedrock-invocationMetrics" => {
                scanner.object(|key, scanner| self.metrics.count(key, scanner))
            }
            // Titan's answers keep their output counts one level down.
            "results" => scanner.array(|scanner| {
                scanner.object(|key, scanner| match key {
                    "tokenCount" => {
                        let count = scanner.count()?.map_or(0, |(count, _)| count);
                        let before = self.beside.output.unwrap_or(0);
                        self.beside.output = Some(before.saturating_add(count));
                        Ok(())
                    }
                    _ => Ok(()),
                })
            }),
            // What a bidirectional stream has used so far.
            "event" => scanner.object(|key, scanner| match key {
                "usageEvent" => scanner.object(|key, scanner| self.usage.count(key, scanner)),
                _ => Ok(()),
            }),
            // Converse's, and OpenAI's.
            "serviceTier" => scanner.object(|key, scanner| match key {
                "type" => self.read_tier(scanner),
                _ => Ok(()),
            }),
            "service_tier" => self.read_tier(scanner),
            key => self.beside.count(key, scanner),
        })
    }

    fn read_tier(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        if scanner.peek()? == Type::String {
            self.tier = scanner.string().ok().map(|name| ServiceTier::of(&name));
        }
        Ok(())
    }

    /// The most complete part, completed by the others.
    fn usage(&self) -> Option<Usage> {
        let parts = [&self.usage, &self.metrics, &self.beside];
        let mut told = parts.iter().filter_map(|part| part.usage());
        let first = told.next()?;
        let usage = told.fold(first, Usage::refined_by);
        let output = parts.iter().find_map(|part| part.output());
        Some(Usage { output: output.unwrap_or(0), tier: self.tier, ..usage })
    }
}

/// The counts of one object, as they are written. Families differ in whether their input has what
/// was cached in it: OpenAI's has, Anthropic's, Converse's and Bedrock's metrics have not.
#[derive(Default)]
struct ReportedCounts {
    input: Option<u64>,
    /// Whether the input is all of it, by the name of its count.
    is_all_input: bool,
    output: Option<u64>,
    total: Option<u64>,
    /// Tokens of thinking, which are part of the output, unless the total shows otherwise.
    reasoning: u64,
    cache_read: u64,
    cache_write: u64,
    /// Cached tokens by the details of the input, which are part of it.
    read_within: u64,
    written_within: u64,
    /// What was written to a cache, by how long it stays.
    written_5m: u64,
    written_1h: u64,
}

impl ReportedCounts {
    fn usage(&self) -> Option<Usage> {
        let input = self.input?;
        let split = self.written_5m.saturating_add(self.written_1h);
        // Where they disagree, the sum of the parts is what is billed.
        let written = if split > 0 { split } else { self.cache_write };
        let cache_read = self.cache_read.max(self.read_within);
        let cache_write = written.max(self.written_within);
        let (read_within, written_within) = match self.is_all_input {
            true => (cache_read, cache_write),
            false => (self.read_within, self.written_within),
        };
        // More than all of it can't be part of it.
        let fresh = input.checked_sub(read_within.saturating_add(written_within)).unwrap_or(input);
        Some(Usage {
            input: fresh,
            output: self.output().unwrap_or(0),
            cache_read,
            cache_write,
            cache_write_1h: self.written_1h.min(cache_write),
            tier: None,
        })
    }

    fn output(&self) -> Option<u64> {
        let output = self.output?;
        let (all, input) = (output.saturating_add(self.reasoning), self.input.unwrap_or(0));
        let is_beside = self.is_all_input && self.total == Some(input.saturating_add(all));
        Some(if is_beside { all } else { output })
    }

    fn count(&mut self, key: &str, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        let slot = match key {
            "inputTokens"
            | "input_tokens"
            | "inputTokenCount"
            | "inputTextTokenCount"
            | "prompt_token_count"
            | "totalInputTokens" => return self.count_input(false, scanner),
            "prompt_tokens" => return self.count_input(true, scanner),
            "outputTokens"
            | "output_tokens"
            | "completion_tokens"
            | "outputTokenCount"
            | "generation_token_count"
            | "totalOutputTokens" => {
                if let Some((count, _)) = scanner.count()? {
                    self.output = Some(count);
                }
                return Ok(());
            }
            "total_tokens" => {
                self.total = scanner.count()?.map(|(count, _)| count);
                return Ok(());
            }
            "prompt_tokens_details" | "input_tokens_details" => {
                return scanner.object(|key, scanner| match key {
                    "cached_tokens" => read(&mut self.read_within, scanner),
                    "cache_write_tokens" | "cache_creation_tokens" => {
                        read(&mut self.written_within, scanner)
                    }
                    _ => Ok(()),
                });
            }
            "completion_tokens_details" => {
                return scanner.object(|key, scanner| match key {
                    "reasoning_tokens" => read(&mut self.reasoning, scanner),
                    _ => Ok(()),
                });
            }
            "cache_creation" => {
                return scanner.object(|key, scanner| match key {
                    "ephemeral_5m_input_tokens" => read(&mut self.written_5m, scanner),
                    "ephemeral_1h_input_tokens" => read(&mut self.written_1h, scanner),
                    _ => Ok(()),
                });
            }
            "cacheDetails" => return self.cache_details(scanner),
            "cacheReadInputTokens" | "cache_read_input_tokens" | "cacheReadInputTokenCount" => {
                &mut self.cache_read
            }
            "cacheWriteInputTokens"
            | "cache_creation_input_tokens"
            | "cacheWriteInputTokenCount" => &mut self.cache_write,
            // Names of models that others have made, beside OpenAI's.
            "cached_tokens" | "prompt_cache_hit_tokens" => &mut self.read_within,
            _ => return Ok(()),
        };
        read(slot, scanner)
    }

    fn count_input(&mut self, is_all: bool, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        if let Some((count, _)) = scanner.count()? {
            self.input = Some(count);
            self.is_all_input = is_all;
        }
        Ok(())
    }

    /// Converse's list of cache writes, each with its time to live.
    fn cache_details(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        (self.written_5m, self.written_1h) = (0, 0);
        scanner.array(|scanner| {
            let (mut is_hour, mut tokens) = (false, 0);
            scanner.object(|key, scanner| match key {
                "ttl" if scanner.peek()? == Type::String => {
                    is_hour = scanner.string()? == "1h";
                    Ok(())
                }
                "inputTokens" => read(&mut tokens, scanner),
                _ => Ok(()),
            })?;
            let slot = if is_hour { &mut self.written_1h } else { &mut self.written_5m };
            *slot = slot.saturating_add(tokens);
            Ok(())
        })
    }
}

/// Reads a count into its slot, if it is one.
fn read(slot: &mut u64, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
    if let Some((count, _)) = scanner.count()? {
        *slot = count;
    }
    Ok(())
}

/// Whether a chunk's payload may hold the invocation metrics, a `usageEvent` or OpenAI's usage: looks
/// for the base64 of each word at each of the three alignments it can have.
fn may_have_metrics(payload: &[u8]) -> bool {
    // The whole triples of each word from its first, second and third byte on.
    const NEEDLES: [&[u8]; 9] = [
        b"YmVkcm9jay1pbnZvY2F0aW9u",
        b"ZWRyb2NrLWludm9jYXRpb25N",
        b"ZHJvY2staW52b2NhdGlvbk1l",
        b"dXNhZ2VFdmVu",
        b"c2FnZUV2ZW50",
        b"YWdlRXZl",
        b"cHJvbXB0X3Rva2Vu",
        b"cm9tcHRfdG9rZW5z",
        b"b21wdF90b2tl",
    ];
    has_one_of(payload, &NEEDLES)
}

fn has_one_of(payload: &[u8], needles: &[&[u8]]) -> bool {
    needles.iter().any(|needle| memchr::memmem::find(payload, needle).is_some())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::super::event_stream;
    use super::*;

    fn usage(input: u64, output: u64, cache_read: u64, cache_write: u64) -> Usage {
        Usage { input, output, cache_read, cache_write, ..Usage::default() }
    }

    #[test]
    fn the_tier_that_served_is_read_wherever_it_stands() {
        let counts = r#""usage":{"inputTokens":3,"outputTokens":4}"#;
        let tier = |body: String| Usage::from_body(body.as_bytes()).unwrap().tier;
        assert_eq!(tier(format!("{{{counts}}}")), None);
        let of_converse = format!(r#"{{{counts},"serviceTier":{{"type":"flex"}}}}"#);
        assert_eq!(tier(of_converse.clone()), Some(ServiceTier::Flex));
        assert_eq!(
            tier(format!(r#"{{"service_tier":"priority",{counts}}}"#)),
            Some(ServiceTier::Priority)
        );
        assert_eq!(tier(format!(r#"{{"service_tier":null,{counts}}}"#)), None);
        let metadata = event_stream::event("metadata", of_converse);
        let usage = Usage::from_frame(&Frame::read(&metadata).unwrap().unwrap()).unwrap();
        assert_eq!(usage.tier, Some(ServiceTier::Flex));
        let mut headers = HeaderMap::new();
        headers.insert("x-amzn-bedrock-input-token-count", HeaderValue::from_static("3"));
        headers.insert("x-amzn-bedrock-service-tier", HeaderValue::from_static("default"));
        let of_headers = Usage::from_headers(&headers).unwrap();
        assert_eq!(of_headers.refined_by(usage).tier, Some(ServiceTier::Standard));
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

    fn hour(usage: Usage, cache_write_1h: u64) -> Usage {
        Usage { cache_write_1h, ..usage }
    }

    #[test]
    fn cached_input_is_counted_once_by_whatever_meaning_of_input() {
        for (body, wanted) in [
            // Within the input.
            (
                r#"{"usage":{"prompt_tokens":1000,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":900}}}"#,
                usage(100, 4, 900, 0),
            ),
            (
                r#"{"usage":{"prompt_tokens_details":{"cached_tokens":900,"cache_write_tokens":50},"completion_tokens":4,"prompt_tokens":1000}}"#,
                usage(50, 4, 900, 50),
            ),
            (
                r#"{"usage":{"input_tokens":1000,"output_tokens":4,"input_tokens_details":{"cached_tokens":900}}}"#,
                usage(100, 4, 900, 0),
            ),
            (
                r#"{"usage":{"prompt_tokens":1000,"completion_tokens":4,"prompt_cache_hit_tokens":900,"prompt_cache_miss_tokens":100}}"#,
                usage(100, 4, 900, 0),
            ),
            (
                r#"{"usage":{"prompt_tokens":1000,"completion_tokens":4,"cached_tokens":900}}"#,
                usage(100, 4, 900, 0),
            ),
            (
                r#"{"usage":{"prompt_tokens":1000,"completion_tokens":4,"cache_read_input_tokens":900,"prompt_tokens_details":{"cached_tokens":900}}}"#,
                usage(100, 4, 900, 0),
            ),
            (
                r#"{"usage":{"prompt_tokens":1000,"completion_tokens":4,"prompt_tokens_details":null}}"#,
                usage(1000, 4, 0, 0),
            ),
            // More than all of it can't be within it.
            (
                r#"{"usage":{"prompt_tokens":100,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":900}}}"#,
                usage(100, 4, 900, 0),
            ),
            // The metrics of the same answer.
            (
                r#"{"usage":{"prompt_tokens":1000,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":900}},"amazon-bedrock-invocationMetrics":{"inputTokenCount":1000,"outputTokenCount":4}}"#,
                usage(100, 4, 900, 0),
            ),
            (
                r#"{"amazon-bedrock-invocationMetrics":{"inputTokenCount":1000,"outputTokenCount":4,"cacheReadInputTokenCount":7},"type":"message_stop"}"#,
                usage(1000, 4, 7, 0),
            ),
            // Beside it.
            (
                r#"{"usage":{"input_tokens":100,"output_tokens":4,"cache_read_input_tokens":900,"cache_creation_input_tokens":0,"output_tokens_details":{"thinking_tokens":3}}}"#,
                usage(100, 4, 900, 0),
            ),
            (
                r#"{"usage":{"inputTokens":100,"outputTokens":4,"totalTokens":1004,"cacheReadInputTokens":900}}"#,
                usage(100, 4, 900, 0),
            ),
            // Thinking, within the output and beside it.
            (
                r#"{"usage":{"prompt_tokens":10,"completion_tokens":20,"total_tokens":30,"completion_tokens_details":{"reasoning_tokens":15}}}"#,
                usage(10, 20, 0, 0),
            ),
            (
                r#"{"usage":{"prompt_tokens":10,"completion_tokens":20,"total_tokens":45,"completion_tokens_details":{"reasoning_tokens":15}}}"#,
                usage(10, 35, 0, 0),
            ),
        ] {
            assert_eq!(Usage::from_body(body.as_bytes()), Some(wanted), "{body}");
        }
    }

    #[test]
    fn writes_for_an_hour_are_told_apart() {
        let whole = usage(1, 2, 0, 100);
        for (body, wanted) in [
            (
                r#"{"usage":{"input_tokens":1,"output_tokens":2,"cache_creation_input_tokens":100,"cache_creation":{"ephemeral_5m_input_tokens":40,"ephemeral_1h_input_tokens":60}}}"#,
                hour(whole, 60),
            ),
            (
                r#"{"usage":{"cache_creation":{"ephemeral_1h_input_tokens":100},"input_tokens":1,"output_tokens":2}}"#,
                hour(whole, 100),
            ),
            (
                r#"{"usage":{"input_tokens":1,"output_tokens":2,"cache_creation_input_tokens":100,"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0}}}"#,
                whole,
            ),
            (
                r#"{"usage":{"inputTokens":1,"outputTokens":2,"cacheWriteInputTokens":100,"cacheDetails":[{"ttl":"1h","inputTokens":60},{"inputTokens":40,"ttl":"5m"}]}}"#,
                hour(whole, 60),
            ),
            (
                r#"{"usage":{"cacheDetails":[{"inputTokens":60,"ttl":"1h"},{"ttl":"1h","inputTokens":10}],"inputTokens":1,"outputTokens":2,"cacheWriteInputTokens":70}}"#,
                hour(usage(1, 2, 0, 70), 70),
            ),
            (
                r#"{"usage":{"inputTokens":1,"outputTokens":2,"cacheWriteInputTokens":100,"cacheDetails":[{"ttl":7,"inputTokens":100},null,[]]}}"#,
                whole,
            ),
            // Writes that are counted twice in their sum.
            (
                r#"{"usage":{"inputTokens":1,"outputTokens":2,"cacheWriteInputTokens":200,"cacheDetails":[{"ttl":"5m","inputTokens":100}]}}"#,
                whole,
            ),
            (
                r#"{"usage":{"inputTokens":1,"outputTokens":2,"cacheWriteInputTokens":100,"cacheDetails":[]}}"#,
                whole,
            ),
        ] {
            assert_eq!(Usage::from_body(body.as_bytes()), Some(wanted), "{body}");
        }
    }

    #[test]
    fn cache_details_in_one_part_refine_the_others() {
        let split = hour(usage(10, 1, 5, 100), 60);
        // The metrics at the end of Claude's stream, and the headers of its answer.
        assert_eq!(usage(10, 99, 5, 100).refined_by(split), Usage { output: 99, ..split });
        // Without cache counts: all of the input, or its fresh part.
        for input in [10, 115] {
            assert_eq!(usage(input, 99, 0, 0).refined_by(split), Usage { output: 99, ..split });
        }
        // Other counts stand.
        for other in [usage(50, 9, 0, 0), usage(10, 9, 5, 101), usage(10, 9, 6, 0)] {
            assert_eq!(other.refined_by(split), other);
        }
    }

    proptest! {
        #[test]
        fn no_counts_are_ever_more_than_was_told(
            input: u32, read: u32, written_5m: u32, written_1h: u32, output: u32
        ) {
            let body = format!(
                r#"{{"usage":{{"prompt_tokens":{input},"completion_tokens":{output},"prompt_tokens_details":{{"cached_tokens":{read}}},"cache_creation":{{"ephemeral_5m_input_tokens":{written_5m},"ephemeral_1h_input_tokens":{written_1h}}}}}}}"#
            );
            let usage = Usage::from_body(body.as_bytes()).unwrap();
            prop_assert!(usage.input <= u64::from(input) && usage.cache_read == u64::from(read));
            prop_assert!(usage.cache_write_1h <= usage.cache_write);
            let all = usage.input + usage.cache_read + usage.cache_write;
            let cached = u64::from(read) + u64::from(written_5m) + u64::from(written_1h);
            prop_assert!(all == u64::from(input) || all == u64::from(input) + cached);
        }

        #[test]
        fn openais_usage_and_claudes_split_are_found_at_every_alignment(before in "[a-z]{0,9}") {
            let frame_of = |inner: String| {
                let payload = format!(r#"{{"bytes":"{}"}}"#, STANDARD.encode(inner));
                event_stream::event("chunk", payload)
            };
            let bytes = frame_of(format!(
                r#"{{"id":"{before}","usage":{{"prompt_tokens":1000,"completion_tokens":4,"prompt_tokens_details":{{"cached_tokens":900}}}}}}"#
            ));
            let frame = Frame::read(&bytes).unwrap().unwrap();
            prop_assert_eq!(Usage::from_frame(&frame), Some(usage(100, 4, 900, 0)));
            let bytes = frame_of(format!(
                r#"{{"id":"{before}","message":{{"usage":{{"input_tokens":1,"cache_creation":{{"ephemeral_1h_input_tokens":9}}}}}}}}"#
            ));
            let frame = Frame::read(&bytes).unwrap().unwrap();
            prop_assert!(Usage::is_split_in(&frame));
            prop_assert_eq!(Usage::from_first_frame(&frame), Some(hour(usage(1, 0, 0, 9), 9)));
        }
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
            serde_json::from_str(include_str!("../vectors/eventstream.json")).unwrap();
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

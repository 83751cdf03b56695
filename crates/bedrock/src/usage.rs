//! Token counts that an answer carries: in response headers, in JSON bodies of every family, and
//! in the frames of both kinds of stream.
//!
//! Counts are read on the way past and are never a reason to hold or change an answer:
//! an unreadable count is ignored.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;

pub(crate) use self::counts::Counts;
use super::api::Api;
use super::event_stream::{Frame, Kind};
use super::json::Scanner;
use super::service_tier::ServiceTier;

mod counts;

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
    /// Sets the `X-Amzn-Bedrock-*-Token-Count` headers of the Invoke operations; those of a prompt cache only if
    /// it was used.
    pub fn set_headers(&self, headers: &mut HeaderMap) {
        headers.insert("x-amzn-bedrock-input-token-count", self.input.into());
        headers.insert("x-amzn-bedrock-output-token-count", self.output.into());
        if self.cache_read > 0 || self.cache_write > 0 {
            headers.insert("x-amzn-bedrock-cache-read-input-token-count", self.cache_read.into());
            headers.insert("x-amzn-bedrock-cache-write-input-token-count", self.cache_write.into());
        }
    }

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
        Usage::from_api_body(Api::Bedrock, body)
    }

    /// Reads a JSON answer of an API. They differ in what the count of the input includes: all of it in OpenAI's,
    /// only what is fresh in Anthropic's and, but for some families, in Bedrock's.
    pub fn from_api_body(api: Api, body: &[u8]) -> Option<Usage> {
        let mut counts = Counts::new(api);
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
                    "usage" => counts.count(scanner),
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
mod tests;

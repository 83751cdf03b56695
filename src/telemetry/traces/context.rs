//! W3C Trace Context: what a request says of the trace that it belongs to, and what the gateway says
//! to the next.
//!
//! <https://www.w3.org/TR/trace-context/>: a `traceparent` that breaks a rule counts as none, and a
//! `tracestate` without a right one beside it too.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

/// The header that names trace and parent.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The header of what tracing systems add to it.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Longest `tracestate` that is kept for a span, in bytes, and the most members it may have.
const MAX_STATE: usize = 512;
const MAX_MEMBERS: usize = 32;

/// The flag of a trace that is recorded.
const SAMPLED: u8 = 0x01;

/// The id of a trace; never all zeros.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceId([u8; 16]);

impl TraceId {
    /// The bytes.
    pub fn bytes(self) -> [u8; 16] {
        self.0
    }

    /// The last seven bytes as a number: random, also where the rest has a form.
    pub(super) fn randomness(self) -> u64 {
        u64::try_from(u128::from_be_bytes(self.0) & ((1 << 56) - 1)).unwrap_or_default()
    }
}

impl From<Uuid> for TraceId {
    /// The trace of a request that begins one, which is so found by the request's id.
    fn from(request_id: Uuid) -> TraceId {
        TraceId(request_id.into_bytes())
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The id of a span; never all zeros.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SpanId([u8; 8]);

impl SpanId {
    /// A new one.
    pub fn random() -> SpanId {
        SpanId(fastrand::u64(1..).to_be_bytes())
    }

    /// The bytes.
    pub fn bytes(self) -> [u8; 8] {
        self.0
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where a request is in a trace, for its line in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// The trace.
    pub trace_id: TraceId,
    /// The request's own span; `None` where it has none.
    pub span_id: Option<SpanId>,
}

/// The span that a request is part of: a client's here, one of the gateway's at the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// The trace.
    pub trace_id: TraceId,
    /// The span.
    pub span_id: SpanId,
    /// Whether it is recorded.
    pub is_sampled: bool,
}

impl Parent {
    /// Reads the `traceparent` of a request; `None` if there is none, or more than one, or a wrong
    /// one.
    pub fn of(headers: &HeaderMap) -> Option<Parent> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => Parent::read(value.as_bytes()),
            _ => None,
        }
    }

    /// `version "-" trace-id "-" parent-id "-" trace-flags`, all of it lower-case hex. What a later
    /// version adds comes behind another dash.
    fn read(text: &[u8]) -> Option<Parent> {
        let mut fields = text.splitn(5, |byte| *byte == b'-');
        let [version] = hex(fields.next()?)?;
        let trace_id: [u8; 16] = hex(fields.next()?)?;
        let span_id: [u8; 8] = hex(fields.next()?)?;
        let [flags] = hex(fields.next()?)?;
        let is_longer = fields.next().is_some();
        let is_known = version != 0xff && !(version == 0 && is_longer);
        let is_valid = is_known && trace_id != [0; 16] && span_id != [0; 8];
        is_valid.then_some(Parent {
            trace_id: TraceId(trace_id),
            span_id: SpanId(span_id),
            is_sampled: flags & SAMPLED != 0,
        })
    }

    /// The `traceparent` that says so.
    pub fn to_header(self) -> HeaderValue {
        let flags = if self.is_sampled { SAMPLED } else { 0 };
        // Hex and dashes make a header value.
        HeaderValue::try_from(format!("00-{}-{}-{flags:02x}", self.trace_id, self.span_id))
            .unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

/// So many bytes, exactly, in lower-case hex.
fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let is_lower = text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let mut bytes = [0; N];
    (is_lower && hex::decode_to_slice(text, &mut bytes).is_ok()).then_some(bytes)
}

/// The `tracestate` of a request whose `traceparent` is right, its headers as one; empty if it is too
/// long or no list of members.
pub fn tracestate(headers: &HeaderMap) -> String {
    let values = headers.get_all(TRACESTATE).iter();
    let values: Option<Vec<&str>> = values.map(|value| value.to_str().ok()).collect();
    let state = values.unwrap_or_default().join(",");
    let members = || state.split(',').map(str::trim).filter(|member| !member.is_empty());
    let is_member = |member: &str| {
        member.split_once('=').is_some_and(|(key, value)| !key.is_empty() && !value.is_empty())
    };
    let fits = state.len() <= MAX_STATE && members().count() <= MAX_MEMBERS;
    if fits && members().all(is_member) { state } else { String::new() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RIGHT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn read(text: &str) -> Option<Parent> {
        Parent::read(text.as_bytes())
    }

    #[test]
    fn a_traceparent_is_read() {
        let parent = read(RIGHT).unwrap();
        assert_eq!(parent.trace_id.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(parent.span_id.to_string(), "00f067aa0ba902b7");
        assert!(parent.is_sampled);
        assert!(!read(&RIGHT.replace("-01", "-00")).unwrap().is_sampled);
        // Other flags, and versions to come, are no reason to lose a trace.
        assert!(read(&RIGHT.replace("-01", "-03")).unwrap().is_sampled);
        assert!(!read(&RIGHT.replace("-01", "-fe")).unwrap().is_sampled);
        assert!(read(&RIGHT.replacen("00-", "cc-", 1)).unwrap().is_sampled);
        assert!(read(&format!("{}-what-comes", RIGHT.replacen("00-", "01-", 1))).is_some());
    }

    #[test]
    fn a_wrong_one_is_none() {
        for wrong in [
            "",
            "-",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-001",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "0-4bf92f3577b34da6a3ce929d0e0e47360-00f067aa0ba902b7-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
            " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn two_are_none() {
        let mut headers = HeaderMap::new();
        assert_eq!(Parent::of(&headers), None);
        headers.append(TRACEPARENT, HeaderValue::from_static(RIGHT));
        assert!(Parent::of(&headers).is_some());
        headers.append(TRACEPARENT, HeaderValue::from_static(RIGHT));
        assert_eq!(Parent::of(&headers), None);
    }

    #[test]
    fn a_tracestate_is_kept_as_a_list_within_its_bounds() {
        let state = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(TRACESTATE, HeaderValue::from_str(value).unwrap());
            }
            tracestate(&headers)
        };
        assert_eq!(state(&[]), "");
        assert_eq!(state(&["a=1, b@v=2"]), "a=1, b@v=2");
        assert_eq!(state(&["a=1", "b=2"]), "a=1,b=2");
        for wrong in ["a", "a=", "=1", "a=1,b"] {
            assert_eq!(state(&[wrong]), "", "{wrong}");
        }
        assert_eq!(state(&[&"a=1,".repeat(33)]), "");
        assert_eq!(state(&[&format!("a={}", "x".repeat(MAX_STATE))]), "");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            trace in any::<u128>(),
            span in any::<u64>(),
            is_sampled: bool,
        ) {
            let trace_id = TraceId(trace.max(1).to_be_bytes());
            let span_id = SpanId(span.max(1).to_be_bytes());
            let parent = Parent { trace_id, span_id, is_sampled };
            prop_assert_eq!(Parent::read(parent.to_header().as_bytes()), Some(parent));
        }

        #[test]
        fn anything_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            Parent::read(&bytes);
        }

        /// One byte changed of a right one: read as what it says, or refused.
        #[test]
        fn what_is_read_is_what_it_says(at in 0..55_usize, byte in any::<u8>()) {
            let mut text = RIGHT.as_bytes().to_vec();
            text[at] = byte;
            if let Some(parent) = Parent::read(&text) {
                let says = format!("{}-{}", parent.trace_id, parent.span_id);
                prop_assert_eq!(&text[3..52], says.as_bytes());
                let flags = u8::from_str_radix(std::str::from_utf8(&text[53..]).unwrap(), 16);
                prop_assert_eq!(flags.unwrap() & 1 == 1, parent.is_sampled);
            }
        }
    }
}

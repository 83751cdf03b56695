//! W3C Trace Context: the `traceparent` and `tracestate` headers.
//!
//! <https://www.w3.org/TR/trace-context/>: a `traceparent` that breaks a rule is ignored, and so is
//! a `tracestate` without a valid `traceparent`.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::trace::{SpanId, TraceId, TraceState};
use uuid::Uuid;

/// The header with the ids of the trace and of the parent span.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The header with what tracing systems add to it.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Longest `tracestate` that is kept for a span, in bytes, and the most members it may have.
const MAX_STATE: usize = 512;
const MAX_MEMBERS: usize = 32;

/// The flag of a sampled trace.
const SAMPLED: u8 = 0x01;

/// The id of a trace that starts with a request: the request's own id, so that one finds the other.
pub(super) fn trace_id_of(request_id: Uuid) -> TraceId {
    TraceId::from_bytes(request_id.into_bytes())
}

/// A new random id.
pub(super) fn new_span_id() -> SpanId {
    SpanId::from(fastrand::u64(1..))
}

/// A request's place in a trace, as the access log shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanContext {
    /// The trace.
    pub trace_id: TraceId,
    /// The request's own span; `None` if it is not sampled.
    pub span_id: Option<SpanId>,
}

/// The content of a `traceparent` header: a client's span on the way in, an attempt's on the way
/// out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace.
    pub trace_id: TraceId,
    /// The span.
    pub span_id: SpanId,
    /// Whether the trace is sampled.
    pub is_sampled: bool,
}

impl TraceParent {
    /// Reads the `traceparent` of a request; `None` if it is missing, repeated or invalid.
    pub fn from_headers(headers: &HeaderMap) -> Option<TraceParent> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => TraceParent::parse(value.as_bytes()),
            _ => None,
        }
    }

    /// `version "-" trace-id "-" parent-id "-" trace-flags`, all in lower-case hex. Later
    /// versions may add fields after another dash.
    fn parse(text: &[u8]) -> Option<TraceParent> {
        let mut fields = text.splitn(5, |byte| *byte == b'-');
        let [version] = hex(fields.next()?)?;
        let trace_id: [u8; 16] = hex(fields.next()?)?;
        let span_id: [u8; 8] = hex(fields.next()?)?;
        let [flags] = hex(fields.next()?)?;
        let is_longer = fields.next().is_some();
        let is_known = version != 0xff && !(version == 0 && is_longer);
        let is_valid = is_known && trace_id != [0; 16] && span_id != [0; 8];
        is_valid.then_some(TraceParent {
            trace_id: TraceId::from_bytes(trace_id),
            span_id: SpanId::from_bytes(span_id),
            is_sampled: flags & SAMPLED != 0,
        })
    }

    /// The context of a request of this trace that is not sampled.
    pub fn unsampled(self) -> SpanContext {
        SpanContext { trace_id: self.trace_id, span_id: None }
    }

    /// The header value.
    pub fn to_header(self) -> HeaderValue {
        let flags = if self.is_sampled { SAMPLED } else { 0 };
        // Hex and dashes make a header value.
        HeaderValue::try_from(format!("00-{}-{}-{flags:02x}", self.trace_id, self.span_id))
            .unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

/// Exactly `N` bytes in lower-case hex.
fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let is_lower = text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let mut bytes = [0; N];
    (is_lower && hex::decode_to_slice(text, &mut bytes).is_ok()).then_some(bytes)
}

/// The `tracestate` of a request, whose `traceparent` must be valid. Empty if it is too long or
/// malformed.
pub(super) fn tracestate(headers: &HeaderMap) -> TraceState {
    let values = headers.get_all(TRACESTATE).iter();
    let values: Option<Vec<&str>> = values.map(|value| value.to_str().ok()).collect();
    let state = values.unwrap_or_default().join(",");
    let members = || state.split(',').map(str::trim).filter(|member| !member.is_empty());
    let is_member = |member: &str| {
        member.split_once('=').is_some_and(|(key, value)| !key.is_empty() && !value.is_empty())
    };
    let fits = state.len() <= MAX_STATE && members().count() <= MAX_MEMBERS;
    let is_valid = fits && members().all(is_member);
    if is_valid { state.parse().unwrap_or(TraceState::NONE) } else { TraceState::NONE }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RIGHT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn parse(text: &str) -> Option<TraceParent> {
        TraceParent::parse(text.as_bytes())
    }

    #[test]
    fn a_traceparent_is_read() {
        let parent = parse(RIGHT).unwrap();
        assert_eq!(parent.trace_id.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(parent.span_id.to_string(), "00f067aa0ba902b7");
        assert!(parent.is_sampled);
        assert!(!parse(&RIGHT.replace("-01", "-00")).unwrap().is_sampled);
        // Other flags and later versions do not lose the trace.
        assert!(parse(&RIGHT.replace("-01", "-03")).unwrap().is_sampled);
        assert!(!parse(&RIGHT.replace("-01", "-fe")).unwrap().is_sampled);
        assert!(parse(&RIGHT.replacen("00-", "cc-", 1)).unwrap().is_sampled);
        assert!(parse(&format!("{}-what-comes", RIGHT.replacen("00-", "01-", 1))).is_some());
    }

    #[test]
    fn an_invalid_traceparent_is_ignored() {
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
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn two_traceparents_are_ignored() {
        let mut headers = HeaderMap::new();
        assert_eq!(TraceParent::from_headers(&headers), None);
        headers.append(TRACEPARENT, HeaderValue::from_static(RIGHT));
        assert!(TraceParent::from_headers(&headers).is_some());
        headers.append(TRACEPARENT, HeaderValue::from_static(RIGHT));
        assert_eq!(TraceParent::from_headers(&headers), None);
    }

    #[test]
    fn a_tracestate_is_kept_within_its_bounds() {
        let state = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(TRACESTATE, HeaderValue::from_str(value).unwrap());
            }
            tracestate(&headers).header()
        };
        assert_eq!(state(&[]), "");
        assert_eq!(state(&["a=1, b@v=2"]), "a=1,b@v=2");
        assert_eq!(state(&["a=1", "b=2"]), "a=1,b=2");
        for wrong in ["a", "a=", "=1", "a=1,b"] {
            assert_eq!(state(&[wrong]), "", "{wrong}");
        }
        assert_eq!(state(&[&"a=1,".repeat(33)]), "");
        assert_eq!(state(&[&format!("a={}", "x".repeat(MAX_STATE))]), "");
    }

    proptest! {
        #[test]
        fn a_written_traceparent_is_parsed_again(
            trace in any::<u128>(),
            span in any::<u64>(),
            is_sampled: bool,
        ) {
            let trace_id = TraceId::from(trace.max(1));
            let span_id = SpanId::from(span.max(1));
            let parent = TraceParent { trace_id, span_id, is_sampled };
            prop_assert_eq!(TraceParent::parse(parent.to_header().as_bytes()), Some(parent));
        }

        #[test]
        fn any_bytes_are_parsed_or_ignored(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            TraceParent::parse(&bytes);
        }

        /// A valid header with one byte changed is parsed as it stands, or ignored.
        #[test]
        fn parsing_keeps_the_content(at in 0..55_usize, byte in any::<u8>()) {
            let mut text = RIGHT.as_bytes().to_vec();
            text[at] = byte;
            if let Some(parent) = TraceParent::parse(&text) {
                let content = format!("{}-{}", parent.trace_id, parent.span_id);
                prop_assert_eq!(&text[3..52], content.as_bytes());
                let flags = u8::from_str_radix(std::str::from_utf8(&text[53..]).unwrap(), 16);
                prop_assert_eq!(flags.unwrap() & 1 == 1, parent.is_sampled);
            }
        }
    }
}

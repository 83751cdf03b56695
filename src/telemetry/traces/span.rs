//! A finished span of a request, and the SDK's form of it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

/// Longest text in a span, in bytes: clients choose some of them, and collectors limit a delivery.
const MAX_TEXT: usize = 512;

/// The part of a text that goes into a span.
pub(super) fn truncate(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_TEXT)).unwrap_or_default()
}

/// A type that can be the value of an attribute.
pub(super) trait AttributeValue {
    /// The value.
    fn into_value(self) -> Value;
}

macro_rules! attribute_values {
    ($($from:ty => |$it:ident| $value:expr),* $(,)?) => {
        $(impl AttributeValue for $from {
            fn into_value(self) -> Value {
                let $it = self;
                $value
            }
        })*
    };
}

attribute_values! {
    &'static str => |text| text.into(),
    String => |text| match truncate(&text) {
        short if short.len() < text.len() => short.to_owned().into(),
        _ => text.into(),
    },
    Arc<str> => |text| text.into(),
    bool => |flag| flag.into(),
    f64 => |real| real.into(),
    u16 => |number| i64::from(number).into(),
    u64 => |number| i64::try_from(number).unwrap_or(i64::MAX).into(),
    usize => |number| i64::try_from(number).unwrap_or(i64::MAX).into(),
}

/// The attributes of a span. Each name is added once.
#[derive(Clone, Debug, Default)]
pub(super) struct Attributes(Vec<KeyValue>);

impl Attributes {
    /// Creates an empty list with this capacity.
    pub(super) fn with_capacity(capacity: usize) -> Attributes {
        Attributes(Vec::with_capacity(capacity))
    }

    /// Adds an attribute.
    pub(super) fn add(&mut self, name: &'static str, value: impl AttributeValue) {
        self.0.push(KeyValue::new(name, value.into_value()));
    }

    /// The attributes.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &KeyValue> {
        self.0.iter()
    }

    /// Adds an attribute if its value is known.
    pub(super) fn add_known(&mut self, name: &'static str, value: Option<impl AttributeValue>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }
}

/// A finished span.
#[derive(Clone, Debug)]
pub(super) struct Span {
    /// The trace it belongs to.
    pub(super) trace_id: TraceId,
    /// Its own id.
    pub(super) span_id: SpanId,
    /// The parent span.
    pub(super) parent: Option<SpanId>,
    /// Whether the parent belongs to another process.
    pub(super) is_parent_remote: bool,
    /// The trace's `tracestate`.
    pub(super) state: TraceState,
    /// The name.
    pub(super) name: String,
    /// Its kind.
    pub(super) kind: SpanKind,
    /// The start time.
    pub(super) start: SystemTime,
    /// The end time.
    pub(super) end: SystemTime,
    /// The attributes.
    pub(super) attributes: Attributes,
    /// The error it ended with, if that is worth an operator's attention.
    pub(super) error: Option<Cow<'static, str>>,
}

impl Span {
    /// The span as the SDK's processor takes it.
    pub(super) fn into_data(self, scope: InstrumentationScope) -> SpanData {
        let flags = TraceFlags::SAMPLED;
        SpanData {
            span_context: SpanContext::new(self.trace_id, self.span_id, flags, false, self.state),
            parent_span_id: self.parent.unwrap_or(SpanId::INVALID),
            parent_span_is_remote: self.is_parent_remote,
            span_kind: self.kind,
            name: Cow::Owned(self.name),
            start_time: self.start,
            end_time: self.end,
            attributes: self.attributes.0,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: self.error.map_or(Status::Unset, |description| Status::Error { description }),
            instrumentation_scope: scope,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use opentelemetry_proto::tonic::trace::v1 as otlp;
    use opentelemetry_proto::tonic::trace::v1::status::StatusCode;

    use super::*;

    #[test]
    fn a_span_keeps_its_content_on_the_wire() {
        let mut attributes = Attributes::default();
        attributes.add("text", "a");
        attributes.add("shared", Arc::<str>::from("b"));
        attributes.add("whole", 7_u64);
        attributes.add("flag", true);
        attributes.add_known("none", None::<u64>);
        let (span_id, parent) = (SpanId::from(7), SpanId::from(8));
        let span = Span {
            trace_id: TraceId::from(1),
            span_id,
            parent: Some(parent),
            is_parent_remote: true,
            state: "a=1".parse().unwrap(),
            name: "chat m".to_owned(),
            kind: SpanKind::Server,
            start: SystemTime::UNIX_EPOCH,
            end: SystemTime::UNIX_EPOCH + Duration::from_nanos(5),
            attributes,
            error: Some("no".into()),
        };
        let span = otlp::Span::from(span.into_data(InstrumentationScope::default()));
        assert_eq!(span.trace_id, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(
            (&span.span_id[..], &span.parent_span_id[..]),
            (&span_id.to_bytes()[..], &parent.to_bytes()[..])
        );
        assert_eq!((span.start_time_unix_nano, span.end_time_unix_nano), (0, 5));
        assert_eq!((span.flags, &*span.trace_state), (0x301, "a=1"));
        assert_eq!(span.kind, otlp::span::SpanKind::Server as i32);
        assert_eq!(span.status.as_ref().unwrap().code, StatusCode::Error as i32);
        let names: Vec<&str> = span.attributes.iter().map(|it| &*it.key).collect();
        assert_eq!(names, ["text", "shared", "whole", "flag"]);
    }
}

//! A finished span, and its form on the wire.
//!
//! What a request gives away is made of what it has anyway; the form of OTLP, which owns all of its
//! texts, is made where there is time for it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{self as otlp, ResourceSpans, ScopeSpans, SpanFlags};
use uuid::Uuid;

use super::context::{SpanId, TraceId};

/// Longest text in a span, in bytes: some are the client's, and a collector takes only so much at once.
const MAX_TEXT: usize = 512;

/// As much of a text as goes into a span.
pub fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_TEXT)).unwrap_or_default()
}

/// What spans are a record of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A request of a client's.
    Server,
    /// A request to an upstream.
    Client,
    /// Something within the gateway.
    Internal,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each is what its type says")]
pub enum Value {
    Text(Cow<'static, str>),
    Shared(Arc<str>),
    Whole(i64),
    Real(f64),
    Flag(bool),
}

macro_rules! value_from {
    ($($from:ty => |$it:ident| $value:expr),* $(,)?) => {
        $(impl From<$from> for Value {
            fn from($it: $from) -> Value {
                $value
            }
        })*
    };
}

value_from! {
    &'static str => |text| Value::Text(Cow::Borrowed(text)),
    String => |text| Value::Text(Cow::Owned(match cut(&text) {
        short if short.len() < text.len() => short.to_owned(),
        _ => text,
    })),
    Arc<str> => |text| Value::Shared(text),
    bool => |flag| Value::Flag(flag),
    f64 => |real| Value::Real(real),
    u16 => |whole| Value::Whole(whole.into()),
    u64 => |whole| Value::Whole(i64::try_from(whole).unwrap_or(i64::MAX)),
    usize => |whole| Value::Whole(i64::try_from(whole).unwrap_or(i64::MAX)),
}

/// Attributes in the making. A name comes once.
#[derive(Clone, Debug, Default)]
pub struct Attributes(Vec<(&'static str, Value)>);

impl Attributes {
    /// With room for so many.
    pub fn with_capacity(count: usize) -> Attributes {
        Attributes(Vec::with_capacity(count))
    }

    /// Adds one.
    pub fn add(&mut self, name: &'static str, value: impl Into<Value>) {
        self.0.push((name, value.into()));
    }

    /// Adds one, if it is known.
    pub fn add_known(&mut self, name: &'static str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }
}

/// A span that has ended.
#[derive(Clone, Debug)]
pub struct Span {
    /// The trace it belongs to.
    pub trace_id: TraceId,
    /// Its own id.
    pub span_id: SpanId,
    /// The span it is part of.
    pub parent: Option<SpanId>,
    /// Whether that is another process's.
    pub is_parent_remote: bool,
    /// What tracing systems have added to the trace.
    pub state: Arc<str>,
    /// What it is called.
    pub name: String,
    /// What it is a record of.
    pub kind: Kind,
    /// When it began.
    pub start: SystemTime,
    /// When it ended.
    pub end: SystemTime,
    /// What is known of it.
    pub attributes: Attributes,
    /// The error that it ended with, if that is somebody's fault who is to look into it.
    pub error: Option<Cow<'static, str>>,
}

/// What all spans of a process come from.
pub(super) fn resource(service_name: &str) -> Resource {
    let attributes = [
        ("service.name", service_name.to_owned()),
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("service.instance.id", Uuid::new_v4().to_string()),
    ];
    let attributes =
        attributes.map(|(name, value)| key_value(name, Value::Text(value.into()))).to_vec();
    Resource { attributes, ..Resource::default() }
}

/// A delivery of these spans.
pub(super) fn request(resource: &Resource, spans: Vec<Span>) -> ExportTraceServiceRequest {
    let scope = InstrumentationScope {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    let spans = spans.into_iter().map(Span::into_otlp).collect();
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, schema_url: String::new() }];
    let resource_spans =
        ResourceSpans { resource: Some(resource.clone()), scope_spans, schema_url: String::new() };
    ExportTraceServiceRequest { resource_spans: vec![resource_spans] }
}

impl Span {
    fn into_otlp(self) -> otlp::Span {
        let remote = match self.is_parent_remote {
            true => {
                SpanFlags::ContextHasIsRemoteMask as u32 | SpanFlags::ContextIsRemoteMask as u32
            }
            false => SpanFlags::ContextHasIsRemoteMask as u32,
        };
        let kind = match self.kind {
            Kind::Server => SpanKind::Server,
            Kind::Client => SpanKind::Client,
            Kind::Internal => SpanKind::Internal,
        };
        let attributes = self.attributes.0.into_iter();
        let status = self.error.map(|error| otlp::Status {
            message: error.into_owned(),
            code: StatusCode::Error as i32,
        });
        otlp::Span {
            trace_id: self.trace_id.bytes().to_vec(),
            span_id: self.span_id.bytes().to_vec(),
            trace_state: self.state.to_string(),
            parent_span_id: self.parent.map(|id| id.bytes().to_vec()).unwrap_or_default(),
            // Nothing is sent that is not sampled.
            flags: remote | 1,
            name: self.name,
            kind: kind as i32,
            start_time_unix_nano: nanos(self.start),
            end_time_unix_nano: nanos(self.end),
            attributes: attributes.map(|(name, value)| key_value(name, value)).collect(),
            status,
            ..otlp::Span::default()
        }
    }
}

fn key_value(name: &str, value: Value) -> KeyValue {
    let value = match value {
        Value::Text(text) => Any::StringValue(text.into_owned()),
        Value::Shared(text) => Any::StringValue(text.to_string()),
        Value::Whole(whole) => Any::IntValue(whole),
        Value::Real(real) => Any::DoubleValue(real),
        Value::Flag(flag) => Any::BoolValue(flag),
    };
    let value = Some(AnyValue { value: Some(value) });
    KeyValue { key: name.to_owned(), value, ..KeyValue::default() }
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_span_keeps_what_it_says_on_the_wire() {
        let mut attributes = Attributes::default();
        attributes.add("text", "a");
        attributes.add("shared", Arc::<str>::from("b"));
        attributes.add("whole", 7_u64);
        attributes.add("flag", true);
        attributes.add_known("none", None::<u64>);
        let trace_id = TraceId::from(Uuid::from_u128(1));
        let (span_id, parent) = (SpanId::random(), SpanId::random());
        let span = Span {
            trace_id,
            span_id,
            parent: Some(parent),
            is_parent_remote: true,
            state: "a=1".into(),
            name: "chat m".to_owned(),
            kind: Kind::Server,
            start: SystemTime::UNIX_EPOCH,
            end: SystemTime::UNIX_EPOCH + Duration::from_nanos(5),
            attributes,
            error: Some("no".into()),
        };
        let request = request(&resource("service"), vec![span]);
        let all = &request.resource_spans[0];
        let service = &all.resource.as_ref().unwrap().attributes[0];
        assert_eq!(service, &key_value("service.name", "service".into()));
        let span = &all.scope_spans[0].spans[0];
        assert_eq!(span.trace_id, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(
            (&span.span_id[..], &span.parent_span_id[..]),
            (&span_id.bytes()[..], &parent.bytes()[..])
        );
        assert_eq!((span.start_time_unix_nano, span.end_time_unix_nano), (0, 5));
        assert_eq!((span.flags, &*span.trace_state), (0x301, "a=1"));
        assert_eq!(span.kind, SpanKind::Server as i32);
        assert_eq!(span.status.as_ref().unwrap().code, StatusCode::Error as i32);
        let names: Vec<&str> = span.attributes.iter().map(|it| &*it.key).collect();
        assert_eq!(names, ["text", "shared", "whole", "flag"]);
    }
}

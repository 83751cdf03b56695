//! The JSON that the endpoints answer with, and the JSON bodies that they read.

use std::time::SystemTime;

use aws_smithy_types::date_time::{DateTime, Format};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use serde::de::DeserializeSeed;
use serde_json::Value;

use super::json::{Field, Texts};

/// Marks an answer that no model gave.
pub(super) const MOCK: HeaderName = HeaderName::from_static("x-sluice-mock");

pub(super) fn json(status: StatusCode, body: &Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

pub(super) fn ok(body: &Value) -> Response<Bytes> {
    json(StatusCode::OK, body)
}

/// Marks an answer as a mock, in its header and its JSON, if it is one.
pub(super) fn marked(mut body: Value, is_mock: bool) -> Response<Bytes> {
    if is_mock && let Some(object) = body.as_object_mut() {
        object.insert("mock".to_owned(), true.into());
    }
    let mut response = ok(&body);
    if is_mock {
        response.headers_mut().insert(MOCK, HeaderValue::from_static("true"));
    }
    response
}

/// The time as the endpoints write it: ISO 8601, in UTC.
pub(super) fn timestamp(time: SystemTime) -> String {
    DateTime::from(time).fmt(Format::DateTime).unwrap_or_default()
}

/// Why a body is not what an endpoint takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotJson {
    #[error("Request must be JSON")]
    MediaType,
    #[error("No JSON data provided")]
    Empty,
    #[error("Invalid JSON in request")]
    Invalid,
}

/// Reads the members of a body that must be a JSON object with something in it.
pub(super) fn texts<const N: usize>(
    content_type: Option<&HeaderValue>,
    body: &[u8],
    names: Texts<N>,
) -> Result<[Field; N], NotJson> {
    let media_type = content_type.and_then(|value| value.to_str().ok());
    if !media_type.is_some_and(is_json) {
        return Err(NotJson::MediaType);
    }
    if is_empty(body) {
        return Err(NotJson::Empty);
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let fields = names.deserialize(&mut json).and_then(|fields| json.end().map(|()| fields));
    fields.ok().flatten().ok_or(NotJson::Invalid)
}

/// Whether a body is blank, `null`, or an array or object with nothing in it.
fn is_empty(body: &[u8]) -> bool {
    match body.trim_ascii() {
        b"" | b"null" => true,
        [b'{', inside @ .., b'}'] | [b'[', inside @ .., b']'] => inside.trim_ascii().is_empty(),
        _ => false,
    }
}

fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json"
        || essence.strip_prefix("application/").is_some_and(|sub| sub.ends_with("+json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(media_type: Option<&'static str>, body: &str) -> Result<usize, NotJson> {
        let content_type = media_type.map(HeaderValue::from_static);
        let texts = texts(content_type.as_ref(), body.as_bytes(), Texts([("a", 9)]));
        texts.map(|texts| texts.map(Field::text).iter().flatten().count())
    }

    #[test]
    fn a_body_is_told_what_is_wrong_with_it() {
        let json = Some("application/json");
        assert_eq!(read(json, r#"{"a":"x"}"#), Ok(1));
        assert_eq!(read(json, r#"{"a":" "}"#), Ok(0));
        assert_eq!(read(Some("application/json; charset=utf-8"), r#"{"a":1}"#), Ok(0));
        assert_eq!(read(Some("application/vnd.api+json"), r#"{"a":1}"#), Ok(0));
        assert_eq!(read(None, r#"{"a":1}"#), Err(NotJson::MediaType));
        assert_eq!(read(Some("text/plain"), r#"{"a":1}"#), Err(NotJson::MediaType));
        for empty in ["", " \n", "{}", "null", "[]", " {\n} ", "[ ]"] {
            assert_eq!(read(json, empty), Err(NotJson::Empty), "{empty:?}");
        }
        for broken in ["{", "{\"a\":}", "\"text\"", "[1]", "7", "{\"a\":1} x"] {
            assert_eq!(read(json, broken), Err(NotJson::Invalid), "{broken:?}");
        }
    }

    #[test]
    fn times_are_iso_8601() {
        let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1_795_435_200_250);
        assert_eq!(timestamp(time), "2026-11-23T12:00:00.25Z");
    }
}

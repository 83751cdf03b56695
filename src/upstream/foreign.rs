//! Error answers that are not Bedrock's: pages of proxies and load balancers, plain texts, empty
//! bodies, redirects.
//!
//! A client gets them in Bedrock's form, with the name that goes with the status and a short,
//! readable part of the text. An answer without a name but with a message in Bedrock's form keeps both.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, HeaderName, StatusCode};

use super::classify::{FailureClass, classify};
use super::reason;
use crate::bedrock::dialect::kind_of_status;
use crate::bedrock::error::{ERROR_TYPE, Reported, plain_text};
use crate::bedrock::{ErrorKind, WireError};

/// Longest part of a text that is passed on, in characters.
const MAX_EXCERPT: usize = 200;

/// How much of a text is looked at for that, in bytes.
const MAX_READ: usize = 16 * 1024;

/// Words of so many characters and more are left out: they may be keys or tokens, and explain nothing.
const LONG_WORD: usize = 32;

/// An error answer in Bedrock's form.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) class: FailureClass,
    pub(super) reported: Reported,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Brings an answer that names no error, or has no readable body, into Bedrock's form. `request_id`
/// is the header that is kept whatever else there is.
pub(super) fn translate(
    status: StatusCode,
    mut headers: HeaderMap,
    body: Bytes,
    mut reported: Reported,
    request_id: &HeaderName,
) -> Answer {
    let is_error = status.is_client_error() || status.is_server_error();
    if is_error && reported.name.is_some() && is_object(&body) {
        return Answer { class: classify(status, &reported), reported, status, headers, body };
    }
    let kind = reported.kind().filter(|_| is_error).unwrap_or_else(|| kind(status));
    // Bedrock names its errors, above all those that speak of permissions and models.
    let is_bedrocks = is_error && (reported.name.is_some() || !speaks_of_access(status));
    let class = match classify(status, &reported) {
        FailureClass::Terminal if !is_bedrocks || reported.message.is_empty() => {
            FailureClass::Foreign
        }
        class => class,
    };
    let shown = if kind == ErrorKind::Validation { status } else { kind.status() };
    if is_bedrocks && !reported.message.is_empty() && shown == status {
        // A message in Bedrock's form, without a name.
        headers.insert(ERROR_TYPE, HeaderValue::from_static(kind.name()));
        reported.name = Some(kind.name().to_owned());
        return Answer { class, reported, status, headers, body };
    }
    let name = reported.name.filter(|_| is_error).unwrap_or_else(|| kind.name().to_owned());
    let text = match reported.message.is_empty() {
        true => excerpt(&body),
        false => safe(&reported.message),
    };
    let message = message(status, &text);
    let is_named = kind.name().eq_ignore_ascii_case(&name);
    let (mut head, body) = WireError::new(kind, &*message).into_response().into_parts();
    head.status = shown;
    if !is_named {
        // A name that only the upstream knows stays with its own status.
        head.status = status;
        if let Ok(name) = HeaderValue::from_str(&name) {
            head.headers.insert(ERROR_TYPE, name);
        }
    }
    let is_seconds = |value: &HeaderValue| value.to_str().is_ok_and(|it| it.parse::<u32>().is_ok());
    if let Some(after) = headers.remove(RETRY_AFTER).filter(is_seconds) {
        head.headers.insert(RETRY_AFTER, after);
    }
    if let Some(id) = headers.remove(request_id) {
        head.headers.insert(request_id.clone(), id);
    }
    let reported = Reported { name: Some(name), message, ..Reported::default() };
    Answer { class, reported, status: head.status, headers: head.headers, body }
}

/// Whether an answer is a page for people, which Bedrock has none of.
pub(super) fn is_page(headers: &HeaderMap) -> bool {
    const PAGE: &[u8] = b"text/html";
    let start = headers.get(CONTENT_TYPE).and_then(|value| value.as_bytes().get(..PAGE.len()));
    start.is_some_and(|start| start.eq_ignore_ascii_case(PAGE))
}

/// The error that goes with a status in Bedrock's form, as far as it is the client's business.
fn kind(status: StatusCode) -> ErrorKind {
    match status.as_u16() {
        // A proxy refuses the gateway, which is not a fault of the client's request.
        401 | 402 | 405 | 407 => ErrorKind::ServiceUnavailable,
        // Bedrock's own error for it has the status 408.
        504 => ErrorKind::ServiceUnavailable,
        _ if status.is_client_error() || status.is_server_error() => kind_of_status(status),
        _ => ErrorKind::ServiceUnavailable,
    }
}

fn speaks_of_access(status: StatusCode) -> bool {
    matches!(status.as_u16(), 401..=405 | 407)
}

fn message(status: StatusCode, text: &str) -> String {
    let of = match status.canonical_reason() {
        Some(reason) => format!("{} {reason}", status.as_u16()),
        None => status.as_u16().to_string(),
    };
    match text.is_empty() {
        true => format!("The upstream answered {of} without a message."),
        false => format!("The upstream answered {of}: {text}"),
    }
}

fn is_object(body: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(body).is_ok()
}

/// The readable part of a text of whatever kind.
fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body.get(..MAX_READ).unwrap_or(body));
    // As other gateways put it.
    let json: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let nested = json.as_ref().and_then(|json| {
        let places = ["/error/message", "/error", "/detail", "/Error/Message"];
        places.iter().find_map(|place| json.pointer(place)?.as_str())
    });
    safe(&without_markup(nested.unwrap_or(&text)))
}

/// A text without tags, comments, scripts and styles.
fn without_markup(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(open) = rest.find('<') {
        let (before, tag) = rest.split_at(open);
        plain.push_str(before);
        plain.push(' ');
        let tag = tag.get(1..).unwrap_or_default();
        let hidden = ["script", "style", "!--"].iter().zip(["</script", "</style", "-->"]).find(
            |(name, _)| tag.get(..name.len()).is_some_and(|it| it.eq_ignore_ascii_case(name)),
        );
        let tag = match hidden {
            None => tag,
            Some((_, end)) => {
                // ASCII alone changes, so places stay the same.
                let lower = tag.to_ascii_lowercase();
                lower.find(end).and_then(|at| tag.get(at..)).unwrap_or_default()
            }
        };
        // What is not closed is cut off.
        rest = tag.find('>').and_then(|close| tag.get(close + 1..)).unwrap_or_default();
    }
    plain.push_str(rest);
    plain
}

/// A text that may be shown: on one line, short, without what may be a key or a token.
fn safe(text: &str) -> String {
    let plain = plain_text(text, MAX_READ);
    if reason::quotes_credentials(&plain) {
        // The text quotes a request, which may contain a secret.
        return String::new();
    }
    let is_short = |word: &&str| word.chars().count() < LONG_WORD;
    let words: Vec<&str> =
        plain.split(' ').map(|word| if is_short(&word) { word } else { "\u{2026}" }).collect();
    plain_text(&words.join(" ").replace(['<', '>'], " "), MAX_EXCERPT)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

    fn answer(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> Answer {
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            all.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let reported = crate::bedrock::error::read(&all, body.as_bytes());
        let status = StatusCode::from_u16(status).unwrap();
        translate(status, all, Bytes::copy_from_slice(body.as_bytes()), reported, &REQUEST_ID)
    }

    const PAGE: &str = "<html>\r\n<head><title>502 Bad Gateway</title><style>x{}</style></head>\r\n\
                        <body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n<hr><script>alert(1)\
                        </script><!-- build 7 --><center>nginx/1.22.1</center>\r\n</body></html>\r\n";

    #[test]
    fn an_error_of_bedrock_is_relayed_unchanged() {
        for body in [r#"{"message":"no"}"#, r#"{"Message": "no", "more": 1}"#, "{}"] {
            for status in [400, 403, 404, 424, 429, 500, 503, 599] {
                let headers = [("x-amzn-errortype", "Some:http://x"), ("x-other", "1")];
                let answer = answer(status, &headers, body);
                assert_eq!(answer.status, status);
                assert_eq!(answer.body, body);
                assert_eq!(answer.headers.len(), 2);
                assert_eq!(answer.reported.name.as_deref(), Some("Some"));
            }
        }
    }

    #[test]
    fn an_error_of_another_service_gets_the_form_of_bedrocks() {
        use ErrorKind as Kind;
        for (status, body, kind, class, message) in [
            (
                502,
                PAGE,
                Kind::ServiceUnavailable,
                FailureClass::Transient,
                "502 Bad Gateway: 502 Bad Gateway 502 Bad Gateway nginx/1.22.1",
            ),
            (
                503,
                "no healthy upstream",
                Kind::ServiceUnavailable,
                FailureClass::Transient,
                "503 Service Unavailable: no healthy upstream",
            ),
            (
                504,
                "",
                Kind::ServiceUnavailable,
                FailureClass::Slow,
                "504 Gateway Timeout without a message.",
            ),
            (
                302,
                "",
                Kind::ServiceUnavailable,
                FailureClass::Foreign,
                "302 Found without a message.",
            ),
            (
                407,
                "<h1>Proxy says no",
                Kind::ServiceUnavailable,
                FailureClass::Foreign,
                "407 Proxy Authentication Required: Proxy says no",
            ),
            (
                403,
                "<b>blocked</b>",
                Kind::AccessDenied,
                FailureClass::Foreign,
                "403 Forbidden: blocked",
            ),
            (
                403,
                r#"{"message":"Forbidden"}"#,
                Kind::AccessDenied,
                FailureClass::Foreign,
                "403 Forbidden: Forbidden",
            ),
            (
                405,
                "",
                Kind::ServiceUnavailable,
                FailureClass::Foreign,
                "405 Method Not Allowed without a message.",
            ),
            (
                413,
                "too big",
                Kind::RequestTooLarge,
                FailureClass::Foreign,
                "413 Payload Too Large: too big",
            ),
            (
                429,
                "slow down",
                Kind::Throttling,
                FailureClass::Throttled,
                "429 Too Many Requests: slow down",
            ),
            (
                400,
                r#"{"error":{"message":"bad","type":"invalid"}}"#,
                Kind::Validation,
                FailureClass::Foreign,
                "400 Bad Request: bad",
            ),
        ] {
            let headers = [
                ("retry-after", "7"),
                ("location", "http://login"),
                ("set-cookie", "a=b"),
                ("x-amzn-requestid", "r"),
            ];
            let answer = answer(status, &headers, body);
            assert_eq!((answer.status, answer.class), (kind.status(), class), "{status} {body}");
            assert_eq!(answer.headers[ERROR_TYPE], kind.name());
            let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(json["message"], format!("The upstream answered {message}"));
            assert_eq!(answer.reported.message, json["message"]);
            assert_eq!(answer.headers["retry-after"], "7");
            assert_eq!(answer.headers["x-amzn-requestid"], "r");
            assert!(!answer.headers.contains_key("location"));
            assert!(!answer.headers.contains_key("set-cookie"));
        }
    }

    #[test]
    fn a_message_without_a_name_gets_one_and_a_name_without_a_message_keeps_it() {
        let named = answer(400, &[], r#"{"message":"no"}"#);
        assert_eq!(named.class, FailureClass::Terminal);
        assert_eq!(named.headers[ERROR_TYPE], "ValidationException");
        assert_eq!(named.body, r#"{"message":"no"}"#);
        let named = answer(422, &[], r#"{"message":"no"}"#);
        assert_eq!((named.status.as_u16(), named.class), (422, FailureClass::Terminal));
        assert_eq!(named.headers[ERROR_TYPE], "ValidationException");
        let named = answer(500, &[("x-amzn-errortype", "SomethingNew")], "<x/>");
        assert_eq!(named.status, 500);
        assert_eq!(named.headers[ERROR_TYPE], "SomethingNew");
        let wanted =
            r#"{"message":"The upstream answered 500 Internal Server Error without a message."}"#;
        assert_eq!(named.body, wanted);
    }

    #[test]
    fn a_message_that_quotes_a_request_is_dropped() {
        for body in [
            "<pre>Authorization: AWS4-HMAC-SHA256 Credential=AKID</pre>",
            "x-amz-security-token: abc",
            "Bearer abc",
            "cookie: x",
        ] {
            assert_eq!(excerpt(body.as_bytes()), "", "{body}");
        }
        let long = "a".repeat(40);
        assert_eq!(excerpt(format!("key {long} end").as_bytes()), "key \u{2026} end");
    }

    proptest! {
        #[test]
        fn an_excerpt_is_short_and_plain_whatever_it_is_of(
            body in prop::collection::vec(any::<u8>(), 0..2000),
            tags in "[<>a-z!/ -]{0,200}",
        ) {
            for text in [excerpt(&body), excerpt(tags.as_bytes())] {
                prop_assert!(text.chars().count() <= MAX_EXCERPT);
                prop_assert!(!text.contains(['<', '>']) && !text.chars().any(char::is_control));
            }
        }

        #[test]
        fn every_error_response_gets_the_form_of_bedrocks(status in 300u16..600, body in ".{0,60}") {
            let answer = answer(status, &[], &body);
            prop_assert!(answer.status.is_client_error() || answer.status.is_server_error());
            prop_assert!(answer.headers.contains_key(ERROR_TYPE));
            let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
            prop_assert!(json.is_object());
        }
    }
}

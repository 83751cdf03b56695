//! What holds for whatever upstreams send in the bodies of their answers, beside their framing.

use std::convert::Infallible;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue};
use serde_json::Value;
use sluice::api::{count_tokens, response_rewrite};
use sluice::bedrock::dialect::DialectError;
use sluice::bedrock::error::{self, Reported};
use sluice::bedrock::json::{JsonError, Scanner, Type};
use sluice::bedrock::named_limit::named_limit;
use sluice::bedrock::{Api, Dialect, ErrorKind, Usage, UsageReader};
use sluice::legacy::feedback::{
    MAX_DESCRIPTION, MAX_EXAMPLE, MAX_QUESTIONS, MAX_REFS, MAX_SUGGESTION, dedupe, read,
};

/// Answers of a model: read into items that keep the bounds of the legacy contract, or not at all.
pub fn feedback(answer: &str) {
    let Ok(items) = read(answer) else { return };
    let count = items.len();
    let refined = dedupe(items);
    assert!(refined.len() <= count);
    for item in refined {
        assert!(!item.id.is_empty() && !item.description.is_empty());
        assert!(item.description.chars().count() <= MAX_DESCRIPTION);
        assert!(item.suggestion.chars().count() <= MAX_SUGGESTION);
        assert!(item.example.chars().count() <= MAX_EXAMPLE);
        assert!(item.questions.len() <= MAX_QUESTIONS && item.hawkeye_refs.len() <= MAX_REFS);
        assert!(item.hawkeye_refs.iter().all(|number| (1..=20).contains(number)));
        assert!((0.8..=1.0).contains(&item.confidence));
    }
}

/// JSON: what serde_json takes, the scanner takes too, with the same members and texts.
pub fn json(text: &[u8]) {
    let mut whole = Scanner::new(text);
    let is_taken = whole.skip().and_then(|()| whole.end()).is_ok();
    let read = scanned(&mut Scanner::new(text));
    let Ok(value) = serde_json::from_slice::<Value>(text) else { return };
    assert!(is_taken, "{value}");
    assert_eq!(read, Ok(value));
}

/// A value as the scanner divides it. Of members with one name the last counts.
fn scanned(scanner: &mut Scanner<'_>) -> Result<Value, JsonError> {
    Ok(match scanner.peek()? {
        Type::Object => {
            let mut members = serde_json::Map::new();
            scanner.object(|key, scanner| {
                members.insert(key.to_owned(), scanned(scanner)?);
                Ok(())
            })?;
            Value::Object(members)
        }
        Type::Array => {
            let mut elements = Vec::new();
            scanner.array(|scanner| {
                elements.push(scanned(scanner)?);
                Ok(())
            })?;
            Value::Array(elements)
        }
        Type::String => scanner.string()?.into_owned().into(),
        Type::Scalar => {
            let (count, (text, _)) = (scanner.clone().count()?, scanner.value()?);
            let value = serde_json::from_slice::<Value>(text).unwrap_or_default();
            if let Some((count, _)) = count {
                assert!(value.as_u64().is_none_or(|value| value == count), "{value} {count}");
            }
            value
        }
    })
}

/// The counts in an answer: however its bytes come, they are the same; and they are those that a reading of the
/// whole finds.
pub fn usage(body: &[u8]) {
    for api in Api::ALL {
        let mut at_once = UsageReader::new(api);
        at_once.read(body);
        let mut by_bytes = UsageReader::new(api);
        body.chunks(1).for_each(|byte| by_bytes.read(byte));
        assert_eq!(at_once.usage(), by_bytes.usage());
        assert_eq!(at_once.is_incomplete(), by_bytes.is_incomplete());
        let is_object = serde_json::from_slice::<serde_json::Map<String, Value>>(body).is_ok();
        assert!(!is_object || !at_once.is_incomplete());
        // A name that is written with escapes is not looked for: no upstream does so.
        if is_object && !body.contains(&b'\\') {
            assert_eq!(at_once.usage(), Usage::from_api_body(api, body), "{api:?}");
        }
    }
}

/// Errors of upstreams: the first line is their header, the rest their body. Whatever they say, what the client gets
/// is JSON, and what the log gets is one line.
pub fn error(input: &[u8]) {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let (name, body) = (&input[..end], input.get(end + 1..).unwrap_or_default());
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(name) {
        headers.insert(error::ERROR_TYPE, value);
    }
    for reported in [error::read(&headers, body), error::read_dialect(&headers, body)] {
        let kind = reported.kind().unwrap_or(ErrorKind::Validation);
        error::is_context_too_long(&reported);
        named_limit(&reported.message);
        let Reported { message, param, code, .. } = reported;
        let plain = error::plain_text(&message, 50);
        assert!(plain.chars().count() <= 50 && !plain.contains(char::is_control), "{plain}");
        let error = DialectError { param, code, ..DialectError::new(kind, message) };
        for dialect in [Dialect::Bedrock, Dialect::OpenAi, Dialect::Anthropic] {
            is_json(&error.body(dialect, "1"));
        }
    }
}

fn is_json(bytes: &[u8]) {
    serde_json::from_slice::<serde::de::IgnoredAny>(bytes).expect("JSON");
}

/// Bodies that the gateway changes where an id or a count stands: JSON stays JSON, and the ids are all that changes.
pub fn rewrite(body: &[u8]) {
    let seal = |id: &str| Ok::<_, Infallible>(format!("sealed-{id}"));
    let keep = |id: &str| Ok::<_, Infallible>(id.to_owned());
    let value = serde_json::from_slice::<Value>(body).ok();
    for rewritten in
        [response_rewrite::rewrite_body(body, seal), response_rewrite::rewrite_event(body, seal)]
    {
        if let (Ok(Some(rewritten)), Some(_)) = (rewritten, &value) {
            is_json(&rewritten);
        }
    }
    for rewritten in
        [response_rewrite::rewrite_body(body, keep), response_rewrite::rewrite_event(body, keep)]
    {
        if let (Ok(Some(rewritten)), Some(value)) = (rewritten, &value) {
            assert_eq!(serde_json::from_slice::<Value>(&rewritten).ok().as_ref(), Some(value));
        }
    }
    if let Some(request) = count_tokens::request(body, &["a\"b".to_owned()]) {
        let request: Value = serde_json::from_slice(&request).unwrap();
        let native = request["input"]["invokeModel"]["body"].as_str().unwrap();
        is_json(&STANDARD.decode(native).unwrap());
    }
    if let Some(answer) = count_tokens::answer(body) {
        is_json(&answer);
    }
}

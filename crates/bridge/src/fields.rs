//! Reads the JSON of requests member by member: a value stays text until its reader is known, so that nothing
//! is built up, texts are borrowed, and what only passes through keeps its bytes.
//!
//! [`body`] and [`document`] check the whole text once; everything below is therefore valid JSON.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::conversation::{Json, Text};
use crate::value::{Members, Value, unescaped};

/// The JSON of a body, checked as a whole.
///
/// # Errors
/// What is wrong with it, for the client.
pub(crate) fn document(body: &[u8]) -> Result<Value<'_>, String> {
    let text = std::str::from_utf8(body).map_err(|_| "the body is not UTF-8".to_owned())?;
    let checked = serde_json::from_str::<&RawValue>(text).map(Value::from);
    checked.map_err(|error| format!("the body is not JSON: {error}"))
}

/// The members of a body that must be an object; the same as [`document`] and [`members`], with one reading
/// less.
///
/// # Errors
/// What is wrong with it, for the client.
pub(crate) fn body(body: &[u8]) -> Result<Members<'_>, String> {
    let text = std::str::from_utf8(body).map_err(|_| "the body is not UTF-8".to_owned())?;
    serde_json::from_str(text).map_err(|error| match error.is_data() {
        true => "the body must be a JSON object".to_owned(),
        false => format!("the body is not JSON: {error}"),
    })
}

/// The members of an object; `None` for every other value.
pub(crate) fn members(value: Value<'_>) -> Option<Members<'_>> {
    value.members()
}

/// The elements of an array; `None` for every other value.
pub(crate) fn elements(value: Value<'_>) -> Option<Vec<Value<'_>>> {
    value.elements()
}

/// A text; `None` for every other value.
pub(crate) fn text(value: Value<'_>) -> Option<Cow<'_, str>> {
    unescaped(value.get())
}

/// A text that mostly goes on as it is; `None` for every other value.
pub(crate) fn prompt_text(value: Value<'_>) -> Option<Text<'_>> {
    let between = value.between_quotes()?;
    match Text::of_json(between) {
        Some(text) => Some(text),
        None => text(value).map(Text::from),
    }
}

/// Whether it is a text.
pub(crate) fn is_text(value: Value<'_>) -> bool {
    value.get().starts_with('"')
}

/// Whether it is an object.
pub(crate) fn is_object(value: Value<'_>) -> bool {
    value.get().starts_with('{')
}

/// Whether it is an array.
#[allow(dead_code, reason = "the translations use what they need")]
pub(crate) fn is_array(value: Value<'_>) -> bool {
    value.get().starts_with('[')
}

/// Whether it is `null`.
pub(crate) fn is_null(value: Value<'_>) -> bool {
    value.get() == "null"
}

/// `true` or `false`; `None` for every other value.
pub(crate) fn boolean(value: Value<'_>) -> Option<bool> {
    match value.get() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// A finite number; `None` for every other value.
pub(crate) fn number(value: Value<'_>) -> Option<f64> {
    let text = value.get();
    let is_number = text.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    let number: f64 = is_number.then(|| text.parse().ok()).flatten()?;
    number.is_finite().then_some(number)
}

/// A number that is whole and not negative, also written as `8192.0` or `8e3`; `None` for every other value.
pub(crate) fn count(value: Value<'_>) -> Option<u64> {
    if let Ok(number) = value.get().parse() {
        return Some(number);
    }
    let number = number(value)?;
    let is_whole = number >= 0.0 && number.fract() == 0.0 && number < 9.0e15;
    is_whole.then_some(number as u64)
}

/// The text of a value that passes through.
pub(crate) fn json(value: Value<'_>) -> Json<'_> {
    Json(Cow::Borrowed(value.get()))
}

/// The JSON object that a text holds, as clients send the input of tools; `{}` for a blank one, `None` for
/// everything else.
#[allow(dead_code, reason = "the translations use what they need")]
pub(crate) fn object_in(text: Cow<'_, str>) -> Option<Json<'_>> {
    if text.trim().is_empty() {
        return Some(Json(Cow::Borrowed("{}")));
    }
    let object = match text {
        Cow::Borrowed(text) => Cow::Borrowed(object_of(text)?),
        Cow::Owned(text) => {
            let object = object_of(&text)?;
            match object.len() == text.len() {
                true => Cow::Owned(text),
                false => Cow::Owned(object.to_owned()),
            }
        }
    };
    Some(Json(object))
}

fn object_of(text: &str) -> Option<&str> {
    let value = Value::parse(text)?;
    is_object(value).then(|| value.get())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(json: &str) -> Value<'_> {
        document(json.as_bytes()).unwrap()
    }

    #[test]
    fn texts_are_borrowed_unless_they_have_escapes() {
        assert!(matches!(text(value(r#" "plain" "#)), Some(Cow::Borrowed("plain"))));
        assert_eq!(text(value(r#""a\u00e9\n""#)).as_deref(), Some("a\u{e9}\n"));
        assert_eq!(text(value(r#""half a pair: \ud800""#)), None);
        assert_eq!(text(value("1")), None);
    }

    #[test]
    fn the_input_of_a_tool_is_an_object_or_blank() {
        let input = |text: &str| object_in(Cow::Borrowed(text)).map(|Json(json)| json.into_owned());
        assert_eq!(input(" ").as_deref(), Some("{}"));
        assert_eq!(input(" {\"a\":  1} ").as_deref(), Some("{\"a\":  1}"));
        for text in ["[1]", "{\"a\":", "{} {}", "null", "x"] {
            assert_eq!(input(text), None, "{text}");
        }
    }

    #[test]
    fn counts_are_whole_numbers_in_any_form() {
        for (json, wanted) in [("8", Some(8)), ("8.0", Some(8)), ("8e3", Some(8000))] {
            assert_eq!(count(value(json)), wanted, "{json}");
        }
        for json in ["8.5", "-1", "\"8\"", "null", "1e400"] {
            assert_eq!(count(value(json)), None, "{json}");
        }
    }

    #[test]
    fn a_body_is_an_object_or_an_error_that_says_what_is_wrong() {
        assert!(body(br#"{"a": [1], "b": {}}"#).is_ok());
        for json in ["[]", "7", "null", "\"x\""] {
            let error = body(json.as_bytes()).unwrap_err();
            assert_eq!(error, "the body must be a JSON object", "{json}");
        }
        for json in ["{\"a\": tru}", "{\"a\": 1} x", "", "{"] {
            let error = body(json.as_bytes()).unwrap_err();
            assert!(error.starts_with("the body is not JSON: "), "{json}: {error}");
        }
        assert_eq!(body(b"{\"a\": \"\xff\"}").unwrap_err(), "the body is not UTF-8");
    }

    proptest! {
        #[test]
        fn a_text_is_read_as_serde_json_reads_it(wanted in "\\PC{0,20}|[\\x00-\\x7f]{0,20}") {
            let json = serde_json::to_string(&wanted).unwrap();
            let read = text(value(&json));
            prop_assert_eq!(read.as_deref(), Some(wanted.as_str()));
            let read = prompt_text(value(&json)).unwrap();
            prop_assert_eq!(read.as_str(), wanted.as_str());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in "[\\[\\]{}\",:a1\\\\u ]{0,40}") {
            if let Ok(value) = document(bytes.as_bytes()) {
                let _ = (members(value).is_some(), elements(value), text(value), count(value));
            }
        }
    }
}

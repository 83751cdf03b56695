//! JSON that is known to be valid, divided into its parts where it lies.
//!
//! serde_json checks a text once, as a whole; what is below it is valid too, and is divided by its brackets and
//! quotes alone. So a byte that is nested five deep is checked once and not six times. Should a text not be
//! what it must be, its parts are `None`, never something else.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A value in a text that is valid JSON, without white space around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Value<'a>(&'a str);

/// The members of an object, in their order; of two with one name the last counts for readers that assign.
#[derive(Debug, Default)]
pub(crate) struct Members<'a>(Vec<(Cow<'a, str>, Value<'a>)>);

/// A text with its escapes resolved, borrowed if it has none.
#[derive(Debug, Deserialize)]
pub(crate) struct Unescaped<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

impl<'a> From<&'a RawValue> for Value<'a> {
    fn from(checked: &'a RawValue) -> Value<'a> {
        Value(checked.get())
    }
}

impl<'a> Value<'a> {
    /// The value that a text is; `None` if it is not valid JSON.
    pub(crate) fn parse(text: &'a str) -> Option<Value<'a>> {
        serde_json::from_str::<&RawValue>(text).ok().map(Value::from)
    }

    /// Its JSON text.
    pub(crate) fn get(self) -> &'a str {
        self.0
    }

    /// The members of an object; `None` for every other value, and if a key is no Unicode.
    pub(crate) fn members(self) -> Option<Members<'a>> {
        let mut parts = Parts::of(self.0, b'{')?;
        let mut members = Vec::with_capacity(8);
        while parts.has_next(b'}')? {
            let key = unescaped(parts.next()?)?;
            parts.colon()?;
            members.push((key, Value(parts.next()?)));
        }
        Some(Members(members))
    }

    /// The elements of an array; `None` for every other value.
    pub(crate) fn elements(self) -> Option<Vec<Value<'a>>> {
        let mut parts = Parts::of(self.0, b'[')?;
        let mut elements = Vec::new();
        while parts.has_next(b']')? {
            elements.push(Value(parts.next()?));
        }
        Some(elements)
    }

    /// What is between the quotes of a text; `None` for every other value.
    pub(crate) fn between_quotes(self) -> Option<&'a str> {
        self.0.strip_prefix('"')?.strip_suffix('"')
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    /// Checks an object and all that is in it, and divides it, in one reading.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members<'a>, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::with_capacity(8);
                while let Some((Unescaped(name), value)) = map.next_entry::<_, &RawValue>()? {
                    members.push((name, Value::from(value)));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

impl<'a> IntoIterator for Members<'a> {
    type Item = (Cow<'a, str>, Value<'a>);
    type IntoIter = std::vec::IntoIter<(Cow<'a, str>, Value<'a>)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> Members<'a> {
    /// The value of a member; `None` if it is absent or `null`.
    pub(crate) fn get(&self, name: &str) -> Option<Value<'a>> {
        let found = self.0.iter().rev().find(|(it, _)| it == name);
        found.map(|(_, value)| *value).filter(|value| value.get() != "null")
    }

    /// The members in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, Value<'a>)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), *value))
    }

    /// The members that have a value, in order.
    pub(crate) fn given(&self) -> impl Iterator<Item = (&str, Value<'a>)> {
        self.iter().filter(|(_, value)| value.get() != "null")
    }

    /// The first member that has a value and another name than these.
    pub(crate) fn beside(&self, names: &[&str]) -> Option<&str> {
        self.given().map(|(name, _)| name).find(|name| !names.contains(name))
    }
}

/// The text of a JSON text; `None` if an escape of it is no Unicode.
pub(crate) fn unescaped(json: &str) -> Option<Cow<'_, str>> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str::<Unescaped<'_>>(json).ok().map(|Unescaped(text)| text)
}

/// Walks over the parts of an object or an array.
struct Parts<'a> {
    text: &'a str,
    at: usize,
    is_first: bool,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str, open: u8) -> Option<Parts<'a>> {
        let is_it = text.as_bytes().first() == Some(&open);
        is_it.then_some(Parts { text, at: 1, is_first: true })
    }

    /// Goes to the next part; `false` at the end. `None` if neither comes.
    fn has_next(&mut self, close: u8) -> Option<bool> {
        let is_first = std::mem::replace(&mut self.is_first, false);
        match self.byte()? {
            byte if byte == close => Some(false),
            b',' if !is_first => {
                self.at += 1;
                self.byte().map(|_| true)
            }
            _ => is_first.then_some(true),
        }
    }

    /// Goes behind the colon, to the value.
    fn colon(&mut self) -> Option<()> {
        let is_colon = self.byte()? == b':';
        self.at += 1;
        is_colon.then(|| self.byte()).flatten().map(|_| ())
    }

    /// The value that stands here.
    fn next(&mut self) -> Option<&'a str> {
        let start = self.at;
        self.at = end_of_value(self.text.as_bytes(), start)?;
        self.text.get(start..self.at)
    }

    /// The next byte other than white space.
    fn byte(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(byte) = bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }
}

/// Where the value ends that starts here.
fn end_of_value(bytes: &[u8], start: usize) -> Option<usize> {
    match bytes.get(start)? {
        b'"' => end_of_string(bytes, start),
        b'{' | b'[' => end_of_brackets(bytes, start),
        _ => {
            let rest = bytes.get(start..)?;
            let is_end = |byte: &u8| {
                matches!(byte, b',' | b'}' | b']' | b':' | b'"' | b' ' | b'\n' | b'\r' | b'\t')
            };
            let len = rest.iter().position(is_end).unwrap_or(rest.len());
            (len > 0).then_some(start + len)
        }
    }
}

fn end_of_brackets(bytes: &[u8], start: usize) -> Option<usize> {
    let (mut at, mut depth) = (start, 0_usize);
    loop {
        match bytes.get(at)? {
            b'"' => {
                at = end_of_string(bytes, at)?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}

fn end_of_string(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes.get(at) == Some(&b'"') {
            return Some(at + 1);
        }
        // A backslash: whatever follows is no closing quote.
        at += 2;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value as Json;

    use super::*;

    fn value(json: &str) -> Value<'_> {
        Value::parse(json).unwrap()
    }

    /// All that is in a value, read part by part.
    fn rebuilt(value: Value<'_>) -> Option<Json> {
        if let Some(members) = value.members() {
            let members = members.iter().map(|(name, it)| Some((name.to_owned(), rebuilt(it)?)));
            return Some(Json::Object(members.collect::<Option<_>>()?));
        }
        if let Some(elements) = value.elements() {
            return elements.into_iter().map(rebuilt).collect::<Option<_>>().map(Json::Array);
        }
        match unescaped(value.get()) {
            Some(text) => Some(Json::String(text.into_owned())),
            None => serde_json::from_str(value.get()).ok(),
        }
    }

    #[test]
    fn members_keep_their_order_and_bytes() {
        let read = value(r#"{"b": [1,  2], "a\n": null, "b": 1.50}"#).members().unwrap();
        let all: Vec<_> = read.iter().map(|(name, value)| (name, value.get())).collect();
        assert_eq!(all, [("b", "[1,  2]"), ("a\n", "null"), ("b", "1.50")]);
        assert_eq!(read.get("b").map(Value::get), Some("1.50"));
        assert!(read.get("a\n").is_none());
        assert_eq!(read.beside(&["b"]), None);
        assert!(value("[]").members().is_none());
        assert!(value("{}").elements().is_none());
        assert!(value(r#"{"\ud800": 1}"#).members().is_none());
    }

    #[test]
    fn deep_nesting_overflows_no_stack() {
        let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        let _ = Value::parse(&deep).map(Value::elements);
    }

    #[test]
    fn a_text_that_is_not_valid_has_no_parts() {
        for json in
            ["{", "{\"a\"}", "{\"a\":}", "{\"a\":1", "{\"a\" 1}", "{,}", "{\"a\":1 \"b\":2}"]
        {
            assert!(Value(json).members().is_none(), "{json}");
        }
        for json in ["[", "[1", "[,1]", "[1 2]", "[\"a]", "[\"\\", "[1,", "[[1]"] {
            assert!(Value(json).elements().is_none(), "{json}");
        }
    }

    /// Any JSON, with white space, escapes and keys that repeat.
    fn json() -> impl Strategy<Value = String> {
        let text = "\"([a-c ,:{}\\[\\]]|[^\\\\\"\\x00-\\x1f]|\\\\[\"\\\\/bfnrt]|\\\\u00[0-7][0-9a-f]|\\\\ud83d\\\\ude00){0,6}\"";
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("true".to_owned()),
            "-?(0|[1-9][0-9]{0,3})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,2})?",
            text,
        ];
        leaf.prop_recursive(5, 60, 6, move |inner| {
            let gap = "[ \\n\\r\\t]{0,2}";
            let element = (gap, inner.clone(), gap).prop_map(|(a, b, c)| a + &b + &c);
            let member = (gap, prop_oneof!["\"[ab]\"", text], gap, gap, inner, gap)
                .prop_map(|(a, key, b, c, it, d)| format!("{a}{key}{b}:{c}{it}{d}"));
            prop_oneof![
                (gap, prop::collection::vec(element, 0..6)).prop_map(|(gap, parts)| {
                    format!("[{}]", if parts.is_empty() { gap } else { parts.join(",") })
                }),
                (gap, prop::collection::vec(member, 0..6)).prop_map(|(gap, parts)| {
                    format!("{{{}}}", if parts.is_empty() { gap } else { parts.join(",") })
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_parts_are_those_that_serde_json_reads(json in json()) {
            let wanted: Json = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(rebuilt(value(&json)), Some(wanted));
            if json.starts_with('{') {
                let in_one_reading: Members<'_> = serde_json::from_str(&json).unwrap();
                let members = value(&json).members().unwrap();
                prop_assert_eq!(in_one_reading.0, members.0);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(text in "[\\[\\]{}\",:a1\\\\u é]{0,40}") {
            // Texts that nobody has checked.
            let _ = (Value(&text).members(), Value(&text).elements(), rebuilt(Value(&text)));
        }
    }
}

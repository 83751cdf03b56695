//! A scanner that finds a few values in a JSON text and skips the rest, without copying.
//!
//! The gateway needs three or four numbers of a body of megabytes, and where they stand, since
//! it may replace one of them and must leave every other byte as it is. The scanner accepts
//! every text that is JSON; inside what it skips it checks brackets and quotes only, because the
//! model's own check comes after it.

use std::borrow::Cow;
use std::ops::Range;

/// Deepest nesting that is read, as in serde_json.
const MAX_DEPTH: usize = 128;

/// A text that is not JSON, and where that shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub struct JsonError {
    /// Offset into the text, in bytes.
    pub at: usize,
    /// What is wrong there.
    pub what: &'static str,
}

/// The type of a value, by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// `{...}`
    Object,
    /// `[...]`
    Array,
    /// `"..."`
    String,
    /// A number, `true`, `false` or `null`.
    Scalar,
}

/// A position in a JSON text.
#[derive(Clone, Debug)]
pub struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: usize,
}

impl<'a> Scanner<'a> {
    /// A scanner at the start of the text.
    pub fn new(bytes: &'a [u8]) -> Scanner<'a> {
        Scanner { bytes, at: 0, depth: 0 }
    }

    /// The offset that was reached, in bytes.
    pub fn position(&self) -> usize {
        self.at
    }

    /// The type of the value that comes next.
    pub fn peek(&mut self) -> Result<Type, JsonError> {
        self.space();
        match self.byte() {
            Some(b'{') => Ok(Type::Object),
            Some(b'[') => Ok(Type::Array),
            Some(b'"') => Ok(Type::String),
            Some(b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => Ok(Type::Scalar),
            Some(_) => Err(self.error("expected a value")),
            None => Err(self.error("unexpected end of the text")),
        }
    }

    /// Reads an object. `member` gets each key with the scanner before its value and may read
    /// the value or leave it, in which case it is skipped. A value that is no object is skipped.
    pub fn object(
        &mut self,
        mut member: impl FnMut(&str, &mut Self) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        if self.peek()? != Type::Object {
            return self.skip();
        }
        self.items(b'}', |scanner| {
            let key = scanner.string()?;
            scanner.space();
            scanner.expect(b':', "expected ':'")?;
            scanner.space();
            scanner.read_or_skip(|scanner| member(&key, scanner))
        })
    }

    /// Reads an array; `element` as in [`Scanner::object`]. A value that is no array is skipped.
    pub fn array(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        if self.peek()? != Type::Array {
            return self.skip();
        }
        self.items(b']', |scanner| scanner.read_or_skip(&mut element))
    }

    /// Reads a string.
    pub fn string(&mut self) -> Result<Cow<'a, str>, JsonError> {
        if self.peek()? != Type::String {
            return Err(self.error("expected a string"));
        }
        let start = self.at;
        let has_escape = self.skip_string()?;
        let quoted = self.bytes.get(start..self.at).unwrap_or_default();
        let not_a_string = JsonError { at: start, what: "not a string" };
        if has_escape {
            serde_json::from_slice(quoted).map(Cow::Owned).map_err(|_| not_a_string)
        } else {
            let inner = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
            std::str::from_utf8(inner).map(Cow::Borrowed).map_err(|_| not_a_string)
        }
    }

    /// Reads a number that is whole and not negative, with its place in the text; `None` for
    /// every other value, which is skipped.
    pub fn count(&mut self) -> Result<Option<(u64, Range<usize>)>, JsonError> {
        if self.peek()? != Type::Scalar {
            self.skip()?;
            return Ok(None);
        }
        let start = self.at;
        self.skip()?;
        let text = self.bytes.get(start..self.at).unwrap_or_default();
        Ok(whole_number(text).map(|number| (number, start..self.at)))
    }

    /// Skips the value that comes next and returns its text, with its place in the whole text.
    pub fn value(&mut self) -> Result<(&'a [u8], Range<usize>), JsonError> {
        self.peek()?;
        let start = self.at;
        self.skip()?;
        Ok((self.bytes.get(start..self.at).unwrap_or_default(), start..self.at))
    }

    /// Skips the value that comes next.
    pub fn skip(&mut self) -> Result<(), JsonError> {
        match self.peek()? {
            Type::String => self.skip_string().map(drop),
            Type::Scalar => self.skip_scalar(),
            Type::Object | Type::Array => self.skip_nested(),
        }
    }

    /// Checks that nothing but white space follows.
    pub fn end(&mut self) -> Result<(), JsonError> {
        self.space();
        if self.at == self.bytes.len() { Ok(()) } else { Err(self.error("text after the value")) }
    }

    fn read_or_skip(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        let before = self.at;
        read(self)?;
        if self.at == before { self.skip() } else { Ok(()) }
    }

    fn items(
        &mut self,
        close: u8,
        mut item: impl FnMut(&mut Self) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        if self.depth == MAX_DEPTH {
            return Err(self.error("nested too deep"));
        }
        self.depth += 1;
        self.at += 1;
        self.space();
        if self.byte() != Some(close) {
            loop {
                self.space();
                item(self)?;
                self.space();
                if self.byte() != Some(b',') {
                    break;
                }
                self.at += 1;
            }
        }
        self.depth -= 1;
        self.expect(close, "expected ',' or the closing bracket")
    }

    /// Skips a string, and returns whether it has an escape.
    fn skip_string(&mut self) -> Result<bool, JsonError> {
        let start = self.at;
        self.at += 1;
        let mut has_escape = false;
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let Some(found) = memchr::memchr2(b'"', b'\\', rest) else {
                self.at = start;
                return Err(self.error("a string without end"));
            };
            self.at += found + 1;
            if rest.get(found) == Some(&b'"') {
                return Ok(has_escape);
            }
            // A backslash: whatever follows is no closing quote.
            has_escape = true;
            self.at = (self.at + 1).min(self.bytes.len());
        }
    }

    fn skip_scalar(&mut self) -> Result<(), JsonError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let is_end = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t');
        let len = rest.iter().position(is_end).unwrap_or(rest.len());
        let text = rest.get(..len).unwrap_or_default();
        let in_number = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        if matches!(text, b"true" | b"false" | b"null") || text.iter().all(in_number) {
            self.at += len;
            Ok(())
        } else {
            Err(self.error("not a value"))
        }
    }

    fn skip_nested(&mut self) -> Result<(), JsonError> {
        // One bit a level, 1 for an object: enough for MAX_DEPTH, and no recursion.
        let mut open: u128 = 0;
        let mut depth = self.depth;
        let outer = depth;
        while let Some(byte) = self.byte() {
            match byte {
                b'"' => {
                    self.skip_string()?;
                    continue;
                }
                b'{' | b'[' => {
                    if depth == MAX_DEPTH {
                        return Err(self.error("nested too deep"));
                    }
                    open = open << 1 | u128::from(byte == b'{');
                    depth += 1;
                }
                b'}' | b']' => {
                    if (open & 1 == 1) != (byte == b'}') {
                        return Err(self.error("a bracket that does not match"));
                    }
                    open >>= 1;
                    depth -= 1;
                }
                _ => {}
            }
            self.at += 1;
            if depth == outer {
                return Ok(());
            }
        }
        Err(self.error("unexpected end of the text"))
    }

    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), JsonError> {
        if self.byte() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            Err(self.error(what))
        }
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.byte() {
            self.at += 1;
        }
    }

    fn byte(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn error(&self, what: &'static str) -> JsonError {
        JsonError { at: self.at, what }
    }
}

/// Reads digits, and also `8192.0` or `8e3`, which some clients write for whole numbers.
fn whole_number(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    let number: f64 = text.parse().ok()?;
    let whole = number >= 0.0 && number.fract() == 0.0 && number < 9.0e15;
    whole.then_some(number as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn count_of(text: &str, wanted: &str) -> Result<Option<u64>, JsonError> {
        let mut found = None;
        let mut scanner = Scanner::new(text.as_bytes());
        scanner.object(|key, scanner| {
            if key == wanted {
                found = scanner.count()?.map(|(number, _)| number);
            }
            Ok(())
        })?;
        scanner.end()?;
        Ok(found)
    }

    #[test]
    fn finds_a_number_and_its_place() {
        let text = r#" { "a" : [1, {"n": 2}], "n" :  42 , "z": "}\"" } "#;
        let mut place = 0..0;
        Scanner::new(text.as_bytes())
            .object(|key, scanner| {
                if key == "n" {
                    place = scanner.count()?.unwrap().1;
                }
                Ok(())
            })
            .unwrap();
        assert_eq!(&text[place], "42");
    }

    #[test]
    fn reads_keys_behind_escapes() {
        assert_eq!(count_of(r#"{"max\u005ftokens": 7}"#, "max_tokens"), Ok(Some(7)));
    }

    #[test]
    fn reads_whole_numbers_in_every_form_and_nothing_else() {
        for (text, number) in
            [("8", Some(8)), ("8.0", Some(8)), ("8e3", Some(8000)), ("8.5", None), ("-1", None)]
        {
            assert_eq!(count_of(&format!("{{\"n\":{text}}}"), "n"), Ok(number), "{text}");
        }
        assert_eq!(count_of(r#"{"n":"8"}"#, "n"), Ok(None));
        assert_eq!(count_of(r#"{"n":null}"#, "n"), Ok(None));
    }

    #[test]
    fn invalid_json_is_an_error_with_its_position() {
        for text in [
            "",
            "{",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1",
            "{\"a\":[}",
            "{\"a\":1}x",
            "{'a':1}",
            "{\"a\":tru}",
            "{\"a",
            "{\"a\":1,}",
            "{\"a\" 1}",
            "nope",
            "{\"a\\",
        ] {
            assert!(count_of(text, "n").is_err(), "{text}");
        }
        assert_eq!(count_of("{\"a\": ?}", "n").unwrap_err().at, 6);
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = |n: usize| format!("{{\"a\":{}{}}}", "[".repeat(n), "]".repeat(n));
        assert!(count_of(&deep(127), "n").is_ok());
        assert!(count_of(&deep(128), "n").is_err());
        assert!(count_of(&"[".repeat(1_000_000), "n").is_err());
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "\\PC{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::hash_map("[a-c\"\\\\_]{0,4}", inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_json_text_is_accepted_with_its_members(value in json(), pretty: bool, n: u32) {
            let mut object = serde_json::Map::new();
            object.insert("before".into(), value.clone());
            object.insert("n".into(), n.into());
            object.insert("then".into(), value);
            let text = if pretty {
                serde_json::to_string_pretty(&object).unwrap()
            } else {
                serde_json::to_string(&object).unwrap()
            };
            prop_assert_eq!(count_of(&text, "n"), Ok(Some(u64::from(n))));
        }

        #[test]
        fn no_bytes_make_it_panic_or_accept_a_text_with_unbalanced_ends(
            text in r#"[\[\]{}",:a1\\ ]{0,40}"#
        ) {
            let accepted = count_of(&text, "n").is_ok();
            if serde_json::from_str::<Value>(&text).is_ok() && text.trim_start().starts_with('{') {
                prop_assert!(accepted);
            }
        }
    }
}

//! Texts of prompts, which are most of a request and mostly go on as they are: one whose JSON is written as this
//! gateway writes it too keeps that form, so that it is copied and neither read nor written letter by letter.

use std::borrow::Cow;
use std::fmt;

use crate::json::{has_control_bytes, write_str};

/// A text.
#[derive(Clone)]
pub struct Text<'a>(Form<'a>);

#[derive(Clone)]
enum Form<'a> {
    Plain(Cow<'a, str>),
    /// What is between the quotes in JSON: valid, with short escapes alone, as they would be written here.
    Escaped(&'a str),
}

impl<'a> Text<'a> {
    /// The text that stands between the quotes of JSON. `None` if it is not valid or would be written otherwise.
    pub(crate) fn of_json(between_quotes: &'a str) -> Option<Text<'a>> {
        let bytes = between_quotes.as_bytes();
        if has_control_bytes(bytes) {
            return None;
        }
        let (mut at, mut has_escapes) = (0, false);
        while let Some(found) = memchr::memchr2(b'\\', b'"', bytes.get(at..)?) {
            has_escapes = true;
            at += found + 2;
            let is_short = |byte| matches!(byte, b'"' | b'\\' | b'n' | b't' | b'r' | b'b' | b'f');
            match (bytes.get(at - 2), bytes.get(at - 1)) {
                (Some(b'\\'), Some(escape)) if is_short(*escape) => {}
                _ => return None,
            }
        }
        Some(Text(match has_escapes {
            true => Form::Escaped(between_quotes),
            false => Form::Plain(Cow::Borrowed(between_quotes)),
        }))
    }

    /// The text itself.
    pub fn as_str(&self) -> Cow<'_, str> {
        match &self.0 {
            Form::Plain(text) => Cow::Borrowed(text),
            Form::Escaped(json) => Cow::Owned(unescaped(json)),
        }
    }

    /// The text itself.
    pub fn into_str(self) -> Cow<'a, str> {
        match self.0 {
            Form::Plain(text) => text,
            Form::Escaped(json) => Cow::Owned(unescaped(json)),
        }
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        match &self.0 {
            Form::Plain(text) => text.is_empty(),
            Form::Escaped(_) => false,
        }
    }

    /// Whether there is nothing but white space in it.
    pub fn is_blank(&self) -> bool {
        match &self.0 {
            Form::Plain(text) => text.trim_start().is_empty(),
            Form::Escaped(json) => {
                let mut rest = json.trim_start();
                while let Some(after) =
                    ["\\n", "\\r", "\\t", "\\f"].iter().find_map(|it| rest.strip_prefix(it))
                {
                    rest = after.trim_start();
                }
                rest.is_empty()
            }
        }
    }

    /// About how many bytes its JSON has.
    pub(crate) fn json_len(&self) -> usize {
        match &self.0 {
            Form::Plain(text) => text.len() + text.len() / 16,
            Form::Escaped(json) => json.len(),
        }
    }

    /// Writes it as JSON.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match &self.0 {
            Form::Plain(text) => write_str(out, text),
            Form::Escaped(json) => {
                out.reserve(json.len() + 2);
                out.push(b'"');
                out.extend_from_slice(json.as_bytes());
                out.push(b'"');
            }
        }
    }
}

/// The text of JSON with short escapes alone.
fn unescaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    let mut rest = json;
    while let Some((plain, after)) = rest.split_once('\\') {
        text.push_str(plain);
        let mut chars = after.chars();
        text.extend(chars.next().map(|escape| match escape {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'b' => '\u{8}',
            'f' => '\u{c}',
            itself => itself,
        }));
        rest = chars.as_str();
    }
    text.push_str(rest);
    text
}

impl<'a> From<Cow<'a, str>> for Text<'a> {
    fn from(text: Cow<'a, str>) -> Text<'a> {
        Text(Form::Plain(text))
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Text<'a> {
        Text(Form::Plain(Cow::Borrowed(text)))
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Text(Form::Plain(Cow::Owned(text)))
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Text<'_>) -> bool {
        self.as_str() == other.as_str()
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.as_str(), f)
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(text: &Text<'_>) -> String {
        let mut out = Vec::new();
        text.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn json_that_would_be_written_otherwise_is_not_kept() {
        for json in
            ["a\\/b", "\\u00e9", "\\u001f", "\\ud800", "a\nb", "a\"b", "a\\", "\\x", "\u{1}"]
        {
            assert!(Text::of_json(json).is_none(), "{json:?}");
        }
        assert!(matches!(Text::of_json("plain é"), Some(Text(Form::Plain(Cow::Borrowed(_))))));
        assert!(matches!(Text::of_json("a\\nb"), Some(Text(Form::Escaped("a\\nb")))));
    }

    proptest! {
        #[test]
        fn a_text_is_the_same_in_both_forms(
            text in "([ \\n\\t\\r\\x0b\\x0c\\x08\u{a0}\u{3000}]|\\PC|[\\\\\"nrtbf])?[ \\n\\t\\r\\x0b\\x0c]{0,4}"
        ) {
            let json = serde_json::to_string(&text).unwrap();
            let plain = Text::from(text.as_str());
            prop_assert_eq!(plain.is_blank(), text.trim().is_empty());
            prop_assert_eq!(&written(&plain), &json);
            if let Some(read) = Text::of_json(&json[1..json.len() - 1]) {
                prop_assert_eq!(read.as_str(), text.as_str());
                prop_assert_eq!(&read, &plain);
                prop_assert_eq!(read.is_blank(), plain.is_blank());
                prop_assert_eq!(read.is_empty(), plain.is_empty());
                prop_assert_eq!(&written(&read), &json);
                prop_assert_eq!(read.into_str(), plain.into_str());
            } else {
                prop_assert!(json.contains("\\u"));
            }
        }

        #[test]
        fn what_is_kept_is_what_serde_json_reads_and_writes(json in "[a\\\\\"/bfnrtué \\n]{0,12}") {
            let whole = format!("\"{json}\"");
            let read: Option<String> = serde_json::from_str(&whole).ok();
            match Text::of_json(&json) {
                Some(text) => {
                    prop_assert_eq!(read, Some(text.as_str().into_owned()));
                    prop_assert_eq!(written(&text), whole);
                }
                None => {
                    let again = read.map(|read| serde_json::to_string(&read).unwrap());
                    prop_assert_ne!(again, Some(whole));
                }
            }
        }
    }
}

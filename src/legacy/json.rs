//! Reading JSON that may be anything, without keeping unused parts: texts are cut where
//! they are read, other values are passed over, and nothing is nested deeper than 128 levels.
//!
//! The memory that reading takes does not depend on what the JSON is made of, beyond the length of
//! its longest text.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::text::first_chars;

/// The visits of values without parts: texts by `$text`, null to `$null`, `true` and `false` by
/// `$flag` if there is one, all others to `$other`.
macro_rules! scalars {
    ($null:expr, $other:expr, $text:expr) => {
        scalars!($null, $other, $text, |_| $other);
    };
    ($null:expr, $other:expr, $text:expr, $flag:expr) => {
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("any value")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok($null)
        }

        fn visit_bool<E>(self, flag: bool) -> Result<Self::Value, E> {
            let read: fn(bool) -> Self::Value = $flag;
            Ok(read(flag))
        }

        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
            Ok($other)
        }

        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
            Ok($other)
        }

        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
            Ok($other)
        }

        fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
            let read: fn(Self, &str) -> Self::Value = $text;
            Ok(read(self, text))
        }
    };
}

/// Has a seed that is its own visitor take whatever value comes.
macro_rules! any_value {
    () => {
        fn deserialize<D: Deserializer<'de>>(
            self,
            deserializer: D,
        ) -> Result<Self::Value, D::Error> {
            deserializer.deserialize_any(self)
        }
    };
}

pub(super) use {any_value, scalars};

/// Passes over any value. Unlike serde's own `IgnoredAny` it keeps to the bound on nesting.
#[derive(Clone, Copy, Debug)]
pub(super) struct Skip;

impl<'de> DeserializeSeed<'de> for Skip {
    type Value = ();

    any_value!();
}

impl<'de> Visitor<'de> for Skip {
    type Value = ();

    scalars!((), (), |_, _| ());

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<(), A::Error> {
        while values.next_element_seed(Skip)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while members.next_key_seed(Skip)?.is_some() {
            members.next_value_seed(Skip)?;
        }
        Ok(())
    }
}

/// Reads the first characters of a text; `None` for a value of another type.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text {
    /// Most characters that are kept.
    pub(super) most: usize,
}

impl<'de> DeserializeSeed<'de> for Text {
    type Value = Option<String>;

    any_value!();
}

impl<'de> Visitor<'de> for Text {
    type Value = Option<String>;

    scalars!(None, None, |own, text| Some(first_chars(text, own.most).to_owned()));

    fn visit_seq<A: SeqAccess<'de>>(self, values: A) -> Result<Self::Value, A::Error> {
        Skip.visit_seq(values)?;
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Self::Value, A::Error> {
        Skip.visit_map(members)?;
        Ok(None)
    }
}

/// A named value of an object, as an endpoint reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Field {
    /// The field is missing, or `null`.
    #[default]
    Absent,
    /// A text, cut to its bound.
    Text(String),
    /// `true` or `false`.
    Flag(bool),
    /// Any other value.
    Other,
}

impl Field {
    /// The text, if it is one that is not blank.
    pub(super) fn text(self) -> Option<String> {
        match self {
            Field::Text(text) if !text.trim().is_empty() => Some(text),
            _ => None,
        }
    }
}

/// Reads a [`Field`], of a text the first characters.
#[derive(Clone, Copy, Debug)]
struct ReadField {
    most: usize,
}

impl<'de> DeserializeSeed<'de> for ReadField {
    type Value = Field;

    any_value!();
}

impl<'de> Visitor<'de> for ReadField {
    type Value = Field;

    scalars!(
        Field::Absent,
        Field::Other,
        |own, text| Field::Text(first_chars(text, own.most).to_owned()),
        Field::Flag
    );

    fn visit_seq<A: SeqAccess<'de>>(self, values: A) -> Result<Field, A::Error> {
        Skip.visit_seq(values)?;
        Ok(Field::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Field, A::Error> {
        Skip.visit_map(members)?;
        Ok(Field::Other)
    }
}

/// Reads an object's members of these names, texts cut to so many characters. Of a name that stands
/// twice the last value counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Texts<const N: usize>(pub(super) [(&'static str, usize); N]);

/// A JSON value, as far as it is an object with fields of these names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Object<const N: usize> {
    /// An object that has members, with those that are named in the order of their names.
    Of([Field; N]),
    /// `{}`, `[]` or `null`.
    Nothing,
    /// Any other value.
    Other,
}

/// Most characters of a member's name that are kept: more than any name that is read.
const MAX_NAME: usize = 64;

impl<'de, const N: usize> DeserializeSeed<'de> for Texts<N> {
    type Value = Object<N>;

    any_value!();
}

impl<'de, const N: usize> Visitor<'de> for Texts<N> {
    type Value = Object<N>;

    scalars!(Object::Nothing, Object::Other, |_, _| Object::Other);

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Object<N>, A::Error> {
        let mut object = Object::Nothing;
        while values.next_element_seed(Skip)?.is_some() {
            object = Object::Other;
        }
        Ok(object)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Object<N>, A::Error> {
        let mut found = [const { Field::Absent }; N];
        let mut is_empty = true;
        while let Some(key) = members.next_key_seed(Text { most: MAX_NAME })? {
            is_empty = false;
            let mut named = self.0.iter().zip(&mut found);
            match named.find(|((name, _), _)| Some(*name) == key.as_deref()) {
                Some(((_, most), member)) => {
                    *member = members.next_value_seed(ReadField { most: *most })?;
                }
                None => members.next_value_seed(Skip)?,
            }
        }
        Ok(if is_empty { Object::Nothing } else { Object::Of(found) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn read(text: &str) -> serde_json::Result<Object<2>> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let object = Texts([("a", 3), ("b", 100)]).deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok(object)
    }

    fn of(a: Option<&str>, b: Option<&str>) -> Object<2> {
        let text = |text: Option<&str>| text.map(|text| Field::Text(text.to_owned()));
        Object::Of([a, b].map(|it| text(it).unwrap_or_default()))
    }

    #[test]
    fn named_texts_are_read_and_cut_and_all_else_is_passed_over() {
        let text = r#"{"c":[{"a":"no"},1,-2.5,null,true],"a":"añbc","b":"x","a":"wxyz"}"#;
        assert_eq!(read(text).unwrap(), of(Some("wxy"), Some("x")));
        let other = Object::Of([Field::Other, Field::Other]);
        assert_eq!(read(r#"{"a":5,"b":{"b":"x"}}"#).unwrap(), other);
        let flags = Object::Of([Field::Flag(true), Field::Flag(false)]);
        assert_eq!(read(r#"{"a":true,"b":false}"#).unwrap(), flags);
        assert_eq!(read(r#"{"a":"x","a":null}"#).unwrap(), of(None, None), "the last one counts");
        for nothing in ["{}", "[]", "null"] {
            assert_eq!(read(nothing).unwrap(), Object::Nothing);
        }
        for other in ["1", "true", "\"a\"", "[null]", "-1.5"] {
            assert_eq!(read(other).unwrap(), Object::Other);
        }
    }

    #[test]
    fn values_nested_too_deeply_are_refused_anywhere() {
        for name in ["a", "c"] {
            let nested =
                |depth: usize| format!("{{\"{name}\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
            assert!(read(&nested(100)).is_ok());
            assert!(read(&nested(200)).is_err());
            assert!(read(&nested(300_000)).is_err());
        }
    }

    proptest! {
        #[test]
        fn the_reader_agrees_with_a_complete_json_tree(text in r#"[\[\]{},:"ab0-9\\u .e-]{0,40}"#) {
            let whole: Result<Value, _> = serde_json::from_str(&text);
            let object = read(&text);
            prop_assert_eq!(object.is_ok(), whole.is_ok());
            if let (Ok(Object::Of([a, b])), Ok(whole)) = (object, whole) {
                let member = |value: &Value, most: usize| match value {
                    Value::Null => Field::Absent,
                    Value::String(text) => Field::Text(first_chars(text, most).to_owned()),
                    Value::Bool(flag) => Field::Flag(*flag),
                    _ => Field::Other,
                };
                prop_assert_eq!(a, member(&whole["a"], 3));
                prop_assert_eq!(b, member(&whole["b"], 100));
            }
        }

        #[test]
        fn any_object_is_read(a in ".*", b: i64, c in prop::collection::vec(".*", 0..5)) {
            let text = json!({ "a": a, "b": b, "c": c }).to_string();
            let text_of_a = Field::Text(first_chars(&a, 3).to_owned());
            prop_assert_eq!(read(&text).unwrap(), Object::Of([text_of_a, Field::Other]));
        }
    }
}

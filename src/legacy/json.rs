//! Reading JSON that may be anything, and keeping only the parts that a [`Shape`] names: texts and
//! arrays are cut, members without a name in the shape are skipped, and nothing is nested deeper than
//! 128 levels.
//!
//! What is kept takes memory by the shape and by the length of the texts, whatever else the JSON holds.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::text::first_chars;

/// The parts of a JSON value that are kept. A value of a type that the shape has nothing for keeps
/// its type: an array without its elements, an object without its members.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape<'a> {
    /// Most characters of a text.
    pub(super) max_chars: usize,
    /// The members of an object, with their shapes. Of a name that occurs twice the last value counts.
    pub(super) members: &'a [(&'a str, Shape<'a>)],
    /// The shape of an array's elements, and the most elements.
    pub(super) elements: Option<(&'a Shape<'a>, usize)>,
}

impl Shape<'_> {
    /// A text of at most so many characters.
    pub(super) const fn text(max_chars: usize) -> Shape<'static> {
        Shape { max_chars, members: &[], elements: None }
    }
}

impl<'de> DeserializeSeed<'de> for Shape<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Shape<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(flag.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(first_chars(text, self.max_chars).into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Value, A::Error> {
        let mut elements = Vec::new();
        if let Some((shape, max)) = self.elements {
            while elements.len() < max {
                match values.next_element_seed(*shape)? {
                    Some(element) => elements.push(element),
                    None => return Ok(elements.into()),
                }
            }
        }
        Skip.visit_seq(values)?;
        Ok(elements.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut kept = Map::new();
        while let Some(member) = members.next_key_seed(MemberName(self.members))? {
            match member {
                Some((name, shape)) => {
                    let value = members.next_value_seed(*shape)?;
                    kept.insert((*name).to_owned(), value);
                }
                None => members.next_value_seed(Skip)?,
            }
        }
        Ok(kept.into())
    }
}

/// Finds the member that a name belongs to.
struct MemberName<'a>(&'a [(&'a str, Shape<'a>)]);

impl<'de, 'a> DeserializeSeed<'de> for MemberName<'a> {
    type Value = Option<&'a (&'a str, Shape<'a>)>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl<'a> Visitor<'_> for MemberName<'a> {
    type Value = Option<&'a (&'a str, Shape<'a>)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().find(|(known, _)| *known == name))
    }
}

/// Skips any value. Unlike serde's own `IgnoredAny` it keeps to the bound on nesting.
#[derive(Clone, Copy)]
struct Skip;

impl<'de> DeserializeSeed<'de> for Skip {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Skip {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

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

/// A member of an object, as an endpoint reads it.
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

impl From<Value> for Field {
    fn from(value: Value) -> Field {
        match value {
            Value::Null => Field::Absent,
            Value::String(text) => Field::Text(text),
            Value::Bool(flag) => Field::Flag(flag),
            Value::Number(_) | Value::Array(_) | Value::Object(_) => Field::Other,
        }
    }
}

/// Reads the members of an object by name. Each name comes with the longest text that is kept, in
/// characters. `None` for a value that is not an object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Texts<const N: usize>(pub(super) [(&'static str, usize); N]);

impl<'de, const N: usize> DeserializeSeed<'de> for Texts<N> {
    type Value = Option<[Field; N]>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let members = self.0.map(|(name, max_chars)| (name, Shape::text(max_chars)));
        let shape = Shape { max_chars: 0, members: &members, elements: None };
        Ok(match shape.deserialize(deserializer)? {
            Value::Object(mut read) => {
                Some(self.0.map(|(name, _)| read.remove(name).map_or(Field::Absent, Field::from)))
            }
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn read(text: &str) -> serde_json::Result<Option<[Field; 2]>> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let object = Texts([("a", 3), ("b", 100)]).deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok(object)
    }

    fn of(a: Option<&str>, b: Option<&str>) -> Option<[Field; 2]> {
        let text = |text: Option<&str>| text.map(|text| Field::Text(text.to_owned()));
        Some([a, b].map(|it| text(it).unwrap_or_default()))
    }

    #[test]
    fn named_texts_are_read_and_cut_and_all_else_is_passed_over() {
        let text = r#"{"c":[{"a":"no"},1,-2.5,null,true],"a":"añbc","b":"x","a":"wxyz"}"#;
        assert_eq!(read(text).unwrap(), of(Some("wxy"), Some("x")));
        let other = Some([Field::Other, Field::Other]);
        assert_eq!(read(r#"{"a":5,"b":{"b":"x"}}"#).unwrap(), other);
        let flags = Some([Field::Flag(true), Field::Flag(false)]);
        assert_eq!(read(r#"{"a":true,"b":false}"#).unwrap(), flags);
        assert_eq!(read(r#"{"a":"x","a":null}"#).unwrap(), of(None, None), "the last one counts");
        assert_eq!(read("{}").unwrap(), of(None, None));
        for other in ["1", "true", "\"a\"", "[]", "[null]", "-1.5", "null"] {
            assert_eq!(read(other).unwrap(), None, "{other}");
        }
    }

    #[test]
    fn a_shape_keeps_what_it_names_and_the_type_of_all_else() {
        const ELEMENT: Shape<'_> = Shape::text(2);
        const LIST: Shape<'_> = Shape { elements: Some((&ELEMENT, 3)), ..Shape::text(0) };
        const WHOLE: Shape<'_> = Shape { members: &[("a", LIST), ("b", ELEMENT)], ..LIST };
        let read = |text: &str| {
            let mut deserializer = serde_json::Deserializer::from_str(text);
            WHOLE.deserialize(&mut deserializer).unwrap()
        };
        let object = read(r#"{"a":["xyz",[1],{"b":2},4,5],"b":["no"],"c":{"a":[1]},"a2":1}"#);
        assert_eq!(object, json!({ "a": ["xy", [], {}], "b": [] }));
        assert_eq!(read(r#"[1,null,true,"d"]"#), json!([1, null, true]));
        assert_eq!(read("-1.5"), json!(-1.5));
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
            if let (Ok(Some([a, b])), Ok(whole)) = (object, whole) {
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
            prop_assert_eq!(read(&text).unwrap(), Some([text_of_a, Field::Other]));
        }
    }
}

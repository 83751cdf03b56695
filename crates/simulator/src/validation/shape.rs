//! Shapes of JSON, and whether a value has one: required members, types, lengths, ranges, sets of names,
//! patterns, unions of exactly one member. A member that no shape has is refused. `null` stands for a
//! member that is not there.
//!
//! The first mistake is told, in the words that AWS services have for it.

use std::fmt;

use serde_json::{Map, Value};

use crate::answer::Invalid;

/// Most characters of a value that a message shows.
const SHOWN: usize = 80;

/// What a value must be.
pub(super) enum Shape {
    /// A text of so many characters, which fits a pattern.
    Text { min: usize, max: usize, pattern: Option<&'static Pattern> },
    /// One of these texts.
    Name(&'static [&'static str]),
    /// A whole number, not below this one.
    Integer { min: i64 },
    /// A number in this range.
    Number { min: f64, max: f64 },
    /// `true` or `false`.
    Flag,
    /// Bytes in base64, at least so many.
    Blob { min: usize },
    /// Any JSON.
    Document,
    /// So many items of one shape.
    List { min: usize, max: usize, item: &'static Shape },
    /// So many texts by names.
    Map { min: usize, max: usize, key: &'static Shape, value: &'static Shape },
    /// An object with these members.
    Structure(&'static [Member]),
    /// An object with exactly one of these members; the name is for messages.
    Union(&'static str, &'static [Member]),
}

/// A pattern that a text must fit as a whole.
pub(super) struct Pattern {
    /// As a regular expression, for messages.
    pub(super) regex: &'static str,
    pub(super) fits: fn(&str) -> bool,
}

/// A member of an object.
pub(super) struct Member {
    name: &'static str,
    shape: &'static Shape,
    is_required: bool,
}

/// A member that must be there.
pub(super) const fn required(name: &'static str, shape: &'static Shape) -> Member {
    Member { name, shape, is_required: true }
}

/// A member that may be there.
pub(super) const fn optional(name: &'static str, shape: &'static Shape) -> Member {
    Member { name, shape, is_required: false }
}

/// Checks that a body has a shape.
///
/// # Errors
/// When it has not.
pub(super) fn check(body: &Value, shape: &Shape) -> Result<(), Invalid> {
    shape.check(body, &Path::Root)
}

/// Where a value is.
enum Path<'a> {
    Root,
    Member(&'a Path<'a>, &'a str),
    Item(&'a Path<'a>, usize),
}

impl Path<'_> {
    /// With indices from 0, as the messages about unions have it.
    fn plain(&self) -> String {
        match self {
            Path::Root => String::new(),
            Path::Member(Path::Root, name) => (*name).to_owned(),
            Path::Member(parent, name) => format!("{}.{name}", parent.plain()),
            Path::Item(parent, at) => format!("{}.{at}", parent.plain()),
        }
    }
}

/// With indices from 1, as the messages about constraints have it.
impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Member(Path::Root, name) => f.write_str(name),
            Path::Member(parent, name) => write!(f, "{parent}.{name}"),
            Path::Item(parent, at) => write!(f, "{parent}.{}.member", at + 1),
        }
    }
}

impl Shape {
    fn check(&self, value: &Value, path: &Path<'_>) -> Result<(), Invalid> {
        match self {
            Shape::Document => Ok(()),
            Shape::Flag => match value {
                Value::Bool(_) => Ok(()),
                _ => Err(wrong_type(path, "a boolean")),
            },
            Shape::Text { min, max, pattern } => {
                let text = value.as_str().ok_or_else(|| wrong_type(path, "a string"))?;
                check_length(text.chars().count(), *min, *max, Some(text), path)?;
                match pattern.filter(|pattern| !(pattern.fits)(text)) {
                    None => Ok(()),
                    Some(pattern) => {
                        let rule = format!(
                            "Member must satisfy regular expression pattern: {}",
                            pattern.regex
                        );
                        Err(unsatisfied(Some(text), path, &rule))
                    }
                }
            }
            Shape::Name(names) => {
                let text = value.as_str().ok_or_else(|| wrong_type(path, "a string"))?;
                if names.contains(&text) {
                    return Ok(());
                }
                let rule = format!("Member must satisfy enum value set: [{}]", names.join(", "));
                Err(unsatisfied(Some(text), path, &rule))
            }
            Shape::Integer { min } => {
                let number = value.as_i64().ok_or_else(|| wrong_type(path, "an integer"))?;
                if number >= *min {
                    return Ok(());
                }
                let rule = format!("Member must have value greater than or equal to {min}");
                Err(unsatisfied(Some(&number.to_string()), path, &rule))
            }
            Shape::Number { min, max } => {
                let number = value.as_f64().ok_or_else(|| wrong_type(path, "a number"))?;
                let rule = match number {
                    number if number < *min => {
                        format!("Member must have value greater than or equal to {min}")
                    }
                    number if number > *max => {
                        format!("Member must have value less than or equal to {max}")
                    }
                    _ => return Ok(()),
                };
                Err(unsatisfied(Some(&number.to_string()), path, &rule))
            }
            Shape::Blob { min } => {
                let text = value.as_str().ok_or_else(|| wrong_type(path, "a base64 string"))?;
                let bytes = decoded_length(text).ok_or_else(|| wrong_type(path, "valid base64"))?;
                check_length(bytes, *min, usize::MAX, None, path)
            }
            Shape::List { min, max, item } => {
                let items = value.as_array().ok_or_else(|| wrong_type(path, "a list"))?;
                check_length(items.len(), *min, *max, None, path)?;
                let mut places = items.iter().enumerate();
                places.try_for_each(|(at, value)| item.check(value, &Path::Item(path, at)))
            }
            Shape::Map { min, max, key, value: shape } => {
                let entries = value.as_object().ok_or_else(|| wrong_type(path, "an object"))?;
                check_length(entries.len(), *min, *max, None, path)?;
                entries.iter().try_for_each(|(name, value)| {
                    let path = Path::Member(path, name);
                    key.check(&Value::from(name.as_str()), &path)?;
                    shape.check(value, &path)
                })
            }
            Shape::Structure(members) => {
                let value = value.as_object().ok_or_else(|| wrong_type(path, "an object"))?;
                check_members(value, members, path)
            }
            Shape::Union(name, members) => {
                let value = value.as_object().ok_or_else(|| wrong_type(path, "an object"))?;
                check_members(value, members, path)?;
                if value.values().filter(|value| !value.is_null()).count() == 1 {
                    return Ok(());
                }
                let names: Vec<&str> = members.iter().map(|member| member.name).collect();
                Err(Invalid::new(format!(
                    "{name} object at {} must set one of the following keys: {}.",
                    path.plain(),
                    names.join(", ")
                )))
            }
        }
    }
}

fn check_members(
    value: &Map<String, Value>,
    members: &[Member],
    path: &Path<'_>,
) -> Result<(), Invalid> {
    let there = |name: &str| value.get(name).filter(|value| !value.is_null());
    let missing = members.iter().find(|it| it.is_required && there(it.name).is_none());
    if let Some(missing) = missing {
        let path = Path::Member(path, missing.name);
        return Err(unsatisfied(None, &path, "Member must not be null"));
    }
    for (name, value) in value.iter().filter(|(_, value)| !value.is_null()) {
        let path = Path::Member(path, name);
        match members.iter().find(|member| member.name == name) {
            Some(member) => member.shape.check(value, &path)?,
            None => {
                return Err(Invalid::new(format!(
                    "The request is not well formed: no member '{path}' is known. Remove it and \
                     try again."
                )));
            }
        }
    }
    Ok(())
}

fn check_length(
    length: usize,
    min: usize,
    max: usize,
    text: Option<&str>,
    path: &Path<'_>,
) -> Result<(), Invalid> {
    let rule = match length {
        length if length < min => {
            format!("Member must have length greater than or equal to {min}")
        }
        length if length > max => format!("Member must have length less than or equal to {max}"),
        _ => return Ok(()),
    };
    Err(unsatisfied(text, path, &rule))
}

fn unsatisfied(value: Option<&str>, path: &Path<'_>, rule: &str) -> Invalid {
    let value = match value {
        Some(value) => format!("Value '{}'", value.chars().take(SHOWN).collect::<String>()),
        None => "Value".to_owned(),
    };
    Invalid::new(format!(
        "1 validation error detected: {value} at '{path}' failed to satisfy constraint: {rule}"
    ))
}

fn wrong_type(path: &Path<'_>, expected: &str) -> Invalid {
    Invalid::new(format!("The request is not well formed: '{path}' must be {expected}."))
}

/// How many bytes a text in base64 stands for; `None` if it is none.
pub(super) fn decoded_length(text: &str) -> Option<usize> {
    let padded = text.bytes().rev().take(2).take_while(|byte| *byte == b'=').count();
    let body = text.get(..text.len() - padded)?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    let is_base64 = text.len().is_multiple_of(4) && body.bytes().all(fits);
    is_base64.then(|| body.len() * 3 / 4)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    static NAME: Shape = Shape::Text { min: 1, max: 3, pattern: None };
    static BLOCK: Shape =
        Shape::Union("Block", &[optional("text", &NAME), optional("n", &Shape::Flag)]);
    static BLOCKS: Shape = Shape::List { min: 1, max: 2, item: &BLOCK };
    static ROOT: Shape = Shape::Structure(&[
        required("blocks", &BLOCKS),
        optional("part", &Shape::Number { min: 0.0, max: 1.0 }),
        optional("bytes", &Shape::Blob { min: 1 }),
    ]);

    fn told(body: Value) -> String {
        check(&body, &ROOT).map_or_else(|why| why.to_string(), |()| "fits".to_owned())
    }

    #[test]
    fn what_has_the_shape_is_taken_and_null_is_as_nothing() {
        let body = json!({"blocks": [{"text": "abc", "n": null}], "part": 1, "bytes": "aGk="});
        assert_eq!(told(body), "fits");
        assert_eq!(told(json!({"blocks": [{"n": false}], "part": null})), "fits");
    }

    #[test]
    fn each_mistake_is_named_with_its_place() {
        let block = json!({"text": "a"});
        for (body, part) in [
            (json!({}), "'blocks' failed to satisfy constraint: Member must not be null"),
            (json!({"blocks": []}), "length greater than or equal to 1"),
            (json!({"blocks": [block, block, block]}), "length less than or equal to 2"),
            (json!({"blocks": [{"text": "abcd"}]}), "'abcd' at 'blocks.1.member.text'"),
            (json!({"blocks": [block, {}]}), "Block object at blocks.1 must set one of"),
            (
                json!({"blocks": [{"text": "a", "n": true}]}),
                "must set one of the following keys: text, n.",
            ),
            (json!({"blocks": [block], "part": 1.5}), "less than or equal to 1"),
            (json!({"blocks": [block], "part": "1"}), "'part' must be a number"),
            (json!({"blocks": [block], "bytes": ""}), "length greater than or equal to 1"),
            (json!({"blocks": [block], "bytes": "a b"}), "must be valid base64"),
            (json!({"blocks": [block], "other": 1}), "no member 'other' is known"),
        ] {
            let told = told(body);
            assert!(told.contains(part), "{told}");
        }
    }
}

//! Embeddings of Titan, Cohere and Nova. Vectors are made from the input alone, so that the same input
//! always has the same vector.
//!
//! These models check their bodies by JSON schemas, and name what is wrong by the words of these.

mod cohere;
mod nova;
mod titan;

use serde_json::Value;

use super::Invalid;

pub(super) use self::cohere::CohereEmbed;
pub(super) use self::nova::NovaEmbed;
pub(super) use self::titan::TitanEmbed;

/// A vector of `size` numbers and of length 1, made from the input.
fn vector(input: &str, size: u64) -> Vec<f64> {
    let seed = input.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut rng = fastrand::Rng::with_seed(seed);
    let numbers: Vec<f64> = (0..size).map(|_| rng.f64() * 2.0 - 1.0).collect();
    let norm = numbers.iter().map(|n| n * n).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
    numbers.into_iter().map(|n| n / norm).collect()
}

fn malformed(what: &str) -> Invalid {
    Invalid::new(format!(
        "Malformed input request: {what}, please reformat your input and try again."
    ))
}

/// Refuses members that are not among these.
fn check_members(value: &Value, path: &str, known: &[&str]) -> Result<(), Invalid> {
    let members = value.as_object();
    let members = members.ok_or_else(|| {
        malformed(&format!("{path}: expected type: JSONObject, found: {}", kind_of(value)))
    })?;
    match members.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(malformed(&format!("{path}: extraneous key [{name}] is not permitted"))),
        None => Ok(()),
    }
}

/// A member that must be there.
fn required<'a>(value: &'a Value, path: &str, name: &str) -> Result<&'a Value, Invalid> {
    let member = value.get(name).filter(|member| !member.is_null());
    member.ok_or_else(|| malformed(&format!("{path}: required key [{name}] not found")))
}

/// A text of 1 to `max` characters.
fn text<'a>(value: &'a Value, path: &str, max: usize) -> Result<&'a str, Invalid> {
    let text = value.as_str().ok_or_else(|| {
        malformed(&format!("{path}: expected type: String, found: {}", kind_of(value)))
    })?;
    match text.chars().count() {
        0 => Err(malformed(&format!("{path}: expected minLength: 1, actual: 0"))),
        length if length > max => {
            Err(malformed(&format!("{path}: expected maxLength: {max}, actual: {length}")))
        }
        _ => Ok(text),
    }
}

/// A member that is one of these texts, if it is there.
fn name<'a>(value: &'a Value, member: &str, known: &[&str]) -> Result<Option<&'a str>, Invalid> {
    let Some(value) = value.get(member).filter(|value| !value.is_null()) else { return Ok(None) };
    match value.as_str().filter(|text| known.contains(text)) {
        Some(text) => Ok(Some(text)),
        None => Err(malformed(&format!("#/{member}: {value} is not a valid enum value"))),
    }
}

/// A member that is one of these numbers, if it is there.
fn size(value: &Value, member: &str, known: &[u64]) -> Result<Option<u64>, Invalid> {
    let Some(value) = value.get(member).filter(|value| !value.is_null()) else { return Ok(None) };
    match value.as_u64().filter(|size| known.contains(size)) {
        Some(size) => Ok(Some(size)),
        None => Err(malformed(&format!("#/{member}: {value} is not a valid enum value"))),
    }
}

/// A member that is a list of these texts, not empty if it is there.
fn names<'a>(value: &'a Value, member: &str, known: &[&str]) -> Result<Vec<&'a str>, Invalid> {
    let Some(value) = value.get(member).filter(|value| !value.is_null()) else {
        return Ok(Vec::new());
    };
    let named: Option<Vec<&str>> = value.as_array().and_then(|values| {
        values.iter().map(|value| value.as_str().filter(|text| known.contains(text))).collect()
    });
    named.filter(|names| !names.is_empty()).ok_or_else(|| {
        malformed(&format!("#/{member}: {value} is not a list of valid enum values"))
    })
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "Null",
        Value::Bool(_) => "Boolean",
        Value::Number(_) => "Number",
        Value::String(_) => "String",
        Value::Array(_) => "JSONArray",
        Value::Object(_) => "JSONObject",
    }
}

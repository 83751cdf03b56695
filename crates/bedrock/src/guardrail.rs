//! The guardrails that a request names: in headers for the Invoke operations, in `guardrailConfig`
//! for Converse.
//!
//! What a body says is read as strictly as a policy needs it: every `guardrailConfig` counts, by
//! whatever spelling of its key and however often it stands there, since which of them counts is
//! the upstream's choice.

use bytes::{BufMut, Bytes, BytesMut};

use super::json::{JsonError, Scanner, Type};

/// Header that names a guardrail.
pub const IDENTIFIER: &str = "x-amzn-bedrock-guardrailidentifier";

/// Header that names its version.
pub const VERSION: &str = "x-amzn-bedrock-guardrailversion";

/// A guardrail as a request names it; absent parts are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// Its id or ARN.
    pub identifier: Option<String>,
    /// Its version.
    pub version: Option<String>,
}

/// All guardrails that a Converse body names. A member that is no object, or whose keys repeat
/// with other values, gives an empty one.
///
/// # Errors
/// When the body is no JSON object.
pub fn named_in_converse(body: &[u8]) -> Result<Vec<Named>, JsonError> {
    let mut scanner = Scanner::new(body);
    if scanner.peek()? != Type::Object {
        return Err(JsonError { at: scanner.position(), what: "expected an object" });
    }
    let mut all = Vec::new();
    scanner.object(|key, scanner| {
        if key == "guardrailConfig" {
            all.push(read(scanner)?);
        }
        Ok(())
    })?;
    scanner.end()?;
    Ok(all)
}

fn read(scanner: &mut Scanner<'_>) -> Result<Named, JsonError> {
    let (mut named, mut repeated) = (Named::default(), false);
    scanner.object(|key, scanner| {
        let slot = match key {
            "guardrailIdentifier" => &mut named.identifier,
            "guardrailVersion" => &mut named.version,
            _ => return Ok(()),
        };
        let value = match scanner.peek()? {
            Type::String => Some(scanner.string()?.into_owned()),
            _ => None,
        };
        repeated |=
            value.is_none() || slot.as_ref().is_some_and(|before| Some(before) != value.as_ref());
        *slot = value;
        Ok(())
    })?;
    Ok(if repeated { Named::default() } else { named })
}

/// A Converse body that names none, with this one put in; every other byte stays as it is. `None`
/// if the body is no object.
pub fn put_in(body: &[u8], identifier: &str, version: &str) -> Option<Bytes> {
    let open = body.iter().position(|byte| !byte.is_ascii_whitespace())?;
    let rest = body.get(open..)?.strip_prefix(b"{")?;
    let is_empty = rest.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'}');
    let config = serde_json::json!({
        "guardrailIdentifier": identifier,
        "guardrailVersion": version,
    });
    let member = format!("{{\"guardrailConfig\":{config}{}", if is_empty { "" } else { "," });
    let mut changed = BytesMut::with_capacity(body.len() + member.len());
    changed.put_slice(member.as_bytes());
    changed.put_slice(rest);
    Some(changed.freeze())
}

/// The model that a body of StartAsyncInvoke names, or every one of them if the key repeats.
///
/// # Errors
/// When the body is not JSON.
pub fn async_models(body: &[u8]) -> Result<Vec<String>, JsonError> {
    let (mut scanner, mut models) = (Scanner::new(body), Vec::new());
    scanner.object(|key, scanner| {
        if key == "modelId" && scanner.peek()? == Type::String {
            models.push(scanner.string()?.into_owned());
        }
        Ok(())
    })?;
    scanner.end()?;
    Ok(models)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn named(identifier: &str, version: &str) -> Named {
        Named { identifier: Some(identifier.to_owned()), version: Some(version.to_owned()) }
    }

    #[test]
    fn every_way_to_name_one_is_seen() {
        for (body, wanted) in [
            (r#"{"messages":[{"guardrailConfig":{}}]}"#, vec![]),
            (
                r#"{"guardrailConfig":{"guardrailIdentifier":"a","guardrailVersion":"1"}}"#,
                vec![named("a", "1")],
            ),
            (
                r#"{"guardrail\u0043onfig":{"guardrailIdentifier":"a","guardrailVersion":"1"}}"#,
                vec![named("a", "1")],
            ),
            (r#"{"guardrailConfig":null}"#, vec![Named::default()]),
            (
                r#"{"guardrailConfig":{"guardrailIdentifier":"a","guardrailVersion":"1","guardrailIdentifier":"b"}}"#,
                vec![Named::default()],
            ),
            (
                r#"{"guardrailConfig":{"guardrailIdentifier":"a","guardrailVersion":"1"},"guardrailConfig":{}}"#,
                vec![named("a", "1"), Named::default()],
            ),
        ] {
            assert_eq!(named_in_converse(body.as_bytes()).unwrap(), wanted, "{body}");
        }
        for bad in ["", "[]", "{", "{} {}", "nonsense"] {
            assert!(named_in_converse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_guardrail_is_inserted_and_the_rest_is_unchanged() {
        let put = |body: &str| String::from_utf8(put_in(body.as_bytes(), "g", "2").unwrap().into());
        let member = r#""guardrailConfig":{"guardrailIdentifier":"g","guardrailVersion":"2"}"#;
        assert_eq!(put(" {} ").unwrap(), format!("{{{member}}} "));
        assert_eq!(put("{ \"a\" : 1.0 }").unwrap(), format!("{{{member}, \"a\" : 1.0 }}"));
        assert_eq!(put_in(b"[]", "g", "2"), None);
    }

    #[test]
    fn models_of_async_invocations_are_found() {
        let models = async_models(br#"{"modelId":"a","x":{"modelId":"b"},"modelId":"c"}"#);
        assert_eq!(models.unwrap(), ["a", "c"]);
    }

    proptest! {
        #[test]
        fn an_inserted_guardrail_is_read_back(keys in prop::collection::btree_map("[a-z]{1,4}", 0..9u8, 0..5)) {
            let body = serde_json::to_vec(&keys).unwrap();
            let changed = put_in(&body, "gr-1", "DRAFT").unwrap();
            prop_assert_eq!(named_in_converse(&changed).unwrap(), vec![named("gr-1", "DRAFT")]);
            let mut read: serde_json::Map<_, _> = serde_json::from_slice(&changed).unwrap();
            read.remove("guardrailConfig");
            prop_assert_eq!(serde_json::to_value(&keys).unwrap(), serde_json::Value::Object(read));
        }
    }
}

//! What distinguishes clients for their limits.

use http::HeaderName;
#[cfg(test)]
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::units::TextForm;

/// What distinguishes clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitKey {
    /// The access key id that the client signs with.
    AccessKey,
    /// The client's IP address.
    Ip,
    /// The value of this header.
    Header(HeaderName),
}

impl TextForm for LimitKey {
    type Value = LimitKey;

    fn read(text: &str) -> Result<LimitKey, String> {
        match text.split_once(':') {
            None if text == "access_key" => Ok(LimitKey::AccessKey),
            None if text == "ip" => Ok(LimitKey::Ip),
            Some(("header", name)) => name
                .parse()
                .map(LimitKey::Header)
                .map_err(|_| format!("'{name}' is not the name of a header")),
            _ => Err(format!("must be \"access_key\", \"ip\" or \"header:NAME\", not \"{text}\"")),
        }
    }

    #[cfg(test)]
    fn write(value: &LimitKey) -> String {
        match value {
            LimitKey::AccessKey => "access_key".to_owned(),
            LimitKey::Ip => "ip".to_owned(),
            LimitKey::Header(name) => format!("header:{name}"),
        }
    }
}

#[cfg(test)]
impl JsonSchema for LimitKey {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "LimitKey".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "limit-key" })
    }
}

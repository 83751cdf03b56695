//! What distinguishes clients for their limits.

use http::HeaderName;

use super::units::TextForm;
#[cfg(test)]
use super::units::schema_of;

/// Headers with keys of clients.
const SECRET: [&str; 5] =
    ["authorization", "x-api-key", "api-key", "cookie", "x-amz-security-token"];

/// What distinguishes clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LimitKey {
    /// The access key id that the client signs with.
    #[default]
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
            Some(("header", name)) => {
                let header: HeaderName =
                    name.parse().map_err(|_| format!("'{name}' is not the name of a header"))?;
                if SECRET.contains(&header.as_str()) {
                    return Err(format!("'{name}' has a secret, and what it has would be logged"));
                }
                Ok(LimitKey::Header(header))
            }
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
schema_of!(LimitKey, { "type": "string", "format": "limit-key" });

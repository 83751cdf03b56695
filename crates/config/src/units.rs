//! Values that the file writes as text: `"60s"`, `"25MB"`, `"127.0.0.1:8080"`.
//!
//! Each form owns its reader and its JSON Schema. Validation reads every text of a form once, to report
//! all mistakes together; `#[serde(with = "...")]` then reads it into the final type. Bounds keep later
//! arithmetic from overflowing.

use std::marker::PhantomData;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use bytesize::ByteSize;
#[cfg(test)]
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// Longest duration the file may hold. Deadlines are sums of these and must not overflow.
const MAX_DURATION: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Largest size the file may hold, in bytes (1 TiB).
const MAX_BYTES: u64 = 1 << 40;

/// A form in which a value is written as text.
pub(super) trait TextForm {
    /// What the text is read into.
    type Value;

    /// Reads a text; the error is a phrase for a person.
    fn read(text: &str) -> Result<Self::Value, String>;

    /// Writes a value in its shortest usual form, for the defaults in the schema.
    #[cfg(test)]
    fn write(value: &Self::Value) -> String;

    /// For `#[serde(with = "...")]`.
    fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self::Value, D::Error> {
        Self::read(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }

    /// For `#[serde(with = "...")]`, and so for the defaults in the schema.
    #[cfg(test)]
    fn serialize<S: serde::Serializer>(
        value: &Self::Value,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Self::write(value))
    }
}

/// A text of this form, or none.
pub(super) struct Optional<F>(PhantomData<F>);

impl<F: TextForm> Optional<F> {
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<F::Value>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| F::read(&text).map_err(D::Error::custom)).transpose()
    }

    #[cfg(test)]
    pub(super) fn serialize<S: serde::Serializer>(
        value: &Option<F::Value>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => F::serialize(value, serializer),
            None => serializer.serialize_none(),
        }
    }
}

/// A duration that is not zero, such as `"60s"`.
pub(super) struct NonZeroDuration;

/// A duration that may be zero.
pub(super) struct AnyDuration;

/// A number of bytes that is not zero, such as `"25MB"`.
pub(super) struct Size;

/// An IP address and a port, such as `"127.0.0.1:8080"`.
pub(super) struct Address;

/// A time in UTC, such as `"2027-01-01T00:00:00Z"`.
pub(super) struct UtcTime;

impl TextForm for NonZeroDuration {
    type Value = Duration;

    fn read(text: &str) -> Result<Duration, String> {
        match AnyDuration::read(text)? {
            Duration::ZERO => Err("must not be zero".to_owned()),
            duration => Ok(duration),
        }
    }

    #[cfg(test)]
    fn write(value: &Duration) -> String {
        AnyDuration::write(value)
    }
}

impl TextForm for AnyDuration {
    type Value = Duration;

    fn read(text: &str) -> Result<Duration, String> {
        let duration = humantime::parse_duration(text.trim()).map_err(|_| {
            format!("'{text}' is not a duration; write it like \"60s\", \"500ms\" or \"4h\"")
        })?;
        if duration > MAX_DURATION {
            return Err(format!("'{text}' is longer than 366 days"));
        }
        Ok(duration)
    }

    #[cfg(test)]
    fn write(value: &Duration) -> String {
        let (seconds, nanos) = (value.as_secs(), value.subsec_nanos());
        match seconds {
            _ if nanos > 0 => format!("{}ms", value.as_millis()),
            3600.. if seconds % 3600 == 0 => format!("{}h", seconds / 3600),
            600.. if seconds % 60 == 0 => format!("{}m", seconds / 60),
            _ => format!("{seconds}s"),
        }
    }
}

impl TextForm for Size {
    type Value = usize;

    fn read(text: &str) -> Result<usize, String> {
        let bytes = text
            .parse::<ByteSize>()
            .map_err(|_| format!("'{text}' is not a size; write it like \"25MB\" or \"64KiB\""))?;
        match usize::try_from(bytes.as_u64()) {
            Ok(0) => Err("must not be zero".to_owned()),
            Ok(size) if bytes.as_u64() <= MAX_BYTES => Ok(size),
            _ => Err(format!("'{text}' is larger than 1TiB")),
        }
    }

    #[cfg(test)]
    fn write(value: &usize) -> String {
        let units = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "KB"), (1 << 10, "KiB")];
        let unit =
            units.into_iter().find(|(bytes, _)| value.is_multiple_of(*bytes)).unwrap_or((1, "B"));
        format!("{}{}", value / unit.0, unit.1)
    }
}

impl TextForm for Address {
    type Value = SocketAddr;

    fn read(text: &str) -> Result<SocketAddr, String> {
        text.trim()
            .parse()
            .map_err(|_| format!("'{text}' is not an address; write it like \"127.0.0.1:8080\""))
    }

    #[cfg(test)]
    fn write(value: &SocketAddr) -> String {
        value.to_string()
    }
}

impl TextForm for UtcTime {
    type Value = SystemTime;

    fn read(text: &str) -> Result<SystemTime, String> {
        humantime::parse_rfc3339(text)
            .map_err(|_| format!("'{text}' is not a time; write it like \"2027-01-01T00:00:00Z\""))
    }

    #[cfg(test)]
    fn write(value: &SystemTime) -> String {
        humantime::format_rfc3339_seconds(*value).to_string()
    }
}

/// Gives a type the schema that its text is described by.
#[cfg(test)]
macro_rules! schema_of {
    ($form:ident, $schema:tt) => {
        impl schemars::JsonSchema for $form {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($form).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!($schema)
            }
        }
    };
}

#[cfg(test)]
pub(super) use schema_of;

#[cfg(test)]
const DURATION: &str = r"^\s*(0|([0-9]+(\.[0-9]+)?\s*[a-zA-Zµ]+\s*)+)$";

#[cfg(test)]
schema_of!(NonZeroDuration, {
    "type": "string",
    "format": "duration-text",
    "pattern": DURATION,
    "examples": ["60s", "500ms", "4h"],
});

#[cfg(test)]
schema_of!(AnyDuration, {
    "type": "string",
    "format": "duration-or-zero-text",
    "pattern": DURATION,
    "examples": ["60s", "500ms", "4h"],
});

#[cfg(test)]
schema_of!(Size, {
    "type": "string",
    "format": "size-text",
    "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*([kKmMgGtT][iI]?)?[bB]?\s*$",
    "examples": ["25MB", "64KiB"],
});

#[cfg(test)]
schema_of!(Address, {
    "type": "string",
    "format": "socket-address",
});

#[cfg(test)]
schema_of!(UtcTime, {
    "type": "string",
    "format": "utc-time",
    "examples": ["2027-01-01T00:00:00Z"],
});

#[cfg(test)]
impl<F: JsonSchema> JsonSchema for Optional<F> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        F::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        F::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_and_an_end() {
        let read = AnyDuration::read;
        assert_eq!(read("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(read("1h 30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(read("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(read("0s"), Ok(Duration::ZERO));
        assert_eq!(NonZeroDuration::read("0s"), Err("must not be zero".to_owned()));
        for bad in ["60", "", "s", "-1s", "1 fortnight"] {
            assert!(read(bad).unwrap_err().contains("\"60s\""), "{bad}");
        }
        assert!(read("400days").unwrap_err().contains("366 days"));
    }

    #[test]
    fn sizes_are_decimal_or_binary_as_written() {
        let read = Size::read;
        assert_eq!(read("25MB"), Ok(25_000_000));
        assert_eq!(read("64KiB"), Ok(65_536));
        assert_eq!(read("1.5 kB"), Ok(1_500));
        for bad in ["", "MB", "-1MB", "25 apples"] {
            assert!(read(bad).unwrap_err().contains("\"25MB\""), "{bad}");
        }
        assert!(read("2TiB").unwrap_err().contains("1TiB"));
        assert_eq!(read("0B"), Err("must not be zero".to_owned()));
    }

    #[test]
    fn a_value_is_written_as_it_is_read() {
        for text in ["250ms", "0s", "1s", "300s", "10m", "15m", "1h", "4h"] {
            assert_eq!(AnyDuration::write(&AnyDuration::read(text).unwrap()), text);
        }
        for text in ["1GB", "25MB", "64KiB", "7B"] {
            assert_eq!(Size::write(&Size::read(text).unwrap()), text);
        }
    }
}

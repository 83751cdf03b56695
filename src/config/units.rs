//! Durations and sizes as the file writes them: `"60s"` and `"25MB"`.
//!
//! The text types carry the unit's JSON Schema; the readers turn the text into a
//! [`Duration`](std::time::Duration) or a number of bytes, within bounds that keep later
//! arithmetic from overflowing.

use std::time::Duration;

use bytesize::ByteSize;
#[cfg(test)]
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Longest duration the file may hold. Deadlines are sums of these and must not overflow.
const MAX_DURATION: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Largest size the file may hold, in bytes (1 TiB).
const MAX_BYTES: u64 = 1 << 40;

/// A duration as text, such as `"60s"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct DurationText(String);

/// A size as text, such as `"25MB"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct SizeText(String);

impl DurationText {
    /// Reads the text; the error is a phrase for a person.
    pub(super) fn read(&self) -> Result<Duration, String> {
        let duration = humantime::parse_duration(self.0.trim()).map_err(|_| {
            format!("'{}' is not a duration; write it like \"60s\", \"500ms\" or \"4h\"", self.0)
        })?;
        if duration > MAX_DURATION {
            return Err(format!("'{}' is longer than 366 days", self.0));
        }
        Ok(duration)
    }
}

impl SizeText {
    /// Reads the text as a number of bytes; the error is a phrase for a person.
    pub(super) fn read(&self) -> Result<usize, String> {
        let bytes = self.0.parse::<ByteSize>().map_err(|_| {
            format!("'{}' is not a size; write it like \"25MB\" or \"64KiB\"", self.0)
        })?;
        match usize::try_from(bytes.as_u64()) {
            Ok(size) if bytes.as_u64() <= MAX_BYTES => Ok(size),
            _ => Err(format!("'{}' is larger than 1TiB", self.0)),
        }
    }
}

impl From<&str> for DurationText {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<&str> for SizeText {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

#[cfg(test)]
impl JsonSchema for DurationText {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": "duration-text",
            "pattern": r"^\s*(0|([0-9]+(\.[0-9]+)?\s*[a-zA-Zµ]+\s*)+)$",
            "examples": ["60s", "500ms", "4h"],
        })
    }
}

#[cfg(test)]
impl JsonSchema for SizeText {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": "size-text",
            "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*([kKmMgGtT][iI]?)?[bB]?\s*$",
            "examples": ["25MB", "64KiB"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_and_an_end() {
        let read = |text: &str| DurationText::from(text).read();
        assert_eq!(read("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(read("1h 30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(read("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(read("0s"), Ok(Duration::ZERO));
        for bad in ["60", "", "s", "-1s", "1 fortnight"] {
            assert!(read(bad).unwrap_err().contains("\"60s\""), "{bad}");
        }
        assert!(read("400days").unwrap_err().contains("366 days"));
    }

    #[test]
    fn sizes_are_decimal_or_binary_as_written() {
        let read = |text: &str| SizeText::from(text).read();
        assert_eq!(read("25MB"), Ok(25_000_000));
        assert_eq!(read("64KiB"), Ok(65_536));
        assert_eq!(read("1.5 kB"), Ok(1_500));
        for bad in ["", "MB", "-1MB", "25 apples"] {
            assert!(read(bad).unwrap_err().contains("\"25MB\""), "{bad}");
        }
        assert!(read("2TiB").unwrap_err().contains("1TiB"));
    }
}

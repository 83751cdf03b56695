//! The service tiers of Amazon Bedrock: what a request asks for, and what its answer says has served it.
//!
//! Converse has the tier in the body, and in the `metadata` event of a stream. The Invoke operations have it
//! in a header, both ways. OpenAI's schema has it in `service_tier`. Source: AWS user guide, "Service
//! tiers for inference".

use http::{HeaderMap, HeaderName};

/// The header of the Invoke operations, in requests and in answers.
pub static SERVICE_TIER_HEADER: HeaderName = HeaderName::from_static("x-amzn-bedrock-service-tier");

/// A service tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServiceTier {
    /// The default tier.
    Standard,
    /// For work that can wait.
    Flex,
    /// Served before the others.
    Priority,
    /// Capacity that is paid by the hour.
    Reserved,
    /// A name that is not known.
    Unknown,
}

impl ServiceTier {
    /// All tiers.
    pub const ALL: [ServiceTier; 5] = [
        ServiceTier::Standard,
        ServiceTier::Flex,
        ServiceTier::Priority,
        ServiceTier::Reserved,
        ServiceTier::Unknown,
    ];

    /// The tier of a name on the wire, in a request or in an answer.
    pub fn of(name: &str) -> ServiceTier {
        match name {
            "default" | "standard" | "auto" | "standard_only" => ServiceTier::Standard,
            "flex" => ServiceTier::Flex,
            "priority" => ServiceTier::Priority,
            "reserved" => ServiceTier::Reserved,
            _ => ServiceTier::Unknown,
        }
    }

    /// Its name in the catalogue, the config, logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            ServiceTier::Standard => "standard",
            ServiceTier::Flex => "flex",
            ServiceTier::Priority => "priority",
            ServiceTier::Reserved => "reserved",
            ServiceTier::Unknown => "unknown",
        }
    }

    /// The tier in the headers of a request or an answer. Of several, the dearest.
    pub fn in_headers(headers: &HeaderMap) -> Option<ServiceTier> {
        let values = headers.get_all(&SERVICE_TIER_HEADER).into_iter();
        let tiers =
            values.map(|value| ServiceTier::of(String::from_utf8_lossy(value.as_bytes()).trim()));
        tiers.reduce(ServiceTier::dearer)
    }

    /// The one that can cost more. A tier that is not known can cost the most.
    pub fn dearer(self, other: ServiceTier) -> ServiceTier {
        if other.rank() > self.rank() { other } else { self }
    }

    fn rank(self) -> u8 {
        match self {
            ServiceTier::Flex => 0,
            ServiceTier::Standard => 1,
            ServiceTier::Reserved => 2,
            ServiceTier::Priority => 3,
            ServiceTier::Unknown => 4,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn every_name_on_the_wire_has_its_tier() {
        for (name, wanted) in [
            ("default", "standard"),
            ("auto", "standard"),
            ("flex", "flex"),
            ("priority", "priority"),
            ("reserved", "reserved"),
            ("express", "unknown"),
        ] {
            assert_eq!(ServiceTier::of(name).name(), wanted, "{name}");
        }
    }

    #[test]
    fn the_dearest_of_several_headers_counts() {
        let mut headers = HeaderMap::new();
        assert_eq!(ServiceTier::in_headers(&headers), None);
        for name in ["flex", "priority", "default"] {
            headers.append(&SERVICE_TIER_HEADER, HeaderValue::from_static(name));
        }
        assert_eq!(ServiceTier::in_headers(&headers), Some(ServiceTier::Priority));
    }
}

//! The names of the header fields of responses.
//!
//! The `http` crate keeps a name that it does not know in memory of its own. Those that Bedrock sends with
//! each answer are listed here, so that an answer takes no memory for them. Source of the names: Amazon
//! Bedrock API Reference, "InvokeModel" and "Converse", response syntax.

use http::HeaderName;
use http::header::InvalidHeaderName;

macro_rules! names {
    ($($name:literal)*) => {
        [$(HeaderName::from_static($name)),*]
    };
}

static OF_BEDROCK: [HeaderName; 10] = names! {
    "x-amzn-requestid"
    "x-amzn-errortype"
    "x-amzn-bedrock-content-type"
    "x-amzn-bedrock-service-tier"
    "x-amzn-bedrock-performanceconfig-latency"
    "x-amzn-bedrock-invocation-latency"
    "x-amzn-bedrock-input-token-count"
    "x-amzn-bedrock-output-token-count"
    "x-amzn-bedrock-cache-read-input-token-count"
    "x-amzn-bedrock-cache-write-input-token-count"
};

/// The name that is written like this, in whatever case.
///
/// # Errors
/// When no field can have that name.
pub(super) fn parse(bytes: &[u8]) -> Result<HeaderName, InvalidHeaderName> {
    let is_it = |name: &&HeaderName| {
        name.as_str().len() == bytes.len() && name.as_str().as_bytes().eq_ignore_ascii_case(bytes)
    };
    let known = || OF_BEDROCK.iter().find(is_it).cloned();
    let may_be_known = matches!(bytes, [b'x' | b'X', b'-', b'a' | b'A', ..]);
    may_be_known.then(known).flatten().map_or_else(|| HeaderName::from_bytes(bytes), Ok)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_name_is_the_one_that_the_http_crate_reads(
            known in proptest::sample::select(&OF_BEDROCK[..]),
            cases: [bool; 48],
            other in "[ -~]{0,20}",
        ) {
            let mut written = known.as_str().as_bytes().to_vec();
            for (byte, is_upper) in written.iter_mut().zip(cases) {
                if is_upper {
                    byte.make_ascii_uppercase();
                }
            }
            prop_assert_eq!(&parse(&written).unwrap(), &known);
            for bytes in [&written[1..], other.as_bytes(), format!("x-a{other}").as_bytes()] {
                prop_assert_eq!(parse(bytes).ok(), HeaderName::from_bytes(bytes).ok());
            }
        }
    }
}

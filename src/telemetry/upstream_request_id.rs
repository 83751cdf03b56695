//! The id that an upstream gives a request, which Bedrock's support and CloudTrail know it by.
//!
//! It is kept only if it is plain and short. It is stored in place, so that it costs a request no allocation.

use std::fmt;

use http::{HeaderMap, HeaderName};

/// The header that has it.
static HEADER: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// Longest id that is kept, in bytes. Bedrock's have 36.
const MAX_LENGTH: usize = 64;

/// The id that an upstream gave a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct UpstreamRequestId {
    bytes: [u8; MAX_LENGTH],
    length: u8,
}

impl UpstreamRequestId {
    /// The id in the headers of an upstream's answer, if it has 1 to 64 letters, digits and hyphens.
    pub fn of(headers: &HeaderMap) -> Option<UpstreamRequestId> {
        let text = headers.get(&HEADER)?.as_bytes();
        if text.is_empty() || !text.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
        {
            return None;
        }
        let mut bytes = [0; MAX_LENGTH];
        bytes.get_mut(..text.len())?.copy_from_slice(text);
        Some(UpstreamRequestId { bytes, length: u8::try_from(text.len()).ok()? })
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        let text = self.bytes.get(..usize::from(self.length)).unwrap_or_default();
        // All of it is ASCII.
        str::from_utf8(text).unwrap_or_default()
    }
}

impl fmt::Debug for UpstreamRequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_a_plain_and_short_id_is_kept() {
        let of = |text: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(&HEADER, HeaderValue::from_bytes(text).unwrap());
            UpstreamRequestId::of(&headers).map(|id| id.as_str().to_owned())
        };
        let id = "25e27cb5-333a-4b96-8e36-f1b7bb9b55f3";
        assert_eq!(of(id.as_bytes()).as_deref(), Some(id));
        assert_eq!(of(&[b'a'; 64]).map(|id| id.len()), Some(64));
        for bad in [b"".as_slice(), &[b'a'; 65], b"a b", b"a\"b", b"\xff", b"a=b"] {
            assert_eq!(of(bad), None, "{bad:?}");
        }
        assert_eq!(UpstreamRequestId::of(&HeaderMap::new()), None);
    }
}

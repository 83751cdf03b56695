//! The inbound authorization header: an access key id or none, never more than that; and the claim
//! of a signature, read whole or not at all.
#![no_main]

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use sluice::bedrock::sigv4::Authorization;
use sluice::clients::identify;
use sluice::config::LimitKey;

fuzz_target!(|value: &[u8]| {
    let Ok(value) = HeaderValue::from_bytes(value) else { return };
    if let Some(claim) = value.to_str().ok().and_then(|text| Authorization::parse(text).ok()) {
        assert!(!claim.access_key_id.is_empty() && !claim.signature.is_empty());
    }
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, value);
    let client = identify(&headers, ([127, 0, 0, 1], 1).into(), &LimitKey::AccessKey);
    if let Some(id) = client.access_key_id {
        assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
    }
});

//! The inbound authorization header: an access key id or none, never more than that.
#![no_main]

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use sluice::clients::identify;
use sluice::config::LimitKey;

fuzz_target!(|value: &[u8]| {
    let Ok(value) = HeaderValue::from_bytes(value) else { return };
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, value);
    let client = identify(&headers, ([127, 0, 0, 1], 1).into(), &LimitKey::AccessKey);
    if let Some(id) = client.access_key_id {
        assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
    }
});

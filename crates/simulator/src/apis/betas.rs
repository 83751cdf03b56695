//! The beta flags that each endpoint takes in `anthropic-beta`, and the members of Messages that need one.

use std::sync::LazyLock;

use http::HeaderMap;
use serde::Deserialize;
use serde_json::Value;

use super::super::reply::Failure;
use super::asked::member;
use sluice_bedrock::ErrorKind;
use sluice_catalogue::Endpoint;

#[derive(Default, Deserialize)]
struct Flags {
    runtime: Vec<String>,
    mantle: Vec<String>,
}

static FLAGS: LazyLock<Flags> =
    LazyLock::new(|| serde_json::from_str(include_str!("betas.json")).unwrap_or_default());

/// Refuses a flag that the endpoint does not take.
///
/// # Errors
/// When there is one.
pub(super) fn check(endpoint: Endpoint, headers: &HeaderMap) -> Result<(), Failure> {
    let known = match endpoint {
        Endpoint::Runtime => &FLAGS.runtime,
        Endpoint::Mantle => &FLAGS.mantle,
    };
    for value in headers.get_all("anthropic-beta") {
        let text = String::from_utf8_lossy(value.as_bytes());
        let flags = text.split(',').map(str::trim).filter(|flag| !flag.is_empty());
        if let Some(_unknown) = flags.into_iter().find(|flag| !known.iter().any(|it| it == flag)) {
            return Err(Failure::new(ErrorKind::Validation, "invalid beta flag"));
        }
    }
    Ok(())
}

/// Members of Messages, and how a flag begins without which they are not known.
const FLAGGED: [(&str, &str); 1] = [("output_format", "structured-outputs-")];

/// Refuses a member whose flag the request does not have.
///
/// # Errors
/// When there is one.
pub(super) fn check_members(body: &Value, headers: &HeaderMap) -> Result<(), Failure> {
    let has = |beginning: &str| {
        headers.get_all("anthropic-beta").into_iter().any(|value| {
            let text = String::from_utf8_lossy(value.as_bytes());
            text.split(',').any(|flag| flag.trim().starts_with(beginning))
        })
    };
    for (name, flag) in FLAGGED {
        if member(body, name).is_some() && !has(flag) {
            let message = format!("{name}: Extra inputs are not permitted");
            return Err(Failure::new(ErrorKind::Validation, message));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn an_endpoint_takes_its_own_flags_alone() {
        let mut headers = HeaderMap::new();
        let mut takes = |endpoint, text: &'static str| {
            headers.insert("anthropic-beta", HeaderValue::from_static(text));
            check(endpoint, &headers).is_ok()
        };
        let both = "effort-2025-11-24, tool-search-tool-2025-10-19";
        assert!(takes(Endpoint::Runtime, both) && takes(Endpoint::Mantle, both));
        let of_mantle = "effort-2025-11-24,claude-code-20250219";
        assert!(!takes(Endpoint::Runtime, of_mantle) && takes(Endpoint::Mantle, of_mantle));
        // A flag that stands for another one on Bedrock is not known by its own name.
        assert!(!takes(Endpoint::Mantle, "advanced-tool-use-2025-11-20"));
        assert!(!takes(Endpoint::Mantle, "files-api-2025-04-14"));
        assert!(takes(Endpoint::Runtime, ""));
    }
}

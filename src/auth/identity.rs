//! Identifies the caller of a request, as configured: by the access key id of its signature, which is not a
//! secret, by its address, or by a header.

use std::net::SocketAddr;
use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::config::LimitKey;
use crate::limits::{Caller, CallerKind};

/// Longest accepted access key id, or value of an identifying header, in bytes.
const MAX_NAME: usize = 128;

/// Identifies the caller of a request with these headers from this address, if it is not `known` already.
pub fn identify(
    headers: &HeaderMap,
    peer: SocketAddr,
    by: &LimitKey,
    known: Option<CallerKind>,
) -> Caller {
    let access_key_id: Option<Arc<str>> = access_key_id(headers).map(Arc::from);
    if let Some(kind) = known {
        return Caller { kind, access_key_id };
    }
    let named = match by {
        LimitKey::AccessKey => access_key_id.clone(),
        LimitKey::Ip => None,
        LimitKey::Header(name) => {
            let value = headers.get(name).and_then(|value| value.to_str().ok());
            value.filter(|value| !value.is_empty() && value.len() <= MAX_NAME).map(Arc::from)
        }
    };
    // Without an identifier the address identifies the caller.
    let key = named.unwrap_or_else(|| peer.ip().to_string().into());
    Caller { kind: CallerKind::Anonymous(key), access_key_id }
}

/// The access key id in `AWS4-HMAC-SHA256 Credential=<id>/<date>/...`.
fn access_key_id(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (_, credential) = value.strip_prefix("AWS4-HMAC-SHA256")?.split_once("Credential=")?;
    let (id, _) = credential.split_once('/')?;
    let is_id = !id.is_empty()
        && id.len() <= MAX_NAME
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    is_id.then_some(id)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn client(headers: &[(&'static str, &str)], by: &LimitKey) -> Caller {
        let headers = headers.iter().map(|(name, value)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        });
        identify(&headers.collect(), "192.0.2.7:4711".parse().unwrap(), by, None)
    }

    fn id_in(authorization: &str) -> Option<String> {
        let client = client(&[("authorization", authorization)], &LimitKey::AccessKey);
        client.access_key_id.map(|id| id.to_string())
    }

    #[test]
    fn only_a_well_formed_access_key_id_is_noted() {
        let signed = "AWS4-HMAC-SHA256 Credential=AKID/20261123/us-east-1/bedrock/aws4_request, SignedHeaders=host, Signature=ab";
        assert_eq!(id_in(signed).as_deref(), Some("AKID"));
        assert_eq!(id_in("Bearer very-secret"), None);
        assert_eq!(id_in("AWS4-HMAC-SHA256 Credential=/x"), None);
        assert_eq!(id_in("AWS4-HMAC-SHA256 Credential=a b/x"), None);
        assert_eq!(id_in(&format!("AWS4-HMAC-SHA256 Credential={}/x", "a".repeat(129))), None);
    }

    #[test]
    fn clients_count_by_what_the_config_says_and_else_by_address() {
        let signed = ("authorization", "AWS4-HMAC-SHA256 Credential=AKID/x");
        let team = ("x-team", "red");
        let by_team = LimitKey::Header(HeaderName::from_static("x-team"));
        assert_eq!(&**client(&[signed, team], &LimitKey::AccessKey).key(), "AKID");
        assert_eq!(&**client(&[signed, team], &by_team).key(), "red");
        assert_eq!(&**client(&[signed, team], &LimitKey::Ip).key(), "192.0.2.7");
        assert_eq!(&**client(&[], &by_team).key(), "192.0.2.7");
    }
}

//! Who is calling: the access key that an SDK signed with, which is an identifier, not a secret.

use std::future::{Ready, ready};

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::observe::Observed;
use super::refusal::Refused;
use super::step::Step;

/// Longest access key id that is noted.
const MAX_ACCESS_KEY_ID: usize = 128;

#[derive(Clone, Debug)]
pub(super) struct Identify;

impl<B> Step<Observed<B>> for Identify {
    type Out = Observed<B>;
    type Future = Ready<Result<Observed<B>, Refused>>;

    fn take(&self, mut request: Observed<B>) -> Self::Future {
        request.exchange.client = access_key_id(&request.arrival.head.headers).map(str::to_owned);
        ready(Ok(request))
    }
}

/// The access key id in `AWS4-HMAC-SHA256 Credential=<id>/<date>/...`.
fn access_key_id(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (_, credential) = value.strip_prefix("AWS4-HMAC-SHA256")?.split_once("Credential=")?;
    let (id, _) = credential.split_once('/')?;
    let is_id = !id.is_empty()
        && id.len() <= MAX_ACCESS_KEY_ID
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    is_id.then_some(id)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn id_in(authorization: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_str(authorization).unwrap());
        access_key_id(&headers).map(str::to_owned)
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
}

//! The clients that the config names, told by the bearer key they present.
//!
//! Only digests of keys are held. One lookup tells whose a key is, however many clients there are.

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::config::{self, BearerKey};

/// Why a request is nobody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unauthenticated {
    /// It has no authorization at all.
    #[error("Missing Authentication Token")]
    Missing,
    /// Its bearer key is no client's.
    #[error("Authentication failed: the API key is not valid.")]
    UnknownKey,
    /// It is authorized by other means than a bearer key.
    #[error(
        "The security token included in the request is invalid: this gateway takes a bearer key."
    )]
    NoKey,
}

/// The keys of all clients.
#[derive(Debug)]
pub struct Keys {
    names: HashMap<BearerKey, Arc<str>>,
}

impl Keys {
    /// The keys of these clients. Without clients everybody may call.
    pub fn new(clients: &[config::Client]) -> Keys {
        let named =
            |client: &config::Client| (client.bearer_token.clone(), client.name.as_str().into());
        Keys { names: clients.iter().map(named).collect() }
    }

    /// Whose request this is; `None` if everybody may call.
    ///
    /// # Errors
    /// When only clients may call and this is none.
    pub fn client(&self, headers: &HeaderMap) -> Result<Option<Arc<str>>, Unauthenticated> {
        if self.names.is_empty() {
            return Ok(None);
        }
        let authorization = headers.get(AUTHORIZATION).ok_or(Unauthenticated::Missing)?;
        let key = authorization.to_str().ok().and_then(bearer).ok_or(Unauthenticated::NoKey)?;
        let name = self.names.get(&BearerKey::of(key)).ok_or(Unauthenticated::UnknownKey)?;
        Ok(Some(Arc::clone(name)))
    }
}

/// The token of a `Bearer` authorization (RFC 6750, section 2.1); the scheme in any case.
pub fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn asked(authorization: Option<&str>) -> Result<Option<String>, Unauthenticated> {
        let client = config::Client {
            name: "team-a".to_owned(),
            bearer_token: BearerKey::of("a-key-of-team-a-alone"),
            policy: config::ClientPolicy::default(),
            budget: None,
        };
        let mut headers = HeaderMap::new();
        if let Some(text) = authorization {
            headers.insert(AUTHORIZATION, HeaderValue::from_str(text).unwrap());
        }
        Keys::new(&[client]).client(&headers).map(|name| name.map(|name| name.to_string()))
    }

    #[test]
    fn a_key_tells_whose_it_is() {
        let known = Ok(Some("team-a".to_owned()));
        assert_eq!(asked(Some("Bearer a-key-of-team-a-alone")), known);
        assert_eq!(asked(Some("bearer  a-key-of-team-a-alone ")), known);
        assert_eq!(asked(Some("Bearer a-key-of-team-b")), Err(Unauthenticated::UnknownKey));
        assert_eq!(asked(Some("Bearer ")), Err(Unauthenticated::UnknownKey));
        assert_eq!(asked(Some("AWS4-HMAC-SHA256 Credential=A/b")), Err(Unauthenticated::NoKey));
        assert_eq!(asked(None), Err(Unauthenticated::Missing));
    }

    #[test]
    fn without_clients_everybody_may_call() {
        assert_eq!(Keys::new(&[]).client(&HeaderMap::new()), Ok(None));
    }
}

//! What a request presents as the proof of its client: a signature, a bearer authorization, or a key in one of
//! the headers where the SDKs of OpenAI and Anthropic put it.

use http::header::{AUTHORIZATION, HeaderMap, HeaderName};

use super::authenticator::AuthError;
use super::signature::SignatureError;
use crate::bedrock::sigv4::ALGORITHM;

/// Headers that have a bearer key and nothing else: Anthropic's, and that of OpenAI at Azure.
static KEYS: [HeaderName; 2] =
    [HeaderName::from_static("x-api-key"), HeaderName::from_static("api-key")];

/// What a request presents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presented<'a> {
    /// Nothing.
    Nothing,
    /// A bearer key, or a token of an issuer.
    Bearer(&'a str),
    /// A bearer key.
    Key(&'a str),
    /// A signature, or an authorization that is of no known scheme.
    Signature(&'a str),
}

impl<'a> Presented<'a> {
    /// What these headers present. A signature or a bearer authorization counts before a key in a header of its
    /// own: SDKs send both where both are configured.
    ///
    /// # Errors
    /// If the headers are ambiguous or not readable.
    pub(super) fn of(headers: &'a HeaderMap) -> Result<Presented<'a>, AuthError> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let authorization = values.next();
        if values.next().is_some() {
            return Err(SignatureError::SeveralAuthorizations.into());
        }
        let Some(value) = authorization else {
            return Ok(key(headers)?.map_or(Presented::Nothing, Presented::Key));
        };
        let text = value.to_str().map_err(|_| SignatureError::NotAscii)?;
        if let Some(key) = bearer(text) {
            return Ok(Presented::Bearer(key));
        }
        if text.starts_with(ALGORITHM) {
            return Ok(Presented::Signature(text));
        }
        // Such as the password of a proxy.
        Ok(key(headers)?.map_or(Presented::Signature(text), Presented::Key))
    }
}

/// The key in the headers for keys. An empty one is none: SDKs send it where no key is configured.
fn key(headers: &HeaderMap) -> Result<Option<&str>, AuthError> {
    let mut found = None;
    for value in KEYS.iter().flat_map(|name| headers.get_all(name)) {
        // What is no text is no client's key.
        let key = value.to_str().map_err(|_| AuthError::UnknownKey)?.trim();
        match found {
            _ if key.is_empty() => {}
            Some(first) if first != key => return Err(AuthError::SeveralKeys),
            _ => found = Some(key),
        }
    }
    Ok(found)
}

/// The token of a `Bearer` authorization (RFC 6750, section 2.1). The scheme is case-insensitive.
pub fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Marks the values of headers that may be keys as sensitive, so that `Debug` does not show them.
pub fn hide_keys(headers: &mut HeaderMap) {
    // To look at each header takes less time than to find these, most of which are not there.
    for (name, value) in headers.iter_mut() {
        if name == AUTHORIZATION || KEYS.contains(name) {
            value.set_sensitive(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        // Collected, a later value would replace an earlier one of the same name.
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, value);
        }
        headers
    }

    #[test]
    fn an_authorization_counts_before_a_key_in_a_header_of_its_own() {
        let key = ("x-api-key", "k");
        for (pairs, wanted) in [
            (vec![], Presented::Nothing),
            (vec![key], Presented::Key("k")),
            (vec![("api-key", " k ")], Presented::Key("k")),
            (vec![("authorization", "Bearer b"), key], Presented::Bearer("b")),
            (
                vec![("authorization", "AWS4-HMAC-SHA256 Credential=a"), key],
                Presented::Signature("AWS4-HMAC-SHA256 Credential=a"),
            ),
            (vec![("authorization", "Basic YTpi"), key], Presented::Key("k")),
            (vec![("authorization", "Basic YTpi")], Presented::Signature("Basic YTpi")),
            (vec![("x-api-key", "")], Presented::Nothing),
            (vec![("x-api-key", ""), ("api-key", "k")], Presented::Key("k")),
            (vec![key, ("api-key", "k")], Presented::Key("k")),
        ] {
            assert_eq!(Presented::of(&headers(&pairs)), Ok(wanted), "{pairs:?}");
        }
    }

    #[test]
    fn ambiguous_headers_are_refused() {
        let several = Err(AuthError::SeveralKeys);
        for pairs in
            [[("x-api-key", "a"), ("x-api-key", "b")], [("x-api-key", "a"), ("api-key", "b")]]
        {
            assert_eq!(Presented::of(&headers(&pairs)), several, "{pairs:?}");
        }
        let twice = headers(&[("authorization", "Bearer a"), ("authorization", "Bearer a")]);
        let several = SignatureError::SeveralAuthorizations;
        assert_eq!(Presented::of(&twice), Err(AuthError::Signature(several)));
    }

    #[test]
    fn keys_are_not_shown() {
        let pairs =
            [("authorization", "hush"), ("x-api-key", "hush"), ("api-key", "hush"), ("a", "b")];
        let mut headers = headers(&pairs);
        hide_keys(&mut headers);
        assert!(!format!("{headers:?}").contains("hush"));
        assert!(!headers["a"].is_sensitive());
    }
}

//! Verification of inbound credentials, as Bedrock does it: SigV4 and the bearer form.
//!
//! What signatures are made of is in `bedrock::sigv4`; here is what Bedrock asks of them, and the
//! error texts that AWS services send.

mod events;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::{HeaderMap, Method};
use secrecy::{ExposeSecret, SecretString};

pub(super) use events::chain;
use sluice_bedrock::sigv4::amz_date::{amz_date, parse_amz_date};
use sluice_bedrock::sigv4::{
    self, AUTHORITY, Authorization, CONTENT_SHA256, CanonicalHead, DATE, PathForm, PayloadHash,
    SECURITY_TOKEN, SERVICE, STREAMING_EVENTS, SigningKey, TERMINATOR, canonical_text,
    string_to_sign,
};

/// How far a request's time may lie from the server's, in seconds.
const SKEW: i64 = 5 * 60;

/// A request as it came off the wire.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// The HTTP method.
    pub method: &'a Method,
    /// The path as on the wire, nothing decoded, without the query.
    pub path: &'a str,
    /// What stands after `?`, raw.
    pub query: &'a str,
    /// All headers.
    pub headers: &'a HeaderMap,
    /// The `:authority` of an HTTP/2 request, which has no `host` header.
    pub authority: Option<&'a str>,
    /// The whole body.
    pub body: &'a [u8],
}

/// Verified credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verified {
    /// A SigV4 signature.
    SigV4 {
        /// The access key id of the signature.
        access_key_id: String,
        /// The region of the credential scope.
        region: String,
    },
    /// The bearer key.
    Bearer,
}

/// Why credentials were refused. The message is what AWS would send.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No credentials at all.
    #[error("Missing Authentication Token")]
    Missing,
    /// An `authorization` header that lacks a part.
    #[error("{0}")]
    Incomplete(String),
    /// An unknown access key id.
    #[error("The security token included in the request is invalid.")]
    UnknownKey,
    /// A signature, date or scope that does not fit the request.
    #[error("{0}")]
    Invalid(String),
    /// An unknown bearer key.
    #[error("Authentication failed: Please make sure your API Key is valid.")]
    UnknownBearer,
}

impl Refusal {
    /// The exception's name on the wire; all of them are a 403.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Missing => "MissingAuthenticationTokenException",
            Self::Incomplete(_) => "IncompleteSignatureException",
            Self::UnknownKey => "UnrecognizedClientException",
            Self::Invalid(_) => "InvalidSignatureException",
            Self::UnknownBearer => "AccessDeniedException",
        }
    }
}

/// Checks a request's credentials at `now` (seconds since the Unix epoch).
///
/// # Errors
/// The [`Refusal`] that Bedrock would answer with.
pub fn verify(
    request: &Received<'_>,
    keys: &HashMap<String, SecretString>,
    bearer: Option<&SecretString>,
    now: i64,
) -> Result<Verified, Refusal> {
    verify_for(&[SERVICE], request, keys, bearer, now)
}

/// As [`verify`], for the service with one of these names in signatures.
pub(super) fn verify_for(
    services: &[&str],
    request: &Received<'_>,
    keys: &HashMap<String, SecretString>,
    bearer: Option<&SecretString>,
    now: i64,
) -> Result<Verified, Refusal> {
    let mut values = request.headers.get_all(http::header::AUTHORIZATION).iter();
    let value = values.next().ok_or(Refusal::Missing)?;
    if values.next().is_some() {
        return Err(Refusal::Incomplete("More than one Authorization header.".to_owned()));
    }
    let value = value
        .to_str()
        .map_err(|_| Refusal::Incomplete("Authorization header is not ASCII.".to_owned()))?
        .trim();
    if let Some(key) = value.strip_prefix("Bearer ") {
        return verify_key(key.trim().as_bytes(), bearer).map(|()| Verified::Bearer);
    }
    let claim = Authorization::parse(value).map_err(|why| Refusal::Incomplete(why.to_string()))?;
    verify_sigv4(services, request, &claim, keys, now)
}

/// Checks a key that stands in a header of its own.
///
/// # Errors
/// When it is not the bearer key.
pub(super) fn verify_key(key: &[u8], bearer: Option<&SecretString>) -> Result<(), Refusal> {
    let accepted = bearer.is_some_and(|accepted| equal(accepted.expose_secret().as_bytes(), key));
    if accepted { Ok(()) } else { Err(Refusal::UnknownBearer) }
}

/// The lower-case hexadecimal SHA-256 of `bytes`.
pub fn sha256_hex(bytes: &[u8]) -> String {
    PayloadHash::of(bytes).as_str().to_owned()
}

fn verify_sigv4(
    services: &[&str],
    request: &Received<'_>,
    claim: &Authorization<'_>,
    keys: &HashMap<String, SecretString>,
    now: i64,
) -> Result<Verified, Refusal> {
    let date = request.headers.get(DATE).and_then(|v| v.to_str().ok()).ok_or_else(|| {
        Refusal::Incomplete(
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."
                .to_owned(),
        )
    })?;
    let signed_at = parse_amz_date(date).ok_or_else(|| {
        Refusal::Incomplete(format!(
            "Date must be in ISO-8601 'basic format'. Got '{date}'. \
             See http://en.wikipedia.org/wiki/ISO_8601"
        ))
    })?;
    let secret = keys.get(claim.access_key_id).ok_or(Refusal::UnknownKey)?;
    check_scope(services, claim, date)?;
    check_signed_headers(claim, request)?;
    check_skew(date, signed_at, now)?;
    let payload_hash = payload_hash(request)?;
    let plain = sigv4::Received {
        method: request.method,
        path: request.path,
        query: request.query,
        headers: request.headers,
        authority: request.authority,
    };
    let canonical = CanonicalHead::of(&plain, claim.signed_headers)
        .map_err(|missing| Refusal::Invalid(missing.to_string()))?;
    let hash = canonical.hash(PathForm::Encoded, &payload_hash);
    let to_sign = string_to_sign(date, &claim.scope, &hash);
    let key = SigningKey::derive(secret.expose_secret(), &claim.scope);
    if !key.verifies(&to_sign, claim.signature) {
        let shown = canonical_text(&plain, claim.signed_headers, &payload_hash)
            .map_err(|missing| Refusal::Invalid(missing.to_string()))?;
        let shown = without_session_token(&shown);
        return Err(Refusal::Invalid(format!(
            "The request signature we calculated does not match the signature you provided. \
             Check your AWS Secret Access Key and signing method. Consult the service \
             documentation for details.\n\nThe Canonical String for this request should have \
             been\n'{shown}'\n\nThe String-to-Sign should have been\n'{to_sign}'\n"
        )));
    }
    Ok(Verified::SigV4 {
        access_key_id: claim.access_key_id.to_owned(),
        region: claim.scope.region.to_owned(),
    })
}

fn check_scope(services: &[&str], claim: &Authorization<'_>, date: &str) -> Result<(), Refusal> {
    let day = date.get(..8).unwrap_or_default();
    let scope = &claim.scope;
    if scope.date != day {
        return Err(Refusal::Invalid(format!(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date \
             from HTTP: '{}' != '{day}', from '{date}'.",
            scope.date
        )));
    }
    if !services.contains(&scope.service) {
        return Err(Refusal::Invalid(format!(
            "Credential should be scoped to correct service: '{}'.",
            services.first().copied().unwrap_or_default()
        )));
    }
    if scope.terminator != TERMINATOR {
        return Err(Refusal::Invalid(format!(
            "Credential should be scoped with a valid terminator: '{TERMINATOR}', not '{}'.",
            scope.terminator
        )));
    }
    Ok(())
}

/// `host` must be signed, or over HTTP/2 `:authority` in its place, as the JavaScript SDK does;
/// so must the date and the session token when they are there.
fn check_signed_headers(claim: &Authorization<'_>, request: &Received<'_>) -> Result<(), Refusal> {
    for name in ["host", DATE, SECURITY_TOKEN] {
        let present = name == "host" || request.headers.contains_key(name);
        let stands_in = name == "host" && claim.signs(AUTHORITY) && request.authority.is_some();
        if present && !claim.signs(name) && !stands_in {
            return Err(Refusal::Invalid(format!(
                "'{name}' must be a 'SignedHeader' in the AWS Authorization."
            )));
        }
    }
    Ok(())
}

fn check_skew(date: &str, signed_at: i64, now: i64) -> Result<(), Refusal> {
    let (clock, early, late) = (amz_date(now), amz_date(now - SKEW), amz_date(now + SKEW));
    if signed_at < now - SKEW {
        return Err(Refusal::Invalid(format!(
            "Signature expired: {date} is now earlier than {early} ({clock} - 5 min.)"
        )));
    }
    if signed_at > now + SKEW {
        return Err(Refusal::Invalid(format!(
            "Signature not yet current: {date} is still later than {late} ({clock} + 5 min.)"
        )));
    }
    Ok(())
}

fn payload_hash(request: &Received<'_>) -> Result<String, Refusal> {
    let hash = sha256_hex(request.body);
    match request.headers.get(CONTENT_SHA256).map(|v| v.as_bytes()) {
        // The events of the body are signed one by one.
        Some(claimed) if claimed == STREAMING_EVENTS.as_bytes() && request.body.is_empty() => {
            Ok(STREAMING_EVENTS.to_owned())
        }
        Some(claimed) if claimed != hash.as_bytes() => Err(Refusal::Invalid(
            "The value of 'x-amz-content-sha256' is not the SHA-256 of the payload.".to_owned(),
        )),
        _ => Ok(hash),
    }
}

/// The canonical request as shown in an error: a session token is a secret.
fn without_session_token(canonical: &str) -> String {
    let lines: Vec<&str> = canonical
        .split('\n')
        .map(|line| match line.starts_with("x-amz-security-token:") {
            true => "x-amz-security-token:(hidden)",
            false => line,
        })
        .collect();
    lines.join("\n")
}

fn equal(a: &[u8], b: &[u8]) -> bool {
    verify_slices_are_equal(a, b).is_ok()
}

//! Verification of inbound credentials, as Bedrock does it: SigV4 and the bearer form.
//!
//! This is an implementation of its own on the raw request: canonical request, key derivation and
//! comparison share nothing with the code that signs, so that the two check each other. Source:
//! AWS's "Create a signed AWS API request", and the error texts that AWS services send.

mod amz_date;
mod events;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt::Write as _;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{digest, hmac};
use http::{HeaderMap, Method};
use secrecy::{ExposeSecret, SecretString};

use amz_date::{amz_date, parse_amz_date};
pub(super) use events::EventChain;

const SERVICE: &str = "bedrock";

/// What stands for the hash of a body of signed events.
const SIGNED_EVENTS: &str = "STREAMING-AWS4-HMAC-SHA256-EVENTS";

/// HTTP/2's pseudo-header for the host.
const AUTHORITY: &str = ":authority";
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

/// Credentials that were found good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verified {
    /// A SigV4 signature.
    SigV4 {
        /// Whose key signed.
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
    /// An access key id that nobody has.
    #[error("The security token included in the request is invalid.")]
    UnknownKey,
    /// A signature, date or scope that does not fit the request.
    #[error("{0}")]
    Invalid(String),
    /// A bearer key that nobody has.
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
        let accepted = bearer.is_some_and(|accepted| {
            equal(accepted.expose_secret().as_bytes(), key.trim().as_bytes())
        });
        return if accepted { Ok(Verified::Bearer) } else { Err(Refusal::UnknownBearer) };
    }
    let claim = Claim::parse(value)?;
    verify_sigv4(request, &claim, keys, now)
}

/// The lower-case hexadecimal SHA-256 of `bytes`.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn verify_sigv4(
    request: &Received<'_>,
    claim: &Claim<'_>,
    keys: &HashMap<String, SecretString>,
    now: i64,
) -> Result<Verified, Refusal> {
    let date =
        request.headers.get("x-amz-date").and_then(|v| v.to_str().ok()).ok_or_else(|| {
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
    claim.check_scope(date)?;
    claim.check_signed_headers(request)?;
    check_skew(date, signed_at, now)?;
    let payload_hash = payload_hash(request)?;
    let canonical = canonical_request(request, &claim.signed_headers, &payload_hash);
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{date}\n{}/{}/{SERVICE}/aws4_request\n{}",
        claim.date,
        claim.region,
        sha256_hex(canonical.as_bytes())
    );
    let key = signing_key(secret, claim.date, claim.region);
    let expected = hex(hmac::sign(&key, to_sign.as_bytes()).as_ref());
    if !equal(expected.as_bytes(), claim.signature.as_bytes()) {
        let shown = without_session_token(&canonical);
        return Err(Refusal::Invalid(format!(
            "The request signature we calculated does not match the signature you provided. \
             Check your AWS Secret Access Key and signing method. Consult the service \
             documentation for details.\n\nThe Canonical String for this request should have \
             been\n'{shown}'\n\nThe String-to-Sign should have been\n'{to_sign}'\n"
        )));
    }
    Ok(Verified::SigV4 {
        access_key_id: claim.access_key_id.to_owned(),
        region: claim.region.to_owned(),
    })
}

/// What an `authorization` header claims.
struct Claim<'a> {
    access_key_id: &'a str,
    date: &'a str,
    region: &'a str,
    service: &'a str,
    terminator: &'a str,
    signed_headers: Vec<&'a str>,
    signature: &'a str,
}

impl<'a> Claim<'a> {
    fn parse(value: &'a str) -> Result<Self, Refusal> {
        let parameters = value.strip_prefix("AWS4-HMAC-SHA256").ok_or_else(|| {
            Refusal::Incomplete("Unsupported algorithm in the Authorization header.".to_owned())
        })?;
        let (mut credential, mut headers, mut signature) = (None, None, None);
        for parameter in parameters.split(',') {
            match parameter.trim().split_once('=') {
                Some(("Credential", value)) => credential = Some(value),
                Some(("SignedHeaders", value)) => headers = Some(value),
                Some(("Signature", value)) => signature = Some(value),
                _ => {}
            }
        }
        let require = |found: Option<&'a str>, name: &str| {
            found.filter(|value| !value.is_empty()).ok_or_else(|| {
                Refusal::Incomplete(format!("Authorization header requires '{name}' parameter."))
            })
        };
        let credential = require(credential, "Credential")?;
        let headers = require(headers, "SignedHeaders")?;
        let signature = require(signature, "Signature")?;
        let mut parts = credential.rsplitn(5, '/');
        let mut part = || {
            parts.next().ok_or_else(|| {
                Refusal::Incomplete(format!(
                    "Credential must have exactly 5 slash-delimited elements, e.g. \
                     keyid/date/region/service/term, got '{credential}'"
                ))
            })
        };
        // From the right: terminator, service, region, date, key id.
        let (terminator, service, region, date, access_key_id) =
            (part()?, part()?, part()?, part()?, part()?);
        let signed_headers = headers.split(';').collect();
        Ok(Self { access_key_id, date, region, service, terminator, signed_headers, signature })
    }

    fn check_scope(&self, date: &str) -> Result<(), Refusal> {
        let day = date.get(..8).unwrap_or_default();
        if self.date != day {
            return Err(Refusal::Invalid(format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date \
                 from HTTP: '{}' != '{day}', from '{date}'.",
                self.date
            )));
        }
        if self.service != SERVICE {
            return Err(Refusal::Invalid(format!(
                "Credential should be scoped to correct service: '{SERVICE}'."
            )));
        }
        if self.terminator != "aws4_request" {
            return Err(Refusal::Invalid(format!(
                "Credential should be scoped with a valid terminator: 'aws4_request', not '{}'.",
                self.terminator
            )));
        }
        Ok(())
    }

    /// `host` must be signed, or over HTTP/2 `:authority` in its place, as the JavaScript SDK does;
    /// so must the date and the session token when they are there.
    fn check_signed_headers(&self, request: &Received<'_>) -> Result<(), Refusal> {
        let is_signed = |name: &str| self.signed_headers.contains(&name);
        for name in ["host", "x-amz-date", "x-amz-security-token"] {
            let present = name == "host" || request.headers.contains_key(name);
            let stands_in = name == "host" && is_signed(AUTHORITY) && request.authority.is_some();
            if present && !is_signed(name) && !stands_in {
                return Err(Refusal::Invalid(format!(
                    "'{name}' must be a 'SignedHeader' in the AWS Authorization."
                )));
            }
        }
        Ok(())
    }
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
    match request.headers.get("x-amz-content-sha256").map(|v| v.as_bytes()) {
        // The events of the body are signed one by one.
        Some(claimed) if claimed == SIGNED_EVENTS.as_bytes() && request.body.is_empty() => {
            Ok(SIGNED_EVENTS.to_owned())
        }
        Some(claimed) if claimed != hash.as_bytes() => Err(Refusal::Invalid(
            "The value of 'x-amz-content-sha256' is not the SHA-256 of the payload.".to_owned(),
        )),
        _ => Ok(hash),
    }
}

fn canonical_request(request: &Received<'_>, signed: &[&str], payload_hash: &str) -> String {
    let mut out = format!("{}\n", request.method);
    encode_into(&mut out, request.path.as_bytes(), b"/");
    let _ = writeln!(out, "\n{}", canonical_query(request.query));
    for name in signed {
        let _ = writeln!(out, "{name}:{}", canonical_value(request, name));
    }
    let _ = write!(out, "\n{}\n{payload_hash}", signed.join(";"));
    out
}

fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (encode_once(name), encode_once(value))
        })
        .collect();
    pairs.sort();
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

/// Decodes and encodes again, so that every spelling of a value has one canonical form.
fn encode_once(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let decoded: Vec<u8> = percent_encoding::percent_decode_str(raw).collect();
    encode_into(&mut out, &decoded, b"");
    out
}

/// Percent-encodes all but the unreserved characters and those in `kept`.
fn encode_into(out: &mut String, bytes: &[u8], kept: &[u8]) {
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || kept.contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

/// A header's values joined by commas, trimmed, with runs of blanks made one.
fn canonical_value(request: &Received<'_>, name: &str) -> String {
    let values: Vec<String> = request
        .headers
        .get_all(name)
        .iter()
        .map(|value| {
            let text = String::from_utf8_lossy(value.as_bytes());
            text.split_whitespace().collect::<Vec<_>>().join(" ")
        })
        .collect();
    match (values.is_empty(), name, request.authority) {
        (true, "host" | AUTHORITY, Some(authority)) => authority.to_owned(),
        _ => values.join(","),
    }
}

fn signing_key(secret: &SecretString, date: &str, region: &str) -> hmac::Key {
    let mut key =
        hmac::Key::new(hmac::HMAC_SHA256, format!("AWS4{}", secret.expose_secret()).as_bytes());
    for part in [date, region, SERVICE, "aws4_request"] {
        key = hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, part.as_bytes()).as_ref());
    }
    key
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

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

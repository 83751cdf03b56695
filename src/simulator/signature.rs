//! Verification of inbound credentials, as Bedrock does it: SigV4 and the bearer form.
//!
//! This is an implementation of its own on the raw request: canonical request, key derivation and
//! comparison share nothing with the code that signs, so that the two check each other. Source:
//! AWS's "Create a signed AWS API request", and the error texts that AWS services send.

use std::collections::HashMap;
use std::fmt::Write as _;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{digest, hmac};
use http::{HeaderMap, Method};
use secrecy::{ExposeSecret, SecretString};

const SERVICE: &str = "bedrock";
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

    /// `host` must be signed, and so must the date and the session token when they are there.
    fn check_signed_headers(&self, request: &Received<'_>) -> Result<(), Refusal> {
        for name in ["host", "x-amz-date", "x-amz-security-token"] {
            let present = name == "host" || request.headers.contains_key(name);
            if present && !self.signed_headers.contains(&name) {
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
        (true, "host", Some(authority)) => authority.to_owned(),
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

/// `20261123T120000Z` as seconds since the Unix epoch; `None` when it is not such a date.
fn parse_amz_date(text: &str) -> Option<i64> {
    let digits = |range: std::ops::Range<usize>| -> Option<i64> {
        let part = text.get(range)?;
        part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok())?
    };
    let shape = text.len() == 16 && text.get(8..9) == Some("T") && text.ends_with('Z');
    let (year, month, day) = (digits(0..4)?, digits(4..6)?, digits(6..8)?);
    let (hour, minute, second) = (digits(9..11)?, digits(11..13)?, digits(13..15)?);
    let sane = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    // Days since the epoch in the proleptic Gregorian calendar, years beginning in March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let era = y.div_euclid(400);
    let year_of_era = y.rem_euclid(400);
    let day_of_year = (153 * m + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    (shape && sane).then_some(days * 86_400 + hour * 3_600 + minute * 60 + second)
}

/// Seconds since the Unix epoch as `20261123T120000Z`.
fn amz_date(seconds: i64) -> String {
    let (days, time) = (seconds.div_euclid(86_400) + 719_468, seconds.rem_euclid(86_400));
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let m = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * m + 2) / 5 + 1;
    let month = if m < 10 { m + 3 } else { m - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (time / 3_600, time / 60 % 60, time % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue, Uri};
    use proptest::prelude::*;
    use serde_json::Value;

    const VECTORS: &str = include_str!("../../tests/vectors/sigv4.json");

    /// A signed request that can be changed before it is verified.
    struct Signed {
        method: Method,
        path: String,
        query: String,
        headers: HeaderMap,
        body: Vec<u8>,
        keys: HashMap<String, SecretString>,
        now: i64,
    }

    impl Signed {
        fn all() -> Vec<Self> {
            let vectors: Vec<Value> = serde_json::from_str(VECTORS).unwrap();
            vectors.iter().map(Self::of).collect()
        }

        fn first() -> Self {
            Self::all().remove(0)
        }

        fn of(vector: &Value) -> Self {
            let text = |name: &str| vector[name].as_str().unwrap().to_owned();
            let uri: Uri = text("url").parse().unwrap();
            let mut headers = HeaderMap::new();
            for (name, value) in vector["signed_headers"].as_object().unwrap() {
                headers.insert(
                    name.parse::<HeaderName>().unwrap(),
                    HeaderValue::from_str(value.as_str().unwrap()).unwrap(),
                );
            }
            headers.insert("host", HeaderValue::from_str(uri.host().unwrap()).unwrap());
            Self {
                method: text("method").parse().unwrap(),
                path: uri.path().to_owned(),
                query: uri.query().unwrap_or_default().to_owned(),
                headers,
                body: text("body").into_bytes(),
                keys: HashMap::from([(text("access_key_id"), text("secret_access_key").into())]),
                now: parse_amz_date(&text("time")).unwrap(),
            }
        }

        fn verify(&self) -> Result<Verified, Refusal> {
            let request = Received {
                method: &self.method,
                path: &self.path,
                query: &self.query,
                headers: &self.headers,
                authority: None,
                body: &self.body,
            };
            verify(&request, &self.keys, None, self.now)
        }

        fn header(&mut self, name: &'static str, value: &str) {
            self.headers.insert(name, HeaderValue::from_str(value).unwrap());
        }

        fn authorization(&self) -> String {
            self.headers["authorization"].to_str().unwrap().to_owned()
        }
    }

    #[test]
    fn accepts_what_botocore_signed() {
        let all = Signed::all();
        assert!(all.len() >= 6);
        for signed in all {
            assert_eq!(
                signed.verify(),
                Ok(Verified::SigV4 {
                    access_key_id: "AKIDEXAMPLE".to_owned(),
                    region: "us-east-1".to_owned()
                }),
                "{}",
                signed.path
            );
        }
    }

    #[test]
    fn one_changed_byte_anywhere_in_the_body_is_refused() {
        let signed = Signed::first();
        for at in 0..signed.body.len() {
            let mut changed = Signed::first();
            changed.body[at] ^= 1;
            assert_eq!(changed.verify().unwrap_err().name(), "InvalidSignatureException");
        }
    }

    #[test]
    fn one_changed_byte_of_path_query_header_or_signature_is_refused() {
        let mut other = Signed::first();
        other.path = other.path.replace("sonnet", "sonneT");
        assert_eq!(other.verify().unwrap_err().name(), "InvalidSignatureException");

        let mut recoded = Signed::first();
        recoded.path = recoded.path.replace("%3A", ":");
        assert_eq!(recoded.verify().unwrap_err().name(), "InvalidSignatureException");

        let mut query = Signed::first();
        query.query = "a=b".to_owned();
        assert_eq!(query.verify().unwrap_err().name(), "InvalidSignatureException");

        let mut header = Signed::first();
        header.header("accept", "application/jsom");
        assert_eq!(header.verify().unwrap_err().name(), "InvalidSignatureException");

        let mut host = Signed::first();
        host.header("host", "127.0.0.1:4599");
        assert_eq!(host.verify().unwrap_err().name(), "InvalidSignatureException");

        let mut method = Signed::first();
        method.method = Method::PUT;
        assert_eq!(method.verify().unwrap_err().name(), "InvalidSignatureException");

        let mut signature = Signed::first();
        let value = signature.authorization();
        let last = if value.ends_with('0') { "1" } else { "0" };
        signature.header("authorization", &format!("{}{last}", &value[..value.len() - 1]));
        assert_eq!(signature.verify().unwrap_err().name(), "InvalidSignatureException");
    }

    #[test]
    fn a_changed_session_token_is_refused_and_never_shown() {
        let mut signed =
            Signed::all().into_iter().find(|s| s.headers.contains_key("x-amz-security-token"));
        let signed = signed.as_mut().unwrap();
        signed.header("x-amz-security-token", "another-token");
        let refusal = signed.verify().unwrap_err();
        assert_eq!(refusal.name(), "InvalidSignatureException");
        assert!(!refusal.to_string().contains("another-token"));
    }

    #[test]
    fn a_session_token_outside_the_signature_is_refused() {
        let mut signed = Signed::first();
        signed.header("x-amz-security-token", "smuggled");
        assert!(signed.verify().unwrap_err().to_string().contains("x-amz-security-token"));
    }

    #[test]
    fn the_clock_may_be_five_minutes_off_and_no_more() {
        for (shift, good) in [(-300, true), (300, true), (-301, false), (301, false)] {
            let mut signed = Signed::first();
            signed.now += shift;
            assert_eq!(signed.verify().is_ok(), good, "{shift}");
        }
        let mut late = Signed::first();
        late.now += 600;
        let refusal = late.verify().unwrap_err().to_string();
        assert_eq!(
            refusal,
            "Signature expired: 20261123T120000Z is now earlier than 20261123T120500Z \
             (20261123T121000Z - 5 min.)"
        );
    }

    #[test]
    fn each_lack_has_its_own_exception() {
        let mut none = Signed::first();
        none.headers.remove("authorization");
        assert_eq!(none.verify(), Err(Refusal::Missing));

        let mut stranger = Signed::first();
        stranger.keys.clear();
        assert_eq!(stranger.verify(), Err(Refusal::UnknownKey));

        for part in ["Credential", "SignedHeaders", "Signature"] {
            let mut cut = Signed::first();
            let value = cut.authorization().replace(&format!("{part}="), "Other=");
            cut.header("authorization", &value);
            let refusal = cut.verify().unwrap_err();
            assert_eq!(refusal.name(), "IncompleteSignatureException");
            assert!(refusal.to_string().contains(part));
        }

        let mut undated = Signed::first();
        undated.headers.remove("x-amz-date");
        assert_eq!(undated.verify().unwrap_err().name(), "IncompleteSignatureException");

        let mut double = Signed::first();
        double.headers.append("authorization", HeaderValue::from_static("Bearer x"));
        assert_eq!(double.verify().unwrap_err().name(), "IncompleteSignatureException");

        let mut service = Signed::first();
        let value = service.authorization().replace("/bedrock/", "/s3/");
        service.header("authorization", &value);
        assert!(service.verify().unwrap_err().to_string().contains("correct service"));
    }

    #[test]
    fn the_payload_hash_header_must_be_the_bodys() {
        let mut right = Signed::first();
        let hash = sha256_hex(&right.body);
        right.header("x-amz-content-sha256", &hash);
        assert!(right.verify().is_ok());
        for wrong in ["UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"] {
            right.header("x-amz-content-sha256", wrong);
            assert_eq!(right.verify().unwrap_err().name(), "InvalidSignatureException");
        }
    }

    #[test]
    fn the_authority_stands_for_a_missing_host() {
        let signed = Signed::first();
        let mut headers = signed.headers.clone();
        let host = headers.remove("host").unwrap();
        let request = Received {
            method: &signed.method,
            path: &signed.path,
            query: "",
            headers: &headers,
            authority: host.to_str().ok(),
            body: &signed.body,
        };
        assert!(verify(&request, &signed.keys, None, signed.now).is_ok());
    }

    #[test]
    fn the_bearer_form_compares_whole_keys() {
        let key = SecretString::from("abc");
        let check = |value: &'static str| {
            let mut signed = Signed::first();
            signed.header("authorization", value);
            let request = Received {
                method: &signed.method,
                path: &signed.path,
                query: "",
                headers: &signed.headers,
                authority: None,
                body: b"",
            };
            verify(&request, &signed.keys, Some(&key), signed.now)
        };
        assert_eq!(check("Bearer abc"), Ok(Verified::Bearer));
        assert_eq!(check("Bearer abcd"), Err(Refusal::UnknownBearer));
        assert_eq!(check("Bearer ab"), Err(Refusal::UnknownBearer));
    }

    proptest! {
        #[test]
        fn dates_survive_the_round_trip(seconds in 0_i64..4_102_444_800) {
            prop_assert_eq!(parse_amz_date(&amz_date(seconds)), Some(seconds));
        }

        #[test]
        fn no_authorization_header_panics(value in "[ -~]{0,80}", date in "[ -~]{0,20}") {
            let mut signed = Signed::first();
            signed.header("authorization", &format!("AWS4-HMAC-SHA256 {value}"));
            signed.header("x-amz-date", &date);
            prop_assert!(signed.verify().is_err());
        }
    }
}

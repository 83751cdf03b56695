//! Verification of clients' signatures: AWS's SigV4, with key pairs that the gateway has issued.
//!
//! The head is checked before the body is read: for unknown and expired keys, wrong times and scopes,
//! missing parts. So is the signature itself, if the client sends the hash that it has signed, or
//! declares the body unsigned. Else the signature stays pending until the body's hash is known. The
//! events of a bidirectional stream have signatures of their own, chained to the request's. Error
//! messages are those of AWS, but never contain a canonical request, a string to sign or a signature.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderName, request};

use crate::bedrock::ErrorKind;
use crate::bedrock::sigv4::amz_date::{amz_date, parse_amz_date};
use crate::bedrock::sigv4::{
    AUTHORITY, Authorization, CONTENT_SHA256, CanonicalHead, DATE, EMPTY_SHA256, EventChain,
    MANTLE_SERVICE, Malformed, MissingSignedHeader, PathForm, PayloadHash, Received,
    SECURITY_TOKEN, SERVICE, STREAMING_EVENTS, Scope, SigningKey, SigningKeyCache, TERMINATOR,
    UNSIGNED_PAYLOAD, string_to_sign,
};
use crate::config::{self, Secret};
use crate::limits::ClientRecord;

/// Signing keys kept for one key pair: a few regions, over midnight.
const MAX_SIGNING_KEYS: usize = 8;

const DATE_HEADER: HeaderName = HeaderName::from_static(DATE);
const TOKEN_HEADER: HeaderName = HeaderName::from_static(SECURITY_TOKEN);
const HASH_HEADER: HeaderName = HeaderName::from_static(CONTENT_SHA256);

/// Most parameters of a signed query: they are sorted before the sender is authenticated.
const MAX_PARAMETERS: usize = 128;

/// The end of the path of the one operation whose body is signed event by event.
const BIDIRECTIONAL: &str = "/invoke-with-bidirectional-stream";

/// Why a signature was rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// There is more than one Authorization header.
    #[error("The request has more than one Authorization header.")]
    SeveralAuthorizations,
    /// The header is not ASCII.
    #[error("The Authorization header is not ASCII.")]
    NotAscii,
    /// The header is malformed.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The time of signing is missing.
    #[error("Authorization header requires existence of a 'X-Amz-Date' header.")]
    NoDate,
    /// The time of signing is malformed.
    #[error("Date must be in ISO-8601 'basic format', such as '20261123T120000Z'.")]
    Date,
    /// The signature is in the query.
    #[error("This gateway takes no signature in the query: sign with the Authorization header.")]
    Presigned,
    /// No client has this key pair.
    #[error("The security token included in the request is invalid.")]
    UnknownKey,
    /// The key pair has expired.
    #[error("The security token included in the request is expired: the access key has expired.")]
    ExpiredKey,
    /// The day of the scope is not that of the time of signing.
    #[error(
        "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP."
    )]
    ScopeDate,
    /// The scope names another service.
    #[error("Credential should be scoped to correct service: '{SERVICE}' or '{MANTLE_SERVICE}'.")]
    ScopeService,
    /// The scope has another terminator.
    #[error("Credential should be scoped with a valid terminator: '{TERMINATOR}'.")]
    ScopeTerminator,
    /// A header that must be signed is not.
    #[error("'{0}' must be a 'SignedHeader' in the AWS Authorization.")]
    NotSigned(&'static str),
    /// A signed header is missing.
    #[error(transparent)]
    MissingSignedHeader(#[from] MissingSignedHeader),
    /// The query has too many parameters.
    #[error("The query has more than {MAX_PARAMETERS} parameters.")]
    Parameters,
    /// The time of signing is too far in the past or in the future. Contains the message.
    #[error("{0}")]
    Skewed(String),
    /// The declared hash of the payload is not valid.
    #[error(
        "The value of 'x-amz-content-sha256' must be the SHA-256 of the payload in lower-case hexadecimal digits, or 'UNSIGNED-PAYLOAD'."
    )]
    Payload,
    /// The declared hash of a stream of events is not valid.
    #[error(
        "The value of 'x-amz-content-sha256' must be '{STREAMING_EVENTS}' or 'UNSIGNED-PAYLOAD'."
    )]
    EventsPayload,
    /// The body is not the one that was signed.
    #[error("The value of 'x-amz-content-sha256' is not the SHA-256 of the payload.")]
    Body,
    /// The signature is not that of this request and key pair.
    #[error(
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
    )]
    Mismatch,
    /// The signature was used before.
    #[error("The signature was used before: a request is taken once only.")]
    Replayed,
}

impl SignatureError {
    /// The error's name on the wire.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::SeveralAuthorizations
            | Self::NotAscii
            | Self::Malformed(_)
            | Self::NoDate
            | Self::Date
            | Self::Presigned => ErrorKind::IncompleteSignature,
            Self::UnknownKey => ErrorKind::UnrecognizedClient,
            Self::ExpiredKey => ErrorKind::ExpiredToken,
            _ => ErrorKind::InvalidSignature,
        }
    }

    /// Its label in metrics.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::UnknownKey => "unknown",
            Self::ExpiredKey => "expired",
            Self::Skewed(_) => "skewed",
            Self::Replayed => "replayed",
            _ => "invalid",
        }
    }
}

/// A key pair and its client.
#[derive(Debug)]
pub(super) struct ClientKeyPair {
    client: Arc<ClientRecord>,
    secret: Secret,
    expires: Option<SystemTime>,
    signing_keys: SigningKeyCache,
}

impl ClientKeyPair {
    pub(super) fn new(client: Arc<ClientRecord>, pair: &config::KeyPair) -> ClientKeyPair {
        let secret = pair.secret_access_key.clone();
        let signing_keys = SigningKeyCache::new(MAX_SIGNING_KEYS);
        ClientKeyPair { client, secret, expires: pair.expires, signing_keys }
    }

    /// The key for a scope, and whether it was derived just now. It is kept only once a signature has
    /// shown that it is in use: anyone can name any day and region.
    fn signing_key(&self, scope: &Scope<'_>) -> (Arc<SigningKey>, bool) {
        match self.signing_keys.get(scope) {
            Some(key) => (key, false),
            None => (Arc::new(SigningKey::derive(self.secret.expose(), scope)), true),
        }
    }
}

/// What the body of a request must still show.
#[derive(Debug, Default)]
pub enum PendingAuth {
    /// Nothing.
    #[default]
    Nothing,
    /// The body has the signed hash.
    BodyHash(PayloadHash),
    /// The events are those that the client signed.
    Events(Box<EventChain>),
    /// The body matches the signature of the request.
    Signature(Box<PendingSignature>),
}

/// A signature that waits for the hash of the body.
#[derive(Debug)]
pub struct PendingSignature {
    pair: Arc<ClientKeyPair>,
    key: Arc<SigningKey>,
    is_new_key: bool,
    /// Time of signing as the request has it, region and service; the rest of the scope follows.
    date: String,
    region: String,
    service: &'static str,
    signature: PayloadHash,
    canonical: CanonicalHead,
    until: i64,
    now: i64,
}

/// A verified signature.
#[derive(Debug)]
pub(super) struct VerifiedSignature {
    pub(super) client: Arc<ClientRecord>,
    pub(super) signature: PayloadHash,
    /// The last second in which the signature is valid, and the second of its arrival, since the Unix epoch.
    pub(super) until: i64,
    pub(super) now: i64,
}

impl PendingSignature {
    /// Checks the signature for a payload with this hash, or for the text that stands for a hash.
    pub(super) fn check(&self, payload: &str) -> Result<VerifiedSignature, SignatureError> {
        let scope = Scope {
            date: self.date.get(..8).unwrap_or_default(),
            region: &self.region,
            service: self.service,
            terminator: TERMINATOR,
        };
        let verifies = |form| {
            let hash = self.canonical.hash(form, payload);
            let text = string_to_sign(&self.date, &scope, &hash);
            self.key.verifies(&text, self.signature.as_str())
        };
        // SDKs encode the path once more. Signers that are made for S3 use it as it is.
        let is_right = verifies(PathForm::Encoded)
            || !self.canonical.has_one_form() && verifies(PathForm::Verbatim);
        if !is_right {
            return Err(SignatureError::Mismatch);
        }
        if self.is_new_key {
            self.pair.signing_keys.insert(&scope, &self.key);
        }
        let client = Arc::clone(&self.pair.client);
        Ok(VerifiedSignature {
            client,
            signature: self.signature,
            until: self.until,
            now: self.now,
        })
    }

    /// The signatures of events, chained to this one.
    fn into_events(self) -> EventChain {
        let pair = self.pair;
        let key = move |scope: &Scope<'_>| {
            let (key, is_new) = pair.signing_key(scope);
            // The day may have changed since the request arrived; there are few such keys.
            if is_new {
                pair.signing_keys.insert(scope, &key);
            }
            SigningKey::clone(&key)
        };
        EventChain::new(key, &self.region, self.signature.as_str())
    }
}

/// The result of verifying the head of a request.
pub(super) enum HeadVerdict {
    /// The signature is correct. The body may have to match, too.
    Verified(VerifiedSignature, PendingAuth),
    /// The signature covers the hash of the body, which is not known yet.
    Pending(Box<PendingSignature>),
}

/// Verifies signatures.
#[derive(Debug)]
pub(super) struct SignatureVerifier {
    max_skew: Duration,
}

impl SignatureVerifier {
    pub(super) fn new(auth: &config::Auth) -> SignatureVerifier {
        SignatureVerifier { max_skew: auth.max_clock_skew }
    }

    /// Verifies the head of a request with this `authorization`. `pair` finds a key pair by its id.
    pub(super) fn verify_head(
        &self,
        head: &request::Parts,
        authorization: &str,
        pair: impl Fn(&str) -> Option<Arc<ClientKeyPair>>,
        now: SystemTime,
    ) -> Result<HeadVerdict, SignatureError> {
        let claim = Authorization::parse(authorization)?;
        if is_presigned(head.uri.query()) {
            return Err(SignatureError::Presigned);
        }
        let date = head.headers.get(&DATE_HEADER).ok_or(SignatureError::NoDate)?;
        let date = date.to_str().map_err(|_| SignatureError::Date)?;
        let signed_at = parse_amz_date(date).ok_or(SignatureError::Date)?;
        let pair = pair(claim.access_key_id).ok_or(SignatureError::UnknownKey)?;
        if pair.expires.is_some_and(|end| end <= now) {
            return Err(SignatureError::ExpiredKey);
        }
        let service = check_scope(&claim.scope, date, head)?;
        check_signed_headers(&claim, head)?;
        if head.uri.query().is_some_and(|query| query.split('&').count() > MAX_PARAMETERS) {
            return Err(SignatureError::Parameters);
        }
        let now = seconds(now);
        self.check_skew(date, signed_at, now)?;
        let payload = payload(head)?;
        let (key, is_new_key) = pair.signing_key(&claim.scope);
        let pending = PendingSignature {
            pair,
            key,
            is_new_key,
            date: date.to_owned(),
            region: claim.scope.region.to_owned(),
            service,
            canonical: CanonicalHead::of(&Received::of(head), claim.signed_headers)?,
            signature: PayloadHash::parse(claim.signature).ok_or(SignatureError::Mismatch)?,
            until: signed_at.saturating_add(whole_seconds(self.max_skew)),
            now,
        };
        Ok(match payload {
            DeclaredPayload::Undeclared => HeadVerdict::Pending(Box::new(pending)),
            DeclaredPayload::Hash(hash) => {
                HeadVerdict::Verified(pending.check(hash.as_str())?, PendingAuth::BodyHash(hash))
            }
            DeclaredPayload::Unsigned => {
                HeadVerdict::Verified(pending.check(UNSIGNED_PAYLOAD)?, PendingAuth::Nothing)
            }
            DeclaredPayload::Events(stand_ins) => {
                let mut checks = stand_ins.iter().map(|text| pending.check(text));
                let checked =
                    checks.find(Result::is_ok).unwrap_or(Err(SignatureError::Mismatch))?;
                HeadVerdict::Verified(checked, PendingAuth::Events(Box::new(pending.into_events())))
            }
        })
    }

    fn check_skew(&self, date: &str, signed_at: i64, now: i64) -> Result<(), SignatureError> {
        let skew = whole_seconds(self.max_skew);
        let (early, late) = (now.saturating_sub(skew), now.saturating_add(skew));
        if (early..=late).contains(&signed_at) {
            return Ok(());
        }
        let clock = amz_date(now);
        let skew = if skew % 60 == 0 { format!("{} min.", skew / 60) } else { format!("{skew} s") };
        Err(SignatureError::Skewed(if signed_at < early {
            let early = amz_date(early);
            format!("Signature expired: {date} is now earlier than {early} ({clock} - {skew})")
        } else {
            let late = amz_date(late);
            format!(
                "Signature not yet current: {date} is still later than {late} ({clock} + {skew})"
            )
        }))
    }
}

/// Whether the query contains a signature.
pub(super) fn is_presigned(query: Option<&str>) -> bool {
    let names = query.unwrap_or_default().split('&').map(|it| it.split('=').next().unwrap_or(it));
    names.into_iter().any(|name| name.eq_ignore_ascii_case("x-amz-signature"))
}

/// Checks a scope, and returns its service.
fn check_scope(
    scope: &Scope<'_>,
    date: &str,
    head: &request::Parts,
) -> Result<&'static str, SignatureError> {
    if date.get(..8) != Some(scope.date) {
        return Err(SignatureError::ScopeDate);
    }
    // Any region is accepted: it does not decide where the request goes.
    let service = match scope.service {
        SERVICE => SERVICE,
        // Events are signed for the other one.
        MANTLE_SERVICE if !head.uri.path().ends_with(BIDIRECTIONAL) => MANTLE_SERVICE,
        _ => return Err(SignatureError::ScopeService),
    };
    if scope.terminator != TERMINATOR {
        return Err(SignatureError::ScopeTerminator);
    }
    Ok(service)
}

/// The host must be signed, under HTTP/1.1's name or HTTP/2's, and so must the date. A session token
/// has no meaning here, but must be signed if there is one: then the client itself has sent it.
fn check_signed_headers(
    claim: &Authorization<'_>,
    head: &request::Parts,
) -> Result<(), SignatureError> {
    if !claim.signs("host") && !claim.signs(AUTHORITY) {
        return Err(SignatureError::NotSigned("host"));
    }
    if !claim.signs(DATE) {
        return Err(SignatureError::NotSigned(DATE));
    }
    if head.headers.contains_key(&TOKEN_HEADER) && !claim.signs(SECURITY_TOKEN) {
        return Err(SignatureError::NotSigned(SECURITY_TOKEN));
    }
    Ok(())
}

/// The hash of the payload as the request declares it.
enum DeclaredPayload {
    Undeclared,
    Hash(PayloadHash),
    Unsigned,
    /// Each event is signed by itself. One of these texts stands for the hash.
    Events(&'static [&'static str]),
}

fn payload(head: &request::Parts) -> Result<DeclaredPayload, SignatureError> {
    let mut values = head.headers.get_all(&HASH_HEADER).iter();
    let has_events = head.uri.path().ends_with(BIDIRECTIONAL);
    let Some(value) = values.next() else {
        // Some SDKs sign the hash of an empty payload and do not declare it.
        let either = DeclaredPayload::Events(&[STREAMING_EVENTS, EMPTY_SHA256]);
        return Ok(if has_events { either } else { DeclaredPayload::Undeclared });
    };
    let text = value.to_str().map_err(|_| SignatureError::Payload)?;
    if values.next().is_some() {
        return Err(SignatureError::Payload);
    }
    match text {
        UNSIGNED_PAYLOAD => Ok(DeclaredPayload::Unsigned),
        STREAMING_EVENTS if has_events => Ok(DeclaredPayload::Events(&[STREAMING_EVENTS])),
        EMPTY_SHA256 if has_events => Ok(DeclaredPayload::Events(&[EMPTY_SHA256])),
        _ if has_events => Err(SignatureError::EventsPayload),
        _ => PayloadHash::parse(text).map(DeclaredPayload::Hash).ok_or(SignatureError::Payload),
    }
}

fn seconds(time: SystemTime) -> i64 {
    whole_seconds(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn whole_seconds(duration: Duration) -> i64 {
    // Far enough from the end that a skew can be added.
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX / 2)
}

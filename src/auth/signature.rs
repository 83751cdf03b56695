//! Whether a client's signature is right: AWS's SigV4, made with a key pair that the gateway gave
//! out.
//!
//! What can be told from the head is told before the body is read: unknown and expired keys, wrong
//! times and scopes, missing parts; and the signature itself where the client sends the hash it
//! has signed, or says that the body is not signed. Else the signature waits for the body's hash.
//! The events of a bidirectional stream have signatures of their own, which hang on the request's.
//! Messages are AWS's, but never hold a canonical request, a string to sign or a signature.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderName, request};

use crate::bedrock::ErrorKind;
use crate::bedrock::sigv4::amz_date::{amz_date, parse_amz_date};
use crate::bedrock::sigv4::{
    AUTHORITY, Authorization, CONTENT_SHA256, CanonicalHead, DATE, EMPTY_SHA256, EventChain,
    Malformed, NotThere, PathForm, PayloadHash, Received, SECURITY_TOKEN, SERVICE,
    STREAMING_EVENTS, Scope, SigningKey, TERMINATOR, UNSIGNED_PAYLOAD, string_to_sign,
};
use crate::config::{self, Secret};
use crate::limits::ClientRecord;

/// Derived keys kept for one key pair: a few regions, over midnight.
const MAX_DERIVED: usize = 8;

const DATE_HEADER: HeaderName = HeaderName::from_static(DATE);
const TOKEN_HEADER: HeaderName = HeaderName::from_static(SECURITY_TOKEN);
const HASH_HEADER: HeaderName = HeaderName::from_static(CONTENT_SHA256);

/// Most parameters of a signed query, which are sorted before anybody knows who sent them.
const MAX_PARAMETERS: usize = 128;

/// How the path of the one operation ends whose body is signed event by event.
const BIDIRECTIONAL: &str = "/invoke-with-bidirectional-stream";

/// Why a signature is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The header is there more than once.
    #[error("The request has more than one Authorization header.")]
    SeveralAuthorizations,
    /// The header has other than ASCII characters.
    #[error("The Authorization header is not ASCII.")]
    NotAscii,
    /// The header is not read.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The time of signing is missing.
    #[error("Authorization header requires existence of a 'X-Amz-Date' header.")]
    NoDate,
    /// The time of signing is no time.
    #[error("Date must be in ISO-8601 'basic format', such as '20261123T120000Z'.")]
    Date,
    /// The signature is in the query.
    #[error("This gateway takes no signature in the query: sign with the Authorization header.")]
    Presigned,
    /// No client has this key pair.
    #[error("The security token included in the request is invalid.")]
    UnknownKey,
    /// The key pair is a client's no more.
    #[error("The security token included in the request is expired: the access key has expired.")]
    ExpiredKey,
    /// The day of the scope is not that of the time of signing.
    #[error(
        "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP."
    )]
    ScopeDate,
    /// The scope is another service's.
    #[error("Credential should be scoped to correct service: '{SERVICE}'.")]
    ScopeService,
    /// The scope ends otherwise.
    #[error("Credential should be scoped with a valid terminator: '{TERMINATOR}'.")]
    ScopeTerminator,
    /// A header that must be signed is not.
    #[error("'{0}' must be a 'SignedHeader' in the AWS Authorization.")]
    NotSigned(&'static str),
    /// A signed header is missing.
    #[error(transparent)]
    NotThere(#[from] NotThere),
    /// The query has more parameters than are sorted.
    #[error("The query has more than {MAX_PARAMETERS} parameters.")]
    Parameters,
    /// It was signed too long ago, or too far ahead. The text is ready to be shown.
    #[error("{0}")]
    Skewed(String),
    /// What stands for the payload's hash is not taken.
    #[error(
        "The value of 'x-amz-content-sha256' must be the SHA-256 of the payload in lower-case hexadecimal digits, or 'UNSIGNED-PAYLOAD'."
    )]
    Payload,
    /// What stands for the hash of a stream of events is not taken.
    #[error(
        "The value of 'x-amz-content-sha256' must be '{STREAMING_EVENTS}' or 'UNSIGNED-PAYLOAD'."
    )]
    EventsPayload,
    /// The body is not the one that was signed.
    #[error("The value of 'x-amz-content-sha256' is not the SHA-256 of the payload.")]
    Body,
    /// It is not the signature of this request by this key pair.
    #[error(
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
    )]
    Mismatch,
    /// It was taken before.
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

/// A key pair and whose it is.
#[derive(Debug)]
pub(super) struct ClientKeyPair {
    client: Arc<ClientRecord>,
    secret: Secret,
    expires: Option<SystemTime>,
    /// Keys derived from the secret, the oldest first.
    derived: RwLock<Vec<Derived>>,
}

#[derive(Debug)]
struct Derived {
    date: String,
    region: String,
    key: Arc<SigningKey>,
}

impl ClientKeyPair {
    pub(super) fn new(client: Arc<ClientRecord>, pair: &config::KeyPair) -> ClientKeyPair {
        let secret = pair.secret_access_key.clone();
        ClientKeyPair { client, secret, expires: pair.expires, derived: RwLock::default() }
    }

    /// The key for a scope, and whether it was derived just now.
    fn key(&self, scope: &Scope<'_>) -> (Arc<SigningKey>, bool) {
        let derived = self.derived.read().unwrap_or_else(PoisonError::into_inner);
        let known = derived.iter().find(|it| it.date == scope.date && it.region == scope.region);
        match known {
            Some(known) => (Arc::clone(&known.key), false),
            None => (Arc::new(SigningKey::derive(self.secret.expose(), scope)), true),
        }
    }

    /// Keeps a key that a signature has shown to be in use.
    fn keep(&self, date: &str, region: &str, key: &Arc<SigningKey>) {
        let mut derived = self.derived.write().unwrap_or_else(PoisonError::into_inner);
        if derived.iter().any(|it| it.date == date && it.region == region) {
            return;
        }
        if derived.len() >= MAX_DERIVED {
            derived.remove(0);
        }
        let (date, region) = (date.to_owned(), region.to_owned());
        derived.push(Derived { date, region, key: Arc::clone(key) });
    }
}

/// What a request's body has yet to show of who sent it.
#[derive(Debug, Default)]
pub enum PendingAuth {
    /// Nothing.
    #[default]
    Nothing,
    /// That it has the hash which was signed.
    BodyHash(PayloadHash),
    /// That its events are those which were signed.
    Events(Box<EventChain>),
    /// That it was signed at all.
    Signature(Box<PendingSignature>),
}

/// A signature that waits for the hash of the body.
#[derive(Debug)]
pub struct PendingSignature {
    pair: Arc<ClientKeyPair>,
    key: Arc<SigningKey>,
    is_new_key: bool,
    /// Time of signing as the request has it, and region; the rest of the scope follows.
    date: String,
    region: String,
    signature: PayloadHash,
    canonical: CanonicalHead,
    until: i64,
    now: i64,
}

/// A signature that is right.
#[derive(Debug)]
pub(super) struct VerifiedSignature {
    pub(super) client: Arc<ClientRecord>,
    pub(super) signature: PayloadHash,
    /// The last second in which it is taken, and the one in which it came, since the Unix epoch.
    pub(super) until: i64,
    pub(super) now: i64,
}

impl PendingSignature {
    /// Whether the signature is right for a payload with this hash, or with what stands for it.
    pub(super) fn check(&self, payload: &str) -> Result<VerifiedSignature, SignatureError> {
        let day = self.date.get(..8).unwrap_or_default();
        let scope =
            Scope { date: day, region: &self.region, service: SERVICE, terminator: TERMINATOR };
        let verifies = |form| {
            let hash = self.canonical.hash(form, payload);
            let text = string_to_sign(&self.date, &scope, &hash);
            self.key.verifies(&text, self.signature.as_str())
        };
        // SDKs encode the path once more; what signs as for S3 takes it as it is.
        let is_right = verifies(PathForm::Encoded)
            || !self.canonical.has_one_form() && verifies(PathForm::Verbatim);
        if !is_right {
            return Err(SignatureError::Mismatch);
        }
        if self.is_new_key {
            self.pair.keep(day, &self.region, &self.key);
        }
        let client = Arc::clone(&self.pair.client);
        Ok(VerifiedSignature {
            client,
            signature: self.signature,
            until: self.until,
            now: self.now,
        })
    }

    /// The chain of events that hangs on this signature.
    fn into_events(self) -> EventChain {
        let pair = self.pair;
        let key = move |scope: &Scope<'_>| {
            let (key, is_new) = pair.key(scope);
            // The day may have changed since the request came; there are few such keys.
            if is_new {
                pair.keep(scope.date, scope.region, &key);
            }
            SigningKey::clone(&key)
        };
        EventChain::new(key, &self.region, self.signature.as_str())
    }
}

/// What the head of a request shows of its signature.
pub(super) enum HeadVerdict {
    /// It is right, if the body shows the rest.
    Verified(VerifiedSignature, PendingAuth),
    /// It waits for the body.
    Pending(Box<PendingSignature>),
}

/// What is asked of signatures.
#[derive(Debug)]
pub(super) struct SignatureVerifier {
    max_skew: Duration,
}

impl SignatureVerifier {
    pub(super) fn new(auth: &config::Auth) -> SignatureVerifier {
        SignatureVerifier { max_skew: auth.max_clock_skew }
    }

    /// Looks at the signature that the `authorization` header has.
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
        check_scope(&claim.scope, date)?;
        check_signed_headers(&claim, head)?;
        if head.uri.query().is_some_and(|query| query.split('&').count() > MAX_PARAMETERS) {
            return Err(SignatureError::Parameters);
        }
        let now = seconds(now);
        self.check_skew(date, signed_at, now)?;
        let payload = payload(head)?;
        let (key, is_new_key) = pair.key(&claim.scope);
        let pending = PendingSignature {
            pair,
            key,
            is_new_key,
            date: date.to_owned(),
            region: claim.scope.region.to_owned(),
            canonical: CanonicalHead::of(&Received::of(head), claim.signed_headers)?,
            signature: PayloadHash::parse(claim.signature).ok_or(SignatureError::Mismatch)?,
            until: signed_at.saturating_add(whole_seconds(self.max_skew)),
            now,
        };
        Ok(match payload {
            Payload::NotSaid => HeadVerdict::Pending(Box::new(pending)),
            Payload::Hash(hash) => {
                HeadVerdict::Verified(pending.check(hash.as_str())?, PendingAuth::BodyHash(hash))
            }
            Payload::Unsigned => {
                HeadVerdict::Verified(pending.check(UNSIGNED_PAYLOAD)?, PendingAuth::Nothing)
            }
            Payload::Events(stand_ins) => {
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

/// Whether a query has a signature.
pub(super) fn is_presigned(query: Option<&str>) -> bool {
    let names = query.unwrap_or_default().split('&').map(|it| it.split('=').next().unwrap_or(it));
    names.into_iter().any(|name| name.eq_ignore_ascii_case("x-amz-signature"))
}

fn check_scope(scope: &Scope<'_>, date: &str) -> Result<(), SignatureError> {
    if date.get(..8) != Some(scope.date) {
        return Err(SignatureError::ScopeDate);
    }
    // Any region: what a client takes itself to be in is not where its requests go.
    if scope.service != SERVICE {
        return Err(SignatureError::ScopeService);
    }
    if scope.terminator != TERMINATOR {
        return Err(SignatureError::ScopeTerminator);
    }
    Ok(())
}

/// The host must be signed, by HTTP/2's name for it too, and the date, which is there; so must a
/// session token, which means nothing here, so that it can't have been put there by another.
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

/// What a request says of the hash of its payload.
enum Payload {
    NotSaid,
    Hash(PayloadHash),
    Unsigned,
    /// Its events are signed one by one; one of these stands for it.
    Events(&'static [&'static str]),
}

fn payload(head: &request::Parts) -> Result<Payload, SignatureError> {
    let mut values = head.headers.get_all(&HASH_HEADER).iter();
    let has_events = head.uri.path().ends_with(BIDIRECTIONAL);
    let Some(value) = values.next() else {
        // Some SDKs sign the hash of nothing and don't say so.
        let either = Payload::Events(&[STREAMING_EVENTS, EMPTY_SHA256]);
        return Ok(if has_events { either } else { Payload::NotSaid });
    };
    let text = value.to_str().map_err(|_| SignatureError::Payload)?;
    if values.next().is_some() {
        return Err(SignatureError::Payload);
    }
    match text {
        UNSIGNED_PAYLOAD => Ok(Payload::Unsigned),
        STREAMING_EVENTS if has_events => Ok(Payload::Events(&[STREAMING_EVENTS])),
        EMPTY_SHA256 if has_events => Ok(Payload::Events(&[EMPTY_SHA256])),
        _ if has_events => Err(SignatureError::EventsPayload),
        _ => PayloadHash::parse(text).map(Payload::Hash).ok_or(SignatureError::Payload),
    }
}

fn seconds(time: SystemTime) -> i64 {
    whole_seconds(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn whole_seconds(duration: Duration) -> i64 {
    // Far enough from the end that a skew can be added.
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX / 2)
}

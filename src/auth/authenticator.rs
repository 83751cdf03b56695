//! Authenticates clients by a bearer key, in whichever header it is, a token of an issuer, a signature by one of
//! their key pairs, or the certificate of their connection.
//!
//! SDKs sign every request. If a certificate identifies the client, a signature by an unknown key is
//! therefore ignored.
//!
//! The authenticator holds digests of bearer keys only. One lookup finds the client of a key, whatever the
//! number of clients. This module decides all that can be decided before a request's body is read.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderMap, request};

use super::jwt::{Issuers, TokenError};
use super::origin::{self, OriginError};
use super::peer::ClientCertificate;
use super::presented::Presented;
use super::replay::ReplayCache;
use super::signature::{
    self, ClientKeyPair, PendingAuth, PendingSignature, SignatureError, SignatureVerifier,
    VerifiedSignature,
};
use crate::bedrock::sigv4::PayloadHash;
use crate::bedrock::{Dialect, ErrorKind};
use crate::config::{self, BearerKey};
use crate::limits::{ClientRecord, ClientRegistry};
use crate::telemetry::Metrics;

/// Why authentication failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// The request has no authorization.
    #[error("Missing Authentication Token")]
    Missing,
    /// No client has this bearer key.
    #[error("Authentication failed: the API key is not valid.")]
    UnknownKey,
    /// The headers for keys have different ones.
    #[error("The request has more than one API key.")]
    SeveralKeys,
    /// The bearer key of this client has expired.
    #[error("Authentication failed: the API key has expired.")]
    ExpiredKey(Arc<str>),
    /// The token was rejected.
    #[error(transparent)]
    Token(TokenError),
    /// The endpoint takes bearer keys and tokens only, and the request has another authorization.
    #[error(
        "The security token included in the request is invalid: this endpoint requires a bearer key."
    )]
    BearerRequired,
    /// The client was removed from the config while its request waited.
    #[error("The client of this request has been removed from the gateway's config.")]
    ClientRemoved,
    /// The signature was rejected.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// Anyone may call, but a page of another site may have sent the request.
    #[error(transparent)]
    Origin(#[from] OriginError),
}

impl AuthError {
    /// The error's name on the wire.
    pub fn kind(&self) -> ErrorKind {
        match self {
            AuthError::Missing => ErrorKind::MissingAuthenticationToken,
            AuthError::UnknownKey | AuthError::ClientRemoved => ErrorKind::AccessDenied,
            AuthError::SeveralKeys => ErrorKind::IncompleteSignature,
            AuthError::ExpiredKey(_) => ErrorKind::ExpiredToken,
            AuthError::Token(error) => error.kind(),
            AuthError::BearerRequired => ErrorKind::UnrecognizedClient,
            AuthError::Signature(error) => error.kind(),
            AuthError::Origin(OriginError::Host(_)) => ErrorKind::Validation,
            AuthError::Origin(_) => ErrorKind::AccessDenied,
        }
    }

    /// The same in a dialect. Bedrock denies access with a wrong key; to OpenAI and Anthropic, as to their SDKs,
    /// that is a caller who is not known.
    pub fn kind_in(&self, dialect: Dialect) -> ErrorKind {
        match (self.kind(), dialect) {
            (kind, Dialect::Bedrock) => kind,
            (kind, _) if matches!(self, AuthError::Origin(_)) => kind,
            (ErrorKind::AccessDenied, _) => ErrorKind::UnrecognizedClient,
            (kind, _) => kind,
        }
    }

    /// Whether the same credentials would be refused again. New keys of an issuer arrive, a token becomes valid, and
    /// a signature is made afresh for each attempt.
    pub fn is_final(&self) -> bool {
        match self {
            AuthError::Token(error) => error.is_final(),
            AuthError::Signature(SignatureError::Skewed(_) | SignatureError::Replayed) => false,
            _ => true,
        }
    }

    /// The labels of a metric: the kind of credential, and the result.
    fn labels(&self) -> [&'static str; 2] {
        let bearer = Credential::BearerKey.name();
        match self {
            AuthError::Missing => ["none", "missing"],
            AuthError::UnknownKey => [bearer, "unknown"],
            AuthError::SeveralKeys => [bearer, "invalid"],
            AuthError::ExpiredKey(_) => [bearer, "expired"],
            AuthError::Token(error) => [Credential::Token.name(), error.label()],
            AuthError::BearerRequired => ["none", "invalid"],
            AuthError::ClientRemoved => ["none", "unknown"],
            AuthError::Signature(error) => [Credential::KeyPair.name(), error.label()],
            AuthError::Origin(_) => ["none", "foreign"],
        }
    }
}

/// The kind of credential that identified a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// A bearer key.
    BearerKey,
    /// A token of an issuer.
    Token,
    /// A signature by one of the client's key pairs.
    KeyPair,
    /// The certificate of the connection.
    Certificate,
}

impl Credential {
    /// Its label in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Credential::BearerKey => "bearer_key",
            Credential::Token => "token",
            Credential::KeyPair => "key_pair",
            Credential::Certificate => "certificate",
        }
    }
}

/// An authenticated client.
#[derive(Clone, Debug)]
pub struct Authenticated {
    /// Its record.
    pub client: Arc<ClientRecord>,
    /// What identified it.
    pub credential: Credential,
}

/// The outcome of authentication by the head.
#[derive(Debug)]
pub enum AuthOutcome {
    /// Anyone may call.
    Anyone,
    /// The request is this client's. The pending part is checked against the body.
    Client(Authenticated, PendingAuth),
    /// The signature covers the body; [`Authenticator::verify_signature`] decides.
    Pending(Box<PendingSignature>),
}

/// Finds and verifies the client of a request.
#[derive(Debug)]
pub struct Authenticator {
    /// Whether the config names clients. If so, only clients may call.
    has_clients: bool,
    bearer: HashSet<BearerEntry>,
    pairs: HashMap<Box<str>, Arc<ClientKeyPair>>,
    /// By a name in the certificate.
    certificates: HashMap<Box<str>, Arc<ClientRecord>>,
    /// By the issuer's name, then by the value of its claim.
    identities: HashMap<Box<str>, HashMap<Box<str>, Arc<ClientRecord>>>,
    issuers: Issuers,
    verifier: SignatureVerifier,
    replays: Option<Arc<ReplayCache>>,
    /// Host names that requests may use without configured clients.
    allowed_hosts: Vec<String>,
    metrics: Arc<Metrics>,
}

/// A bearer key and its client. It fills one cache line: with many clients most lookups miss the cache.
#[derive(Debug)]
#[repr(align(64))]
struct BearerEntry {
    key: BearerKey,
    client: Arc<ClientRecord>,
    expires: Option<SystemTime>,
}

impl Borrow<BearerKey> for BearerEntry {
    fn borrow(&self) -> &BearerKey {
        &self.key
    }
}

impl Hash for BearerEntry {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

impl PartialEq for BearerEntry {
    fn eq(&self, other: &BearerEntry) -> bool {
        self.key == other.key
    }
}

impl Eq for BearerEntry {}

impl Authenticator {
    /// The authenticator of these clients, whose records are in `registry`. Without clients anyone may
    /// call. The new authenticator takes over the used signatures of `before`, that of the older config.
    pub fn new(
        clients: &[config::ClientConfig],
        registry: &ClientRegistry,
        auth: &config::Auth,
        metrics: Arc<Metrics>,
        before: Option<&Authenticator>,
    ) -> Authenticator {
        let (mut bearer, mut pairs) = (HashSet::new(), HashMap::new());
        let mut certificates = HashMap::new();
        let mut identities = HashMap::<Box<str>, HashMap<_, _>>::new();
        let registered = clients.iter().filter_map(|it| Some((it, registry.get(&it.name)?)));
        for (config, client) in registered {
            for token in &config.bearer_tokens {
                let (key, client) = (token.key.clone(), Arc::clone(client));
                bearer.replace(BearerEntry { key, client, expires: token.expires });
            }
            for pair in &config.keys {
                let key_pair = ClientKeyPair::new(Arc::clone(client), pair);
                pairs.insert(pair.access_key_id.as_str().into(), Arc::new(key_pair));
            }
            for certificate in &config.certificates {
                certificates.insert(certificate.as_str().into(), Arc::clone(client));
            }
            for config::TokenIdentity { issuer, value } in &config.identities {
                let of_issuer = identities.entry(issuer.as_str().into()).or_default();
                of_issuer.insert(value.as_str().into(), Arc::clone(client));
            }
        }
        let replays = auth.replay_protection.then(|| {
            let kept = before.and_then(|it| it.replays.as_ref());
            let replays = kept.filter(|kept| kept.max() == auth.max_replay_signatures);
            let evicted = metrics.replays_forgotten.clone();
            replays.map_or_else(
                || Arc::new(ReplayCache::new(auth.max_replay_signatures, evicted)),
                Arc::clone,
            )
        });
        let (verifier, issuers) = (SignatureVerifier::new(auth), Issuers::default());
        Authenticator {
            has_clients: !clients.is_empty(),
            bearer,
            pairs,
            certificates,
            identities,
            issuers,
            verifier,
            replays,
            allowed_hosts: Vec::new(),
            metrics,
        }
    }

    /// The same authenticator with these issuers of tokens.
    pub fn with_issuers(self, issuers: Issuers) -> Authenticator {
        Authenticator { issuers, ..self }
    }

    /// The same authenticator, which without clients accepts these host names, too.
    pub fn with_allowed_hosts(self, allowed_hosts: &[String]) -> Authenticator {
        Authenticator { allowed_hosts: allowed_hosts.to_vec(), ..self }
    }

    /// The issuers of tokens.
    pub fn issuers(&self) -> &Issuers {
        &self.issuers
    }

    /// Authenticates a request by its head at the time `now`, and by the certificate of its connection.
    ///
    /// # Errors
    /// If only clients may call and the caller is not one, or if a page of another site calls.
    pub fn authenticate(
        &self,
        head: &request::Parts,
        certificate: Option<&ClientCertificate>,
        now: SystemTime,
    ) -> Result<AuthOutcome, AuthError> {
        let outcome = if self.allows_anyone() {
            self.check_origin(head).map(|()| AuthOutcome::Anyone)
        } else {
            self.client_by_head(head, certificate, now)
        };
        match &outcome {
            Ok(AuthOutcome::Client(client, _)) => self.count([client.credential.name(), "ok"]),
            Ok(_) => {}
            Err(error) => self.count(error.labels()),
        }
        outcome
    }

    /// Checks that the client of a waiting request is still in the config. `client` is its record there.
    ///
    /// # Errors
    /// [`AuthError::ClientRemoved`] if the config names clients and this one is not among them.
    pub fn check_active(&self, client: Option<&Arc<ClientRecord>>) -> Result<(), AuthError> {
        if self.allows_anyone() || client.is_some() {
            return Ok(());
        }
        self.count(AuthError::ClientRemoved.labels());
        Err(AuthError::ClientRemoved)
    }

    /// Completes authentication: checks the pending signature against the hash of the body.
    ///
    /// # Errors
    /// If the signature does not match, or was used before.
    pub fn verify_signature(
        &self,
        pending: &PendingSignature,
        body: &PayloadHash,
    ) -> Result<Authenticated, AuthError> {
        let verified =
            pending.check(body.as_str()).and_then(|signature| self.check_replay(signature));
        match &verified {
            Ok(client) => self.count([client.credential.name(), "ok"]),
            Err(error) => self.count([Credential::KeyPair.name(), error.label()]),
        }
        Ok(verified?)
    }

    /// Checks that the body of a request has the hash that its client signed.
    ///
    /// # Errors
    /// If it has another hash.
    pub fn verify_body_hash(
        &self,
        signed: &PayloadHash,
        body: &PayloadHash,
    ) -> Result<(), AuthError> {
        if signed == body {
            return Ok(());
        }
        let error = SignatureError::Body;
        self.count([Credential::KeyPair.name(), error.label()]);
        Err(error.into())
    }

    /// Authenticates a request to an endpoint that takes no signatures: by its bearer key or token, or by
    /// the certificate of its connection. `None` if anyone may call.
    ///
    /// # Errors
    /// If only clients may call and the caller is not one, or if a page of another site calls.
    pub fn authenticate_unsigned(
        &self,
        head: &request::Parts,
        certificate: Option<&ClientCertificate>,
        now: SystemTime,
    ) -> Result<Option<Arc<ClientRecord>>, AuthError> {
        let authenticated = if self.allows_anyone() {
            self.check_origin(head).map(|()| None)
        } else {
            self.unsigned_client(&head.headers, certificate, now).map(Some)
        };
        match &authenticated {
            Ok(Some(client)) => self.count([client.credential.name(), "ok"]),
            Ok(None) => {}
            Err(error) => self.count(error.labels()),
        }
        Ok(authenticated?.map(|it| it.client))
    }

    /// Refuses requests of other sites' pages, which is the only check without clients.
    fn check_origin(&self, head: &request::Parts) -> Result<(), AuthError> {
        Ok(origin::check(head, &self.allowed_hosts)?)
    }

    fn unsigned_client(
        &self,
        headers: &HeaderMap,
        certificate: Option<&ClientCertificate>,
        now: SystemTime,
    ) -> Result<Authenticated, AuthError> {
        match Presented::of(headers) {
            Ok(Presented::Nothing) => self.by_certificate(certificate).ok_or(AuthError::Missing),
            Ok(Presented::Bearer(key)) => self.by_bearer(key, now),
            Ok(Presented::Key(key)) => self.by_key(key, now),
            Ok(Presented::Signature(_)) | Err(AuthError::Signature(_)) => {
                Err(AuthError::BearerRequired)
            }
            Err(error) => Err(error),
        }
    }

    fn allows_anyone(&self) -> bool {
        !self.has_clients
    }

    fn client_by_head(
        &self,
        head: &request::Parts,
        certificate: Option<&ClientCertificate>,
        now: SystemTime,
    ) -> Result<AuthOutcome, AuthError> {
        let by_certificate =
            || Some(AuthOutcome::Client(self.by_certificate(certificate)?, PendingAuth::Nothing));
        let authorization = match Presented::of(&head.headers)? {
            Presented::Nothing if signature::is_presigned(head.uri.query()) => {
                return Err(SignatureError::Presigned.into());
            }
            Presented::Nothing => return by_certificate().ok_or(AuthError::Missing),
            Presented::Bearer(key) => {
                return Ok(AuthOutcome::Client(self.by_bearer(key, now)?, PendingAuth::Nothing));
            }
            Presented::Key(key) => {
                return Ok(AuthOutcome::Client(self.by_key(key, now)?, PendingAuth::Nothing));
            }
            Presented::Signature(authorization) => authorization,
        };
        let pair = |id: &str| self.pairs.get(id).map(Arc::clone);
        let verdict = match self.verifier.verify_head(head, authorization, pair, now) {
            Err(SignatureError::UnknownKey) => {
                return by_certificate().ok_or_else(|| SignatureError::UnknownKey.into());
            }
            verdict => verdict?,
        };
        Ok(match verdict {
            signature::HeadVerdict::Verified(verified, rest) => {
                AuthOutcome::Client(self.check_replay(verified)?, rest)
            }
            signature::HeadVerdict::Pending(pending) => AuthOutcome::Pending(pending),
        })
    }

    /// The client of a certificate: by its subject, or else by the first of its names that a client has.
    fn by_certificate(&self, certificate: Option<&ClientCertificate>) -> Option<Authenticated> {
        let client = certificate?.identities().find_map(|name| self.certificates.get(name))?;
        Some(Authenticated { client: Arc::clone(client), credential: Credential::Certificate })
    }

    /// The client that a token identifies.
    fn by_token(&self, token: &str, now: SystemTime) -> Result<Authenticated, TokenError> {
        let claims = self.issuers.verify(token, now)?;
        let clients = self.identities.get(claims.issuer).ok_or(TokenError::NoClient)?;
        let mut matches = claims.values.iter().filter_map(|value| clients.get(value.as_str()));
        let client = matches.next().ok_or(TokenError::NoClient)?;
        if matches.any(|another| !Arc::ptr_eq(another, client)) {
            return Err(TokenError::SeveralClients);
        }
        Ok(Authenticated { client: Arc::clone(client), credential: Credential::Token })
    }

    /// The client of a bearer key or of a token.
    fn by_bearer(&self, key: &str, now: SystemTime) -> Result<Authenticated, AuthError> {
        match self.by_key(key, now) {
            Err(AuthError::UnknownKey) => self.by_token(key, now).map_err(|error| match error {
                TokenError::NoToken => AuthError::UnknownKey,
                error => AuthError::Token(error),
            }),
            known => known,
        }
    }

    fn by_key(&self, key: &str, now: SystemTime) -> Result<Authenticated, AuthError> {
        let bearer = self.bearer.get(&BearerKey::of(key)).ok_or(AuthError::UnknownKey)?;
        if bearer.expires.is_some_and(|end| end <= now) {
            return Err(AuthError::ExpiredKey(Arc::clone(&bearer.client.name)));
        }
        Ok(Authenticated { client: Arc::clone(&bearer.client), credential: Credential::BearerKey })
    }

    /// The client of a verified signature, unless replay protection has seen the signature before.
    fn check_replay(&self, verified: VerifiedSignature) -> Result<Authenticated, SignatureError> {
        if let Some(replays) = &self.replays {
            let mut signature = [0; 32];
            let decoded = hex::decode_to_slice(verified.signature.as_str(), &mut signature);
            if decoded.is_err() || !replays.insert(signature, verified.until, verified.now) {
                return Err(SignatureError::Replayed);
            }
        }
        Ok(Authenticated { client: verified.client, credential: Credential::KeyPair })
    }

    fn count(&self, labels: [&str; 2]) {
        self.metrics.authentications.with_label_values(&labels).inc();
    }
}

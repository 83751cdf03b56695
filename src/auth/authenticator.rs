//! The clients that the config names, identified by what they present: a bearer key, a token of an issuer,
//! a signature by one of their key pairs, or the certificate of their connection.
//!
//! SDKs insist on signing. So where a certificate identifies the client, a signature by a key of
//! no client is ignored.
//!
//! Of bearer keys only digests are held. One lookup finds the client of a key, however many clients
//! there are. All that is decided before a request's body is read is decided here.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::SystemTime;

use http::header::AUTHORIZATION;
use http::{HeaderMap, request};

use super::jwt::{Issuers, TokenError};
use super::origin::{self, OriginError};
use super::peer::ClientCertificate;
use super::replay::ReplayCache;
use super::signature::{
    self, ClientKeyPair, PendingAuth, PendingSignature, SignatureError, SignatureVerifier,
    VerifiedSignature,
};
use crate::bedrock::ErrorKind;
use crate::bedrock::sigv4::PayloadHash;
use crate::config::{self, BearerKey};
use crate::limits::{ClientRecord, ClientRegistry};
use crate::telemetry::Metrics;

/// Why authentication failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// It has no authorization at all.
    #[error("Missing Authentication Token")]
    Missing,
    /// Its bearer key is no client's.
    #[error("Authentication failed: the API key is not valid.")]
    UnknownKey,
    /// Its bearer key is a client's no more.
    #[error("Authentication failed: the API key has expired.")]
    ExpiredKey,
    /// Its token is not taken.
    #[error(transparent)]
    Token(TokenError),
    /// It is authorized by other means than the bearer key that is asked for.
    #[error("The security token included in the request is invalid: a bearer key is asked for.")]
    BearerRequired,
    /// The client was removed from the config while its request waited.
    #[error("The client that asked for this is no client of this gateway any more.")]
    ClientRemoved,
    /// Its signature is not taken.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// Everybody may call, but a page of another site may have sent it.
    #[error(transparent)]
    Origin(#[from] OriginError),
}

impl AuthError {
    /// The error's name on the wire.
    pub fn kind(&self) -> ErrorKind {
        match self {
            AuthError::Missing => ErrorKind::MissingAuthenticationToken,
            AuthError::UnknownKey | AuthError::ClientRemoved => ErrorKind::AccessDenied,
            AuthError::ExpiredKey => ErrorKind::ExpiredToken,
            AuthError::Token(bad) => bad.kind(),
            AuthError::BearerRequired => ErrorKind::UnrecognizedClient,
            AuthError::Signature(bad) => bad.kind(),
            AuthError::Origin(OriginError::Host(_)) => ErrorKind::Validation,
            AuthError::Origin(_) => ErrorKind::AccessDenied,
        }
    }

    /// The labels of a metric: the kind of credential, and the result.
    fn labels(&self) -> [&'static str; 2] {
        let bearer = Credential::BearerKey.name();
        match self {
            AuthError::Missing => ["none", "missing"],
            AuthError::UnknownKey => [bearer, "unknown"],
            AuthError::ExpiredKey => [bearer, "expired"],
            AuthError::Token(bad) => [Credential::Token.name(), bad.label()],
            AuthError::BearerRequired => ["none", "invalid"],
            AuthError::ClientRemoved => ["none", "unknown"],
            AuthError::Signature(bad) => [Credential::KeyPair.name(), bad.label()],
            AuthError::Origin(_) => ["none", "foreign"],
        }
    }
}

/// How a client was recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// By a bearer key.
    BearerKey,
    /// By a token of an issuer.
    Token,
    /// By a signature of one of its key pairs.
    KeyPair,
    /// By the certificate of its connection.
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
    /// How it was recognised.
    pub credential: Credential,
}

/// The outcome of authentication by the head.
#[derive(Debug)]
pub enum AuthOutcome {
    /// Everybody may call.
    Anyone,
    /// A client's. Its body must show the rest.
    Client(Authenticated, PendingAuth),
    /// A client's if its body is what was signed, see [`Authenticator::verify_signature`].
    Pending(Box<PendingSignature>),
}

/// The keys of all clients.
#[derive(Debug)]
pub struct Authenticator {
    /// Whether the config names clients: then nobody else may call.
    has_clients: bool,
    bearer: HashSet<BearerEntry>,
    pairs: HashMap<Box<str>, Arc<ClientKeyPair>>,
    /// By the name that stands in the certificate.
    certificates: HashMap<Box<str>, Arc<ClientRecord>>,
    /// By the issuer's name, then by the value of its claim.
    identities: HashMap<Box<str>, HashMap<Box<str>, Arc<ClientRecord>>>,
    issuers: Issuers,
    verifier: SignatureVerifier,
    replays: Option<Arc<ReplayCache>>,
    /// Names of the gateway that everybody may call it by, where there are no clients.
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
    /// The keys of these clients, whose records are among `members`. Without clients everybody may
    /// call. The signatures that an older config's authenticator has seen are taken over.
    pub fn new(
        clients: &[config::ClientConfig],
        members: &ClientRegistry,
        auth: &config::Auth,
        metrics: Arc<Metrics>,
        before: Option<&Authenticator>,
    ) -> Authenticator {
        let (mut bearer, mut pairs) = (HashSet::new(), HashMap::new());
        let mut certificates = HashMap::new();
        let mut identities = HashMap::<Box<str>, HashMap<_, _>>::new();
        let known = clients.iter().filter_map(|it| Some((it, members.get(&it.name)?)));
        for (client, member) in known {
            for token in &client.bearer_tokens {
                let (key, client) = (token.key.clone(), Arc::clone(member));
                bearer.replace(BearerEntry { key, client, expires: token.expires });
            }
            for pair in &client.keys {
                let known = ClientKeyPair::new(Arc::clone(member), pair);
                pairs.insert(pair.access_key_id.as_str().into(), Arc::new(known));
            }
            for certificate in &client.certificates {
                certificates.insert(certificate.as_str().into(), Arc::clone(member));
            }
            for config::TokenIdentity { issuer, value } in &client.identities {
                let of_issuer = identities.entry(issuer.as_str().into()).or_default();
                of_issuer.insert(value.as_str().into(), Arc::clone(member));
            }
        }
        let replays = auth.replay_protection.then(|| {
            let kept = before.and_then(|keys| keys.replays.as_ref());
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

    /// The same, with these issuers of tokens.
    pub fn with_issuers(self, issuers: Issuers) -> Authenticator {
        Authenticator { issuers, ..self }
    }

    /// The same; without clients everybody may call by these names, too.
    pub fn with_allowed_hosts(self, allowed_hosts: &[String]) -> Authenticator {
        Authenticator { allowed_hosts: allowed_hosts.to_vec(), ..self }
    }

    /// The issuers of tokens.
    pub fn issuers(&self) -> &Issuers {
        &self.issuers
    }

    /// Authenticates a request by its head at the time `now`, and by the certificate that
    /// its connection has shown.
    ///
    /// # Errors
    /// When only clients may call and the caller is not one, or a page of another site calls.
    pub fn authenticate(
        &self,
        head: &request::Parts,
        certificate: Option<&ClientCertificate>,
        now: SystemTime,
    ) -> Result<AuthOutcome, AuthError> {
        let recognised = if self.allows_anyone() {
            self.check_origin(head).map(|()| AuthOutcome::Anyone)
        } else {
            self.client_by_head(head, certificate, now)
        };
        match &recognised {
            Ok(AuthOutcome::Client(known, _)) => self.count([known.credential.name(), "ok"]),
            Ok(_) => {}
            Err(why) => self.count(why.labels()),
        }
        recognised
    }

    /// Checks that the client of a waiting request still exists; `member` is its record, if it still
    /// has one.
    ///
    /// # Errors
    /// When only clients may call and the caller is no longer one.
    pub fn check_active(&self, member: Option<&Arc<ClientRecord>>) -> Result<(), AuthError> {
        if self.allows_anyone() || member.is_some() {
            return Ok(());
        }
        self.count(AuthError::ClientRemoved.labels());
        Err(AuthError::ClientRemoved)
    }

    /// Completes authentication: checks the pending signature against the hash of the body.
    ///
    /// # Errors
    /// When the body is not what was signed.
    pub fn verify_signature(
        &self,
        pending: &PendingSignature,
        body: &PayloadHash,
    ) -> Result<Authenticated, AuthError> {
        let proven = pending.check(body.as_str()).and_then(|checked| self.check_replay(checked));
        match &proven {
            Ok(known) => self.count([known.credential.name(), "ok"]),
            Err(bad) => self.count([Credential::KeyPair.name(), bad.label()]),
        }
        Ok(proven?)
    }

    /// The body of a request must have this hash, which its client has signed.
    ///
    /// # Errors
    /// When it has another.
    pub fn verify_body_hash(
        &self,
        signed: &PayloadHash,
        body: &PayloadHash,
    ) -> Result<(), AuthError> {
        if signed == body {
            return Ok(());
        }
        let bad = SignatureError::Body;
        self.count([Credential::KeyPair.name(), bad.label()]);
        Err(bad.into())
    }

    /// Whose request this is where signatures are not taken: by its bearer key or token, or the
    /// certificate that its connection has shown. `None` if everybody may call.
    ///
    /// # Errors
    /// When only clients may call and the caller is not one, or a page of another site calls.
    pub fn authenticate_unsigned(
        &self,
        head: &request::Parts,
        certificate: Option<&ClientCertificate>,
        now: SystemTime,
    ) -> Result<Option<Arc<ClientRecord>>, AuthError> {
        let known = if self.allows_anyone() {
            self.check_origin(head).map(|()| None)
        } else {
            self.unsigned_client(&head.headers, certificate, now).map(Some)
        };
        match &known {
            Ok(Some(known)) => self.count([known.credential.name(), "ok"]),
            Ok(None) => {}
            Err(why) => self.count(why.labels()),
        }
        Ok(known?.map(|known| known.client))
    }

    /// Without clients: refuses requests of other sites' pages.
    fn check_origin(&self, head: &request::Parts) -> Result<(), AuthError> {
        Ok(origin::check(head, &self.allowed_hosts)?)
    }

    fn unsigned_client(
        &self,
        headers: &HeaderMap,
        certificate: Option<&ClientCertificate>,
        now: SystemTime,
    ) -> Result<Authenticated, AuthError> {
        let Some(value) = headers.get(AUTHORIZATION) else {
            return self.by_certificate(certificate).ok_or(AuthError::Missing);
        };
        let key = value.to_str().ok().and_then(bearer).ok_or(AuthError::BearerRequired)?;
        self.by_bearer_key(key, now)
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
        let certified =
            || Some(AuthOutcome::Client(self.by_certificate(certificate)?, PendingAuth::Nothing));
        let mut values = head.headers.get_all(AUTHORIZATION).iter();
        let Some(value) = values.next() else {
            if signature::is_presigned(head.uri.query()) {
                return Err(SignatureError::Presigned.into());
            }
            return certified().ok_or(AuthError::Missing);
        };
        if values.next().is_some() {
            return Err(SignatureError::SeveralAuthorizations.into());
        }
        let value = value.to_str().map_err(|_| SignatureError::NotAscii)?;
        if let Some(key) = bearer(value) {
            return Ok(AuthOutcome::Client(self.by_bearer_key(key, now)?, PendingAuth::Nothing));
        }
        let pair = |id: &str| self.pairs.get(id).map(Arc::clone);
        let seen = match self.verifier.verify_head(head, value, pair, now) {
            Err(SignatureError::UnknownKey) => {
                return certified().ok_or_else(|| SignatureError::UnknownKey.into());
            }
            seen => seen?,
        };
        Ok(match seen {
            signature::HeadVerdict::Verified(checked, rest) => {
                AuthOutcome::Client(self.check_replay(checked)?, rest)
            }
            signature::HeadVerdict::Pending(pending) => AuthOutcome::Pending(pending),
        })
    }

    /// The client whose certificate this is: by its subject, or else by the first of its names that
    /// is a client's.
    fn by_certificate(&self, certificate: Option<&ClientCertificate>) -> Option<Authenticated> {
        let member = certificate?.identities().find_map(|name| self.certificates.get(name))?;
        Some(Authenticated { client: Arc::clone(member), credential: Credential::Certificate })
    }

    /// The client that a token is of.
    fn by_token(&self, token: &str, now: SystemTime) -> Result<Authenticated, TokenError> {
        let issued = self.issuers.verify(token, now)?;
        let clients = self.identities.get(issued.issuer).ok_or(TokenError::NoClient)?;
        let mut named = issued.values.iter().filter_map(|value| clients.get(value.as_str()));
        let member = named.next().ok_or(TokenError::NoClient)?;
        if named.any(|other| !Arc::ptr_eq(other, member)) {
            return Err(TokenError::SeveralClients);
        }
        Ok(Authenticated { client: Arc::clone(member), credential: Credential::Token })
    }

    fn by_bearer_key(&self, key: &str, now: SystemTime) -> Result<Authenticated, AuthError> {
        let Some(bearer) = self.bearer.get(&BearerKey::of(key)) else {
            return self.by_token(key, now).map_err(|bad| match bad {
                TokenError::NoToken => AuthError::UnknownKey,
                bad => AuthError::Token(bad),
            });
        };
        if bearer.expires.is_some_and(|end| end <= now) {
            return Err(AuthError::ExpiredKey);
        }
        Ok(Authenticated { client: Arc::clone(&bearer.client), credential: Credential::BearerKey })
    }

    /// The client of a good signature, if the signature may be taken again.
    fn check_replay(&self, checked: VerifiedSignature) -> Result<Authenticated, SignatureError> {
        if let Some(replays) = &self.replays {
            let mut signature = [0; 32];
            let read = hex::decode_to_slice(checked.signature.as_str(), &mut signature);
            if read.is_err() || !replays.insert(signature, checked.until, checked.now) {
                return Err(SignatureError::Replayed);
            }
        }
        Ok(Authenticated { client: checked.client, credential: Credential::KeyPair })
    }

    fn count(&self, labels: [&str; 2]) {
        self.metrics.authentications.with_label_values(&labels).inc();
    }
}

/// The token of a `Bearer` authorization (RFC 6750, section 2.1); the scheme in any case.
pub fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::header::HOST;
    use http::{HeaderValue, Request};

    use super::*;
    use crate::auth::tests::{auth, keys_of};

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn keys(tokens: &[(&str, &str, Option<SystemTime>)]) -> Authenticator {
        let clients = tokens.iter().map(|(name, key, expires)| config::ClientConfig {
            name: (*name).to_owned(),
            bearer_tokens: vec![config::BearerToken { key: BearerKey::of(key), expires: *expires }],
            ..config::ClientConfig::default()
        });
        keys_of(&clients.collect::<Vec<_>>(), &auth(), None)
    }

    fn asked(
        keys: &Authenticator,
        authorization: Option<&str>,
    ) -> Result<Option<String>, AuthError> {
        let (mut head, ()) = Request::new(()).into_parts();
        head.headers.insert(HOST, HeaderValue::from_static("localhost"));
        if let Some(text) = authorization {
            head.headers.insert(AUTHORIZATION, HeaderValue::from_str(text).unwrap());
        }
        let name =
            keys.authenticate_unsigned(&head, None, NOW).map(|it| it.map(|it| it.name.to_string()));
        match (&name, keys.authenticate(&head, None, NOW)) {
            (Ok(Some(name)), Ok(AuthOutcome::Client(known, PendingAuth::Nothing))) => {
                assert_eq!(
                    (name.as_str(), known.credential),
                    (&*known.client.name, Credential::BearerKey)
                );
            }
            (Ok(None), Ok(AuthOutcome::Anyone)) => {}
            (Err(AuthError::BearerRequired), Err(AuthError::Signature(_))) => {}
            (Err(one), Err(other)) => assert_eq!(*one, other),
            (one, other) => panic!("{one:?} and {other:?}"),
        }
        name
    }

    #[test]
    fn a_key_tells_whose_it_is() {
        let keys = keys(&[("team-a", "a-key-of-team-a-alone", None)]);
        let asked = |text| asked(&keys, text);
        let known = Ok(Some("team-a".to_owned()));
        assert_eq!(asked(Some("Bearer a-key-of-team-a-alone")), known);
        assert_eq!(asked(Some("bearer  a-key-of-team-a-alone ")), known);
        assert_eq!(asked(Some("Bearer a-key-of-team-b")), Err(AuthError::UnknownKey));
        assert_eq!(asked(Some("Bearer ")), Err(AuthError::UnknownKey));
        assert_eq!(asked(Some("AWS4-HMAC-SHA256 Credential=A/b")), Err(AuthError::BearerRequired));
        assert_eq!(asked(None), Err(AuthError::Missing));
    }

    #[test]
    fn a_key_is_good_until_it_expires_beside_another_of_the_same_client() {
        let second = Duration::from_secs(1);
        let keys = keys(&[
            ("team-a", "the-old-key-of-team-a", Some(NOW)),
            ("team-a", "the-key-of-team-a", Some(NOW + second)),
            ("team-a", "the-new-key-of-team-a", None),
        ]);
        let known = Ok(Some("team-a".to_owned()));
        assert_eq!(asked(&keys, Some("Bearer the-old-key-of-team-a")), Err(AuthError::ExpiredKey));
        assert_eq!(asked(&keys, Some("Bearer the-key-of-team-a")), known);
        assert_eq!(asked(&keys, Some("Bearer the-new-key-of-team-a")), known);
    }

    #[test]
    fn without_clients_everybody_may_call() {
        assert_eq!(asked(&keys(&[]), None), Ok(None));
    }

    #[test]
    fn what_waited_is_done_for_clients_alone_as_long_as_they_are() {
        let known = keys(&[("team-a", "a-key-of-team-a-alone", None)]);
        let client = config::ClientConfig { name: "team-a".to_owned(), ..Default::default() };
        let members = ClientRegistry::new(&[client], None, None).unwrap();
        assert_eq!(known.check_active(members.get("team-a")), Ok(()));
        assert_eq!(known.check_active(members.get("team-b")), Err(AuthError::ClientRemoved));
        assert_eq!(keys(&[]).check_active(None), Ok(()));
    }
}

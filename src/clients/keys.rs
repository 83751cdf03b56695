//! The clients that the config names, told by what they present: a bearer key, or a signature by
//! one of their key pairs.
//!
//! Of bearer keys only digests are held. One lookup tells whose a key is, however many clients
//! there are. All that can be said of a request before its body is read is said here.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use http::header::AUTHORIZATION;
use http::{HeaderMap, request};

use super::replay::Replays;
use super::signature::{self, BadSignature, Checked, Judge, Pair, Pending, Proof};
use crate::bedrock::ErrorKind;
use crate::bedrock::sigv4::PayloadHash;
use crate::config::{self, BearerKey};
use crate::telemetry::Metrics;

/// Why a request is nobody's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unauthenticated {
    /// It has no authorization at all.
    #[error("Missing Authentication Token")]
    Missing,
    /// Its bearer key is no client's.
    #[error("Authentication failed: the API key is not valid.")]
    UnknownKey,
    /// Its bearer key is a client's no more.
    #[error("Authentication failed: the API key has expired.")]
    ExpiredKey,
    /// It is authorized by other means than the bearer key that is asked for.
    #[error("The security token included in the request is invalid: a bearer key is asked for.")]
    NoKey,
    /// It was asked for by a client that was one, and waited since.
    #[error("The client that asked for this is no client of this gateway any more.")]
    Gone,
    /// Its signature is not taken.
    #[error(transparent)]
    Signature(#[from] BadSignature),
}

impl Unauthenticated {
    /// The error's name on the wire.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Unauthenticated::Missing => ErrorKind::MissingAuthenticationToken,
            Unauthenticated::UnknownKey | Unauthenticated::Gone => ErrorKind::AccessDenied,
            Unauthenticated::ExpiredKey => ErrorKind::ExpiredToken,
            Unauthenticated::NoKey => ErrorKind::UnrecognizedClient,
            Unauthenticated::Signature(bad) => bad.kind(),
        }
    }

    /// By what means it was to be recognised, and what came of it: labels of a metric.
    fn labels(&self) -> [&'static str; 2] {
        let bearer = Credential::BearerKey.name();
        match self {
            Unauthenticated::Missing => ["none", "missing"],
            Unauthenticated::UnknownKey => [bearer, "unknown"],
            Unauthenticated::ExpiredKey => [bearer, "expired"],
            Unauthenticated::NoKey => ["none", "invalid"],
            Unauthenticated::Gone => ["none", "unknown"],
            Unauthenticated::Signature(bad) => [Credential::KeyPair.name(), bad.label()],
        }
    }
}

/// How a client was recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// By a bearer key.
    BearerKey,
    /// By a signature of one of its key pairs.
    KeyPair,
}

impl Credential {
    /// Its label in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Credential::BearerKey => "bearer_key",
            Credential::KeyPair => "key_pair",
        }
    }
}

/// A client that has shown who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its name.
    pub name: Arc<str>,
    /// How it was recognised.
    pub by: Credential,
}

/// Whose a request is, as far as its head tells.
#[derive(Debug)]
pub enum Recognised {
    /// Everybody may call.
    Anyone,
    /// A client's. Its body must show the rest.
    Client(Known, Proof),
    /// A client's if its body is what was signed, see [`Keys::prove`].
    Pending(Box<Pending>),
}

/// The keys of all clients.
#[derive(Debug)]
pub struct Keys {
    names: HashSet<Arc<str>>,
    bearer: HashMap<BearerKey, Bearer>,
    pairs: HashMap<Box<str>, Arc<Pair>>,
    judge: Judge,
    replays: Option<Arc<Replays>>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct Bearer {
    client: Arc<str>,
    expires: Option<SystemTime>,
}

impl Keys {
    /// The keys of these clients. Without clients everybody may call. What the keys of an older
    /// config remember of signatures is taken over.
    pub fn new(
        clients: &[config::Client],
        auth: &config::Auth,
        metrics: Arc<Metrics>,
        before: Option<&Keys>,
    ) -> Keys {
        let (mut bearer, mut pairs) = (HashMap::new(), HashMap::new());
        let mut names = HashSet::new();
        for client in clients {
            let name: Arc<str> = client.name.as_str().into();
            names.insert(Arc::clone(&name));
            for token in &client.bearer_tokens {
                let known = Bearer { client: Arc::clone(&name), expires: token.expires };
                bearer.insert(token.key.clone(), known);
            }
            for pair in &client.keys {
                let known = Pair::new(Arc::clone(&name), pair);
                pairs.insert(pair.access_key_id.as_str().into(), Arc::new(known));
            }
        }
        let replays = auth.replay_protection.then(|| {
            let kept = before.and_then(|keys| keys.replays.as_ref());
            let replays = kept.filter(|kept| kept.max() == auth.max_replay_signatures);
            let forgotten = metrics.replays_forgotten.clone();
            replays.map_or_else(
                || Arc::new(Replays::new(auth.max_replay_signatures, forgotten)),
                Arc::clone,
            )
        });
        Keys { names, bearer, pairs, judge: Judge::new(auth), replays, metrics }
    }

    /// Whose request this is, as far as its head tells at the time `now`.
    ///
    /// # Errors
    /// When only clients may call and this is none.
    pub fn recognise(
        &self,
        head: &request::Parts,
        now: SystemTime,
    ) -> Result<Recognised, Unauthenticated> {
        if self.is_open() {
            return Ok(Recognised::Anyone);
        }
        let recognised = self.look(head, now);
        match &recognised {
            Ok(Recognised::Client(known, _)) => self.count([known.by.name(), "ok"]),
            Ok(_) => {}
            Err(why) => self.count(why.labels()),
        }
        recognised
    }

    /// Whether what was asked for by this client, while that could be shown, may still be done for it.
    ///
    /// # Errors
    /// When only clients may call and this is none any more.
    pub fn still_knows(&self, name: Option<&str>) -> Result<(), Unauthenticated> {
        if self.is_open() || name.is_some_and(|name| self.names.contains(name)) {
            return Ok(());
        }
        self.count(Unauthenticated::Gone.labels());
        Err(Unauthenticated::Gone)
    }

    /// Whose request with this body it is after all.
    ///
    /// # Errors
    /// When the body is not what was signed.
    pub fn prove(&self, pending: &Pending, body: &PayloadHash) -> Result<Known, Unauthenticated> {
        let proven = pending.check(body.as_str()).and_then(|checked| self.once(checked));
        match &proven {
            Ok(known) => self.count([known.by.name(), "ok"]),
            Err(bad) => self.count([Credential::KeyPair.name(), bad.label()]),
        }
        Ok(proven?)
    }

    /// The body of a request must have this hash, which its client has signed.
    ///
    /// # Errors
    /// When it has another.
    pub fn match_body(
        &self,
        signed: &PayloadHash,
        body: &PayloadHash,
    ) -> Result<(), Unauthenticated> {
        if signed == body {
            return Ok(());
        }
        let bad = BadSignature::Body;
        self.count([Credential::KeyPair.name(), bad.label()]);
        Err(bad.into())
    }

    /// Whose request this is by its bearer key, the only means; `None` if everybody may call.
    ///
    /// # Errors
    /// When only clients may call and this is none.
    pub fn by_bearer_key(
        &self,
        headers: &HeaderMap,
        now: SystemTime,
    ) -> Result<Option<Arc<str>>, Unauthenticated> {
        if self.is_open() {
            return Ok(None);
        }
        let authorization = headers.get(AUTHORIZATION).ok_or(Unauthenticated::Missing);
        let known = authorization.and_then(|value| {
            let key = value.to_str().ok().and_then(bearer).ok_or(Unauthenticated::NoKey)?;
            self.bearer(key, now)
        });
        match &known {
            Ok(known) => self.count([known.by.name(), "ok"]),
            Err(why) => self.count(why.labels()),
        }
        known.map(|known| Some(known.name))
    }

    fn is_open(&self) -> bool {
        self.bearer.is_empty() && self.pairs.is_empty()
    }

    fn look(&self, head: &request::Parts, now: SystemTime) -> Result<Recognised, Unauthenticated> {
        let mut values = head.headers.get_all(AUTHORIZATION).iter();
        let Some(value) = values.next() else {
            return Err(match signature::is_presigned(head.uri.query()) {
                true => BadSignature::Presigned.into(),
                false => Unauthenticated::Missing,
            });
        };
        if values.next().is_some() {
            return Err(BadSignature::SeveralAuthorizations.into());
        }
        let value = value.to_str().map_err(|_| BadSignature::NotAscii)?;
        if let Some(key) = bearer(value) {
            return Ok(Recognised::Client(self.bearer(key, now)?, Proof::Complete));
        }
        let pair = |id: &str| self.pairs.get(id).map(Arc::clone);
        Ok(match self.judge.look(head, value, pair, now)? {
            signature::Seen::Checked(checked, rest) => {
                Recognised::Client(self.once(checked)?, rest)
            }
            signature::Seen::Pending(pending) => Recognised::Pending(pending),
        })
    }

    fn bearer(&self, key: &str, now: SystemTime) -> Result<Known, Unauthenticated> {
        let bearer = self.bearer.get(&BearerKey::of(key)).ok_or(Unauthenticated::UnknownKey)?;
        if bearer.expires.is_some_and(|end| end <= now) {
            return Err(Unauthenticated::ExpiredKey);
        }
        Ok(Known { name: Arc::clone(&bearer.client), by: Credential::BearerKey })
    }

    /// The client of a good signature, if the signature may be taken again.
    fn once(&self, checked: Checked) -> Result<Known, BadSignature> {
        if let Some(replays) = &self.replays
            && !replays.is_first(checked.signature, checked.until, checked.now)
        {
            return Err(BadSignature::Replayed);
        }
        Ok(Known { name: checked.client, by: Credential::KeyPair })
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

    use http::{HeaderValue, Request};

    use super::*;
    use crate::clients::tests::auth;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn keys(tokens: &[(&str, &str, Option<SystemTime>)]) -> Keys {
        let clients = tokens.iter().map(|(name, key, expires)| config::Client {
            name: (*name).to_owned(),
            bearer_tokens: vec![config::BearerToken { key: BearerKey::of(key), expires: *expires }],
            keys: vec![],
            policy: config::ClientPolicy::default(),
            budget: None,
        });
        let metrics = Arc::new(Metrics::new().unwrap());
        Keys::new(&clients.collect::<Vec<_>>(), &auth(), metrics, None)
    }

    fn asked(keys: &Keys, authorization: Option<&str>) -> Result<Option<String>, Unauthenticated> {
        let (mut head, ()) = Request::new(()).into_parts();
        if let Some(text) = authorization {
            head.headers.insert(AUTHORIZATION, HeaderValue::from_str(text).unwrap());
        }
        let name = keys.by_bearer_key(&head.headers, NOW).map(|name| name.map(|n| n.to_string()));
        match (&name, keys.recognise(&head, NOW)) {
            (Ok(Some(name)), Ok(Recognised::Client(known, Proof::Complete))) => {
                assert_eq!((name.as_str(), known.by), (&*known.name, Credential::BearerKey));
            }
            (Ok(None), Ok(Recognised::Anyone)) => {}
            (Err(Unauthenticated::NoKey), Err(Unauthenticated::Signature(_))) => {}
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
        assert_eq!(asked(Some("Bearer a-key-of-team-b")), Err(Unauthenticated::UnknownKey));
        assert_eq!(asked(Some("Bearer ")), Err(Unauthenticated::UnknownKey));
        assert_eq!(asked(Some("AWS4-HMAC-SHA256 Credential=A/b")), Err(Unauthenticated::NoKey));
        assert_eq!(asked(None), Err(Unauthenticated::Missing));
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
        assert_eq!(
            asked(&keys, Some("Bearer the-old-key-of-team-a")),
            Err(Unauthenticated::ExpiredKey)
        );
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
        assert_eq!(known.still_knows(Some("team-a")), Ok(()));
        for other in [Some("team-b"), None] {
            assert_eq!(known.still_knows(other), Err(Unauthenticated::Gone));
            assert_eq!(keys(&[]).still_knows(other), Ok(()));
        }
    }
}

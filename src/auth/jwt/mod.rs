//! Tokens (JWT, RFC 7519) of issuers that the config names, presented in the place of a bearer key.
//!
//! Nothing of a token is believed before its signature was verified with a key of its issuer, by an
//! algorithm that the config allows. Which issuer that is, its `iss` says, which only chooses whose
//! keys are tried. Then it must be for the gateway, in time, and have an end.

mod key_set;
mod refresh;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, Validation, dangerous, decode, decode_header};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::bedrock::ErrorKind;
use crate::config::{self, TokenAlgorithm};
use crate::telemetry::Metrics;
use crate::upstream::Upstream;
use refresh::{Known, Reach, Refresh};

/// Most values that a claim may have.
const MAX_VALUES: usize = 1_000;

/// Why a token is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is no token, or is of nobody that is known.
    #[error("Authentication failed: the API key is not valid.")]
    NoToken,
    /// Its issuer's keys were not fetched yet.
    #[error("The keys of the token's issuer are not known yet, please try again.")]
    NoKeys,
    /// It is signed by a key that its issuer does not have.
    #[error("Authentication failed: the token is signed by a key that its issuer does not have.")]
    UnknownKey,
    /// It is signed by an algorithm that is not allowed.
    #[error("Authentication failed: the token is signed by an algorithm that is not allowed.")]
    Algorithm,
    /// It is not its issuer's, or was changed.
    #[error("Authentication failed: the token's signature is not valid.")]
    Signature,
    /// It is for somebody else.
    #[error("Authentication failed: the token is for another audience.")]
    Audience,
    /// What it must say it does not say, or not as it should.
    #[error("Authentication failed: the token's claims are not complete.")]
    Claims,
    /// It is good only later.
    #[error("Authentication failed: the token is not valid yet.")]
    TooEarly,
    /// It is good no more.
    #[error("The security token included in the request is expired")]
    Expired,
    /// It is right, and no client's.
    #[error("The security token included in the request is invalid: the token is no client's.")]
    NoClient,
    /// It is right, and several clients'.
    #[error(
        "The security token included in the request is invalid: the token is that of more than one client."
    )]
    SeveralClients,
}

impl TokenError {
    /// The error's name on the wire.
    pub(super) fn kind(self) -> ErrorKind {
        match self {
            TokenError::NoKeys => ErrorKind::ServiceUnavailable,
            TokenError::Expired => ErrorKind::ExpiredToken,
            TokenError::NoClient | TokenError::SeveralClients => ErrorKind::UnrecognizedClient,
            _ => ErrorKind::AccessDenied,
        }
    }

    /// Its label in metrics.
    pub(super) fn label(self) -> &'static str {
        match self {
            TokenError::NoKeys => "unavailable",
            TokenError::UnknownKey | TokenError::NoClient => "unknown",
            TokenError::Expired => "expired",
            TokenError::TooEarly => "skewed",
            _ => "invalid",
        }
    }
}

/// A token that is right: whose it may be, as its issuer says.
#[derive(Debug)]
pub(super) struct Issued<'a> {
    /// The name of the issuer.
    pub(super) issuer: &'a str,
    /// What its claim says.
    pub(super) values: Vec<String>,
}

/// All issuers of a config.
#[derive(Debug, Default)]
pub struct Issuers(Vec<Arc<Issuer>>);

#[derive(Debug)]
struct Issuer {
    config: config::Issuer,
    /// What is asked of tokens, by algorithm.
    checks: Vec<(Algorithm, Validation)>,
    known: Arc<Known>,
    reach: Arc<Reach>,
    _refresh: DropGuard,
}

impl Issuers {
    /// The issuers of a config; their keys are fetched through `upstream` from now on. What is known
    /// of those of an older config stays known; those that have not changed go on as they are, if
    /// the way out is the same. Must be called within a tokio runtime.
    pub fn new(
        config: &[config::Issuer],
        upstream: &Upstream,
        metrics: &Arc<Metrics>,
        before: Option<(&Issuers, bool)>,
    ) -> Issuers {
        let issuers = config.iter().map(|config| {
            let old = before.and_then(|(old, same_way)| {
                let found = old.0.iter().find(|it| it.config.name == config.name)?;
                Some((found, same_way))
            });
            match old {
                Some((old, true)) if old.config == *config => Arc::clone(old),
                old => Arc::new(Issuer::new(config, upstream, metrics, old.map(|(old, _)| &**old))),
            }
        });
        Issuers(issuers.collect())
    }

    /// Verifies a token.
    ///
    /// # Errors
    /// Why it is not taken.
    pub(super) fn verify(&self, token: &str, now: SystemTime) -> Result<Issued<'_>, TokenError> {
        #[derive(Deserialize)]
        struct Said {
            iss: String,
        }
        if self.0.is_empty() {
            return Err(TokenError::NoToken);
        }
        let said: Said =
            dangerous::insecure_decode_claims(token).map_err(|_| TokenError::NoToken)?;
        let issuer = self.0.iter().find(|it| it.config.issuer == said.iss);
        issuer.ok_or(TokenError::NoToken)?.verify(token, now)
    }
}

impl Issuer {
    fn new(
        config: &config::Issuer,
        upstream: &Upstream,
        metrics: &Arc<Metrics>,
        old: Option<&Issuer>,
    ) -> Issuer {
        let known = Arc::new(Known::default());
        // Another issuer's keys are not this one's, whatever its name.
        let same =
            |old: &&Issuer| old.config.issuer == config.issuer && old.config.keys == config.keys;
        known.keys.store(old.filter(same).and_then(|old| old.known.keys.load_full()));
        let reach =
            old.map_or_else(|| Reach::new(metrics, &config.name), |old| Arc::clone(&old.reach));
        let stop = CancellationToken::new();
        let refresh = Refresh {
            issuer: config.clone(),
            upstream: upstream.clone(),
            known: Arc::clone(&known),
            reach: Arc::clone(&reach),
        };
        tokio::spawn(refresh.run(stop.clone()));
        let checks = config.algorithms.iter().map(|it| {
            let algorithm = algorithm(*it);
            let mut check = Validation::new(algorithm);
            check.set_issuer(&[&config.issuer]);
            check.set_audience(&config.audiences);
            check.set_required_spec_claims(&["iss", "aud", "exp"]);
            // Times are checked here, against the time that the request came.
            check.validate_exp = false;
            (algorithm, check)
        });
        let checks = checks.collect();
        Issuer { config: config.clone(), checks, known, reach, _refresh: stop.drop_guard() }
    }

    fn verify(&self, token: &str, now: SystemTime) -> Result<Issued<'_>, TokenError> {
        use jsonwebtoken::errors::ErrorKind as Why;
        let header = decode_header(token).map_err(|_| TokenError::NoToken)?;
        // What must be understood is not (RFC 7515, section 4.1.11).
        if header.crit.is_some() {
            return Err(TokenError::Claims);
        }
        let check = self.checks.iter().find(|(algorithm, _)| *algorithm == header.alg);
        let (_, check) = check.ok_or(TokenError::Algorithm)?;
        let keys = self.known.keys.load();
        let keys = keys.as_deref().ok_or(TokenError::NoKeys)?;
        let Some(key) = keys.find(header.kid.as_deref(), header.alg) else {
            self.known.wanted.notify_one();
            return Err(TokenError::UnknownKey);
        };
        let decoded = decode::<Map<String, Value>>(token, key, check);
        let claims = decoded.map_err(|error| match error.kind() {
            Why::InvalidAudience => TokenError::Audience,
            Why::MissingRequiredClaim(_) | Why::InvalidClaimFormat(_) | Why::InvalidIssuer => {
                TokenError::Claims
            }
            Why::Json(_) | Why::Utf8(_) => TokenError::Claims,
            _ => TokenError::Signature,
        })?;
        self.check_times(&claims.claims, now)?;
        Ok(Issued { issuer: &self.config.name, values: self.values(claims.claims)? })
    }

    fn check_times(&self, claims: &Map<String, Value>, now: SystemTime) -> Result<(), TokenError> {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        if time(claims, "exp")?.ok_or(TokenError::Claims)?.saturating_add(self.config.leeway) <= now
        {
            return Err(TokenError::Expired);
        }
        match time(claims, "nbf")? {
            Some(start) if start > now.saturating_add(self.config.leeway) => {
                Err(TokenError::TooEarly)
            }
            _ => Ok(()),
        }
    }

    /// What the claim says that tells whose a token is.
    fn values(&self, mut claims: Map<String, Value>) -> Result<Vec<String>, TokenError> {
        match claims.remove(&self.config.claim) {
            Some(Value::String(value)) => Ok(vec![value]),
            Some(Value::Array(values)) if values.len() <= MAX_VALUES => {
                let texts = values.into_iter().map(|value| match value {
                    Value::String(value) => Ok(value),
                    _ => Err(TokenError::Claims),
                });
                texts.collect()
            }
            _ => Err(TokenError::Claims),
        }
    }
}

/// A time of a token, since the Unix epoch (RFC 7519, section 2, NumericDate).
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<Duration>, TokenError> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = value.as_f64().filter(|seconds| *seconds >= 0.0).ok_or(TokenError::Claims)?;
    Ok(Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)))
}

fn algorithm(algorithm: TokenAlgorithm) -> Algorithm {
    match algorithm {
        TokenAlgorithm::RS256 => Algorithm::RS256,
        TokenAlgorithm::RS384 => Algorithm::RS384,
        TokenAlgorithm::RS512 => Algorithm::RS512,
        TokenAlgorithm::PS256 => Algorithm::PS256,
        TokenAlgorithm::PS384 => Algorithm::PS384,
        TokenAlgorithm::PS512 => Algorithm::PS512,
        TokenAlgorithm::ES256 => Algorithm::ES256,
        TokenAlgorithm::ES384 => Algorithm::ES384,
        TokenAlgorithm::EdDSA => Algorithm::EdDSA,
    }
}

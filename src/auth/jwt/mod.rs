//! JSON Web Tokens (RFC 7519) of the config's issuers, presented in place of a bearer key.
//!
//! No claim is trusted before the signature was verified with a key of the issuer, by an algorithm
//! that the config allows. The `iss` claim only selects whose keys are tried. Then the token must name
//! the gateway as its audience, be valid now, and have an expiry.

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
pub use key_set::{KeySet, KeySetError};
pub use refresh::fetch_keys;
use refresh::{KeyCache, KeyRefresh, Reachability};

/// Most values that a claim may have.
const MAX_VALUES: usize = 1_000;

/// Why a token was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The text is not a token, or its issuer is not known.
    #[error("Authentication failed: the API key is not valid.")]
    NoToken,
    /// The keys of the issuer were not fetched yet.
    #[error("The keys of the token's issuer are not known yet, please try again.")]
    NoKeys,
    /// The issuer does not have the key of the signature.
    #[error("Authentication failed: the token is signed by a key that its issuer does not have.")]
    UnknownKey,
    /// The config does not allow the algorithm of the signature.
    #[error("Authentication failed: the token is signed by an algorithm that is not allowed.")]
    Algorithm,
    /// The signature is wrong.
    #[error("Authentication failed: the token's signature is not valid.")]
    Signature,
    /// The gateway is not the audience.
    #[error("Authentication failed: the token is for another audience.")]
    Audience,
    /// A required claim is missing or malformed.
    #[error("Authentication failed: the token's claims are not complete.")]
    Claims,
    /// The token is not valid yet.
    #[error("Authentication failed: the token is not valid yet.")]
    TooEarly,
    /// The token has expired.
    #[error("The security token included in the request is expired")]
    Expired,
    /// The token is valid, but identifies no client.
    #[error("The security token included in the request is invalid: the token is no client's.")]
    NoClient,
    /// The token is valid, but identifies several clients.
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

    /// Whether the same token would be refused again, whatever keys the issuer has by then.
    pub(super) fn is_final(self) -> bool {
        !matches!(self, TokenError::NoKeys | TokenError::UnknownKey | TokenError::TooEarly)
    }

    /// The error's label in metrics.
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

/// The claims of a verified token that identify its client.
#[derive(Debug)]
pub(super) struct Claims<'a> {
    /// The name of the issuer.
    pub(super) issuer: &'a str,
    /// The values of the claim that the config names for the issuer.
    pub(super) values: Vec<String>,
}

/// All issuers of a config.
#[derive(Debug, Default)]
pub struct Issuers(Vec<Arc<Issuer>>);

#[derive(Debug)]
struct Issuer {
    config: config::Issuer,
    /// The library's settings for the checks of a token, by algorithm.
    checks: Vec<(Algorithm, Validation)>,
    key_cache: Arc<KeyCache>,
    reachability: Arc<Reachability>,
    _refresh: DropGuard,
}

impl Issuers {
    /// The issuers of a config, whose keys are fetched through `upstream` from now on. `before` has the
    /// issuers of the older config, and whether its settings of connections are the same. If they are, an
    /// unchanged issuer continues its refresh task. A changed issuer takes over its keys if they are from
    /// the same source. Call this within a tokio runtime.
    pub fn new(
        config: &[config::Issuer],
        upstream: &Upstream,
        metrics: &Arc<Metrics>,
        before: Option<(&Issuers, bool)>,
    ) -> Issuers {
        let issuers = config.iter().map(|config| {
            let old = before.and_then(|(old, same_connector)| {
                let found = old.0.iter().find(|it| it.config.name == config.name)?;
                Some((found, same_connector))
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
    /// Why the token was rejected.
    pub(super) fn verify(&self, token: &str, now: SystemTime) -> Result<Claims<'_>, TokenError> {
        #[derive(Deserialize)]
        struct UnverifiedClaims {
            iss: String,
        }
        if self.0.is_empty() {
            return Err(TokenError::NoToken);
        }
        let unverified: UnverifiedClaims =
            dangerous::insecure_decode_claims(token).map_err(|_| TokenError::NoToken)?;
        let issuer = self.0.iter().find(|it| it.config.issuer == unverified.iss);
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
        let key_cache = Arc::new(KeyCache::default());
        // Under the same name another issuer may be configured now.
        let same =
            |old: &&Issuer| old.config.issuer == config.issuer && old.config.keys == config.keys;
        key_cache.keys.store(old.filter(same).and_then(|old| old.key_cache.keys.load_full()));
        let reachability = old.map_or_else(
            || Reachability::new(metrics, &config.name),
            |old| Arc::clone(&old.reachability),
        );
        let stop = CancellationToken::new();
        let refresh = KeyRefresh {
            issuer: config.clone(),
            upstream: upstream.clone(),
            key_cache: Arc::clone(&key_cache),
            reachability: Arc::clone(&reachability),
        };
        tokio::spawn(refresh.run(stop.clone()));
        let checks = config.algorithms.iter().map(|it| {
            let algorithm = algorithm(*it);
            let mut check = Validation::new(algorithm);
            check.set_issuer(&[&config.issuer]);
            check.set_audience(&config.audiences);
            check.set_required_spec_claims(&["iss", "aud", "exp"]);
            // Times are checked below, against the time of the request's arrival.
            check.validate_exp = false;
            (algorithm, check)
        });
        let checks = checks.collect();
        Issuer {
            config: config.clone(),
            checks,
            key_cache,
            reachability,
            _refresh: stop.drop_guard(),
        }
    }

    fn verify(&self, token: &str, now: SystemTime) -> Result<Claims<'_>, TokenError> {
        use jsonwebtoken::errors::ErrorKind as Why;
        let header = decode_header(token).map_err(|_| TokenError::NoToken)?;
        // It names an extension that must be understood (RFC 7515, section 4.1.11).
        if header.crit.is_some() {
            return Err(TokenError::Claims);
        }
        let check = self.checks.iter().find(|(algorithm, _)| *algorithm == header.alg);
        let (_, check) = check.ok_or(TokenError::Algorithm)?;
        let keys = self.key_cache.keys.load();
        let keys = keys.as_deref().ok_or(TokenError::NoKeys)?;
        let Some(key) = keys.find(header.kid.as_deref(), header.alg) else {
            self.key_cache.refresh_wanted.notify_one();
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
        Ok(Claims { issuer: &self.config.name, values: self.values(claims.claims)? })
    }

    fn check_times(&self, claims: &Map<String, Value>, now: SystemTime) -> Result<(), TokenError> {
        // A clock before 1970 is wrong, and would make every token look fresh.
        let now = now.duration_since(UNIX_EPOCH).map_err(|_| TokenError::TooEarly)?;
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

    /// The values of the claim that identifies the client.
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

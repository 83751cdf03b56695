//! Credentials of the upstream, one [`Identity`] for each set that the config names.
//!
//! A background task resolves them through the AWS chain and renews them well before they
//! expire, so that no request ever waits for STS or a metadata service. Requests read the latest
//! ones from an atomic pointer. When renewal fails the old ones stay in use until they expire.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use super::sign::Signer;
use super::with_causes;
use crate::config;
use crate::system::time::{sleep, timeout};

/// Renewal begins this long before expiry, or at two thirds of a shorter lifetime.
const LEAD: Duration = Duration::from_secs(5 * 60);

/// Shortest time between two tries to resolve; doubles with each failure up to [`MAX_PAUSE`].
const MIN_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// What a request is authorized with.
#[derive(Debug)]
pub enum Auth {
    /// Keys to sign with.
    SigV4(Signer),
    /// The whole `authorization` header of a Bedrock API key.
    Bearer(HeaderValue),
}

/// Where roles and web identities are changed for keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sts<'a> {
    /// The region that is asked.
    pub region: &'a str,
    /// Whether its endpoint is that of FIPS.
    pub use_fips: bool,
}

/// One set of upstream credentials, kept fresh as long as it lives.
#[derive(Debug)]
pub struct Identity {
    source: config::Credentials,
    shared: Arc<Shared>,
    _refresh: Option<AbortOnDropHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    auth: ArcSwapOption<Auth>,
    /// Why the last try failed; `None` before the first and after a success.
    problem: ArcSwapOption<String>,
    wake: Notify,
    tried: Notify,
}

impl Identity {
    /// Starts to resolve these credentials.
    pub fn start(credentials: &config::Credentials, sts: Sts<'_>) -> Identity {
        let shared = Arc::new(Shared {
            name: config::describe(credentials),
            auth: ArcSwapOption::empty(),
            problem: ArcSwapOption::empty(),
            wake: Notify::new(),
            tried: Notify::new(),
        });
        let refresh = match fixed(credentials) {
            Some(auth) => {
                shared.auth.store(Some(Arc::new(auth)));
                None
            }
            None => {
                let (credentials, chain) = (credentials.clone(), Chain::new(sts));
                let task = Arc::clone(&shared);
                Some(AbortOnDropHandle::new(tokio::spawn(async move {
                    task.files_are_readable().await;
                    let provider = chain.provider(&credentials).await;
                    task.keep_fresh(&provider).await;
                })))
            }
        };
        Identity { source: credentials.clone(), shared, _refresh: refresh }
    }

    /// The latest credentials, if they were resolved.
    pub fn auth(&self) -> Option<Arc<Auth>> {
        self.shared.auth.load_full()
    }

    /// What they are, for logs: never a secret.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Why there are none.
    pub fn problem(&self) -> String {
        let problem = self.shared.problem.load();
        let problem = problem.as_ref().map_or("not resolved yet", |problem| problem.as_str());
        format!("no AWS credentials from {}: {problem}", self.shared.name)
    }

    /// Waits until a first try to resolve them has ended.
    pub async fn settled(&self) {
        loop {
            let tried = self.shared.tried.notified();
            tokio::pin!(tried);
            tried.as_mut().enable();
            if self.is_settled() {
                return;
            }
            tried.await;
        }
    }

    /// Whether a first try to resolve them has ended, well or not.
    pub fn is_settled(&self) -> bool {
        self.shared.auth.load().is_some() || self.shared.problem.load().is_some()
    }

    /// Whether the last try to resolve them ended well.
    pub fn is_fresh(&self) -> bool {
        self.shared.auth.load().is_some() && self.shared.problem.load().is_none()
    }

    /// When the credentials in use end; `None`: never, or not known.
    pub fn expiry(&self) -> Option<SystemTime> {
        match &**self.shared.auth.load().as_ref()? {
            Auth::SigV4(signer) => signer.identity().expiration(),
            Auth::Bearer(_) => None,
        }
    }

    /// Asks for renewal now, since the upstream refused these.
    pub fn renew(&self) {
        self.shared.wake.notify_one();
    }
}

/// The identities of a config, each distinct set once.
#[derive(Debug, Default)]
pub struct Identities {
    known: HashMap<config::Credentials, Arc<Identity>>,
    used: HashSet<config::Credentials>,
}

impl Identities {
    /// A set that knows these already; for a newer config, so that what it still names is not
    /// resolved again.
    pub fn with(known: &[Arc<Identity>]) -> Identities {
        let known = known.iter().map(|identity| (identity.source.clone(), Arc::clone(identity)));
        Identities { known: known.collect(), used: HashSet::new() }
    }

    /// The identity for these credentials, started at first use.
    pub fn get(&mut self, credentials: &config::Credentials, sts: Sts<'_>) -> Arc<Identity> {
        self.used.insert(credentials.clone());
        let started = || Arc::new(Identity::start(credentials, sts));
        Arc::clone(self.known.entry(credentials.clone()).or_insert_with(started))
    }

    /// All identities that were asked for.
    pub fn into_all(self) -> Vec<Arc<Identity>> {
        let Identities { known, used } = self;
        known.into_iter().filter(|(source, _)| used.contains(source)).map(|(_, it)| it).collect()
    }
}

/// Resolves credentials once, for a check of the config.
pub async fn resolve_once(credentials: &config::Credentials, sts: Sts<'_>) -> Result<(), String> {
    if fixed(credentials).is_some() {
        return Ok(());
    }
    if let Some(problem) = unreadable_file() {
        return Err(problem);
    }
    let provider = Chain::new(sts).provider(credentials).await;
    provider
        .provide_credentials()
        .await
        .map(|_| ())
        .map_err(|error| with_causes(error.to_string(), &error))
}

impl Shared {
    async fn keep_fresh(&self, provider: &SharedCredentialsProvider) {
        let mut pause = MIN_PAUSE;
        loop {
            let provided = match unreadable_file() {
                Some(problem) => Err(problem),
                None => provider
                    .provide_credentials()
                    .await
                    .map_err(|error| with_causes(error.to_string(), &error)),
            };
            match provided {
                Ok(credentials) => {
                    let next = renewal(credentials.expiry(), SystemTime::now());
                    self.auth.store(Some(Arc::new(Auth::SigV4(credentials.into()))));
                    self.problem.store(None);
                    tracing::info!(identity = %self.name, "credentials resolved");
                    self.tried.notify_waiters();
                    pause = MIN_PAUSE;
                    match next {
                        Some(after) => {
                            let _ = timeout(after, self.wake.notified()).await;
                        }
                        None => self.wake.notified().await,
                    }
                    // Not more often than this, however short-lived or often refused they are.
                    sleep(MIN_PAUSE).await;
                }
                Err(problem) => {
                    self.note(problem);
                    sleep(jittered(pause)).await;
                    pause = (pause * 2).min(MAX_PAUSE);
                }
            }
        }
    }

    /// Waits until the files can be read in which AWS' own chain looks for credentials.
    async fn files_are_readable(&self) {
        let mut pause = MIN_PAUSE;
        while let Some(problem) = unreadable_file() {
            self.note(problem);
            sleep(jittered(pause)).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    fn note(&self, problem: String) {
        tracing::warn!(identity = %self.name, %problem, "credentials not resolved");
        self.problem.store(Some(Arc::new(problem)));
        self.tried.notify_waiters();
    }
}

/// Variables that name files of AWS' own chain.
const FILE_VARIABLES: [&str; 4] = [
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
];

/// Where the chain looks without them, in the home directory.
const HOME_FILES: [&str; 2] = [".aws/config", ".aws/credentials"];

/// What is wrong with the first of the files of AWS' own chain that is there and is none to read.
/// The chain opens them on a thread that others need, and would wait there for ever for a named pipe.
/// Clients see what is said: it names the variable, and not the path.
fn unreadable_file() -> Option<String> {
    let named = FILE_VARIABLES.iter().filter_map(|variable| {
        let path = PathBuf::from(std::env::var_os(variable)?);
        Some((format!("the file of {variable}"), path))
    });
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let usual = home.iter().flat_map(|home| {
        HOME_FILES.iter().map(|name| (format!("the file ~/{name}"), home.join(name)))
    });
    named.chain(usual).find_map(|(name, path)| {
        let error = config::check_regular(&path).err()?;
        Some(format!("can't read {name}: {error}"))
    })
}

/// Longest time until credentials that expire are renewed: a clock that was wrong when they came has
/// been set right since.
const LONGEST: Duration = Duration::from_secs(12 * 60 * 60);

/// How long to wait before credentials with this expiry are renewed; `None`: they don't expire.
/// Jitter keeps a fleet from asking STS all at once.
fn renewal(expiry: Option<SystemTime>, now: SystemTime) -> Option<Duration> {
    let left = expiry?.duration_since(now).unwrap_or_default();
    let lead = LEAD.min(left / 3);
    Some(left.saturating_sub(jittered(lead) + lead / 2).min(LONGEST))
}

/// Between half of `duration` and the whole.
fn jittered(duration: Duration) -> Duration {
    duration.mul_f64(0.5 + 0.5 * fastrand::f64())
}

fn fixed(credentials: &config::Credentials) -> Option<Auth> {
    match credentials {
        config::Credentials::Static { access_key_id, secret_access_key, session_token } => {
            let token = session_token.as_ref().map(|token| token.expose_secret().to_owned());
            let secret = secret_access_key.expose_secret();
            let keys = Credentials::new(access_key_id, secret, token, None, "config");
            Some(Auth::SigV4(keys.into()))
        }
        config::Credentials::Bearer(token) => Some(Auth::Bearer(bearer(token))),
        _ => None,
    }
}

fn bearer(token: &SecretString) -> HeaderValue {
    // The config has checked that the token is made of visible characters.
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()))
        .unwrap_or_else(|_| HeaderValue::from_static("Bearer"));
    value.set_sensitive(true);
    value
}

/// The ways in which AWS' own chain finds credentials.
struct Chain {
    region: Region,
    use_fips: bool,
}

impl Chain {
    fn new(sts: Sts<'_>) -> Chain {
        Chain { region: Region::new(sts.region.to_owned()), use_fips: sts.use_fips }
    }

    async fn provider(self, credentials: &config::Credentials) -> SharedCredentialsProvider {
        match credentials {
            config::Credentials::Profile(profile) => self.usual(Some(profile)).await,
            config::Credentials::AssumeRole { role_arn, external_id, base_profile } => {
                let base = self.usual(base_profile.as_deref()).await;
                let mut sdk = aws_config::defaults(BehaviorVersion::latest())
                    .region(self.region.clone())
                    .credentials_provider(base.clone());
                // Not set where it is off: the profile may say more.
                if self.use_fips {
                    sdk = sdk.use_fips(true);
                }
                let mut role = AssumeRoleProvider::builder(role_arn)
                    .session_name("sluice")
                    .region(self.region)
                    .configure(&sdk.load().await);
                if let Some(id) = external_id {
                    role = role.external_id(id);
                }
                SharedCredentialsProvider::new(role.build_from_provider(base).await)
            }
            _ => self.usual(None).await,
        }
    }

    async fn usual(&self, profile: Option<&str>) -> SharedCredentialsProvider {
        // The chain's first link. Where it has keys it always will, and the others, with the HTTP
        // client and the trust that they make ready, would only take memory.
        let environment = EnvironmentVariableCredentialsProvider::new();
        if environment.provide_credentials().await.is_ok() {
            return SharedCredentialsProvider::new(environment);
        }
        let mut chain = DefaultCredentialsChain::builder().region(self.region.clone());
        if self.use_fips {
            chain = chain.configure(ProviderConfig::default().with_use_fips(Some(true)));
        }
        if let Some(profile) = profile {
            chain = chain.profile_name(profile);
        }
        SharedCredentialsProvider::new(chain.build().await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal_is_early_and_never_late() {
        let now = SystemTime::UNIX_EPOCH;
        assert_eq!(renewal(None, now), None);
        assert_eq!(renewal(Some(now), now), Some(Duration::ZERO));
        for _ in 0..100 {
            let hour = renewal(Some(now + Duration::from_secs(3600)), now).unwrap();
            assert!(hour <= Duration::from_secs(3600 - 300), "{hour:?}");
            assert!(hour >= Duration::from_secs(3600 - 450), "{hour:?}");
            let short = renewal(Some(now + Duration::from_secs(60)), now).unwrap();
            assert!(short <= Duration::from_secs(40), "{short:?}");
            let years = renewal(Some(now + Duration::from_secs(1_000_000_000)), now);
            assert_eq!(years, Some(LONGEST));
        }
    }

    #[tokio::test]
    async fn fixed_credentials_are_there_at_once_and_shared() {
        let mut identities = Identities::default();
        let bearer = config::Credentials::Bearer("secret-token".into());
        let first = identities.get(&bearer, Sts { region: "us-east-1", use_fips: false });
        assert!(matches!(first.auth().as_deref(), Some(Auth::Bearer(_))));
        assert!(Arc::ptr_eq(
            &first,
            &identities.get(&bearer, Sts { region: "eu-west-1", use_fips: true })
        ));
        let shown = format!("{first:?} {}", first.name());
        assert!(!shown.contains("secret-token"), "{shown}");
    }
}

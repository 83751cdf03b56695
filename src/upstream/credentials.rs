//! Credentials of the upstream, one [`CredentialsProvider`] for each set that the config names.
//!
//! A background task resolves the credentials through the AWS chain and renews them well before they
//! expire, so that no request waits for STS or a metadata service. Requests read the latest credentials
//! from an atomic pointer. If renewal fails, the old credentials stay in use until they expire. Each try
//! reads the files of the AWS chain again. A profile that the config names is the only source of its
//! credentials: environment variables do not override it.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use aws_config::ecs::EcsCredentialsProvider;
use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::web_identity_token::WebIdentityTokenCredentialsProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::credentials_error::reason;
use super::sign::Auth;
use crate::config;
use crate::system::time::{sleep, timeout};
use crate::telemetry::in_words;

/// Renewal begins this long before expiry, or at two thirds of a shorter lifetime.
const LEAD: Duration = Duration::from_secs(5 * 60);

/// Shortest time between two tries to resolve. It doubles with each failure, up to [`MAX_PAUSE`].
const MIN_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// Time limit for STS to return the principal of the credentials.
const PRINCIPAL_TIMEOUT: Duration = Duration::from_secs(10);

/// The STS endpoint, which exchanges roles and web providers for keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sts<'a> {
    /// The region of the endpoint.
    pub region: &'a str,
    /// Whether to use the region's FIPS endpoint.
    pub use_fips: bool,
}

/// Provides one set of upstream credentials, and renews them until it is dropped.
#[derive(Debug)]
pub struct CredentialsProvider {
    source: config::Credentials,
    shared: Arc<ProviderState>,
    _refresh: Option<AbortOnDropHandle<()>>,
}

#[derive(Debug)]
struct ProviderState {
    name: String,
    auth: ArcSwapOption<Auth>,
    /// Why the last try failed; `None` before the first and after a success.
    problem: ArcSwapOption<String>,
    /// Notified when the upstream has refused the credentials.
    refused: Notify,
    /// Notified when the files of the credentials have changed, or on request.
    reread: Notify,
    /// Notified after each try to resolve.
    tried: Notify,
}

/// Why credentials are resolved again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    Due,
    Refused,
    Reread,
}

impl CredentialsProvider {
    /// Starts to resolve the credentials.
    pub fn start(credentials: &config::Credentials, sts: Sts<'_>) -> CredentialsProvider {
        let shared = Arc::new(ProviderState {
            name: config::describe(credentials),
            auth: ArcSwapOption::empty(),
            problem: ArcSwapOption::empty(),
            refused: Notify::new(),
            reread: Notify::new(),
            tried: Notify::new(),
        });
        let refresh = match fixed(credentials) {
            Some(auth) => {
                shared.auth.store(Some(Arc::new(auth)));
                None
            }
            None => {
                let (credentials, chain) = (credentials.clone(), DefaultChain::new(sts));
                let task = Arc::clone(&shared);
                Some(AbortOnDropHandle::new(tokio::spawn(async move {
                    task.keep_fresh(&chain, &credentials).await;
                })))
            }
        };
        CredentialsProvider { source: credentials.clone(), shared, _refresh: refresh }
    }

    /// The latest credentials; `None` before the first success.
    pub fn auth(&self) -> Option<Arc<Auth>> {
        self.shared.auth.load_full()
    }

    /// The source of the credentials, as configured.
    pub fn source(&self) -> &config::Credentials {
        &self.source
    }

    /// A description of the source for logs, without a secret.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Why there are no credentials.
    pub fn problem(&self) -> String {
        let problem = self.shared.problem.load();
        let problem = problem.as_ref().map_or("not resolved yet", |problem| problem.as_str());
        format!("no AWS credentials from {}: {problem}", self.shared.name)
    }

    /// Waits until the first try to resolve the credentials has ended.
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

    /// Whether the first try to resolve the credentials has ended, with success or not.
    pub fn is_settled(&self) -> bool {
        self.shared.auth.load().is_some() || self.shared.problem.load().is_some()
    }

    /// Whether the last try to resolve the credentials succeeded.
    pub fn is_fresh(&self) -> bool {
        self.shared.auth.load().is_some() && self.shared.problem.load().is_none()
    }

    /// When the credentials in use expire; `None` if they never do, or are not resolved yet.
    pub fn expiry(&self) -> Option<SystemTime> {
        match &**self.shared.auth.load().as_ref()? {
            Auth::SigV4(signer) => signer.identity().expiration(),
            Auth::Bearer(_) => None,
        }
    }

    /// Requests a renewal now, because the upstream refused the credentials.
    pub fn renew(&self) {
        self.shared.refused.notify_one();
    }

    /// Resolves the credentials again at once, because their files may have changed.
    pub fn reread(&self) {
        self.shared.reread.notify_one();
    }
}

/// The providers of a config, one for each distinct set of credentials.
#[derive(Debug, Default)]
pub struct CredentialsProviders {
    known: HashMap<config::Credentials, Arc<CredentialsProvider>>,
    used: HashSet<config::Credentials>,
}

impl CredentialsProviders {
    /// The providers for a newer config. Those in `known` are kept, so that credentials that the newer
    /// config still names are not resolved again.
    pub fn with(known: &[Arc<CredentialsProvider>]) -> CredentialsProviders {
        let known = known.iter().map(|it| (it.source.clone(), Arc::clone(it)));
        CredentialsProviders { known: known.collect(), used: HashSet::new() }
    }

    /// The provider of these credentials, which is started at its first use.
    pub fn get(
        &mut self,
        credentials: &config::Credentials,
        sts: Sts<'_>,
    ) -> Arc<CredentialsProvider> {
        self.used.insert(credentials.clone());
        let started = || Arc::new(CredentialsProvider::start(credentials, sts));
        Arc::clone(self.known.entry(credentials.clone()).or_insert_with(started))
    }

    /// All providers that [`get`](Self::get) returned.
    pub fn into_all(self) -> Vec<Arc<CredentialsProvider>> {
        let CredentialsProviders { known, used } = self;
        known.into_iter().filter(|(source, _)| used.contains(source)).map(|(_, it)| it).collect()
    }
}

/// Credentials that [`resolve_once`] found.
#[derive(Debug)]
pub struct Resolved(Option<Credentials>);

impl Resolved {
    /// The id of the access key; `None` for a bearer token.
    pub fn access_key_id(&self) -> Option<&str> {
        self.0.as_ref().map(Credentials::access_key_id)
    }

    /// What authorizes requests with these credentials, which `source` names. `None` if `source` is of
    /// another kind than the credentials.
    pub fn auth(&self, source: &config::Credentials) -> Option<Auth> {
        match &self.0 {
            Some(credentials) => Some(Auth::SigV4(credentials.clone().into())),
            None => fixed(source),
        }
    }

    /// The ARN of the principal, which STS returns. `None` for a bearer token, which STS does not know.
    ///
    /// # Errors
    /// A message without a secret, if STS returns no ARN.
    pub async fn principal(&self, sts: Sts<'_>) -> Option<Result<String, String>> {
        let credentials = SharedCredentialsProvider::new(self.0.clone()?);
        let limit = TimeoutConfig::builder().operation_timeout(PRINCIPAL_TIMEOUT).build();
        let sdk = DefaultChain::new(sts).sdk(credentials).await.into_builder();
        let sdk = sdk.retry_config(RetryConfig::disabled()).timeout_config(limit).build();
        let response = aws_sdk_sts::Client::new(&sdk).get_caller_identity().send().await;
        Some(match response {
            Ok(caller) => caller.arn.ok_or_else(|| "STS returned no ARN".to_owned()),
            Err(error) => Err(in_words(&error)),
        })
    }
}

/// Resolves credentials once, for a check of the config.
///
/// # Errors
/// A message without a secret.
pub async fn resolve_once(
    credentials: &config::Credentials,
    sts: Sts<'_>,
) -> Result<Resolved, String> {
    match credentials {
        config::Credentials::Bearer(_) => Ok(Resolved(None)),
        config::Credentials::Static { access_key_id, secret_access_key, session_token } => Ok(
            Resolved(Some(static_keys(access_key_id, secret_access_key, session_token.as_ref()))),
        ),
        _ => DefaultChain::new(sts).resolve(credentials).await.map(Some).map(Resolved),
    }
}

impl ProviderState {
    async fn keep_fresh(&self, chain: &DefaultChain, credentials: &config::Credentials) {
        let (mut pause, mut failures, mut last) = (MIN_PAUSE, MIN_PAUSE, None);
        loop {
            let resolved = chain.resolve(credentials).await;
            let tried_at = Instant::now();
            let cause = match resolved {
                Ok(credentials) => {
                    failures = MIN_PAUSE;
                    let next = renewal(credentials.expiry(), SystemTime::now());
                    let was_failing = self.problem.load().is_some();
                    if last.as_ref() == Some(&credentials) && was_failing {
                        tracing::info!(credentials = %self.name, "credentials resolved again");
                    } else if last.as_ref() == Some(&credentials) {
                        tracing::debug!(credentials = %self.name, "credentials are the same as before");
                    } else {
                        tracing::info!(credentials = %self.name, "credentials resolved");
                        last = Some(credentials.clone());
                    }
                    self.auth.store(Some(Arc::new(Auth::SigV4(credentials.into()))));
                    self.problem.store(None);
                    self.tried.notify_waiters();
                    self.wait(next, tried_at + pause).await
                }
                Err(problem) => {
                    self.note(problem);
                    let retry = jittered(failures);
                    failures = (failures * 2).min(MAX_PAUSE);
                    let _ = timeout(retry, self.reread.notified()).await;
                    Cause::Due
                }
            };
            let is_pressed = cause == Cause::Refused && tried_at.elapsed() < MAX_PAUSE * 2;
            pause = if is_pressed { (pause * 2).min(MAX_PAUSE) } else { MIN_PAUSE };
        }
    }

    /// Waits until the credentials must be resolved again, and returns the reason: `next` has passed,
    /// the upstream refused them (then not before `earliest`), or a new read was requested.
    async fn wait(&self, next: Option<Duration>, earliest: Instant) -> Cause {
        let due = async {
            match next {
                // Short-lived credentials must not cause a request to STS all the time.
                Some(after) => sleep(after.max(MIN_PAUSE)).await,
                None => std::future::pending().await,
            }
        };
        let refused = async {
            self.refused.notified().await;
            sleep(earliest.saturating_duration_since(Instant::now())).await;
        };
        tokio::select! {
            () = self.reread.notified() => Cause::Reread,
            () = due => Cause::Due,
            () = refused => Cause::Refused,
        }
    }

    fn note(&self, problem: String) {
        // A try follows each failure, and most fail as the one before.
        let is_new = self.problem.load().as_deref() != Some(&problem);
        if is_new {
            tracing::warn!(credentials = %self.name, %problem, "credentials not resolved");
        }
        self.problem.store(Some(Arc::new(problem)));
        self.tried.notify_waiters();
    }
}

/// Environment variables that name files of the AWS chain.
const FILE_VARIABLES: [&str; 4] = [
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
];

/// Files in the home directory that the chain reads by default.
const HOME_FILES: [&str; 2] = [".aws/config", ".aws/credentials"];

/// The problem with the first unreadable file of the AWS chain.
/// The chain opens its files on a shared blocking thread, and a named pipe would block that thread
/// without end. Clients see this message, so it names the variable and not the path.
fn unreadable_file() -> Option<String> {
    named_files().into_iter().find_map(|(name, path)| {
        let error = config::check_regular(&path).err()?;
        Some(format!("can't read {name}: {error}"))
    })
}

/// The files of the AWS chain, whether they exist or not: a description of each, and its path.
fn named_files() -> Vec<(String, PathBuf)> {
    let named = FILE_VARIABLES.iter().filter_map(|variable| {
        let path = PathBuf::from(std::env::var_os(variable)?);
        Some((format!("the file of {variable}"), path))
    });
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let defaults = home.iter().flat_map(|home| {
        HOME_FILES.iter().map(|name| (format!("the file ~/{name}"), home.join(name)))
    });
    named.chain(defaults).collect()
}

/// The paths of the AWS chain's files, whether they exist or not.
pub fn files() -> Vec<PathBuf> {
    named_files().into_iter().map(|(_, path)| path).collect()
}

/// Longest time until credentials that expire are renewed. It corrects a renewal that was computed while
/// the system clock was wrong.
const MAX_RENEWAL_DELAY: Duration = Duration::from_secs(12 * 60 * 60);

/// How long to wait before credentials with this expiry are renewed; `None`: they don't expire.
/// Jitter spreads the requests of a fleet to STS.
fn renewal(expiry: Option<SystemTime>, now: SystemTime) -> Option<Duration> {
    let left = expiry?.duration_since(now).unwrap_or_default();
    let lead = LEAD.min(left / 3);
    Some(left.saturating_sub(jittered(lead) + lead / 2).min(MAX_RENEWAL_DELAY))
}

/// A random duration between half of `duration` and all of it.
fn jittered(duration: Duration) -> Duration {
    duration.mul_f64(0.5 + 0.5 * fastrand::f64())
}

fn fixed(credentials: &config::Credentials) -> Option<Auth> {
    match credentials {
        config::Credentials::Static { access_key_id, secret_access_key, session_token } => {
            let keys = static_keys(access_key_id, secret_access_key, session_token.as_ref());
            Some(Auth::SigV4(keys.into()))
        }
        config::Credentials::Bearer(token) => Some(Auth::Bearer(bearer(token))),
        _ => None,
    }
}

fn static_keys(id: &str, secret: &SecretString, token: Option<&SecretString>) -> Credentials {
    let token = token.map(|token| token.expose_secret().to_owned());
    Credentials::new(id, secret.expose_secret(), token, None, "config")
}

fn bearer(token: &SecretString) -> HeaderValue {
    // The config has checked that the token is made of visible characters.
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()))
        .unwrap_or_else(|_| HeaderValue::from_static("Bearer"));
    value.set_sensitive(true);
    value
}

/// The AWS chain of credentials providers.
struct DefaultChain {
    region: Region,
    use_fips: bool,
}

impl DefaultChain {
    fn new(sts: Sts<'_>) -> DefaultChain {
        DefaultChain { region: Region::new(sts.region.to_owned()), use_fips: sts.use_fips }
    }

    /// Resolves the credentials now, with new providers, because a provider caches what it has read.
    async fn resolve(&self, credentials: &config::Credentials) -> Result<Credentials, String> {
        if let Some(problem) = unreadable_file() {
            return Err(problem);
        }
        let provider = self.provider(credentials).await;
        let provided = provider.provide_credentials().await;
        let uses_chain = matches!(
            credentials,
            config::Credentials::DefaultChain
                | config::Credentials::AssumeRole { base_profile: None, .. }
        );
        provided.map_err(|error| reason(&error, uses_chain)).and_then(cleaned)
    }

    async fn provider(&self, credentials: &config::Credentials) -> SharedCredentialsProvider {
        match credentials {
            config::Credentials::Profile(profile) => self.profile(profile),
            config::Credentials::AssumeRole { role_arn, external_id, base_profile } => {
                let base = match base_profile {
                    Some(profile) => self.profile(profile),
                    None => self.default_chain(),
                };
                let mut role = AssumeRoleProvider::builder(role_arn)
                    .session_name("sluice")
                    .region(self.region.clone())
                    .configure(&self.sdk(base.clone()).await);
                if let Some(id) = external_id {
                    role = role.external_id(id);
                }
                SharedCredentialsProvider::new(role.build_from_provider(base).await)
            }
            _ => self.default_chain(),
        }
    }

    /// The SDK config of an STS client with these credentials.
    async fn sdk(&self, credentials: SharedCredentialsProvider) -> SdkConfig {
        let mut sdk = aws_config::defaults(BehaviorVersion::latest())
            .region(self.region.clone())
            .credentials_provider(credentials);
        // An explicit `false` would override a profile that turns FIPS on.
        if self.use_fips {
            sdk = sdk.use_fips(true);
        }
        sdk.load().await
    }

    fn config(&self) -> ProviderConfig {
        let config = ProviderConfig::default().with_region(Some(self.region.clone()));
        if self.use_fips { config.with_use_fips(Some(true)) } else { config }
    }

    /// One profile and no other source: a profile in the config takes precedence over the environment.
    fn profile(&self, profile: &str) -> SharedCredentialsProvider {
        let profile = self.profiles(&self.config()).profile_name(profile);
        SharedCredentialsProvider::new(profile.build())
    }

    fn profiles(&self, config: &ProviderConfig) -> aws_config::profile::credentials::Builder {
        ProfileFileCredentialsProvider::builder()
            .configure(config)
            .with_custom_provider("EcsContainer", self.container())
            .with_custom_provider("Ec2InstanceMetadata", self.instance())
    }

    /// The SDK's default chain, with the direct endpoints of this machine.
    fn default_chain(&self) -> SharedCredentialsProvider {
        let config = self.config();
        let web_identity = WebIdentityTokenCredentialsProvider::builder().configure(&config);
        let environment = EnvironmentVariableCredentialsProvider::new();
        SharedCredentialsProvider::new(
            CredentialsProviderChain::first_try("Environment", environment)
                .or_else("Profile", self.profiles(&config).build())
                .or_else("WebIdentityToken", web_identity.build())
                .or_else("EcsContainer", self.container())
                .or_else("Ec2InstanceMetadata", self.instance()),
        )
    }

    /// The credentials endpoint of a container; EKS Pod Identity uses the same protocol.
    fn container(&self) -> EcsCredentialsProvider {
        EcsCredentialsProvider::builder().configure(&self.direct()).build()
    }

    fn instance(&self) -> ImdsCredentialsProvider {
        ImdsCredentialsProvider::builder().configure(&self.direct()).build()
    }

    /// The config for endpoints on this machine, container or pod. Their requests bypass any proxy: a
    /// proxy can't reach the endpoint, and must not see the token in the request.
    fn direct(&self) -> ProviderConfig {
        let client = aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .build_https();
        self.config().with_http_client(client)
    }
}

/// Removes a line break at the end of each part, as for secrets in the config.
fn cleaned(credentials: Credentials) -> Result<Credentials, String> {
    let clean = |what: &str, text: &str| {
        config::clean_secret(text).map(str::to_owned).map_err(|why| format!("the {what} {why}"))
    };
    let id = clean("access key id", credentials.access_key_id())?;
    let secret = clean("secret access key", credentials.secret_access_key())?;
    let token = credentials.session_token().map(|token| clean("session token", token));
    let token = token.transpose()?;
    Ok(Credentials::new(id, secret, token, credentials.expiry(), "sluice"))
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
            assert_eq!(years, Some(MAX_RENEWAL_DELAY));
        }
    }

    #[tokio::test]
    async fn fixed_credentials_are_there_at_once_and_shared() {
        let mut providers = CredentialsProviders::default();
        let bearer = config::Credentials::Bearer("secret-token".into());
        let first = providers.get(&bearer, Sts { region: "us-east-1", use_fips: false });
        assert!(matches!(first.auth().as_deref(), Some(Auth::Bearer(_))));
        assert!(Arc::ptr_eq(
            &first,
            &providers.get(&bearer, Sts { region: "eu-west-1", use_fips: true })
        ));
        let shown = format!("{first:?} {}", first.name());
        assert!(!shown.contains("secret-token"), "{shown}");
    }
}

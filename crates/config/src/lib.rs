//! The configuration: types, loading, checks, and its JSON Schema.
//!
//! The file and the environment are read into one document that remembers where each value came
//! from. The document is validated against the schema and read into the types of `model` and `raw`;
//! `check` then computes what depends on other keys, on the environment or on files. A [`Config`] needs
//! no further checks. All problems are reported together. Of the rest of the gateway only
//! `bedrock` is known here.
//!
//! Later sources win: built-in defaults, the variables of the legacy application, the file,
//! `SLUICE__SECTION__KEY` variables.

mod admin_key_file;
mod bearer_key;
mod certificates;
mod check;
mod credentials;
mod deprecated;
mod document;
mod duplicate;
mod effective;
mod endpoint;
mod environment;
mod error;
mod excerpt;
mod files;
mod fingerprint;
mod forms;
mod glob;
mod known_models;
mod legacy;
mod lifecycle;
mod limit_key;
mod listening;
mod log_filter;
mod model;
mod otel;
mod proxy;
mod raw;
mod redis_url;
mod reference;
mod restart;
mod schema;
mod secret;
mod surfaces;
mod template;
mod tls_error;
mod units;
mod warnings;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use bearer_key::{BearerKey, key_digest};
pub use certificates::{
    CertificateError, Certified, TlsFiles, TlsMaterial, crypto, system_authorities,
};
pub use check::keys_url;
pub use credentials::{Credentials, describe};
pub use document::Locations;
pub use effective::Effective;
pub use endpoint::{Endpoint, EndpointError};
pub use environment::Env;
pub use error::{ConfigError, Location, Problem};
pub use files::{check_regular, read_text as read_bounded};
pub use fingerprint::{Files, Fingerprint, fingerprint_of};
pub use glob::{Glob, GlobError};
pub use known_models::{FactSource, KnownFact, KnownModel, ModelFilter};
pub use lifecycle::{ModelLife, replacement};
pub use listening::{AdminListener, AdminTls, Listening};
pub use log_filter::log_filter;
pub use model::{
    ApiSettings, Apis, Auth, Balance, BearerToken, Budget, BudgetStore, CacheTtl,
    CatalogueSettings, ClientAuth, ClientCertificates, ClientConfig, ClientPolicy, Config,
    EmbeddingsSettings, Fallback, Guardrail, Guardrails, Hedge, Issuer, IssuerKeys, JobQueue, Jobs,
    JobsBackend, KeyPair, Learning, Legacy, LegacyAction, LegacyGroup, LegacyMock, LegacyPrompts,
    LimitKey, Limits, Log, LogFormat, OnUnsupported, Price, PriceRate, PriceTier, Priority,
    PromptCaching, Proxies, Queue, Quota, RecordedParameter, RedisKind, RemoteMediaSettings,
    Reserve, ResponseStore, ResponseStoreBackend, ResponsesSettings, Retired, Retry, Route, Server,
    SharedRedis, SharedState, State, StateBackend, StoreResponses, Strategy, Target, Tls,
    TlsVersion, TokenAlgorithm, TokenIdentity, TraceProtocol, Traces, Translate, Trust, Unrouted,
    UnsupportedParameters, Upstream, UsageLog,
};
pub use reference::secret_named;
pub use restart::needs_restart;
pub use schema::schema;
pub use secret::{Secret, clean_secret};
pub use surfaces::ANTHROPIC_PREFIX;
pub use tls_error::{in_words as tls_in_words, is_plain_port, tls_error};

use document::{Document, KeyPath};
use raw::RawConfig;
use reference::Scope;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use sluice_bedrock::Date;

/// The shipped `config.toml`.
pub const SHIPPED: &str = include_str!("../../../config.toml");

/// The config of the legacy application: what the gateway runs on without a file.
pub const BUILT_IN: &str = include_str!("../../../examples/legacy.toml");

/// Region when neither the file nor the environment names one.
const DEFAULT_REGION: &str = "us-east-1";

/// Largest config file, in bytes.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// Where a configuration is loaded from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// The config of the legacy application, whose targets its environment may replace.
    BuiltIn,
}

/// A configuration that was loaded.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What is allowed but probably not meant, a sentence each.
    pub warnings: Vec<String>,
    /// The standard variables of OpenTelemetry that have set a key.
    pub otel_variables: Vec<&'static str>,
    /// Where its values came from.
    pub locations: Locations,
}

/// A configuration whose file was checked alone.
#[derive(Clone, Debug)]
pub struct CheckedSyntax {
    /// The numbers of what the configuration has.
    pub summary: Summary,
    /// What is allowed but probably not meant, a sentence each.
    pub warnings: Vec<String>,
    /// The targets whose model has an announced end.
    pub models: Vec<ModelLife>,
}

/// The numbers of what a configuration has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Targets.
    pub targets: usize,
    /// Routes.
    pub routes: usize,
    /// Clients.
    pub clients: usize,
}

impl Loaded {
    /// The same on this day: the models that AWS has retired are replaced, and the warnings say so.
    pub fn on(mut self, day: Date) -> Loaded {
        self.config = self.config.on(day);
        self.warnings.extend(self.config.retirement_warnings());
        self
    }
}

impl Config {
    /// Loads a configuration from its source and the environment. Reads files, and so may block.
    ///
    /// # Errors
    /// When the file cannot be read, or anything in it or in the environment is wrong.
    pub fn load(source: &Source, env: &Env) -> Result<Loaded, ConfigError> {
        source.draft(env)?.check(env, Scope::Whole)
    }

    /// Checks a configuration without anything that it names: no variable, secret, certificate or
    /// other file has to be there. Reads the config file, and so may block.
    ///
    /// `day` decides which models are retired.
    ///
    /// # Errors
    /// When the file cannot be read, or anything in it is wrong.
    pub fn check_syntax(
        source: &Source,
        env: &Env,
        day: Date,
    ) -> Result<CheckedSyntax, ConfigError> {
        let checked = source.draft(env)?.check(&Env::default(), Scope::Syntax)?;
        // The result has stand-ins for all secrets, so only what has none is passed on.
        let Loaded { config, warnings, .. } = checked.on(day);
        Ok(CheckedSyntax { summary: config.summary(), warnings, models: config.model_lives() })
    }

    /// The numbers of what it has.
    pub fn summary(&self) -> Summary {
        Summary {
            targets: self.targets.len(),
            routes: self.routes.len(),
            clients: self.clients.len(),
        }
    }

    /// Loads a configuration from the text of a file; `name` stands for the file in messages.
    /// Relative `file:` references start at the working directory.
    ///
    /// # Errors
    /// When anything in the text or in the environment is wrong.
    pub fn from_toml(text: &str, name: &str, env: &Env) -> Result<Loaded, ConfigError> {
        let origin = Origin::File { base: None };
        Draft::read(text, name, origin, env, schema::compiled())?.check(env, Scope::Whole)
    }
}

#[derive(Clone, Copy)]
enum Origin<'a> {
    File { base: Option<&'a Path> },
    BuiltIn,
}

impl Source {
    /// Its name in messages.
    pub fn name(&self) -> String {
        match self {
            Source::File(path) => path.display().to_string(),
            Source::BuiltIn => "built-in config".to_owned(),
        }
    }

    fn draft(&self, env: &Env) -> Result<Draft<'_>, ConfigError> {
        match self {
            Source::BuiltIn => {
                Draft::read(BUILT_IN, &self.name(), Origin::BuiltIn, env, schema::compiled())
            }
            Source::File(path) => {
                let text = files::read_text(path, MAX_FILE_BYTES)
                    .map_err(|source| ConfigError::Unreadable { path: path.clone(), source })?;
                let origin = Origin::File { base: path.parent() };
                Draft::read(&text, &self.name(), origin, env, schema::compiled())
            }
        }
    }
}

/// A document with all that the environment sets in it, and without what does not fit the schema.
struct Draft<'a> {
    document: Document,
    base: Option<&'a Path>,
    problems: Vec<Problem>,
    warnings: Vec<String>,
    otel_variables: Vec<&'static str>,
}

impl<'a> Draft<'a> {
    fn read(
        text: &str,
        name: &str,
        origin: Origin<'a>,
        env: &Env,
        schema: &Value,
    ) -> Result<Draft<'a>, ConfigError> {
        let mut document =
            Document::parse(text, name).map_err(|problem| ConfigError::Invalid(vec![problem]))?;
        let mut warnings = Vec::new();
        let mut problems = legacy::set_scalars(&mut document, env);
        let base = match origin {
            Origin::File { base } => {
                problems.extend(environment::override_keys(&mut document, env, schema));
                warnings.extend(legacy::ignored(env));
                base
            }
            Origin::BuiltIn => {
                problems.extend(legacy::set_targets(&mut document, env));
                problems.extend(environment::override_keys(&mut document, env, schema));
                // After the overrides, since they may name the region.
                let (more, hints) = legacy::set_cross_region(&mut document, env);
                problems.extend(more);
                warnings.extend(hints);
                None
            }
        };
        let deprecated = deprecated::apply(&mut document, schema);
        problems.extend(deprecated.problems);
        warnings.extend(deprecated.warnings);
        legacy::set_redis_url(&mut document, env);
        admin_key_file::apply(&mut document, base);
        let otel::Applied { variables: otel_variables, warnings: ignored } =
            otel::apply(&mut document, env);
        warnings.extend(ignored);
        problems.extend(schema::validate(&mut document));
        Ok(Draft { document, base, problems, warnings, otel_variables })
    }

    fn check(self, env: &Env, scope: Scope) -> Result<Loaded, ConfigError> {
        let Draft { document, base, mut problems, mut warnings, otel_variables } = self;
        let (resolved, unresolved) = reference::resolve(&document, env, base, scope);
        problems.extend(unresolved);
        let checked = RawConfig::deserialize(resolved)
            .map_err(|error| vec![document.problem(&KeyPath::default(), error.message())])
            .and_then(|raw| check::check(&raw, &document, env, base, scope));
        match checked {
            Ok((config, hints)) if problems.is_empty() => {
                warnings.extend(hints);
                warnings.extend(warnings::of(&config));
                let (root, locations) = document.into_parts();
                let config = Config { effective: Effective::new(root), ..config };
                Ok(Loaded { config, warnings, otel_variables, locations })
            }
            Ok(_) => Err(in_order(problems)),
            Err(more) => {
                problems.extend(more);
                Err(in_order(problems))
            }
        }
    }
}

fn in_order(mut problems: Vec<Problem>) -> ConfigError {
    problems.sort();
    problems.dedup();
    ConfigError::Invalid(problems)
}

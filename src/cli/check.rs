//! `sluice check`: is this config right, are its credentials there, do its targets answer?

use std::collections::HashSet;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request};
use tokio::time::Instant;

use super::progress::Progress;
use super::{ConfigFile, runtime, say};
use crate::bedrock::Operation;
use crate::bedrock::sigv4::PayloadHash;
use crate::config::{self, Config};
use crate::pipeline::Gateway;
use crate::routing::Target;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::usage_log::UsageLog;
use crate::telemetry::{Logs, Metrics};
use crate::upstream::credentials::{Sts, resolve_once};
use crate::upstream::{Reply, sign};

/// The smallest request that every chat model takes.
const PROBE: &str =
    r#"{"messages":[{"role":"user","content":[{"text":"hi"}]}],"inferenceConfig":{"maxTokens":1}}"#;

/// Arguments of `sluice check`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// Print the JSON Schema of the config file and do nothing else.
    #[arg(long)]
    schema: bool,
    /// Check the file alone, without resolving credentials.
    #[arg(long)]
    offline: bool,
    /// Also ask each target for one token. This costs what one token costs.
    #[arg(long, conflicts_with = "offline")]
    probe: bool,
}

pub(super) fn run(arguments: Arguments) -> Result<(), String> {
    if arguments.schema {
        let schema = serde_json::to_string_pretty(&config::schema());
        say(&schema.map_err(|error| error.to_string())?);
        return Ok(());
    }
    let loaded = super::load(&arguments.config.source())?;
    for warning in loaded.warnings.iter().chain(&super::descriptors_warning(&loaded.config)) {
        say(&format!("warning: {warning}"));
    }
    let config = loaded.config;
    say(&format!("config: {} targets, {} routes", config.targets.len(), config.routes.len()));
    if arguments.offline {
        return Ok(());
    }
    runtime(Some(1))?.block_on(async {
        let mut failures = credentials(&config).await;
        if arguments.probe && failures == 0 {
            failures += probe(config).await?;
        }
        if failures == 0 { Ok(()) } else { Err(format!("{failures} checks failed")) }
    })
}

async fn credentials(config: &Config) -> usize {
    let targets = config.targets.iter().map(|target| (&target.credentials, &target.region));
    let upstream = [(&config.upstream.credentials, &config.upstream.region)];
    let mut checked = HashSet::new();
    let mut failures = 0;
    let progress = Progress::start();
    for (credentials, region) in upstream.into_iter().chain(targets) {
        if !checked.insert(credentials) {
            continue;
        }
        let name = config::describe(credentials);
        progress.is_at(&format!("resolving credentials: {name}"));
        let sts = Sts { region, use_fips: config.upstream.use_fips };
        let resolved = resolve_once(credentials, sts).await;
        progress.clear();
        match resolved {
            Ok(()) => say(&format!("credentials: {name}: ok")),
            Err(problem) => {
                failures += 1;
                say(&format!("credentials: {name}: {problem}"));
            }
        }
    }
    failures
}

async fn probe(config: Config) -> Result<usize, String> {
    let metrics = std::sync::Arc::new(Metrics::new());
    let no_log = AccessLog::start(false, config.log.format, metrics.access_log_dropped.clone());
    let logs = Logs { access: no_log, usage: UsageLog::NONE, traces: None };
    let gateway = Gateway::new(config, None, metrics, logs).map_err(|error| error.to_string())?;
    let mut failures = 0;
    let (progress, targets) = (Progress::start(), gateway.router.targets());
    for (number, target) in targets.iter().enumerate() {
        progress.is_at(&format!("asking {} ({} of {})", target.name, number + 1, targets.len()));
        let asked = ask(&gateway, target).await;
        progress.clear();
        let verdict = match asked {
            Ok(()) => "ok".to_owned(),
            Err(problem) => {
                failures += 1;
                problem
            }
        };
        say(&format!(
            "target {} ({} in {}): {verdict}",
            target.name, target.model, target.site.region
        ));
    }
    Ok(failures)
}

async fn ask(gateway: &Gateway, target: &Target) -> Result<(), String> {
    target.site.identity.settled().await;
    let (make, limit) = (|| probe_of(target), target.site.first_byte_timeout);
    let upstream = &gateway.upstream;
    match upstream.send(&target.site.origin, make, false, Instant::now(), limit).await {
        Reply::Success(_) => Ok(()),
        Reply::Failure(failure) => Err(format!(
            "{} {}",
            failure.reported.name.as_deref().unwrap_or(failure.class.name()),
            failure.reported.message
        )),
    }
}

fn probe_of(target: &Target) -> Result<Request<Bytes>, String> {
    let auth = target.site.identity.auth().ok_or_else(|| target.site.identity.problem())?;
    let (mut head, ()) = Request::new(()).into_parts();
    head.method = Method::POST;
    let uri = target.uri(Operation::Converse);
    head.uri = uri.ok_or_else(|| "the target's path is no URI".to_owned())?;
    head.headers.insert(HOST, target.site.origin.host());
    head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let hash = PayloadHash::of(PROBE.as_bytes());
    sign::authorize(&mut head, || hash, &auth, &target.site.region, SystemTime::now())
        .map_err(|error| error.to_string())?;
    Ok(Request::from_parts(head, Bytes::from_static(PROBE.as_bytes())))
}

//! `sluice check`: validates a config, resolves its credentials and probes its targets.

use std::collections::HashMap;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request};
use tokio::time::Instant;

use super::progress::Progress;
use super::{ConfigFile, print, runtime};
use crate::bedrock::Operation;
use crate::bedrock::sigv4::PayloadHash;
use crate::config::{self, Config, Credentials, Env, TraceProtocol};
use crate::pipeline::Gateway;
use crate::routing::Target;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::usage_log::UsageLog;
use crate::telemetry::{Logs, Metrics};
use crate::upstream::credentials::{Resolved, Sts, resolve_once};
use crate::upstream::{BuildRequestError, Reply, sign};

/// The smallest request that every chat model takes.
const PROBE: &str =
    r#"{"messages":[{"role":"user","content":[{"text":"hi"}]}],"inferenceConfig":{"maxTokens":1}}"#;

/// Arguments of `sluice check`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// Print the JSON Schema of the config file and exit.
    #[arg(long)]
    schema: bool,
    /// Check the file alone, without resolving credentials.
    #[arg(long)]
    offline: bool,
    /// Also request one token from each target, and ask STS for the identity of its credentials. Costs
    /// one token per target.
    #[arg(long, conflicts_with = "offline")]
    probe: bool,
}

pub(super) fn run(arguments: Arguments) -> Result<(), String> {
    if arguments.schema {
        let schema = serde_json::to_string_pretty(&config::schema());
        print(&schema.map_err(|error| error.to_string())?);
        return Ok(());
    }
    let loaded = super::load(&arguments.config.source())?;
    for warning in loaded.warnings.iter().chain(&super::descriptors_warning(&loaded.config)) {
        print(&format!("warning: {warning}"));
    }
    let config = loaded.config;
    print(&format!("config: {} targets, {} routes", config.targets.len(), config.routes.len()));
    if let Some(traces) = &config.traces {
        let protocol = match traces.protocol {
            TraceProtocol::Grpc => "gRPC",
            TraceProtocol::Http => "HTTP",
        };
        let from = match loaded.otel_variables.as_slice() {
            [] => String::new(),
            variables => format!(", set by {}", variables.join(", ")),
        };
        print(&format!("traces: sent to {} by {protocol}{from}", traces.endpoint));
    }
    if arguments.offline {
        return Ok(());
    }
    runtime(Some(1))?.block_on(async {
        let (resolved, mut failures) = credentials(&config).await;
        if arguments.probe && failures == 0 {
            let principals = principals(&config, &resolved).await;
            failures += probe(config, &principals).await?;
        }
        if failures == 0 { Ok(()) } else { Err(format!("{failures} checks failed")) }
    })
}

/// The distinct credentials of a config, each with one of its regions and the targets that use it.
fn distinct(config: &Config) -> Vec<(&Credentials, Sts<'_>, Vec<&str>)> {
    let mut all: Vec<(&Credentials, Sts<'_>, Vec<&str>)> = Vec::new();
    let use_fips = config.upstream.use_fips;
    let of_upstream = (&config.upstream.credentials, &config.upstream.region, None);
    let of_targets = config.targets.iter();
    let of_targets = of_targets.map(|it| (&it.credentials, &it.region, Some(it.name.as_str())));
    for (credentials, region, target) in std::iter::once(of_upstream).chain(of_targets) {
        match all.iter_mut().find(|(known, ..)| *known == credentials) {
            Some((.., targets)) => targets.extend(target),
            None => {
                let sts = Sts { region, use_fips };
                all.push((credentials, sts, target.into_iter().collect()));
            }
        }
    }
    all
}

async fn credentials(config: &Config) -> (HashMap<Credentials, Resolved>, usize) {
    let (mut found, mut failures) = (HashMap::new(), 0);
    let progress = Progress::start();
    for (credentials, sts, targets) in distinct(config) {
        let name = config::describe(credentials);
        progress.show(&format!("resolving credentials: {name}"));
        let resolved = resolve_once(credentials, sts).await;
        progress.clear();
        match resolved {
            Ok(resolved) => {
                let key = resolved.access_key_id();
                let key = key.map(|key| format!(", access key {key}")).unwrap_or_default();
                let users = match targets.as_slice() {
                    [] => String::new(),
                    targets => format!(", for targets {}", targets.join(", ")),
                };
                print(&format!("credentials: {name}: ok{key}{users}"));
                found.insert(credentials.clone(), resolved);
            }
            Err(problem) => {
                failures += 1;
                print(&format!("credentials: {name}: {problem}"));
            }
        }
    }
    (found, failures)
}

/// The principals of the credentials, by STS. No answer from STS is not an error: it may be unreachable
/// from here, and an upstream can be reached without it.
async fn principals(
    config: &Config,
    resolved: &HashMap<Credentials, Resolved>,
) -> HashMap<Credentials, String> {
    let mut principals = HashMap::new();
    let progress = Progress::start();
    for (credentials, sts, _) in distinct(config) {
        let name = config::describe(credentials);
        let Some(found) = resolved.get(credentials) else { continue };
        if !asks_sts(config, credentials) {
            print(&format!(
                "principal: {name}: not asked for, since its upstream is on this machine"
            ));
            continue;
        }
        progress.show(&format!("asking STS whose credentials these are: {name}"));
        let principal = found.principal(sts).await;
        progress.clear();
        match principal {
            Some(Ok(arn)) => {
                print(&format!("principal: {name}: {arn}"));
                principals.insert(credentials.clone(), arn);
            }
            Some(Err(problem)) => print(&format!("principal: {name}: not known: {problem}")),
            None => {
                print(&format!("principal: {name}: not known: STS does not know bearer tokens"))
            }
        }
    }
    principals
}

/// Whether STS is asked about these: not when all that they sign for stays on this machine, as a
/// simulator does, unless the environment names an STS.
fn asks_sts(config: &Config, credentials: &Credentials) -> bool {
    let targets = config.targets.iter().map(|it| (&it.credentials, &it.endpoint));
    let upstream = (&config.upstream.credentials, &config.upstream.endpoint);
    let mut signed_for = targets.chain([upstream]).filter(|(by, _)| *by == credentials);
    let env = Env::of_process();
    ["AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL"].iter().any(|name| env.get(name).is_some())
        || signed_for.any(|(_, endpoint)| !endpoint.is_loopback())
}

async fn probe(config: Config, principals: &HashMap<Credentials, String>) -> Result<usize, String> {
    let metrics = std::sync::Arc::new(Metrics::new());
    let no_log = AccessLog::start(false, config.log.format, metrics.access_log_dropped.clone());
    let logs = Logs { access: no_log, usage: UsageLog::NONE, traces: None };
    let gateway = Gateway::new(config, None, metrics, logs).map_err(|error| error.to_string())?;
    let mut failures = 0;
    let (progress, targets) = (Progress::start(), gateway.router.targets());
    for (number, target) in targets.iter().enumerate() {
        progress.show(&format!("asking {} ({} of {})", target.name, number + 1, targets.len()));
        let asked = ask(&gateway, target).await;
        progress.clear();
        let verdict = match asked {
            Ok(()) => "ok".to_owned(),
            Err(problem) => {
                failures += 1;
                problem
            }
        };
        let principal = principals.get(target.endpoint.credentials.source());
        let principal = principal.map(|arn| format!(", as {arn}")).unwrap_or_default();
        print(&format!(
            "target {} ({} in {}{principal}): {verdict}",
            target.name, target.model, target.endpoint.region
        ));
    }
    Ok(failures)
}

async fn ask(gateway: &Gateway, target: &Target) -> Result<(), String> {
    target.endpoint.credentials.settled().await;
    let (make, limit) = (|| probe_of(target), target.endpoint.first_byte_timeout);
    let upstream = &gateway.upstream;
    match upstream.send(&target.endpoint.origin, make, false, Instant::now(), limit).await {
        Reply::Success(_) => Ok(()),
        Reply::Failure(failure) => Err(format!(
            "{} {}",
            failure.reported.name.as_deref().unwrap_or(failure.class.name()),
            failure.reported.message
        )),
    }
}

fn probe_of(target: &Target) -> Result<Request<Bytes>, BuildRequestError> {
    let auth = target.endpoint.credentials.auth();
    let auth = auth
        .ok_or_else(|| BuildRequestError::NoCredentials(target.endpoint.credentials.problem()))?;
    let (mut head, ()) = Request::new(()).into_parts();
    head.method = Method::POST;
    let uri = target.uri(Operation::Converse);
    head.uri = uri.ok_or(BuildRequestError::InvalidPath)?;
    head.headers.insert(HOST, target.endpoint.origin.host());
    head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let hash = PayloadHash::of(PROBE.as_bytes());
    sign::authorize(&mut head, || hash, &auth, &target.endpoint.region, SystemTime::now())?;
    Ok(Request::from_parts(head, Bytes::from_static(PROBE.as_bytes())))
}

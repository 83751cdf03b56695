//! `sluice check`: validates a config, resolves its credentials, compares it with the accounts of its
//! targets, and asks its targets and all else that it depends on.

mod account;
mod credentials;
mod dependencies;
mod probe;
mod report;
mod targets;

use std::collections::HashMap;
use std::sync::Arc;

use super::load::{LoadError, load, today};
use super::{ConfigFile, print, runtime};
use crate::config::{self, Config, Env, Loaded, LogFormat, Source, TraceProtocol};
use crate::pipeline::Gateway;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::usage_log::UsageLog;
use crate::telemetry::{Logs, Metrics};
use report::Report;

/// Arguments of `sluice check`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// Print the JSON Schema of the config file and exit.
    #[arg(long)]
    schema: bool,
    /// Check the config file alone. No secret, variable or other file that it names has to be there,
    /// so that it can be checked in CI.
    #[arg(long, conflicts_with_all = ["offline", "probe", "account"])]
    syntax: bool,
    /// Check the config file, and the variables and files that it names, without resolving credentials.
    #[arg(long)]
    offline: bool,
    /// Also ask all that the gateway depends on: Redis, databases, token issuers, the trace collector,
    /// STS for the identity of the credentials, and each target by a small request, which costs a few tokens.
    #[arg(long, conflicts_with = "offline")]
    probe: bool,
    /// Also compare the config with the AWS account of each target: whether its model or inference
    /// profile exists, is enabled and stays, and its quotas. It prints the lines that mend the config.
    #[arg(long, conflicts_with = "offline")]
    account: bool,
    /// Print the result as JSON: the problems with file, line, column and key, the warnings and the
    /// checks.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: Arguments) -> Result<(), String> {
    if arguments.schema {
        let schema = serde_json::to_string_pretty(&config::schema());
        print(&schema.map_err(|error| error.to_string())?);
        return Ok(());
    }
    let source = arguments.config.source();
    let mut report = Report::new(arguments.json, source.name());
    if arguments.syntax {
        return check_syntax(&source, report);
    }
    let Loaded { config, warnings, otel_variables, locations } = match load(&source) {
        Ok(loaded) => loaded,
        Err(error) => return refuse(&error, report),
    };
    for warning in warnings.into_iter().chain(super::descriptors_warning(&config)) {
        report.warning(warning);
    }
    report.models(config.model_lives());
    report.config_is_right(config.summary());
    if let Some(traces) = &config.traces {
        report.note(describe_traces(traces, &otel_variables));
    }
    if arguments.offline {
        return report.finish();
    }
    runtime(Some(1))?.block_on(async {
        let resolved = credentials::resolve(&config, &mut report).await;
        let are_resolved = report.is_ok();
        if arguments.account {
            account::check(&config, &locations, &resolved, &mut report).await;
        }
        if arguments.probe {
            let principals = match are_resolved {
                true => credentials::principals(&config, &resolved, &mut report).await,
                false => HashMap::new(),
            };
            let gateway = gateway(config)?;
            dependencies::probe(&gateway, &mut report).await;
            if are_resolved {
                targets::probe(&gateway, &principals, &mut report).await;
            }
        }
        report.finish()
    })
}

fn check_syntax(source: &Source, mut report: Report) -> Result<(), String> {
    match Config::check_syntax(source, &Env::of_process(), today()) {
        Ok(checked) => {
            for warning in checked.warnings {
                report.warning(warning);
            }
            report.models(checked.models);
            report.config_is_right(checked.summary);
            report.finish()
        }
        Err(error) => refuse(&LoadError::of_config(source, error), report),
    }
}

/// Reports that the config is wrong.
fn refuse(error: &LoadError, mut report: Report) -> Result<(), String> {
    report.config_is_wrong(error.problems(), &error.to_string());
    report.finish()?;
    Err(error.report())
}

fn describe_traces(traces: &config::Traces, variables: &[&str]) -> String {
    let protocol = match traces.protocol {
        TraceProtocol::Grpc => "gRPC",
        TraceProtocol::Http => "HTTP",
    };
    let from = match variables {
        [] => String::new(),
        variables => format!(", set by {}", variables.join(", ")),
    };
    format!("traces: sent to {} by {protocol}{from}", traces.endpoint)
}

/// A gateway that serves nobody, to ask its targets.
fn gateway(config: Config) -> Result<Arc<Gateway>, String> {
    let metrics = Arc::new(Metrics::new());
    let no_log = AccessLog::start(false, LogFormat::Text, metrics.access_log_dropped.clone());
    let logs = Logs { access: no_log, usage: UsageLog::NONE, traces: None };
    Gateway::new(config, None, metrics, logs).map_err(|error| error.to_string())
}

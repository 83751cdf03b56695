//! The commands of the `sluice` binary, and their arguments.

mod admin_key;
mod admin_port;
mod ask;
mod banner;
mod check;
mod demo;
mod healthcheck;
mod keys;
mod load;
mod man;
mod models;
mod operate;
mod progress;
mod reload;
mod rest;
mod serve;
mod simulate;
mod tail;
mod tls;
mod top;

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use clap::{CommandFactory, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Source, Summary};
use crate::system::descriptors::Shares;
use admin_port::TargetAction;

/// A gateway in front of Amazon Bedrock: point an AWS SDK at it, and when a model is throttled, the
/// next one answers.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway.
    Serve(serve::Arguments),
    /// Run the gateway and a simulated Bedrock in one process; needs no AWS account.
    Demo(demo::Arguments),
    /// Run a simulated Bedrock.
    Simulate(simulate::Arguments),
    /// Check a config file, its credentials and, with --probe, its targets.
    Check(check::Arguments),
    /// Check a running gateway; exit code 0 means healthy. For container health checks.
    Healthcheck(healthcheck::Arguments),
    /// Show the access log, one short line per request.
    Tail(Box<tail::Arguments>),
    /// Watch a running gateway in the terminal: targets, the queue, clients, failures.
    Top(top::Arguments),
    /// List the targets of a running gateway and their states.
    Targets(operate::ListArguments),
    /// Take targets of a running gateway out of traffic.
    Drain(operate::TargetArguments),
    /// Return drained targets of a running gateway to traffic.
    Resume(operate::TargetArguments),
    /// End the cooldown of targets of a running gateway, for all replicas.
    Reset(operate::TargetArguments),
    /// Make a running gateway load its config again, as SIGHUP does, and report the result.
    Reload(operate::Arguments),
    /// Show what is known of models and where it came from; compare and update catalogue files.
    Models(Box<models::Arguments>),
    /// Create keys for clients, or print the admin key.
    Keys(keys::Arguments),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write the pages of all commands into a folder.
    Man(man::Arguments),
}

/// The source of the config.
#[derive(Debug, clap::Args)]
struct ConfigFile {
    /// The config file. Default: config.toml in the current directory if it exists, otherwise the
    /// built-in config.
    #[arg(short, long, value_name = "FILE", env = "SLUICE_CONFIG")]
    config: Option<PathBuf>,
}

impl ConfigFile {
    fn source(self) -> Source {
        let default = PathBuf::from("config.toml");
        match self.config {
            Some(file) => Source::File(file),
            None if default.is_file() => Source::File(default),
            None => Source::BuiltIn,
        }
    }
}

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Serve(arguments) => serve::run(arguments),
        Command::Demo(arguments) => demo::run(arguments),
        Command::Simulate(arguments) => simulate::run(arguments),
        Command::Check(arguments) => check::run(arguments),
        Command::Healthcheck(arguments) => healthcheck::run(arguments),
        Command::Tail(arguments) => tail::run(&arguments),
        Command::Top(arguments) => top::run(arguments),
        Command::Targets(arguments) => operate::list(arguments),
        Command::Drain(arguments) => operate::act(TargetAction::Drain, arguments),
        Command::Resume(arguments) => operate::act(TargetAction::Resume, arguments),
        Command::Reset(arguments) => operate::act(TargetAction::Reset, arguments),
        Command::Reload(arguments) => operate::reload(arguments),
        Command::Models(arguments) => models::run(*arguments),
        Command::Keys(arguments) => keys::run(arguments),
        Command::Man(arguments) => man::run(arguments, Arguments::command()),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "sluice", &mut script);
            print(&String::from_utf8_lossy(&script));
            Ok(())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            print_error(format!("sluice: {message}"));
            ExitCode::FAILURE
        }
    }
}

/// Longest wait for the reader of standard error.
const ERROR_TIMEOUT: Duration = Duration::from_secs(1);

/// Prints a line on standard error. The process goes on even if its reader is stuck.
fn print_error(line: String) {
    let (done, wait) = sync_channel::<()>(0);
    let write = move || {
        let _done = done;
        // Fails if standard error is closed; then there is no other place for it.
        let _ = writeln!(std::io::stderr(), "{line}");
    };
    if std::thread::Builder::new().name("error-line".to_owned()).spawn(write).is_ok() {
        // The channel closes when the line is written.
        let _ = wait.recv_timeout(ERROR_TIMEOUT);
    }
}

/// The numbers of what a config has, such as `3 targets, 1 route, 0 clients`.
fn describe(summary: Summary) -> String {
    let Summary { targets, routes, clients } = summary;
    let counts = [(targets, "target"), (routes, "route"), (clients, "client")];
    counts.map(|(count, noun)| counted(count, noun)).join(", ")
}

/// A number and what is counted, such as `1 route` or `2 routes`.
fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// Prints a line on standard output.
fn print(line: &str) {
    // Fails if the reader, such as `head`, has gone away; it has read what it wanted.
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// A warning if the limit on file descriptors is too low for the config.
fn descriptors_warning(config: &Config) -> Option<String> {
    let server = &config.server;
    Shares::raised().warning(server.max_connections, server.max_in_flight)
}

fn runtime(workers: Option<usize>) -> Result<tokio::runtime::Runtime, String> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(workers) = workers {
        builder.worker_threads(workers);
    }
    builder.enable_all().build().map_err(|error| format!("can't start: {error}"))
}

/// The address at which a local listener is reached: loopback if it listens on all addresses.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// Cancels `stop` at the first SIGTERM or SIGINT, and `force_stop` at the second.
fn on_signals(stop: CancellationToken, force_stop: CancellationToken) -> Result<(), String> {
    let listen = |kind| signal(kind).map_err(|error| format!("can't listen for signals: {error}"));
    let (mut terminate, mut interrupt) =
        (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    tokio::spawn(async move {
        for token in [stop, force_stop] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            token.cancel();
        }
    });
    Ok(())
}

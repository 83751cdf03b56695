//! `sluice reload`, `drain`, `resume`, `reset` and `targets`: one call of a running gateway's admin
//! API, for scripts.

use serde::Deserialize;
use serde_json::Value;

use super::admin_port::{AdminPort, AdminPortArguments, AdminPortError, TargetAction};
use super::rest::rest;
use super::{print, print_error, runtime};

/// Arguments of a command without others.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    admin_port: AdminPortArguments,
}

/// Arguments of a command that acts on targets.
#[derive(Debug, clap::Args)]
pub(super) struct TargetArguments {
    #[command(flatten)]
    admin_port: AdminPortArguments,
    /// The names of the targets.
    #[arg(required = true, value_name = "TARGET")]
    targets: Vec<String>,
}

/// Arguments of `sluice targets`.
#[derive(Debug, clap::Args)]
pub(super) struct ListArguments {
    #[command(flatten)]
    admin_port: AdminPortArguments,
    /// Print all that the gateway tells of its targets, as JSON.
    #[arg(long)]
    json: bool,
}

/// Makes the gateway reload its config.
pub(super) fn reload(arguments: Arguments) -> Result<(), String> {
    let admin_port = arguments.admin_port.connect()?;
    let reloaded = call(admin_port.reload())?;
    for warning in &reloaded.warnings {
        print(&format!("warning: {warning}"));
    }
    if !reloaded.restart_needed.is_empty() {
        let keys = reloaded.restart_needed.join(", ");
        print(&format!("warning: these keys have changed and take effect after a restart: {keys}"));
    }
    print("config reloaded");
    Ok(())
}

/// Applies an action to each target. A target that fails does not keep the others from theirs.
pub(super) fn act(action: TargetAction, arguments: TargetArguments) -> Result<(), String> {
    let admin_port = arguments.admin_port.connect()?;
    let mut failed = Vec::new();
    for target in &arguments.targets {
        match call(admin_port.act(action, target)) {
            Ok(done) => print(&done),
            Err(problem) => {
                print_error(format!("{target}: {problem}"));
                failed.push(target.as_str());
            }
        }
    }
    match failed.as_slice() {
        [] => Ok(()),
        failed => Err(format!("not done for {}", failed.join(", "))),
    }
}

/// Lists the targets.
pub(super) fn list(arguments: ListArguments) -> Result<(), String> {
    let admin_port = arguments.admin_port.connect()?;
    if arguments.json {
        let targets: Value = call(admin_port.get("/admin/targets"))?;
        let text = serde_json::to_string_pretty(&targets).map_err(|error| error.to_string())?;
        print(&text);
        return Ok(());
    }
    let Listed { targets } = call(list_targets(&admin_port))?;
    let width = |text: fn(&Target) -> String| {
        targets.iter().map(|it| text(it).chars().count()).max().unwrap_or_default()
    };
    let (names, states) = (width(|it| it.name.clone()), width(Target::state_and_rest));
    for target in &targets {
        let Target { name, model, region, .. } = target;
        let (state, reasons) = (target.state_and_rest(), target.reasons());
        print(&format!("{name:names$}  {state:states$}  {model} in {region}{reasons}"));
    }
    Ok(())
}

async fn list_targets(admin_port: &AdminPort) -> Result<Listed, AdminPortError> {
    admin_port.get("/admin/targets").await
}

/// The answer of `/admin/targets`, as far as a line needs it.
#[derive(Debug, Deserialize)]
struct Listed {
    targets: Vec<Target>,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
    model: String,
    region: String,
    /// `available`, `probing`, `cooling` or `drained`.
    state: String,
    cooldown_remaining: Option<f64>,
    out: Option<Outage>,
    #[serde(default)]
    denied: Vec<Denied>,
}

/// Why a target is out.
#[derive(Debug, Deserialize)]
struct Outage {
    reason: String,
    #[serde(default)]
    message: String,
}

/// An operation that a target has denied.
#[derive(Debug, Deserialize)]
struct Denied {
    operation: String,
    /// Whether requests avoid the operation.
    is_confirmed: bool,
    retry_in: Option<f64>,
    #[serde(default)]
    error: String,
    #[serde(default)]
    message: String,
}

impl Target {
    /// The state, and how long a cooldown lasts.
    fn state_and_rest(&self) -> String {
        match self.cooldown_remaining {
            Some(left) => format!("{} {}", self.state, rest(left)),
            None => self.state.clone(),
        }
    }

    /// Why it is out and what it denies, each after a semicolon; empty for a target that takes everything.
    fn reasons(&self) -> String {
        let mut reasons = Vec::new();
        // The state says that it is drained, and the denials follow.
        let is_said = |outage: &&Outage| outage.reason != self.state && outage.reason != "denied";
        if let Some(Outage { reason, message }) = self.out.as_ref().filter(is_said) {
            reasons.push(format!("{reason}: {message}"));
        }
        for denied in self.denied.iter().filter(|it| it.is_confirmed) {
            let Denied { operation, error, message, .. } = denied;
            let tried = denied.retry_in.map(|left| format!(", tried again in {}", rest(left)));
            let tried = tried.unwrap_or_default();
            reasons.push(format!("denies {operation}{tried}: {error}: {message}"));
        }
        // A message may have several lines, and characters that a terminal obeys.
        let plain = |reason: String| {
            let words: String =
                reason.chars().map(|it| if it.is_control() { ' ' } else { it }).collect();
            let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
            format!("; {}", words.trim_end_matches(':'))
        };
        reasons.into_iter().map(plain).collect()
    }
}

fn call<T>(call: impl Future<Output = Result<T, AdminPortError>>) -> Result<T, String> {
    runtime(Some(1))?.block_on(call).map_err(|error| error.to_string())
}

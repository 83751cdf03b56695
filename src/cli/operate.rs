//! `sluice reload`, `drain`, `resume`, `reset` and `targets`: one call of a running gateway's admin
//! API, for scripts.

use serde::Deserialize;
use serde_json::Value;

use super::admin_port::{AdminPort, AdminPortArguments, AdminPortError, TargetAction};
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
    let width = |text: fn(&Target) -> &str| targets.iter().map(|it| text(it).chars().count()).max();
    let (names, states) = (width(|it| &it.name), width(|it| &it.state));
    let (names, states) = (names.unwrap_or_default(), states.unwrap_or_default());
    for target in &targets {
        let Target { name, model, region, state } = target;
        print(&format!("{name:names$}  {state:states$}  {model} in {region}"));
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
}

fn call<T>(call: impl Future<Output = Result<T, AdminPortError>>) -> Result<T, String> {
    runtime(Some(1))?.block_on(call).map_err(|error| error.to_string())
}

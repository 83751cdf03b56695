//! `sluice models`: what is known of models and where it came from, what differs between two catalogues,
//! and the update of the operator's own.

mod diff;
mod list;
mod update;

use clap::{Args, Subcommand};

use super::ConfigFile;
use super::admin_port::AdminPortArguments;
use crate::catalogue::{Layer, MAX_FILE_BYTES};

/// Arguments of `sluice models`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Option<ModelsCommand>,
    #[command(flatten)]
    list: ListArguments,
}

#[derive(Debug, Subcommand)]
enum ModelsCommand {
    /// Show what differs between two catalogue files, value by value.
    Diff(DiffArguments),
    /// Check a new catalogue file, and put it in place of the one that the config names.
    Update(UpdateArguments),
}

/// Which models are shown, and how.
#[derive(Debug, Args)]
struct ListArguments {
    /// Only models with this text in their id, in a first-party name or in a target's name.
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Only models with this surface: invoke_model, converse, count_tokens, chat_completions, responses
    /// or messages.
    #[arg(long)]
    surface: Option<String>,
    /// Only models that take this feature, such as images, tools or thinking.
    #[arg(long)]
    feature: Option<String>,
    /// Show every value, and where it came from.
    #[arg(short, long)]
    long: bool,
    /// Print all of it as JSON.
    #[arg(long)]
    json: bool,
    /// Ask the running gateway, which also shows what answers have taught it. Prints JSON.
    #[arg(long)]
    running: bool,
    #[command(flatten)]
    admin_port: AdminPortArguments,
}

/// The files that are compared.
#[derive(Debug, Args)]
struct DiffArguments {
    /// The first catalogue file, or `shipped` for the one that is built in.
    #[arg(value_name = "A")]
    before: String,
    /// The second catalogue file, or `shipped`.
    #[arg(value_name = "B")]
    after: String,
    /// Print the differences as JSON.
    #[arg(long)]
    json: bool,
}

/// The source and the place of an update.
#[derive(Debug, Args)]
struct UpdateArguments {
    #[command(flatten)]
    config: ConfigFile,
    /// A file, or an https URL.
    #[arg(value_name = "SOURCE")]
    source: String,
    /// Where to put it. Default: `catalogue.file` of the config.
    #[arg(long, value_name = "FILE")]
    to: Option<std::path::PathBuf>,
    /// The SHA-256 that the new file must have, in hexadecimal.
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,
    /// Check and compare only, and leave the file as it is.
    #[arg(long)]
    dry_run: bool,
}

/// Runs the command.
pub(super) fn run(arguments: Arguments) -> Result<(), String> {
    match arguments.command {
        None => list::run(arguments.list),
        Some(ModelsCommand::Diff(arguments)) => diff::run(&arguments),
        Some(ModelsCommand::Update(arguments)) => update::run(arguments),
    }
}

/// Reads and checks a catalogue file.
fn read(path: &std::path::Path) -> Result<Layer, String> {
    let name = path.display().to_string();
    let text = crate::config::read_bounded(path, MAX_FILE_BYTES)
        .map_err(|error| format!("can't read {name}: {error}"))?;
    Layer::read(&name, &text).map_err(|error| format!("{name}: {error}"))
}

//! Loads a config for a command, and tells a person what is wrong with it.

use std::fmt;
use std::time::SystemTime;

use super::counted;
use crate::bedrock::Date;
use crate::config::{Config, ConfigError, Env, Loaded, Problem, Source};
use crate::legacy::prompts::Prompts;
use crate::routing;

/// Why a config could not be loaded. `Display` has a line for each problem, below a heading if there
/// are several.
#[derive(Debug)]
pub(super) enum LoadError {
    /// The file can't be read, or something in it is wrong.
    Config {
        /// The name of the file.
        name: String,
        /// What is wrong.
        error: ConfigError,
    },
    /// A prompt of the legacy endpoints can't be used.
    Prompts(String),
}

impl std::error::Error for LoadError {}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Config { name, error: ConfigError::Invalid(problems) } => {
                if problems.len() > 1 {
                    writeln!(f, "{name} has {}:", counted(problems.len(), "problem"))?;
                }
                let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
                f.write_str(&lines.join("\n"))
            }
            LoadError::Config { error, .. } => error.fmt(f),
            LoadError::Prompts(problem) => f.write_str(problem),
        }
    }
}

impl LoadError {
    pub(super) fn of_config(source: &Source, error: ConfigError) -> LoadError {
        LoadError::Config { name: source.name(), error }
    }

    /// The problems of the config; none if it could not be read.
    pub(super) fn problems(&self) -> &[Problem] {
        match self {
            LoadError::Config { error: ConfigError::Invalid(problems), .. } => problems,
            LoadError::Config { .. } | LoadError::Prompts(_) => &[],
        }
    }

    /// The text for a terminal, where the line of a syntax error is shown too.
    pub(super) fn report(&self) -> String {
        // A syntax error is the only problem of its file.
        let excerpts = self.problems().iter().filter_map(|problem| problem.excerpt.as_deref());
        excerpts.fold(self.to_string(), |text, excerpt| format!("{text}\n{excerpt}"))
    }
}

/// The day, in UTC.
pub(super) fn today() -> Date {
    Date::of(SystemTime::now())
}

/// Loads a config as it is today, and checks its prompts and whether its quotas fit its models and its accounts, which needs
/// modules above the config.
pub(super) fn load(source: &Source) -> Result<Loaded, LoadError> {
    let loaded = Config::load(source, &Env::of_process());
    let loaded = loaded.map_err(|error| LoadError::of_config(source, error))?;
    let mut loaded = loaded.on(today());
    loaded.warnings.extend(routing::warnings_about_small_quotas(&loaded.config));
    loaded.warnings.extend(routing::warnings_about_separate_quotas(&loaded.config));
    Prompts::new(&loaded.config.legacy.prompts)
        .map_err(|error| LoadError::Prompts(error.to_string()))?;
    Ok(loaded)
}

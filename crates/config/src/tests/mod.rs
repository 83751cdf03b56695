//! Tests of loading as a whole: each loads a text and an environment, and looks at what comes out.

mod apis;
mod client_keys;
mod clients;
mod deprecated;
mod environment;
mod file;
mod jobs;
mod legacy;
mod limits;
pub(super) mod names;
mod network;
mod policy;
mod properties;
mod response_store;
mod schema;
mod shipped;
mod state;
mod targets;
mod traces;

use super::{Config, ConfigError, Env, Loaded, Source};

/// An environment of the given variables only.
fn env(variables: &[(&str, &str)]) -> Env {
    variables.iter().copied().collect()
}

/// Loads a file's text with nothing in the environment.
fn file(text: &str) -> Result<Loaded, ConfigError> {
    Config::from_toml(text, "config.toml", &Env::default())
}

/// The configuration of a file's text that has nothing wrong.
fn config(text: &str) -> Config {
    file(text).unwrap_or_else(|error| panic!("{error}")).config
}

/// The lines of the error that a file's text leads to.
fn problems(text: &str) -> Vec<String> {
    lines(file(text))
}

/// Asserts that a file's text leads to one problem, and what that says.
fn only_problem(text: &str, expected: &str) {
    let problems = problems(text);
    assert_eq!(problems.len(), 1, "{text}: {problems:?}");
    assert!(problems[0].contains(expected), "{text}: {problems:?}");
}

/// The built-in configuration under an environment that has nothing wrong.
fn built_in(variables: &[(&str, &str)]) -> Config {
    let loaded = Config::load(&Source::BuiltIn, &env(variables));
    loaded.unwrap_or_else(|error| panic!("{error}")).config
}

/// The lines of the error that an environment leads to.
fn built_in_problems(variables: &[(&str, &str)]) -> Vec<String> {
    lines(Config::load(&Source::BuiltIn, &env(variables)))
}

fn lines(loaded: Result<Loaded, ConfigError>) -> Vec<String> {
    match loaded {
        Ok(loaded) => panic!("loaded: {loaded:?}"),
        Err(error) => error.to_string().lines().map(str::to_owned).collect(),
    }
}

//! Problems of a configuration, with what a person needs to mend them.
//!
//! A bad configuration is reported whole: one problem a line, each with its location in the file or
//! the environment variable it came from. No message repeats a secret.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("{}: cannot read the config file: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
    /// The configuration has problems; at least one, in the order of the file.
    #[error("{}", one_per_line(.0))]
    Invalid(Vec<Problem>),
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where it is wrong.
    pub location: Location,
    /// What is wrong and, where known, what to write instead.
    pub message: String,
    /// The key that it is about, such as `routes[0].targets`; empty if it is about none.
    pub path: String,
    /// The line of a syntax error with a caret below the error, on two lines. `None` for any other
    /// problem, and for a line that may hold a secret.
    pub excerpt: Option<String>,
}

impl Problem {
    /// A problem that is about no key.
    pub(super) fn new(location: Location, message: impl Into<String>) -> Self {
        Self { location, message: message.into(), path: String::new(), excerpt: None }
    }
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Location {
    /// A position in a config file.
    File {
        /// Name of the file, as given.
        name: Arc<str>,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
    },
    /// An environment variable.
    Variable(String),
    /// A built-in default, or the configuration as a whole.
    Default,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.location, self.message)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, line, column } => write!(f, "{name}:{line}:{column}"),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Default => f.write_str("configuration"),
        }
    }
}

/// A phrase that points from an unknown `name` to the nearest of the `known` ones, or lists them.
pub(super) fn suggestion<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.collect();
    nearest(name, known.iter().copied()).unwrap_or_else(|| match known.as_slice() {
        [] => String::new(),
        known => format!("; known: {}", known.join(", ")),
    })
}

/// A phrase that points from an unknown `name` to the nearest of the `known` ones; `None` if none
/// is near.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let lower = name.to_lowercase();
    let distances = known.map(|candidate| {
        (strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()), candidate)
    });
    let (distance, candidate) = distances.min()?;
    let is_near = distance <= (name.chars().count() / 3).max(2);
    is_near.then(|| format!("; did you mean '{candidate}'?"))
}

fn one_per_line(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::suggestion;

    #[test]
    fn a_near_name_is_suggested_and_a_far_one_lists_what_is_known() {
        let known = || ["listen", "max_body", "retry"].into_iter();
        assert_eq!(suggestion("lisen", known()), "; did you mean 'listen'?");
        assert_eq!(suggestion("MAXBODY", known()), "; did you mean 'max_body'?");
        assert_eq!(suggestion("legacy", known()), "; known: listen, max_body, retry");
        assert_eq!(suggestion("x", std::iter::empty()), "");
    }
}

//! The result of a check: lines for a person as they come, or one JSON document at the end.

use serde::Serialize;

use super::super::{counted, describe, print};
use crate::config::{Location, ModelLife, Problem, Summary};

/// What was found so far.
#[derive(Debug)]
pub(super) struct Report {
    is_json: bool,
    document: Document,
}

/// The JSON document.
#[derive(Debug, Serialize)]
struct Document {
    ok: bool,
    /// The name of the config file.
    config: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<Summary>,
    problems: Vec<ProblemRecord>,
    warnings: Vec<String>,
    /// The targets whose model has an announced end.
    models: Vec<ModelLife>,
    checks: Vec<Check>,
}

/// A problem of the config, in the words of editors and CI systems.
#[derive(Debug, Serialize)]
struct ProblemRecord {
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    /// The environment variable that the value is from.
    #[serde(skip_serializing_if = "Option::is_none")]
    variable: Option<String>,
    /// The key, such as `routes[0].targets`.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    message: String,
}

/// A check of something outside the config.
#[derive(Debug, Serialize)]
struct Check {
    kind: &'static str,
    name: String,
    ok: bool,
    message: String,
}

impl Report {
    pub(super) fn new(is_json: bool, config: String) -> Report {
        let document = Document {
            ok: true,
            config,
            summary: None,
            problems: Vec::new(),
            warnings: Vec::new(),
            models: Vec::new(),
            checks: Vec::new(),
        };
        Report { is_json, document }
    }

    /// A warning about the config.
    pub(super) fn warning(&mut self, warning: String) {
        self.line(&format!("warning: {warning}"));
        self.document.warnings.push(warning);
    }

    /// The targets whose model has an announced end. The warnings say it to a person.
    pub(super) fn models(&mut self, models: Vec<ModelLife>) {
        self.document.models = models;
    }

    /// The config is right.
    pub(super) fn config_is_right(&mut self, summary: Summary) {
        let name = &self.document.config;
        self.line(&format!("config: {name}: ok, {}", describe(summary)));
        self.document.summary = Some(summary);
    }

    /// The config is wrong.
    pub(super) fn config_is_wrong(&mut self, problems: &[Problem], message: &str) {
        self.document.ok = false;
        self.document.problems = problems.iter().map(ProblemRecord::of).collect();
        if problems.is_empty() {
            self.document.problems.push(ProblemRecord::of_file(&self.document.config, message));
        }
    }

    /// A line for a person alone.
    pub(super) fn note(&mut self, note: String) {
        self.line(&note);
    }

    /// The outcome of a check of something outside the config: details, or what is wrong.
    pub(super) fn check(
        &mut self,
        kind: &'static str,
        name: &str,
        outcome: Result<String, String>,
    ) {
        let ok = outcome.is_ok();
        let (verdict, message) = match outcome {
            Ok(details) if details.is_empty() => ("ok".to_owned(), details),
            Ok(details) => (format!("ok, {details}"), details),
            Err(problem) => (problem.clone(), problem),
        };
        let separator = if kind == "target" { "" } else { ":" };
        self.line(&format!("{kind}{separator} {name}: {verdict}"));
        self.document.ok &= ok;
        self.document.checks.push(Check { kind, name: name.to_owned(), ok, message });
    }

    /// Whether nothing is wrong so far.
    pub(super) fn is_ok(&self) -> bool {
        self.document.ok
    }

    /// Prints the document, if it is wanted.
    ///
    /// # Errors
    /// The number of checks that failed, as a sentence.
    pub(super) fn finish(self) -> Result<(), String> {
        if self.is_json {
            let text = serde_json::to_string_pretty(&self.document);
            print(&text.map_err(|error| error.to_string())?);
        }
        match self.document.checks.iter().filter(|check| !check.ok).count() {
            0 => Ok(()),
            failed => Err(format!("{} failed", counted(failed, "check"))),
        }
    }

    fn line(&self, line: &str) {
        if !self.is_json {
            print(line);
        }
    }
}

impl ProblemRecord {
    fn of(problem: &Problem) -> ProblemRecord {
        let Problem { location, message, path, .. } = problem;
        let mut record = ProblemRecord {
            file: None,
            line: None,
            column: None,
            variable: None,
            path: Some(path.clone()).filter(|path| !path.is_empty()),
            message: message.clone(),
        };
        match location {
            Location::File { name, line, column } => {
                record.file = Some(name.to_string());
                (record.line, record.column) = (Some(*line), Some(*column));
            }
            Location::Variable(name) => record.variable = Some(name.clone()),
            Location::Default => {}
        }
        record
    }

    fn of_file(name: &str, message: &str) -> ProblemRecord {
        ProblemRecord {
            file: Some(name.to_owned()),
            line: None,
            column: None,
            variable: None,
            path: None,
            message: message.to_owned(),
        }
    }
}

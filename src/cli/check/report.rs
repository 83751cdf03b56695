//! The result of a check: lines for a person as they come, or one JSON document at the end.

use serde::Serialize;

use super::super::{counted, describe, print};
use super::account::{Finding, Severity, Skipped};
use crate::catalogue::{Endpoint as Service, Surfaces};
use crate::config::{Config, Location, ModelLife, Problem, Summary};

/// Most names of models that a line has.
const MAX_NAMED: usize = 8;

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
    /// How each target is called, if the config was read with all that it names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    targets: Vec<TargetRecord>,
    /// The targets whose model has an announced end.
    models: Vec<ModelLife>,
    checks: Vec<Check>,
    /// The accounts that were read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    accounts: Vec<AccountRecord>,
    /// What the accounts and the config disagree about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    findings: Vec<FindingRecord>,
    /// The lines that mend the config, as TOML.
    #[serde(skip_serializing_if = "Option::is_none")]
    paste: Option<String>,
    /// A file for `catalogue.file` that corrects the catalogue.
    #[serde(skip_serializing_if = "Option::is_none")]
    corrections: Option<serde_json::Value>,
}

/// How a target is called.
#[derive(Debug, Serialize)]
struct TargetRecord {
    target: String,
    model: String,
    endpoint: Service,
    region: String,
    surfaces: Surfaces,
}

/// An account in a region, as far as it was read.
#[derive(Debug, Serialize)]
pub(super) struct AccountRecord {
    /// Its number, if an inference profile has told it.
    pub(super) account: Option<String>,
    pub(super) region: String,
    /// What the credentials are, without a secret.
    pub(super) credentials: String,
    /// The numbers of what was listed; `None` for what could not be read.
    pub(super) models: Option<usize>,
    pub(super) profiles: Option<usize>,
    pub(super) quotas: Option<usize>,
    pub(super) skipped: Vec<Skipped>,
    /// The quotas of tokens over all models, by name.
    pub(super) quotas_over_all_models: Vec<(String, f64)>,
    /// The models in names of quotas that are not in the list of models.
    pub(super) unmatched_quotas: Vec<String>,
}

/// Something that an account and the config disagree about.
#[derive(Debug, Serialize)]
struct FindingRecord {
    severity: &'static str,
    kind: &'static str,
    #[serde(flatten)]
    problem: ProblemRecord,
    /// The keys to set, as TOML.
    #[serde(skip_serializing_if = "Option::is_none")]
    paste: Option<String>,
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
            targets: Vec::new(),
            models: Vec::new(),
            checks: Vec::new(),
            accounts: Vec::new(),
            findings: Vec::new(),
            paste: None,
            corrections: None,
        };
        Report { is_json, document }
    }

    /// A warning about the config.
    pub(super) fn warning(&mut self, warning: String) {
        self.line(&format!("warning: {warning}"));
        self.document.warnings.push(warning);
    }

    /// How each target is called.
    pub(super) fn targets(&mut self, config: &Config) {
        let records = config.targets.iter().map(|target| TargetRecord {
            target: target.name.clone(),
            model: target.model.clone(),
            endpoint: target.service,
            region: target.region.clone(),
            surfaces: config.surfaces_of(target),
        });
        self.document.targets = records.collect();
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

    /// An account that was read. The check fails for it if it could not be asked.
    pub(super) fn account(&mut self, record: AccountRecord) {
        let AccountRecord { account, region, credentials, .. } = &record;
        let name = match account {
            Some(account) => format!("{account} in {region} ({credentials})"),
            None => format!("{credentials} in {region}"),
        };
        let counts = [
            (record.models, "model"),
            (record.profiles, "inference profile"),
            (record.quotas, "quota"),
        ];
        let counts = counts.into_iter().filter_map(|(count, noun)| Some(counted(count?, noun)));
        let counts = counts.collect::<Vec<_>>().join(", ");
        let failed = record.skipped.iter().filter(|skipped| skipped.is_failure);
        let failed: Vec<&str> = failed.map(|skipped| skipped.reason.as_str()).collect();
        let outcome = match failed.as_slice() {
            [] if counts.is_empty() => Ok("nothing was read".to_owned()),
            [] => Ok(counts),
            failed => Err(failed.join("; ")),
        };
        self.check("account", &name, outcome);
        for Skipped { part, reason, .. } in record.skipped.iter().filter(|it| !it.is_failure) {
            self.line(&format!("account: {name}: {part} not compared: {reason}"));
        }
        for (quota, value) in &record.quotas_over_all_models {
            self.line(&format!("account: {name}: over all models: {quota}: {value}"));
        }
        if !record.unmatched_quotas.is_empty() {
            let unmatched = &record.unmatched_quotas;
            let (named, others) = unmatched.split_at(unmatched.len().min(MAX_NAMED));
            let named = named.join("', '");
            let others = match others.len() {
                0 => String::new(),
                count => format!(" and {count} more"),
            };
            self.line(&format!(
                "account: {name}: quotas name models that no list has: '{named}'{others}"
            ));
        }
        self.document.accounts.push(record);
    }

    /// Something that an account and the config disagree about, and where the config has it.
    pub(super) fn finding(&mut self, finding: &Finding, location: &Location) {
        let severity = finding.severity.name();
        let path = match finding.path() {
            path if path.is_empty() => String::new(),
            path => format!("{path}: "),
        };
        let place = match location {
            Location::Default => String::new(),
            location => format!("{location}: "),
        };
        self.line(&format!("{severity}: {place}{path}{}", finding.message));
        self.document.ok &= finding.severity != Severity::Error;
        let problem = ProblemRecord::at(location, &finding.path(), &finding.message);
        let paste = toml::to_string(&finding.table()).ok().filter(|text| !text.is_empty());
        let kind = finding.kind;
        self.document.findings.push(FindingRecord { severity, kind, problem, paste });
    }

    /// The lines that mend the config.
    pub(super) fn paste(&mut self, lines: &toml::Table) {
        let text = toml::to_string(lines).ok().filter(|text| !text.is_empty());
        if let Some(text) = &text {
            self.line("");
            self.line("To follow the account, set these keys in the config:");
            self.line("");
            self.line(text.trim_end());
        }
        self.document.paste = text;
    }

    /// A file that corrects the catalogue.
    pub(super) fn corrections(&mut self, file: Option<serde_json::Value>) {
        if let Some(file) = &file {
            self.line("");
            self.line("To correct the catalogue, put these rows into the file of catalogue.file:");
            self.line("");
            self.line(&format!("{file:#}"));
        }
        self.document.corrections = file;
    }

    /// Whether nothing is wrong so far.
    pub(super) fn is_ok(&self) -> bool {
        self.document.ok
    }

    /// Prints the document, if it is wanted.
    ///
    /// # Errors
    /// The numbers of checks that failed and of errors that were found, as a sentence.
    pub(super) fn finish(self) -> Result<(), String> {
        if self.is_json {
            let text = serde_json::to_string_pretty(&self.document);
            print(&text.map_err(|error| error.to_string())?);
        }
        let failed = self.document.checks.iter().filter(|check| !check.ok).count();
        let is_error = |finding: &&FindingRecord| finding.severity == Severity::Error.name();
        let errors = self.document.findings.iter().filter(is_error).count();
        let failed = (failed > 0).then(|| format!("{} failed", counted(failed, "check")));
        let errors =
            (errors > 0).then(|| format!("{} found in the config", counted(errors, "error")));
        match [failed, errors].into_iter().flatten().collect::<Vec<_>>().join(", ") {
            said if said.is_empty() => Ok(()),
            said => Err(said),
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
        ProblemRecord::at(&problem.location, &problem.path, &problem.message)
    }

    fn at(location: &Location, path: &str, message: &str) -> ProblemRecord {
        let mut record = ProblemRecord {
            file: None,
            line: None,
            column: None,
            variable: None,
            path: Some(path.to_owned()).filter(|path| !path.is_empty()),
            message: message.to_owned(),
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

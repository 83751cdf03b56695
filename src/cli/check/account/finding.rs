//! What the check finds: how bad it is, which key it is about, and the lines that mend it.

use serde_json::json;
use toml::{Table, Value};

use crate::bedrock::Date;
use crate::catalogue::FORMAT;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) enum Severity {
    /// The target cannot answer. The check fails.
    Error,
    /// The target answers, but not as the config says, or not for long.
    Warning,
    /// Worth knowing.
    Note,
}

impl Severity {
    /// The name in the output.
    pub(in super::super) fn name(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        }
    }
}

/// Something that the account and the config disagree about.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Finding {
    pub(in super::super) severity: Severity,
    /// What kind it is, for programs.
    pub(in super::super) kind: &'static str,
    /// The key that it is about, such as `targets`, `a`, `model`.
    pub(in super::super) key: Vec<String>,
    pub(in super::super) message: String,
    /// The keys to set in the table of `key`, with their values.
    pub(in super::super) paste: Vec<(&'static str, Value)>,
    /// What the catalogue should have: the base id of the model, and a row with the right facts.
    pub(in super::super) correction: Option<(String, serde_json::Value)>,
}

impl Finding {
    /// A finding about a key of a target.
    pub(super) fn of_target(
        severity: Severity,
        kind: &'static str,
        target: &str,
        key: &str,
        message: String,
    ) -> Finding {
        Finding::of("targets", severity, kind, target, key, message)
    }

    /// A finding about a key in a table of `section`; an empty `key` stands for the whole table.
    pub(super) fn of(
        section: &str,
        severity: Severity,
        kind: &'static str,
        name: &str,
        key: &str,
        message: String,
    ) -> Finding {
        let keys = [section, name, key].into_iter().filter(|key| !key.is_empty());
        let key = keys.map(str::to_owned).collect();
        Finding { severity, kind, key, message, paste: Vec::new(), correction: None }
    }

    /// The same with a key to set.
    pub(super) fn with(mut self, key: &'static str, value: impl Into<Value>) -> Finding {
        self.paste.push((key, value.into()));
        self
    }

    /// The same with a row that corrects the catalogue.
    pub(super) fn correcting(mut self, model: &str, row: serde_json::Value) -> Finding {
        self.correction = Some((model.to_owned(), row));
        self
    }

    /// The key as text, such as `targets.a.model`.
    pub(in super::super) fn path(&self) -> String {
        self.key.join(".")
    }

    /// The lines to paste, as a document; empty if there are none.
    pub(in super::super) fn table(&self) -> Table {
        let mut table = Table::new();
        if let [section, name, ..] = self.key.as_slice() {
            let keys = self.paste.iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
            add(&mut table, section, name, keys);
        }
        table
    }
}

/// The lines of all findings, as one document.
pub(in super::super) fn paste_of(findings: &[Finding]) -> Table {
    let mut all = Table::new();
    for finding in findings {
        for (section, names) in finding.table() {
            for (name, keys) in names.as_table().into_iter().flatten() {
                let keys = keys.as_table().cloned().unwrap_or_default();
                add(&mut all, &section, name, keys);
            }
        }
    }
    all
}

/// A file for `catalogue.file` with the corrections of all findings; `None` if there are none.
pub(in super::super) fn corrections_of(
    findings: &[Finding],
    today: Date,
) -> Option<serde_json::Value> {
    let mut rows = serde_json::Map::new();
    for (model, row) in findings.iter().filter_map(|finding| finding.correction.as_ref()) {
        let all = rows.entry(model).or_insert_with(|| json!({}));
        if let (Some(all), Some(row)) = (all.as_object_mut(), row.as_object()) {
            all.extend(row.clone());
        }
    }
    (!rows.is_empty()).then(|| json!({ "format": FORMAT, "date": today, "runtime": rows }))
}

/// Adds keys to the table `name` of a section.
fn add(
    table: &mut Table,
    section: &str,
    name: &str,
    keys: impl IntoIterator<Item = (String, Value)>,
) {
    let mut keys = keys.into_iter().peekable();
    if keys.peek().is_none() {
        return;
    }
    let new = || Value::Table(Table::new());
    let section = table.entry(section).or_insert_with(new).as_table_mut();
    let named = section.and_then(|it| it.entry(name).or_insert_with(new).as_table_mut());
    if let Some(named) = named {
        named.extend(keys);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_a_table_stand_together() {
        let of = |target, key| {
            Finding::of_target(Severity::Warning, "quota", target, key, String::new())
        };
        let findings = [
            of("a", "model").with("model", "us.m"),
            of("b c", "rpm").with("rpm", 5),
            of("a", "tpm").with("tpm", 7),
            of("d", "model"),
            Finding::of("quotas", Severity::Note, "quota", "q", "", String::new()).with("tpd", 9),
        ];
        let text = toml::to_string(&paste_of(&findings)).unwrap();
        let wanted = "[targets.a]\nmodel = \"us.m\"\ntpm = 7\n\n[targets.\"b c\"]\nrpm = 5\n\n\
                      [quotas.q]\ntpd = 9\n";
        assert_eq!(text, wanted);
        assert_eq!(corrections_of(&findings, Date::default()), None);
        assert_eq!(findings[0].path(), "targets.a.model");
        assert_eq!(findings[4].path(), "quotas.q");
    }

    #[test]
    fn the_corrections_of_a_model_are_one_row_of_a_file_that_the_catalogue_reads() {
        let note = || Finding::of_target(Severity::Note, "catalogue", "a", "model", String::new());
        let model = "amazon.nova-lite-v1:0";
        let findings = [
            note().correcting(model, json!({ "retires": "2028-01-01" })),
            note(),
            note().correcting(model, json!({ "on_demand": false })),
        ];
        let file = corrections_of(&findings, Date::parse("2026-11-29").unwrap()).unwrap();
        let wanted = json!({ "retires": "2028-01-01", "on_demand": false });
        assert_eq!(file["runtime"], json!({ model: wanted }));
        let layer = crate::catalogue::Layer::read("own.json", &file.to_string()).unwrap();
        assert_eq!(layer.len(), 1);
    }
}

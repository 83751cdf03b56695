//! The names that users build on stay: keys of the config and their fixed values, variables follow from them;
//! commands and flags, metrics and labels, headers, endpoints, members of logs, values of the chart.
//!
//! `stable_names.txt` has the names of the last release. One that is gone fails a test, unless the list says
//! in which version it goes, and that version may remove names: docs/support.md has the policy.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use regex::Regex;
use serde_json::Value;

use crate::names::{commands, help, product, sources};
use crate::page::root;

const FILE: &str = "tests/docs/stable_names.txt";

/// How the first line of the list begins; the version follows.
const TITLE: &str = "# The stable names of Sluice ";

/// A version without what may follow its numbers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version([u64; 3]);

impl Version {
    fn read(text: &str) -> Version {
        let numbers = text.split(['-', '+']).next().unwrap_or_default().split('.');
        let numbers: Vec<u64> = numbers.map(|it| it.parse().expect("a version")).collect();
        Version(numbers.try_into().expect("three numbers"))
    }

    /// The version of this code.
    fn current() -> Version {
        Version::read(env!("CARGO_PKG_VERSION"))
    }

    /// Whether a later version may lack names of this one: a major version may, and before 1.0.0 a minor one.
    fn may_lose_names_in(self, later: Version) -> bool {
        let (Version([major, minor, _]), Version([next_major, next_minor, _])) = (self, later);
        next_major > major || major == 0 && next_major == 0 && next_minor > minor
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Version([major, minor, patch]) = self;
        write!(f, "{major}.{minor}.{patch}")
    }
}

/// The list of the last release.
struct List {
    version: Version,
    names: BTreeSet<String>,
    /// Names that are gone since, with the version that may lack them.
    removed: BTreeMap<String, Version>,
}

impl List {
    fn read(text: &str) -> List {
        let title = text.lines().next().and_then(|line| line.strip_prefix(TITLE));
        let version = Version::read(title.expect("the version of the list"));
        let (mut names, mut removed) = (BTreeSet::new(), BTreeMap::new());
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            match line.strip_prefix("removed in ").and_then(|rest| rest.split_once(": ")) {
                Some((version, name)) => {
                    removed.insert(name.to_owned(), Version::read(version));
                }
                None => {
                    names.insert(line.to_owned());
                }
            }
        }
        List { version, names, removed }
    }

    /// What is wrong with names that are gone, a sentence each.
    fn problems(&self, known: &BTreeSet<String>, current: Version) -> Vec<String> {
        let mut problems = Vec::new();
        for name in self.names.difference(known) {
            problems.push(format!(
                "{name}: is gone or renamed, and users of {} have it. Bring it back beside the new name and \
                 deprecate it. If it was deprecated for at least one minor version, write 'removed in VERSION: ' \
                 before its line in {FILE}. If no release ever had it, delete the line.",
                self.version
            ));
        }
        for (name, version) in &self.removed {
            if known.contains(name) {
                problems.push(format!("{name}: is there; delete 'removed in {version}: '"));
            }
            if !self.version.may_lose_names_in(*version) {
                problems.push(format!(
                    "{name}: {version} may not remove a name of {}. Only a major version may, and before 1.0.0 \
                     a minor one.",
                    self.version
                ));
            }
            if current != self.version && current < *version {
                problems
                    .push(format!("{name}: goes in {version}, but is gone in {current} already"));
            }
        }
        problems
    }
}

fn list() -> List {
    List::read(&std::fs::read_to_string(root().join(FILE)).unwrap())
}

/// All names of this code, each with what it is.
fn known() -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    keys(&sluice::config::schema(), "config", "", &mut known);
    let chart = std::fs::read_to_string(root().join("helm/values.schema.json")).unwrap();
    let mut chart: Value = serde_json::from_str(&chart).unwrap();
    chart["properties"].as_object_mut().unwrap().remove("config");
    keys(&chart, "helm", "", &mut known);
    flags(&mut known);
    metrics(&mut known);
    in_sources("src", "header", r"\b(x-sluice-[a-z]+(?:-[a-z]+)*)", &mut known);
    known.remove("header x-sluice-anything");
    for file in ["src/admin/mod.rs", "src/legacy/http/endpoint.rs"] {
        in_sources(file, "endpoint", r#""(/[a-z_]+(?:/[a-z_]+)*)/?""#, &mut known);
    }
    let member = r#"\.[a-z_]+\(\s*key!\("([a-z_0-9]+)"\)"#;
    in_sources("src/telemetry/access_log.rs", "access-log", member, &mut known);
    in_sources("src/telemetry/usage_log.rs", "usage-log", member, &mut known);
    for kind in [
        "config ",
        "helm ",
        "command ",
        "metric ",
        "header ",
        "endpoint ",
        "access-log ",
        "usage-log ",
    ] {
        assert!(known.iter().filter(|name| name.starts_with(kind)).count() > 5, "{kind}is found");
    }
    known
}

/// The keys of a schema and below it, and the words that a key takes.
fn keys(schema: &Value, kind: &str, path: &str, known: &mut BTreeSet<String>) {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
        known.insert(format!("{kind} {}", below(key)));
        keys(inner, kind, &below(key), known);
    }
    for (member, step) in [("items", "[]"), ("additionalProperties", ".*")] {
        if schema[member].is_object() {
            keys(&schema[member], kind, &format!("{path}{step}"), known);
        }
    }
    let words = schema["oneOf"].as_array().into_iter().flatten().map(|choice| &choice["const"]);
    let words = words.chain(schema["enum"].as_array().into_iter().flatten());
    for word in words.filter_map(Value::as_str) {
        known.insert(format!("{kind} {path} = \"{word}\""));
    }
}

fn flags(known: &mut BTreeSet<String>) {
    let flag = Regex::new(r"(?m)^ +(?:-[a-zA-Z], )?(--[a-z][a-z0-9-]*)").unwrap();
    let mut add = |command: &str, help: &str| {
        known.insert(format!("command {command}"));
        for found in flag.captures_iter(help) {
            known.insert(format!("command {command} {}", &found[1]));
        }
    };
    for command in commands(&help(&[])) {
        let own = help(&[&command]);
        add(&command, &own);
        for inner in commands(&own) {
            add(&format!("{command} {inner}"), &help(&[&command, &inner]));
        }
    }
}

/// The page of metrics has every family with its labels: a unit test of the metrics holds it to the code.
fn metrics(known: &mut BTreeSet<String>) {
    let page = std::fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    let quoted = |cell: &str| -> Vec<String> {
        cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    for row in page.lines().filter(|line| line.starts_with("| `sluice_")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        let name = quoted(cells[0]).remove(0);
        for label in quoted(cells[1]) {
            known.insert(format!("metric {name}{{{label}}}"));
        }
        known.insert(format!("metric {name}"));
    }
}

/// What a pattern finds in a source file, or in all of a folder.
fn in_sources(place: &str, kind: &str, pattern: &str, known: &mut BTreeSet<String>) {
    let pattern = Regex::new(pattern).unwrap();
    let mut look = |text: &str| {
        for found in pattern.captures_iter(product(text)) {
            known.insert(format!("{kind} {}", &found[1]));
        }
    };
    let path = root().join(place);
    if path.is_dir() {
        sources(&path, &mut look);
    } else {
        look(&std::fs::read_to_string(path).unwrap());
    }
}

#[test]
fn the_names_of_the_last_release_are_still_there() {
    let problems = list().problems(&known(), Version::current());
    assert!(
        problems.is_empty(),
        "docs/support.md says what may change when:\n{}",
        problems.join("\n")
    );
}

#[test]
fn a_new_version_has_a_list_of_its_own() {
    let (listed, current) = (list().version, Version::current());
    assert!(
        listed == current,
        "{FILE} is of {listed}, and this is {current}: \
         cargo test --test docs write_the_stable_names -- --ignored"
    );
}

/// For releases alone, since a name that is being made need not be in the list.
#[test]
#[ignore = "a release has every name in its list"]
fn a_release_lists_every_name() {
    let list = list();
    let new: Vec<_> = known().difference(&list.names).cloned().collect();
    assert!(new.is_empty(), "not in {FILE}: {}", new.join(", "));
    assert!(list.removed.is_empty(), "{FILE} is that of the release before");
}

/// Not a test: what writes the list of a version that is to be released.
#[test]
#[ignore = "writes tests/docs/stable_names.txt"]
fn write_the_stable_names() {
    let (known, current) = (known(), Version::current());
    if root().join(FILE).exists() {
        let problems = list().problems(&known, current);
        assert!(problems.is_empty(), "{}", problems.join("\n"));
    }
    let names: String = known.iter().map(|name| format!("{name}\n")).collect();
    let text = format!(
        "{TITLE}{current}\n\
         # docs/support.md says what may become of them. A test compares them with the code.\n\n{names}"
    );
    std::fs::write(root().join(FILE), text).unwrap();
}

#[test]
fn a_name_that_is_gone_is_a_problem_until_a_version_may_lose_it() {
    let list = |lines: &str| List::read(&format!("{TITLE}0.3.1\n\n{lines}"));
    let known = BTreeSet::from(["config a".to_owned()]);
    let problems = |lines: &str, current: &str| {
        list(lines).problems(&known, Version::read(current)).join("\n")
    };
    assert_eq!(problems("config a\n", "0.3.1"), "");
    assert!(problems("config a\nconfig b\n", "0.3.1").contains("config b: is gone or renamed"));
    assert_eq!(problems("config a\nremoved in 0.4.0: config b\n", "0.3.1"), "");
    assert_eq!(problems("config a\nremoved in 0.4.0: config b\n", "0.4.0"), "");
    let early = problems("removed in 0.4.0: config b\n", "0.3.2");
    assert!(early.contains("goes in 0.4.0, but is gone in 0.3.2 already"), "{early}");
    let patch = problems("removed in 0.3.2: config b\n", "0.3.1");
    assert!(patch.contains("0.3.2 may not remove a name of 0.3.1"), "{patch}");
    assert!(problems("removed in 0.4.0: config a\n", "0.3.1").contains("config a: is there"));
}

#[test]
fn from_version_one_on_only_a_major_version_loses_names() {
    let may = |from, to| Version::read(from).may_lose_names_in(Version::read(to));
    assert!(may("1.2.3", "2.0.0"));
    assert!(!may("1.2.3", "1.3.0"));
    assert!(!may("1.2.3", "1.2.4"));
    assert!(may("0.2.0", "0.3.0-rc.1"));
    assert!(!may("0.2.0", "0.2.1"));
    assert!(may("0.2.0", "1.0.0"));
}

//! What a page names exists, and what exists is named by a page: keys of the config, metrics, flags,
//! headers and endpoints.

use std::collections::BTreeSet;
use std::process::Command;

use regex::Regex;
use serde_json::Value;

use crate::page::{page, pages, root};

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap()
}

/// Each piece of code of every page, with the page's path.
fn all_code() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for page in pages() {
        all.extend(page.all_code().map(|code| (page.path.display().to_string(), code.to_owned())));
    }
    all
}

fn assert_none(kind: &str, problems: &BTreeSet<String>) {
    let problems: Vec<_> = problems.iter().map(String::as_str).collect();
    assert!(problems.is_empty(), "{kind}:\n{}", problems.join("\n"));
}

/// The schema of a key within this one; a table with free names has one for each.
fn inner<'a>(schema: &'a Value, key: &str) -> Option<&'a Value> {
    let within = match &schema["items"] {
        Value::Null => schema,
        items => items,
    };
    within["properties"].get(key).or_else(|| {
        let free = &within["additionalProperties"];
        free.is_object().then_some(free)
    })
}

#[test]
fn config_keys_that_pages_name_exist() {
    let schema = sluice::config::schema();
    let sections = schema["properties"].as_object().unwrap();
    let key = regex(r"^\[{0,2}([a-z_]+(?:\.[A-Za-z_0-9-]+)*)\]{0,2}(?: = .*)?$");
    // Attributes of spans that look like keys.
    let attributes = ["server.address", "server.port"];
    let mut unknown = BTreeSet::new();
    let mut count = 0;
    for page in pages() {
        for code in &page.code {
            let Some(found) = key.captures(code) else { continue };
            let path: Vec<&str> = found[1].split('.').collect();
            let is_key = path.len() > 1 || code.starts_with('[');
            let is_key = is_key && !attributes.contains(&code.as_str());
            if !is_key || !sections.contains_key(path[0]) {
                continue;
            }
            count += 1;
            if path.iter().try_fold(&schema, |schema, key| inner(schema, key)).is_none() {
                unknown.insert(format!("{}: {code}", page.path.display()));
            }
        }
    }
    assert!(count > 100, "the keys are found");
    assert_none("unknown keys", &unknown);
}

#[test]
fn metrics_that_pages_alerts_and_the_dashboard_name_exist() {
    // A unit test of the metrics holds this page to the code.
    let known: BTreeSet<String> = page("docs/metrics.md").code.into_iter().collect();
    let metric = regex(r"\bsluice_[a-z0-9_]+");
    let tables = ["sluice_probe", "sluice_starts", "sluice_workers"];
    let mut texts = all_code();
    for file in ["alerts.yaml", "alerts.test.yaml"] {
        let path = root().join("helm/files").join(file);
        texts.push((file.to_owned(), std::fs::read_to_string(path).unwrap()));
    }
    let mut unknown = BTreeSet::new();
    for (at, text) in texts {
        for name in metric.find_iter(&text).map(|found| found.as_str()) {
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|it| name.strip_suffix(it));
            // The beginning of a name, as in `sluice_fleet_*`.
            let is_known = known.contains(name)
                || tables.contains(&name)
                || family.is_some_and(|family| known.contains(family))
                || name.ends_with('_') && known.iter().any(|known| known.starts_with(name));
            if !is_known {
                unknown.insert(format!("{at}: {name}"));
            }
        }
    }
    assert_none("unknown metrics", &unknown);
}

/// The help of a command.
pub(crate) fn help(arguments: &[&str]) -> String {
    let sluice = env!("CARGO_BIN_EXE_sluice");
    let output = Command::new(sluice).args(arguments).arg("--help").output().unwrap();
    assert!(output.status.success(), "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The commands that a help lists.
pub(crate) fn commands(help: &str) -> Vec<String> {
    let list = help.split_once("Commands:\n").map_or("", |(_, list)| list);
    let lines = list.lines().take_while(|line| line.starts_with("  "));
    // Deeper indentation continues a description.
    let first = lines.filter_map(|line| line.strip_prefix("  ").filter(|it| !it.starts_with(' ')));
    let names = first.filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn flags_and_commands_are_those_of_the_program() {
    let flag = regex(r"(?:^|[\s\[(,|])(--[a-z][a-z-]*)");
    let flags = |text: &str| -> BTreeSet<String> {
        flag.captures_iter(text).map(|found| found[1].to_owned()).collect()
    };
    let usage = regex(r"(?:^|[\s/`(])sluice ((?:[a-z]+)(?: [a-z]+)?)([^\n;&]*)");
    let everything: String = all_code().into_iter().map(|(_, code)| code + "\n").collect();
    let mut problems = BTreeSet::new();
    for command in commands(&help(&[])) {
        let own = help(&[&command]);
        let inner = commands(&own);
        let mut known = flags(&own);
        for inner in &inner {
            known.extend(flags(&help(&[&command, inner])));
        }
        if !everything.contains(&format!("sluice {command}")) {
            problems.insert(format!("no page names: sluice {command}"));
        }
        let standard = ["--help", "--version"];
        for flag in known.iter().filter(|flag| !standard.contains(&flag.as_str())) {
            if !everything.contains(flag.as_str()) {
                problems.insert(format!("no page names: sluice {command} {flag}"));
            }
        }
        for found in usage.captures_iter(&everything) {
            let named = found[1].split(' ').next().unwrap_or_default();
            // After a pipe comes another program, or another command of this one.
            let rest = found[2].split('|').next().unwrap_or_default();
            let unknown: Vec<_> = flags(rest).difference(&known).cloned().collect();
            if named == command && !unknown.is_empty() {
                problems.insert(format!("unknown to sluice {command}: {unknown:?}"));
            }
        }
    }
    assert_none("flags", &problems);
}

#[test]
fn headers_of_the_gateway_are_those_that_pages_name() {
    let header = regex(r"x-sluice-[a-z]+(?:-[a-z]+)*");
    let find = |text: &str| -> BTreeSet<String> {
        header.find_iter(text).map(|found| found.as_str().to_owned()).collect()
    };
    let named: BTreeSet<String> = all_code().iter().flat_map(|(_, code)| find(code)).collect();
    let mut known = BTreeSet::new();
    sources(&root().join("src"), &mut |text| known.extend(find(product(text))));
    let of_tests: BTreeSet<String> = ["x-sluice-anything".to_owned()].into();
    let known: BTreeSet<String> = known.difference(&of_tests).cloned().collect();
    assert_eq!(named, known, "pages on the left, code on the right");
}

/// A source file without its tests.
pub(crate) fn product(text: &str) -> &str {
    text.split_once("#[cfg(test)]\nmod tests {").map_or(text, |(product, _)| product)
}

/// Shows each source file below a folder to a function, except tests.
pub(crate) fn sources(folder: &std::path::Path, look: &mut impl FnMut(&str)) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("tests") {
            sources(&path, look);
        } else if path.extension().is_some_and(|it| it == "rs") && !path.ends_with("tests.rs") {
            look(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn endpoints_are_those_that_pages_name() {
    let path = regex(r#""(/[a-z_]+(?:/[a-z_]+)*/?)""#);
    let all: String = all_code().into_iter().map(|(_, code)| code + "\n").collect();
    let mut problems = BTreeSet::new();
    let mut known = BTreeSet::new();
    for file in ["src/admin/mod.rs", "src/legacy/http/endpoint.rs"] {
        let text = std::fs::read_to_string(root().join(file)).unwrap();
        for found in path.captures_iter(product(&text)) {
            known.insert(found[1].to_owned());
            if !all.contains(&found[1]) {
                problems.insert(format!("no page names: {}", &found[1]));
            }
        }
    }
    assert!(known.len() > 15, "the endpoints are found: {known:?}");
    let request = regex(r"^(?:GET |POST )?(/(?:admin|status|health|ready|metrics)[a-z_/]*)");
    for page in pages() {
        for code in &page.code {
            let Some(named) = request.captures(code).map(|found| found[1].to_owned()) else {
                continue;
            };
            if !known.iter().any(|known| known.starts_with(&named) || named.starts_with(known)) {
                problems.insert(format!("{}: {code}", page.path.display()));
            }
        }
    }
    assert_none("endpoints", &problems);
}

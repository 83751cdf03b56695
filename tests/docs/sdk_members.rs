//! docs/translation-fields.md has every member of a request that the official SDKs know, and every type of tool,
//! message, block and item.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use crate::page::root;

#[test]
fn each_member_and_type_that_an_sdk_knows_is_in_the_tables_of_fields() {
    let python = root().join(".venv/bin/python");
    assert!(python.exists(), "no {}: run ./test once", python.display());
    let script = root().join("tests/docs/sdk_members.py");
    let output = Command::new(python).arg(script).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let known: Value = serde_json::from_slice(&output.stdout).unwrap();
    let page = std::fs::read_to_string(root().join("docs/translation-fields.md")).unwrap();
    let mut missing = Vec::new();
    for (heading, known) in known.as_object().unwrap() {
        let (_, section) = page.split_once(&format!("{heading}\n")).expect("a section");
        let section = section.split("\n## ").next().unwrap();
        let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| `\"")).collect();
        let documented: BTreeSet<&str> =
            rows.iter().filter_map(|row| row.strip_prefix("| `\"")?.split('"').next()).collect();
        for member in known["members"].as_array().unwrap() {
            let member = member.as_str().unwrap();
            if !documented.contains(member) {
                missing.push(format!("{heading}: the member `{member}`"));
            }
        }
        for kind in known["types"].as_array().unwrap() {
            let kind = kind.as_str().unwrap();
            let (quoted, alone) = (format!("\"{kind}\""), format!("`, `{kind}`"));
            if !rows.iter().any(|row| row.contains(&quoted) || row.contains(&alone)) {
                missing.push(format!("{heading}: the type `{kind}`"));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

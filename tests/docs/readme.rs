//! The output in README is the output of the command.

use std::process::Command;

use regex::Regex;

use crate::page::page;

/// The line without what differs between runs: numbers and their padding.
fn shape(line: &str) -> String {
    let number = Regex::new(r"[0-9]+").unwrap();
    number.replace_all(line.trim(), "N").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_demo_prints_what_readme_shows() {
    let readme = page("README.md");
    let shown = readme.blocks.iter().find(|block| block.option("output") == Some("demo"));
    let shown = shown.expect("README shows the output of the demo");
    // Dots stand for lines that are left out.
    let shown = shown.text.lines().filter(|line| *line != "...").map(shape);
    let shown: Vec<String> = shown.filter(|line| !line.is_empty()).collect();
    assert!(shown.len() > 5, "{shown:?}");
    let local = "127.0.0.1:0";
    let output = Command::new(env!("CARGO_BIN_EXE_sluice"))
        .args(["demo", "--listen", local, "--admin-listen", local, "--once"])
        .output()
        .unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let mut missing = shown.iter().peekable();
    for line in output.lines().map(shape) {
        missing.next_if(|next| **next == line);
    }
    let missing: Vec<_> = missing.collect();
    assert!(missing.is_empty(), "not printed, or in another order: {missing:#?}\n{output}");
}

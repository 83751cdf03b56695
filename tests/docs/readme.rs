//! The picture of the demo in README shows what the command prints.

use std::process::Command;

use regex::Regex;

use crate::page::{page, root};

const PICTURE: &str = "docs/images/demo.svg";

/// The line without what differs between runs: numbers and their padding.
fn shape(line: &str) -> String {
    let number = Regex::new(r"[0-9]+").unwrap();
    number.replace_all(line.trim(), "N").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The lines of the picture, without its command, its dots, and the access log, whose order differs.
fn lines_of_the_picture() -> Vec<String> {
    let picture = std::fs::read_to_string(root().join(PICTURE)).unwrap();
    let text = Regex::new(r"<text [^>]*>(.*)</text>").unwrap();
    let skipped = Regex::new(r"^(\$ |\.\.\.|[0-9]{3} )").unwrap();
    let lines = text
        .captures_iter(&picture)
        .map(|found| found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"));
    lines.filter(|line| !skipped.is_match(line)).map(|line| shape(&line)).collect()
}

#[test]
fn the_demo_prints_what_the_picture_in_readme_shows() {
    assert!(page("README.md").links.iter().any(|link| link == PICTURE), "README shows it");
    let shown = lines_of_the_picture();
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
    assert!(
        missing.is_empty(),
        "not printed, or in another order: {missing:#?}\n{output}\n\
         tests/docs/picture makes the picture anew"
    );
}

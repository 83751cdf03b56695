//! The lease algorithm itself, replica by replica on a clock of its own, with fleets of a size that no
//! machine runs: how much of a quota they use, what they ask of Redis, and how long requests wait for
//! it. The table of docs/fleet.md is written by this test, with `UPDATE_DOCS=1`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs,
    reason = "tests"
)]

mod simulation;

use simulation::{Load, Outage, Play, Quota, play};

const SIZES: [usize; 4] = [3, 10, 100, 1000];

/// The table that stands between two marks of the page; another is written there if asked for.
fn table_of_the_page(newer: &str) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/fleet.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (before, rest) = page.split_once("<!-- table -->\n").expect("a mark");
    let (table, after) = rest.split_once("<!-- end of table -->").expect("a mark");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let written = format!("{before}<!-- table -->\n{newer}<!-- end of table -->{after}");
        std::fs::write(path, written).unwrap();
        return newer.to_owned();
    }
    table.to_owned()
}

/// Whether a figure is about the other: the last digits depend on the machine's arithmetic.
fn is_about(one: &str, other: &str) -> bool {
    let number = |cell: &str| cell.trim_end_matches(['%', 'm', 's', ' ']).parse::<f64>().ok();
    match (number(one), number(other)) {
        (Some(one), Some(other)) => (one - other).abs() <= 5.0f64.max(other * 0.1),
        _ => one == other,
    }
}

#[test]
fn fleets_of_any_size_keep_to_one_quota_and_use_it() {
    let mut table = String::from(
        "| quota | load | replicas | offered | used | throttled | exchanges/s | wait, median | wait, p99 |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for quota in [Quota::Requests, Quota::Tokens] {
        for load in [Load::Even, Load::Skewed, Load::Bursty, Load::Half] {
            for size in SIZES {
                let played = play(&Play { quota, load, size, outage: None, seed: 1 });
                table += &played.row(quota, load, size);
                assert_eq!(played.throttled, 0, "{quota:?} {load:?} {size}");
                let least = if load == Load::Half { 0.97 } else { 0.95 };
                assert!(played.share_used() >= least, "{quota:?} {load:?} {size}");
                assert!(played.exchanges_per_second() <= 2200.0, "{size}");
            }
        }
    }
    println!("{table}");
    let page = table_of_the_page(&table);
    assert_eq!(page.lines().count(), table.lines().count());
    for (documented, row) in page.lines().zip(table.lines()) {
        let cells = |row: &str| row.split(" | ").map(str::to_owned).collect::<Vec<_>>();
        let is_same = cells(documented).iter().zip(&cells(row)).all(|(one, it)| is_about(one, it));
        assert!(is_same, "docs/fleet.md is out of date: run with UPDATE_DOCS=1: {row}");
    }
}

#[test]
fn an_outage_of_the_ledger_changes_little() {
    for outage in [Outage::Gone, Outage::GoneAndEmptied, Outage::Emptied] {
        for size in [3, 100] {
            let outage = Some(outage);
            let played =
                play(&Play { quota: Quota::Requests, load: Load::Even, size, outage, seed: 2 });
            let [during, after] = played.shares_around_the_outage;
            println!("{outage:?} {size}: {during} {after}, {} throttled", played.throttled);
            assert!((0.8..=1.05).contains(&during), "{outage:?} {size}: {during}");
            assert!((0.8..=1.05).contains(&after), "{outage:?} {size}: {after}");
            assert_eq!(played.throttled, 0, "{outage:?} {size}");
        }
    }
}

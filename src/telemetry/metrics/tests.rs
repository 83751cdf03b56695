use std::collections::BTreeMap;

use super::*;
use crate::bedrock::Operation;
use crate::telemetry::{Outcome, RequestLabels};

#[test]
fn every_family_is_registered_once_and_encoded() {
    let metrics = Metrics::new();
    let asked = RequestLabels {
        operation: Some(Operation::Converse),
        requested: metrics.labels.id("m"),
        client: metrics.other,
        outcome: Outcome::Success,
    };
    metrics.request_counters.count(&asked, None);
    let text = metrics.encode().unwrap();
    assert!(text.contains(
        "sluice_requests_total{api=\"bedrock\",client=\"other\",model=\"m\",operation=\"Converse\",outcome=\"success\"} 1\n"
    ));
    assert!(text.contains("sluice_build_info{version="));
}

#[test]
fn what_a_gateway_does_not_use_has_no_sample() {
    let text = Metrics::new().encode().unwrap();
    for family in ["dependency_up", "fleet_replicas", "fleet_leases", "tls_certificate_expiry"] {
        assert!(!text.contains(&format!("\nsluice_{family}")), "{family}");
    }
}

/// As Prometheus' conventions for names ask.
#[test]
fn counters_end_with_total_and_nothing_else_does() {
    let metrics = Metrics::new();
    let mut names = std::collections::HashSet::new();
    for family in metrics.described() {
        assert!(names.insert(family.fq_name.trim_end_matches("_total")), "{}", family.fq_name);
    }
    let text = metrics.encode().unwrap();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
    }
}

/// Families with their labels, as the page's tables have them.
fn documented() -> BTreeMap<String, Vec<String>> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    let page = std::fs::read_to_string(page).unwrap();
    let quoted = |cell: &str| -> Vec<String> {
        cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let rows = page.lines().filter(|line| line.starts_with("| `") && line.contains('_'));
    let families = rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        (quoted(cells[0]), quoted(cells[1]))
    });
    let is_family = |name: &str| name.starts_with("sluice_") || name.starts_with("process_");
    families
        .filter(|(names, _)| is_family(&names[0]))
        .map(|(mut names, mut labels)| {
            assert_eq!(names.len(), 1, "{names:?}");
            labels.sort();
            (names.remove(0), labels)
        })
        .collect()
}

#[test]
fn the_page_has_every_family_with_its_labels() {
    let metrics = Metrics::new();
    let known = metrics.described().iter().map(|family| {
        let mut labels = family.variable_labels.clone();
        labels.sort();
        (family.fq_name.clone(), labels)
    });
    assert_eq!(documented(), known.collect());
    for family in metrics.described() {
        assert!(family.help.ends_with('.'), "{}: {}", family.fq_name, family.help);
    }
}

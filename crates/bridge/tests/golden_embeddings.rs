//! Golden cases of embeddings: one small file each, named by its symptom, below `golden/embeddings/`.
//!
//! | member | meaning |
//! | --- | --- |
//! | `about` | which row or trap it shows |
//! | `model` | the target's base id |
//! | `drop` | whether parameters may be left out |
//! | `request` | the client's body |
//! | `calls` | the bodies of the calls, in order |
//! | `refusal` | instead: `{"param", "message", "is_of_model"}`; `message` may be a part of it |
//! | `dropped` | the names of what was left out |
//! | `answers` | the answers to the calls: `[{"tokens": count in the header or null, "body": {..}}, ..]` |
//! | `client` | what the client gets for them |
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::Path;

use serde::Deserialize;
use serde_json::value::RawValue;
use sluice_bridge::DropPolicy;
use sluice_bridge::embeddings::{plan, read_request, write_answer};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case<'a> {
    #[serde(rename = "about")]
    _about: String,
    model: String,
    #[serde(default)]
    drop: bool,
    #[serde(borrow)]
    request: &'a RawValue,
    #[serde(default, borrow)]
    calls: Vec<&'a RawValue>,
    refusal: Option<Refusal>,
    #[serde(default)]
    dropped: Vec<String>,
    #[serde(default, borrow)]
    answers: Vec<Answer<'a>>,
    #[serde(borrow)]
    client: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Refusal {
    param: Option<String>,
    message: String,
    #[serde(default)]
    is_of_model: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer<'a> {
    tokens: Option<u64>,
    #[serde(borrow)]
    body: &'a RawValue,
}

#[test]
fn every_golden_case_of_embeddings_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/embeddings");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let case: Case<'_> = serde_json::from_str(&text).unwrap();
        check(&path.file_name().unwrap().to_string_lossy(), &case);
        count += 1;
    }
    assert!(count > 0);
}

fn check(name: &str, case: &Case<'_>) {
    let policy = DropPolicy { drops: case.drop, ..DropPolicy::default() };
    let request = read_request(case.request.get().as_bytes(), &policy);
    let planned = request.and_then(|request| {
        plan(&request, &case.model, &policy).map(|plan| (request.model.clone(), plan))
    });
    let (model, plan) = match (planned, &case.refusal) {
        (Ok(planned), None) => planned,
        (Err(found), Some(wanted)) => {
            assert!(found.message.contains(&wanted.message), "{name}: {found:?}");
            let Refusal { param, is_of_model, .. } = wanted;
            assert_eq!((&found.param, found.is_of_model), (param, *is_of_model), "{name}");
            return;
        }
        (found, wanted) => panic!("{name}: {found:?}, not {wanted:?}"),
    };
    let bodies: Vec<_> = plan.calls.iter().map(|call| compact(&call.body)).collect();
    let wanted: Vec<_> = case.calls.iter().map(|body| compact(body.get().as_bytes())).collect();
    assert_eq!(bodies, wanted, "{name}");
    assert_eq!(plan.dropped, case.dropped, "{name}");
    let Some(client) = case.client else { return };
    let answers = plan.calls.iter().zip(&case.answers).map(|(call, answer)| {
        call.read_answer(answer.body.get().as_bytes(), answer.tokens).unwrap()
    });
    // Answers come in whatever order.
    let mut answers: Vec<_> = answers.collect();
    answers.reverse();
    let written = compact(&write_answer(&model, answers));
    assert_eq!(written, compact(client.get().as_bytes()), "{name}");
}

/// Without white space between tokens; numbers and the order of keys stay.
fn compact(json: &[u8]) -> String {
    let json = std::str::from_utf8(json).unwrap();
    serde_json::from_str::<&RawValue>(json).unwrap();
    let (mut in_string, mut escaped) = (false, false);
    let keep = |char: &char| {
        if in_string {
            in_string = escaped || *char != '"';
            escaped = *char == '\\' && !escaped;
            return true;
        }
        in_string = *char == '"';
        !char.is_ascii_whitespace()
    };
    json.chars().filter(keep).collect()
}

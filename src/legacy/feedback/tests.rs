//! What a user of the items would notice, and that no answer breaks it.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn answer(items: &Value) -> String {
    json!({ "feedback_items": items }).to_string()
}

fn items(items: &Value) -> Vec<Item> {
    read(&answer(items)).unwrap()
}

fn one(fields: Value) -> Item {
    let mut with_description = json!({ "description": "The outcome is missing." });
    for (name, value) in fields.as_object().unwrap() {
        with_description[name] = value.clone();
    }
    items(&json!([with_description])).pop().unwrap()
}

fn said(description: &str, confidence: f64) -> Item {
    one(json!({ "description": description, "confidence": confidence }))
}

fn descriptions(items: &[Item]) -> Vec<&str> {
    items.iter().map(|item| item.description.as_str()).collect()
}

#[test]
fn a_full_item_comes_through_as_it_is() {
    let full = json!({
        "id": "a-1",
        "type": "critical",
        "category": "Root Cause Analysis",
        "description": "The cause is named and not shown.",
        "suggestion": "Show it.",
        "example": "For example so.",
        "questions": ["Why?", "Since when?"],
        "hawkeye_refs": [11, 13, 2],
        "risk_level": "High",
        "confidence": 0.95,
    });
    let read = items(&json!([full]));
    assert_eq!(serde_json::to_value(&read).unwrap(), json!([full]));
}

#[test]
fn missing_fields_get_defaults() {
    let item = one(json!({}));
    let id = item.id.clone();
    assert_eq!(
        serde_json::to_value(&item).unwrap(),
        json!({
            "id": id,
            "type": "suggestion",
            "category": "Investigation Process",
            "description": "The outcome is missing.",
            "suggestion": "",
            "example": "",
            "questions": [],
            "hawkeye_refs": [],
            "risk_level": "Low",
            "confidence": 0.8,
        })
    );
    assert_ne!(id, one(json!({})).id);
}

#[test]
fn fields_of_wrong_types_get_the_defaults_too() {
    let wrong = one(json!({
        "id": ["x"], "type": 3, "category": {}, "suggestion": 4, "example": null,
        "questions": {"a": "b"}, "hawkeye_refs": true, "risk_level": ["High"], "confidence": "sure",
    }));
    assert_eq!(Item { id: String::new(), ..wrong }, Item { id: String::new(), ..one(json!({})) });
}

#[test]
fn json_is_found_wherever_it_stands() {
    let plain = answer(&json!([{ "description": "x {y} ```z```" }]));
    for text in [
        plain.clone(),
        format!("  \n{plain}\n"),
        format!("```json\n{plain}\n```"),
        format!("Here it is:\n```\n{plain}\n```\nAnything else?"),
        format!("```JSON {plain}```"),
        format!("Here you are: {plain} I hope it helps."),
        format!("As an example:\n```\n{{}}\n```\nAnd now:\n```json\n{plain}\n```"),
    ] {
        assert_eq!(descriptions(&read(&text).unwrap()), ["x {y} ```z```"], "{text}");
    }
    let fenced = answer(&json!([{ "description": "plain" }]));
    let cut_off = format!("```json\n{fenced}");
    assert_eq!(descriptions(&read(&cut_off).unwrap()), ["plain"], "a fence that is not closed");
}

#[test]
fn a_bare_list_of_items_is_read() {
    let list = r#"[{"description": "a"}, {"description": "b"}]"#;
    for text in [list.to_owned(), format!("```json\n{list}\n```"), format!("Found:\n{list}\nDone.")]
    {
        assert_eq!(descriptions(&read(&text).unwrap()), ["a", "b"], "{text}");
    }
    assert_eq!(read("[]"), Ok(vec![]));
    assert_eq!(read(r#"{"feedback_items": []}"#), Ok(vec![]));
}

#[test]
fn an_answer_without_items_is_unreadable() {
    for text in [
        "",
        "I can't help with that.",
        "{",
        "}{",
        "][",
        "```",
        "```json\n```",
        "null",
        "3",
        r#""feedback_items""#,
        "{}",
        r#"{"feedback_items": null}"#,
        r#"{"feedback_items": {"description": "x"}}"#,
        r#"{"feedback_items": [{"description": "cut o"#,
        "As shown before [1], this is fine.",
        "- [ ] Check the dates",
    ] {
        assert_eq!(read(text), Err(Unreadable::NoItems), "{text}");
    }
    let long = format!("{}{}", answer(&json!([])), " ".repeat(MAX_ANSWER_BYTES));
    assert_eq!(read(&long), Err(Unreadable::TooLong));
    assert_eq!(read(&"[".repeat(MAX_ANSWER_BYTES)), Err(Unreadable::NoItems));
}

#[test]
fn values_that_are_no_item_or_have_no_description_are_dropped() {
    let mixed = json!([
        1, "x", null, [], {}, {"description": ""}, {"description": "  "}, {"description": 5},
        {"suggestion": "of what?"}, {"description": " here "},
    ]);
    assert_eq!(descriptions(&items(&mixed)), ["here"]);
}

#[test]
fn only_the_first_hundred_are_looked_at() {
    let many: Vec<Value> = (0..150).map(|n| json!({ "description": format!("{n}") })).collect();
    let read = items(&Value::from(many));
    assert_eq!((read.len(), read[99].description.as_str()), (100, "99"));
}

#[test]
fn words_are_known_in_any_case() {
    for (word, kind) in [
        ("CRITICAL", Kind::Critical),
        (" Important ", Kind::Important),
        ("suggestion", Kind::Suggestion),
        ("blocker", Kind::Suggestion),
    ] {
        assert_eq!(one(json!({ "type": word })).kind, kind, "{word}");
    }
    for (word, risk) in
        [("high", Risk::High), ("MEDIUM", Risk::Medium), ("Low", Risk::Low), ("dire", Risk::Low)]
    {
        assert_eq!(one(json!({ "risk_level": word })).risk_level, risk, "{word}");
    }
}

#[test]
fn confidence_is_a_share_a_percentage_or_the_default() {
    for (told, understood) in [
        (json!(0.9), 0.9),
        (json!(1), 1.0),
        (json!(0), 0.0),
        (json!(95), 0.95),
        (json!(100), 1.0),
        (json!(101), 1.0),
        (json!(-0.5), 0.0),
        (json!("0.85"), 0.85),
        (json!(" 85 "), 0.85),
        (json!("NaN"), 0.8),
        (json!("inf"), 0.8),
        (json!("high"), 0.8),
        (json!([0.9]), 0.8),
        (json!(null), 0.8),
    ] {
        assert_eq!(one(json!({ "confidence": told })).confidence, understood, "{told}");
    }
}

#[test]
fn references_are_numbers_of_the_checklist() {
    for (told, understood) in [
        (json!([1, 20, 0, 21, -3]), vec![1, 20]),
        (json!([5, 5, 5.0, "5", 6, 7, 8]), vec![5, 6, 7]),
        (json!(["11", " 2 ", "x", null, {}, 2.5]), vec![11, 2]),
        (json!(13), vec![13]),
        (json!("13"), vec![13]),
        (json!([300, 257]), vec![]),
    ] {
        assert_eq!(one(json!({ "hawkeye_refs": told })).hawkeye_refs, understood, "{told}");
    }
}

#[test]
fn at_most_two_questions_are_kept() {
    let questions = |told| one(json!({ "questions": told })).questions;
    assert_eq!(questions(json!(["", 1, " a ", "b", "c"])), ["a", "b"]);
    assert_eq!(questions(json!("only one?")), ["only one?"]);
}

#[test]
fn texts_are_cut_by_characters() {
    let long = "é".repeat(2000);
    let item = one(json!({ "description": long, "suggestion": long, "example": long }));
    let length = |text: &str| text.chars().count();
    assert_eq!(length(&item.description), 1000);
    assert_eq!((length(&item.suggestion), length(&item.example)), (500, 300));
}

#[test]
fn ids_are_told_apart() {
    let read = items(&json!([
        {"id": "a", "description": "1"}, {"id": "a", "description": "2"},
        {"id": 7, "description": "3"}, {"id": "", "description": "4"},
    ]));
    assert_eq!((read[0].id.as_str(), read[2].id.as_str()), ("a", "7"));
    assert_ne!(read[1].id, "a");
    assert!(!read[3].id.is_empty());
}

#[test]
fn unsure_findings_are_dropped_and_the_rest_sorted_the_surest_last() {
    let refined = dedupe(vec![
        said("Seller history is not mentioned", 0.95),
        said("No outreach to the buyer", 0.79),
        said("The decision has no date", 0.8),
        said("Funds are not accounted for", 0.95),
        said("Metrics without a source", 0.9),
    ]);
    assert_eq!(
        descriptions(&refined),
        [
            "The decision has no date",
            "Metrics without a source",
            "Seller history is not mentioned",
            "Funds are not accounted for",
        ]
    );
}

#[test]
fn of_two_that_say_the_same_the_surer_stays() {
    let (first, second) = (
        "The section does not say how the root cause was verified by the investigator.",
        "This section does not say how the root cause was verified by the investigators",
    );
    for confidences in [(0.85, 0.9), (0.9, 0.85)] {
        let refined = dedupe(vec![said(first, confidences.0), said(second, confidences.1)]);
        let surer = if confidences.0 > confidences.1 { first } else { second };
        assert_eq!(descriptions(&refined), [surer]);
    }
    let refined = dedupe(vec![said("Same", 0.9), said("same", 0.9)]);
    assert_eq!(descriptions(&refined), ["Same"], "among equals the first stays");
    let other = "The section does not say when the seller was contacted about the appeal.";
    assert_eq!(dedupe(vec![said(first, 0.9), said(other, 0.9)]).len(), 2);
}

#[test]
fn likeness_is_that_of_characters_in_every_script() {
    let first = "調査報告書には販売者への連絡日時が記載されていません";
    let second = "調査報告書には販売者への連絡日時が記載されていない";
    assert_eq!(dedupe(vec![said(first, 0.9), said(second, 0.85)]).len(), 1);
    assert_eq!(dedupe(vec![said("é", 0.9), said("è", 0.85)]).len(), 2);
}

#[test]
fn an_analysis_that_can_not_be_had_says_so() {
    let mut told = serde_json::to_value(unavailable()).unwrap();
    assert!(told["description"].as_str().unwrap().contains("temporarily unavailable"));
    for field in ["id", "description", "suggestion"] {
        told[field] = Value::Null;
    }
    assert_eq!(
        told,
        json!({
            "id": null, "type": "suggestion", "category": "Analysis Status", "description": null,
            "suggestion": null, "example": "", "questions": [], "hawkeye_refs": [13],
            "risk_level": "Low", "confidence": 0.5,
        })
    );
}

fn any_field() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0i64..30).prop_map(Value::from),
        (-0.5f64..1.5).prop_map(Value::from),
        "[0-9]{1,3}(\\.[0-9])?".prop_map(Value::from),
        "(critical|IMPORTANT|High|medium)".prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        ("[a-zé \\n\"{}`]{1,9}", 0usize..300).prop_map(|(word, n)| Value::from(word.repeat(n))),
    ];
    prop_oneof![3 => leaf.clone(), 1 => prop::collection::vec(leaf, 0..5).prop_map(Value::from)]
}

fn any_item() -> impl Strategy<Value = Value> {
    let names = prop::sample::subsequence(
        vec![
            "id",
            "type",
            "category",
            "suggestion",
            "example",
            "questions",
            "hawkeye_refs",
            "risk_level",
            "confidence",
        ],
        0..=9,
    );
    let description = prop_oneof![4 => "[a-zé ]{1,1200}".prop_map(Value::from), 1 => any_field()];
    (names, prop::collection::vec(any_field(), 9), description).prop_map(
        |(names, values, description)| {
            let mut item = json!({ "description": description });
            for (name, value) in names.into_iter().zip(values) {
                item[name] = value;
            }
            item
        },
    )
}

fn keeps_the_contract(item: &Item) -> bool {
    let length = |text: &str| text.chars().count();
    let mut refs = item.hawkeye_refs.clone();
    refs.sort_unstable();
    refs.dedup();
    !item.id.is_empty()
        && !item.category.is_empty()
        && (1..=1000).contains(&length(&item.description))
        && length(&item.suggestion) <= 500
        && length(&item.example) <= 300
        && item.questions.len() <= 2
        && refs.len() == item.hawkeye_refs.len()
        && refs.len() <= 3
        && refs.iter().all(|number| (1..=20).contains(number))
        && (0.0..=1.0).contains(&item.confidence)
}

/// Floats in JSON come back exact to their last digit but one.
fn same(a: &Item, b: &Item) -> bool {
    let near = (a.confidence - b.confidence).abs() < 1e-9;
    near && *a == Item { confidence: a.confidence, ..b.clone() }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in any::<String>(), broken in "[\\[\\]{}`\":,a-f\\\\ ]{0,60}") {
        _ = read(&text);
        _ = read(&broken);
    }

    #[test]
    fn no_beginning_of_an_answer_makes_it_panic(item in any_item(), at: prop::sample::Index) {
        let text = format!("Here: ```json\n{}\n```", answer(&json!([item])));
        let ends: Vec<usize> = text.char_indices().map(|(end, _)| end).collect();
        _ = read(&text[..*at.get(&ends)]);
    }

    #[test]
    fn items_keep_the_contract_for_any_answer(
        written in prop::collection::vec(any_item(), 0..8)
    ) {
        let read = items(&Value::from(written));
        prop_assert!(read.iter().all(keeps_the_contract));
        let refined = dedupe(read.clone());
        prop_assert!(refined.iter().all(|item| item.confidence >= 0.8 && read.contains(item)));
        prop_assert!(refined.windows(2).all(|two| two[0].confidence <= two[1].confidence));
        let again = dedupe(refined.clone());
        prop_assert_eq!(again, refined);
    }

    #[test]
    fn items_survive_their_own_json(written in prop::collection::vec(any_item(), 0..8)) {
        let read = items(&Value::from(written));
        let text = serde_json::to_string(&read).unwrap();
        let stored: Vec<Item> = serde_json::from_str(&text).unwrap();
        let again = super::read(&text).unwrap();
        prop_assert!(stored.len() == read.len() && again.len() == read.len());
        prop_assert!(read.iter().zip(&stored).all(|(a, b)| same(a, b)));
        prop_assert!(read.iter().zip(&again).all(|(a, b)| same(a, b)));
    }
}

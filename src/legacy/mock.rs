//! Answers that no model gave, for trying things out and as a last resort where the config allows
//! it. Each is marked as a mock in its text, and the same question always gets the same one,
//! in every process and on every machine.

use super::feedback::{Item, Kind, Risk};
use super::text::first_chars;

/// Most characters of a name or question that a mock repeats.
const REPEATED: usize = 100;

/// The items of a mock analysis, which pass [`dedupe`](super::feedback::dedupe) as they are.
pub fn analysis(section: &str, content: &str) -> Vec<Item> {
    let number = hash(&[section, content]);
    let name = first_chars(section, REPEATED);
    let words = content.split_whitespace().count();
    let item = |nth: u8, kind, category: &str, description, suggestion: &str| Item {
        id: format!("mock-{number:016x}-{nth}"),
        kind,
        category: category.to_owned(),
        description,
        suggestion: suggestion.to_owned(),
        example: String::new(),
        questions: vec!["Is this section ready to be reviewed by a model?".to_owned()],
        hawkeye_refs: vec![13],
        risk_level: Risk::Low,
        confidence: 0.8,
    };
    vec![
        item(
            1,
            Kind::Suggestion,
            "Documentation and Reporting",
            format!(
                "This is a mock answer: no model has read the section \"{name}\". It was received \
                 with {words} words."
            ),
            "Analyze the section again when a model is available.",
        ),
        Item {
            confidence: 0.9,
            hawkeye_refs: vec![15],
            ..item(
                2,
                Kind::Important,
                "Quality Control",
                "Mock finding for testing. It says nothing about the quality of what was written, \
                 and only shows where the findings of a review would stand."
                    .to_owned(),
                "Don't act on it: it is a mock.",
            )
        },
    ]
}

/// A mock answer to a question in the chat.
pub fn chat(query: &str) -> String {
    format!(
        "This is a mock answer: no model was asked. The question was received as: \"{}\"",
        first_chars(query.trim(), REPEATED)
    )
}

/// FNV-1a, 64 bits. Not that of the standard library, which may change with its version. Each part
/// ends in a byte that UTF-8 never has, so that no two lists of parts are the same bytes.
fn hash(parts: &[&str]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0xff]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::feedback::{dedupe, read};
    use super::*;

    #[test]
    fn a_mock_is_an_analysis_as_a_model_would_give_it_and_says_what_it_is() {
        let items = analysis("Timeline", "What happened, and when.");
        assert_eq!(items.len(), 2);
        assert!(items.iter().all(|item| item.description.to_lowercase().contains("mock")));
        assert_eq!(dedupe(items.clone()), items);
        let written = json!({ "feedback_items": items }).to_string();
        assert_eq!(read(&written).as_ref(), Ok(&items));
    }

    #[test]
    fn the_same_section_has_the_same_mock_and_another_has_another() {
        let items = analysis("Timeline", "x");
        assert_eq!(items, analysis("Timeline", "x"));
        // Fixed, so that an id stays the same from version to version.
        assert_eq!(items[0].id, "mock-e7b1972e0b0f9182-1");
        assert_ne!(items[0].id, items[1].id);
        assert_ne!(items[0].id, analysis("Timelinex", "")[0].id);
    }

    #[test]
    fn a_chat_is_answered_with_what_was_asked_cut_short() {
        assert!(chat(" Why? ").contains("mock answer"));
        assert!(chat(" Why? ").ends_with("\"Why?\""));
        assert!(chat(&"é".repeat(9999)).chars().count() < 300);
        let long = "é".repeat(9999);
        assert!(analysis(&long, &long)[0].description.chars().count() < 1000);
    }
}

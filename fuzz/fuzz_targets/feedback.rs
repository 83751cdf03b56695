//! Answers of a model: read into items that keep the bounds of the legacy contract, or not at all.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice::legacy::feedback::{
    MAX_DESCRIPTION, MAX_EXAMPLE, MAX_QUESTIONS, MAX_REFS, MAX_SUGGESTION, read, refine,
};

fuzz_target!(|answer: &str| {
    let Ok(items) = read(answer) else { return };
    let count = items.len();
    let refined = refine(items);
    assert!(refined.len() <= count);
    for item in refined {
        assert!(!item.id.is_empty() && !item.description.is_empty());
        assert!(item.description.chars().count() <= MAX_DESCRIPTION);
        assert!(item.suggestion.chars().count() <= MAX_SUGGESTION);
        assert!(item.example.chars().count() <= MAX_EXAMPLE);
        assert!(item.questions.len() <= MAX_QUESTIONS && item.hawkeye_refs.len() <= MAX_REFS);
        assert!(item.hawkeye_refs.iter().all(|number| (1..=20).contains(number)));
        assert!((0.8..=1.0).contains(&item.confidence));
    }
});

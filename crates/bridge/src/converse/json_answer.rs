//! The check of an answer that must be a JSON object.

use serde::de::IgnoredAny;

/// The JSON object that a text is, without blanks and without the code fence that models like to put around it;
/// `None` if it is none.
pub(super) fn object_in(text: &str) -> Option<&str> {
    let text = text.trim();
    let text = match text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```")) {
        Some(fenced) => fenced.strip_prefix("json").unwrap_or(fenced).trim(),
        None => text,
    };
    let is_object = text.starts_with('{') && serde_json::from_str::<IgnoredAny>(text).is_ok();
    is_object.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_object_passes() {
        assert_eq!(object_in(" {\"a\":1}\n"), Some("{\"a\":1}"));
        assert_eq!(object_in("```json\n{\"a\":1}\n```"), Some("{\"a\":1}"));
        assert_eq!(object_in("```\n{}\n```"), Some("{}"));
        for text in ["", "[1]", "{\"a\":", "Here: {}", "{} {}", "```json\n{}", "```"] {
            assert_eq!(object_in(text), None, "{text}");
        }
    }
}

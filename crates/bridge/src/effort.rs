//! The names of efforts, which all APIs share. Which of them an API takes is for its own module to say.

use sluice_catalogue::Effort;

const NAMES: [(&str, Effort); 7] = [
    ("none", Effort::None),
    ("minimal", Effort::Minimal),
    ("low", Effort::Low),
    ("medium", Effort::Medium),
    ("high", Effort::High),
    ("xhigh", Effort::Xhigh),
    ("max", Effort::Max),
];

/// The effort of a name.
pub(crate) fn by_name(name: &str) -> Option<Effort> {
    NAMES.into_iter().find(|(known, _)| *known == name).map(|(_, effort)| effort)
}

/// The name of an effort.
pub(crate) fn name(effort: Effort) -> &'static str {
    match effort {
        Effort::None => "none",
        Effort::Minimal => "minimal",
        Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High => "high",
        Effort::Xhigh => "xhigh",
        Effort::Max => "max",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_effort_has_the_name_that_it_is_read_by() {
        for (text, effort) in NAMES {
            assert_eq!((name(effort), by_name(text)), (text, Some(effort)));
        }
        assert_eq!(by_name("High"), None);
    }
}

//! Beta flags of Anthropic's Messages: which of those that a client sends an upstream takes.
//!
//! An upstream refuses a request with a flag that it does not know, so only those in a table go on. Some have
//! another name there.

use std::collections::BTreeMap;

use http::HeaderValue;

/// The header with the flags, separated by commas.
pub const ANTHROPIC_BETA: &str = "anthropic-beta";

/// The flags of one kind of upstream, by their names in requests: the name that the upstream takes, or `None` for
/// one that it refuses. What is not in the table it is assumed to refuse.
pub type BetaTable = BTreeMap<String, Option<String>>;

/// The flags of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filtered {
    /// What the upstream takes, by its own names, each once, in the order of the request.
    pub kept: Vec<String>,
    /// What it does not take, each once.
    pub dropped: Vec<String>,
}

impl Filtered {
    /// The value of the header for the upstream; `None` if it gets no such header.
    pub fn header(&self) -> Option<HeaderValue> {
        let is_empty = self.kept.is_empty();
        (!is_empty).then(|| HeaderValue::from_str(&self.kept.join(",")).ok()).flatten()
    }
}

/// Divides the flags in the values of a request's headers by a table. What is no text is left out.
pub fn filter<'a>(
    values: impl IntoIterator<Item = &'a HeaderValue>,
    table: &BetaTable,
) -> Filtered {
    let mut filtered = Filtered::default();
    let texts = values.into_iter().filter_map(|value| value.to_str().ok());
    for flag in texts.flat_map(|text| text.split(',')).map(str::trim) {
        let (name, list) = match table.get(flag) {
            _ if flag.is_empty() => continue,
            Some(Some(name)) => (name.as_str(), &mut filtered.kept),
            Some(None) | None => (flag, &mut filtered.dropped),
        };
        if !list.iter().any(|listed| listed == name) {
            list.push(name.to_owned());
        }
    }
    filtered
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table() -> BetaTable {
        let flags = [
            ("compact-2026-01-12", Some("compact-2026-01-12")),
            ("advanced-tool-use-2025-11-20", Some("tool-search-tool-2025-10-19")),
            ("tool-search-tool-2025-10-19", Some("tool-search-tool-2025-10-19")),
            ("files-api-2025-04-14", None),
        ];
        flags.into_iter().map(|(flag, name)| (flag.to_owned(), name.map(str::to_owned))).collect()
    }

    fn filtered(values: &[&str]) -> Filtered {
        let values: Vec<_> =
            values.iter().filter_map(|it| HeaderValue::from_str(it).ok()).collect();
        filter(&values, &table())
    }

    #[test]
    fn only_flags_that_the_upstream_takes_go_on_by_its_names() {
        let all = filtered(&[
            "files-api-2025-04-14, compact-2026-01-12,advanced-tool-use-2025-11-20",
            "tool-search-tool-2025-10-19,,new-2027-01-01, new-2027-01-01",
        ]);
        assert_eq!(all.kept, ["compact-2026-01-12", "tool-search-tool-2025-10-19"]);
        assert_eq!(all.dropped, ["files-api-2025-04-14", "new-2027-01-01"]);
        assert_eq!(all.header().unwrap(), "compact-2026-01-12,tool-search-tool-2025-10-19");
    }

    #[test]
    fn without_a_flag_there_is_no_header() {
        for values in [&[][..], &[""], &[" , "], &["files-api-2025-04-14"], &["\u{e9}"]] {
            assert_eq!(filtered(values).header(), None, "{values:?}");
        }
    }

    proptest! {
        #[test]
        fn every_flag_is_kept_or_dropped(values in prop::collection::vec("[a-b, ]{0,6}", 0..4)) {
            let table: BetaTable = [("a".to_owned(), Some("x".to_owned()))].into();
            let headers: Vec<_> = values.iter().filter_map(|it| HeaderValue::from_str(it).ok()).collect();
            let Filtered { kept, dropped } = filter(&headers, &table);
            let flags = || values.iter().flat_map(|value| value.split(',')).map(str::trim);
            prop_assert_eq!(kept.contains(&"x".to_owned()), flags().any(|flag| flag == "a"));
            for flag in flags().filter(|flag| !flag.is_empty() && *flag != "a") {
                prop_assert!(dropped.iter().any(|dropped| dropped == flag));
            }
        }
    }
}

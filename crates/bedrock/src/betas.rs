//! Beta flags of Anthropic's Messages: which of those that a client sends an upstream takes.
//!
//! An upstream refuses a request with a flag that it does not know, so only those in a table go on. Some have
//! another name there.

use std::collections::BTreeMap;

use http::HeaderValue;

use super::features::Features;
use super::json::{JsonError, Scanner, Type};

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

/// A member of a body of Messages that counts beside a beta flag only. Without the flag the service ignores it or
/// refuses the request.
///
/// Source: Anthropic's pages on these features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlaggedMember {
    /// A schema for the answer.
    OutputFormat,
    /// Servers of tools.
    McpServers,
    /// A container with skills or code in it.
    Container,
    /// Edits of the conversation.
    ContextManagement,
    /// A faster answer.
    Speed,
}

impl FlaggedMember {
    /// Every one.
    pub const ALL: [FlaggedMember; 5] = [
        FlaggedMember::OutputFormat,
        FlaggedMember::McpServers,
        FlaggedMember::Container,
        FlaggedMember::ContextManagement,
        FlaggedMember::Speed,
    ];

    /// The member with this name.
    pub fn by_name(name: &str) -> Option<FlaggedMember> {
        Self::ALL.into_iter().find(|member| member.name() == name)
    }

    /// Its name in the body.
    pub fn name(self) -> &'static str {
        match self {
            FlaggedMember::OutputFormat => "output_format",
            FlaggedMember::McpServers => "mcp_servers",
            FlaggedMember::Container => "container",
            FlaggedMember::ContextManagement => "context_management",
            FlaggedMember::Speed => "speed",
        }
    }

    /// What its flags begin with. A day follows.
    fn flags(self) -> &'static [&'static str] {
        match self {
            FlaggedMember::OutputFormat => &["structured-outputs-"],
            FlaggedMember::McpServers => &["mcp-client-", "mcp-servers-"],
            FlaggedMember::Container => &["skills-", "code-execution-"],
            FlaggedMember::ContextManagement => &["context-management-", "compact-"],
            FlaggedMember::Speed => &["fast-mode-"],
        }
    }

    /// The feature that it asks for, of those that requests are routed by.
    pub fn feature(self) -> Features {
        match self {
            FlaggedMember::OutputFormat => Features::STRUCTURED_OUTPUT,
            _ => Features::default(),
        }
    }

    /// Whether the value that comes next asks for something.
    pub(super) fn is_used(self, scanner: &mut Scanner<'_>) -> Result<bool, JsonError> {
        Ok(match (self, scanner.peek()?) {
            (FlaggedMember::Speed, Type::String) => scanner.clone().value()?.0 == b"\"fast\"",
            (FlaggedMember::McpServers, Type::Array) => {
                let mut has_any = false;
                scanner.clone().array(|_| {
                    has_any = true;
                    Ok(())
                })?;
                has_any
            }
            (FlaggedMember::Container, Type::String | Type::Object) => true,
            (FlaggedMember::OutputFormat | FlaggedMember::ContextManagement, Type::Object) => true,
            _ => false,
        })
    }
}

/// A set of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlaggedMembers(u8);

impl FlaggedMembers {
    pub(super) fn add(&mut self, member: FlaggedMember) {
        self.0 |= 1 << member as u8;
    }

    /// Whether it has none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = FlaggedMember> {
        FlaggedMember::ALL.into_iter().filter(move |member| self.0 & (1 << *member as u8) != 0)
    }
}

/// A member that comes with its flag, of which the upstream does not take the flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// The member.
    pub member: FlaggedMember,
    /// Its flag, as the request names it.
    pub flag: String,
}

/// The first of these members whose flags are in the headers of a request and are all dropped by a table.
pub fn orphan<'a>(
    values: impl IntoIterator<Item = &'a HeaderValue>,
    table: &BetaTable,
    members: FlaggedMembers,
) -> Option<Orphan> {
    let texts = values.into_iter().filter_map(|value| value.to_str().ok());
    let flags: Vec<&str> = texts.flat_map(|text| text.split(',')).map(str::trim).collect();
    members.iter().find_map(|member| {
        let is_own = |flag: &&&str| member.flags().iter().any(|start| flag.starts_with(start));
        let mut own = flags.iter().filter(is_own).peekable();
        let flag = (**own.peek()?).to_owned();
        let is_taken = |flag: &&str| table.get(*flag).is_some_and(Option::is_some);
        (!own.any(is_taken)).then_some(Orphan { member, flag })
    })
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
    use crate::body::peek;
    use crate::{Family, Operation};

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
    fn a_member_whose_flag_is_dropped_is_found() {
        let orphan = |flags: &str, body: &str| {
            let peek = peek(Operation::CreateMessage, Family::Unknown, body.as_bytes()).unwrap();
            let value = HeaderValue::from_str(flags).unwrap();
            orphan([&value], &table(), peek.flagged).map(|it| (it.member.name(), it.flag))
        };
        let (files, mcp) = ("files-api-2025-04-14", "mcp-client-2025-11-20");
        let servers = r#"{"mcp_servers":[{"url":"https://x"}]}"#;
        let edits = r#"{"context_management":{"edits":[]}}"#;
        assert_eq!(
            orphan(&format!("{files}, {mcp}"), servers),
            Some(("mcp_servers", mcp.to_owned()))
        );
        let (taken, other) = ("compact-2026-01-12", "context-management-2025-06-27");
        assert_eq!(orphan(&format!("{other},{taken}"), edits), None, "one of its flags is enough");
        assert_eq!(orphan(other, edits), Some(("context_management", other.to_owned())));
        assert_eq!(orphan(files, servers), None, "the client sends no flag for it");
        assert_eq!(orphan(mcp, "{}"), None);
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

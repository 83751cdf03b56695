//! Excerpts: the line of a config file where a syntax error is, with a caret below the error.
//!
//! A broken line may hold a secret. So a line is shown only if its key is one whose value can't be
//! a secret, or if it is the header of a table. Comments are left out.

use serde_json::Value as Schema;

use super::schema;

/// Longest line that is shown, in characters.
const MAX_CHARS: usize = 160;

/// The formats of texts that hold no secret.
const PLAIN_FORMATS: [&str; 13] = [
    "duration-or-zero-text",
    "duration-text",
    "guardrail-id",
    "guardrail-version",
    "limit-key",
    "log-filter",
    "model-id",
    "model-pattern",
    "path-prefix",
    "region",
    "size-text",
    "socket-address",
    "utc-time",
];

/// Keys of texts without a format that hold no secret.
const PLAIN_KEYS: [&str; 2] = ["name", "quota"];

/// The line of `text` with this number, and a caret below the column, both from 1. `None` if the
/// line may hold a secret.
pub(super) fn excerpt(text: &str, line: usize, column: usize) -> Option<String> {
    let content = text.lines().nth(line.checked_sub(1)?)?;
    let content = content.split('#').next().map(str::trim_end)?;
    if content.chars().count() > MAX_CHARS || !is_plain(content) {
        return None;
    }
    let number = line.to_string();
    let margin = " ".repeat(number.len());
    // A tab stays a tab, so that the caret stands below its character.
    let blank = |c: char| if c == '\t' { '\t' } else { ' ' };
    let before: String = content
        .chars()
        .map(blank)
        .chain(std::iter::repeat(' '))
        .take(column.saturating_sub(1))
        .collect();
    Some(format!("{number} | {content}\n{margin} | {before}^"))
}

/// Whether a line holds no secret, whatever is wrong with it.
fn is_plain(line: &str) -> bool {
    let line = line.trim();
    if line.starts_with('[') {
        return line.chars().all(|c| c.is_ascii_alphanumeric() || "[]._- ".contains(c));
    }
    let Some((key, value)) = line.split_once('=') else { return false };
    let key = key.rsplit('.').next().unwrap_or(key).trim();
    let mut kinds = Vec::new();
    kinds_of(key, schema::compiled(), &mut kinds);
    !["{", "://", "@"].iter().any(|part| value.contains(part))
        && kinds.contains(&Kind::Plain)
        && !kinds.contains(&Kind::MaySecret)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    /// Its keys are looked at, not the table itself.
    Table,
    MaySecret,
}

/// The kinds of all keys of this name in the schema.
fn kinds_of(name: &str, schema: &Schema, kinds: &mut Vec<Kind>) {
    for (key, inner) in schema::properties(schema).into_iter().flatten() {
        if key == name {
            kinds.push(kind(name, inner));
        }
        kinds_of(name, inner, kinds);
    }
    for inner in [schema::map_values(schema), schema::items(schema)].into_iter().flatten() {
        kinds_of(name, inner, kinds);
    }
}

fn kind(name: &str, schema: &Schema) -> Kind {
    if schema::is_table(schema) {
        return Kind::Table;
    }
    if let Some(items) = schema::items(schema) {
        // A list of tables may be written as a list of secrets by mistake.
        let is_text = schema::is_string(items)
            && schema::format(items).is_none_or(|format| PLAIN_FORMATS.contains(&format));
        return if is_text { Kind::Plain } else { Kind::MaySecret };
    }
    let is_plain = match schema::format(schema) {
        _ if !schema::is_text(schema) => true,
        Some(format) => PLAIN_FORMATS.contains(&format),
        None => PLAIN_KEYS.contains(&name),
    };
    if is_plain { Kind::Plain } else { Kind::MaySecret }
}

#[cfg(test)]
mod tests {
    use super::excerpt;

    #[test]
    fn the_caret_stands_below_the_error() {
        let text = "[server]\nmax_body = = \"25MB\" # hush\n";
        assert_eq!(excerpt(text, 2, 12).unwrap(), "2 | max_body = = \"25MB\"\n  |            ^");
        assert_eq!(excerpt("[server\n", 1, 8).unwrap(), "1 | [server\n  |        ^");
        assert_eq!(excerpt("\trpm = x\n", 1, 8).unwrap(), "1 | \trpm = x\n  | \t      ^");
    }

    #[test]
    fn a_line_that_may_hold_a_secret_is_not_shown() {
        for line in [
            "bearer_token = 'hush",
            "secret_access_key = hush",
            "admin_key = hush",
            "endpoint_url = 'https://user:hush@host",
            "bearer_tokens = ['hush",
            "headers = { authorization = 'hush' ",
            "targets = { a = { bearer_token = hush } }",
            "unknown = hush",
            "hush",
            "hush = ",
            "[\"hush",
        ] {
            assert_eq!(excerpt(line, 1, 1), None, "{line}");
        }
        assert!(excerpt("targets = [\"a\" \"b\"]", 1, 15).is_some());
        assert!(excerpt("region = us-east-1", 1, 10).is_some());
        assert!(excerpt(&format!("region = {}", "x".repeat(500)), 1, 10).is_none());
    }
}

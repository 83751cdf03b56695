//! Duplicate keys and tables of a config file: finds the first of the two.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::document::KeyPath;

/// The first definition of a key or table that is defined again.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FirstDefinition {
    pub(super) path: KeyPath,
    /// Where it is, in bytes from the start of the text.
    pub(super) offset: usize,
    /// Whether the second one is the header of a table.
    pub(super) is_table: bool,
}

/// The first definition of what is defined again at `again`, a range of bytes of `text`.
pub(super) fn first_definition(text: &str, again: Range<usize>) -> Option<FirstDefinition> {
    let line_start = text.get(..again.start)?.rfind('\n').map_or(0, |newline| newline + 1);
    let (before, rest) = text.split_at_checked(line_start)?;
    let line = rest.lines().next()?;
    let is_table = line.trim_start().starts_with('[');
    let mut known = Vec::new();
    let (table, _) = DeTable::parse_recoverable(before);
    list(table.get_ref(), &KeyPath::default(), &mut known);
    // The most recent one: keys before it belong to another table.
    known.sort_by_key(|(_, offset)| std::cmp::Reverse(*offset));
    let (path, offset) = if is_table {
        let names = header(line, again.start - line_start)?;
        known.into_iter().find(|(path, _)| path.names().eq(names.iter().map(String::as_str)))?
    } else {
        let name = text.get(again)?.trim_matches(['"', '\'']);
        let section = last_header(before);
        known.into_iter().find(|(path, offset)| path.name() == name && *offset >= section)?
    };
    Some(FirstDefinition { path, offset, is_table })
}

/// All keys of a table and below it, with their offsets.
fn list(table: &DeTable<'_>, path: &KeyPath, known: &mut Vec<(KeyPath, usize)>) {
    for (key, value) in table {
        let at = path.key(key.get_ref());
        known.push((at.clone(), key.span().start));
        list_inside(value.get_ref(), &at, known);
    }
}

fn list_inside(value: &DeValue<'_>, at: &KeyPath, known: &mut Vec<(KeyPath, usize)>) {
    match value {
        DeValue::Table(inner) => list(inner, at, known),
        DeValue::Array(array) => {
            for (index, element) in array.iter().enumerate() {
                list_inside(element.get_ref(), &at.index(index), known);
            }
        }
        _ => {}
    }
}

/// The names in the header of a table, up to the one at this column, in bytes.
fn header(line: &str, column: usize) -> Option<Vec<String>> {
    let (table, _) = DeTable::parse_recoverable(line);
    let mut names = Vec::new();
    let mut table = table.get_ref();
    loop {
        let (key, value) = table.iter().next()?;
        names.push(key.get_ref().to_string());
        if key.span().end > column {
            return Some(names);
        }
        table = match value.get_ref() {
            DeValue::Table(inner) => inner,
            _ => return None,
        };
    }
}

/// Where the last header of a table begins; 0 without one.
fn last_header(text: &str) -> usize {
    let mut start = 0;
    let mut last = 0;
    for line in text.split_inclusive('\n') {
        if line.trim_start().starts_with('[') {
            last = start;
        }
        start += line.len();
    }
    last
}

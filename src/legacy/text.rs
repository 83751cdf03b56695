//! Cutting text by characters, so that no cut falls inside one.

/// The first `most` characters of `text`.
pub(super) fn first_chars(text: &str, most: usize) -> &str {
    match text.char_indices().nth(most) {
        Some((end, _)) => text.get(..end).unwrap_or(text),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::first_chars;

    #[test]
    fn characters_are_counted_and_not_bytes() {
        assert_eq!(first_chars("añb😀c", 4), "añb😀");
        assert_eq!(first_chars("añb", 3), "añb");
        assert_eq!(first_chars("añb", 0), "");
    }
}

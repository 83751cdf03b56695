//! Patterns of names: `*`, `?`, `[a-z]`, `[!a-z]` and `{one,other}`. A star takes slashes too, and a
//! backslash takes the next character as it is.
//!
//! The `glob` library matches. It has no alternatives in braces, so each of them becomes a pattern of its
//! own here. Both the length of a pattern and the number of its alternatives are bounded, and a match
//! takes at most the product of the lengths of pattern and text.

/// Longest pattern, in bytes.
const MAX_BYTES: usize = 2048;

/// Most patterns that the braces of one may stand for.
const MAX_ALTERNATIVES: usize = 128;

/// A pattern that was read.
#[derive(Clone, Debug)]
pub struct Glob(Form);

#[derive(Clone, Debug)]
enum Form {
    /// A name without special characters.
    Name(String),
    /// What the braces stand for: a text that matches one of these matches.
    Patterns(Vec<glob::Pattern>),
}

/// Why a text is not a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GlobError {
    /// A `[` has no end.
    #[error("unclosed character class; missing ']'")]
    UnclosedClass,
    /// A `}` has no beginning.
    #[error("unopened alternate group; missing '{{' (maybe escape '}}' with '[}}]'?)")]
    UnopenedAlternates,
    /// A `{` has no end.
    #[error("unclosed alternate group; missing '}}' (maybe escape '{{' with '[{{]'?)")]
    UnclosedAlternates,
    /// Nothing follows a backslash.
    #[error("dangling '\\'")]
    DanglingEscape,
    /// It has too many bytes.
    #[error("longer than {MAX_BYTES} bytes")]
    TooLong,
    /// Its braces stand for too many patterns.
    #[error("more than {MAX_ALTERNATIVES} alternatives")]
    TooManyAlternatives,
    /// The library refuses it.
    #[error("{0}")]
    Refused(&'static str),
}

impl Glob {
    /// Whether a text where names and patterns may stand is a pattern.
    pub fn describes(text: &str) -> bool {
        text.contains(['*', '?', '[', '{'])
    }

    /// Reads a pattern.
    ///
    /// # Errors
    /// When it is not one, or beyond the bounds.
    pub fn new(pattern: &str) -> Result<Glob, GlobError> {
        if pattern.len() > MAX_BYTES {
            return Err(GlobError::TooLong);
        }
        if !pattern.contains(['*', '?', '[', '{', '}', '\\']) {
            return Ok(Glob(Form::Name(pattern.to_owned())));
        }
        let read = |text: String| glob::Pattern::new(&text).map_err(|e| GlobError::Refused(e.msg));
        let patterns = alternatives(pattern)?.into_iter().map(read);
        Ok(Glob(Form::Patterns(patterns.collect::<Result<_, _>>()?)))
    }

    /// Whether it describes the whole text.
    pub fn is_match(&self, text: &str) -> bool {
        match &self.0 {
            Form::Name(name) => name == text,
            Form::Patterns(patterns) => patterns.iter().any(|pattern| pattern.matches(text)),
        }
    }
}

/// A group in braces that is being read.
struct Group {
    /// The alternatives of what stands before it.
    before: Vec<String>,
    /// Its own alternatives so far.
    own: Vec<String>,
}

/// The patterns, in the syntax of the library, that a pattern with braces stands for.
fn alternatives(pattern: &str) -> Result<Vec<String>, GlobError> {
    let mut groups: Vec<Group> = Vec::new();
    let mut current = vec![String::new()];
    let mut chars = pattern.chars();
    while let Some(char) = chars.next() {
        match (char, groups.last_mut()) {
            ('{', _) => {
                let before = std::mem::replace(&mut current, vec![String::new()]);
                groups.push(Group { before, own: Vec::new() });
            }
            (',', Some(group)) => {
                group.end_alternative(&mut current)?;
            }
            ('}', Some(_)) => current = close(&mut groups, current)?,
            ('}', None) => return Err(GlobError::UnopenedAlternates),
            ('[', _) => append(&mut current, &class(&mut chars)?),
            ('\\', _) => {
                let escaped = chars.next().ok_or(GlobError::DanglingEscape)?;
                append(&mut current, &glob::Pattern::escape(escaped.encode_utf8(&mut [0; 4])));
            }
            (']', _) => append(&mut current, "[]]"),
            (other, _) => append(&mut current, other.encode_utf8(&mut [0; 4])),
        }
    }
    if groups.is_empty() { Ok(current) } else { Err(GlobError::UnclosedAlternates) }
}

impl Group {
    /// Takes what was read since the last comma or brace. An empty alternative does not count.
    fn end_alternative(&mut self, current: &mut Vec<String>) -> Result<(), GlobError> {
        let read = std::mem::replace(current, vec![String::new()]);
        self.own.extend(read.into_iter().filter(|text| !text.is_empty()));
        if self.own.len() > MAX_ALTERNATIVES {
            return Err(GlobError::TooManyAlternatives);
        }
        Ok(())
    }
}

/// Ends the last group: each of its alternatives after each of what stands before it.
fn close(groups: &mut Vec<Group>, mut current: Vec<String>) -> Result<Vec<String>, GlobError> {
    let mut group = groups.pop().ok_or(GlobError::UnopenedAlternates)?;
    group.end_alternative(&mut current)?;
    let Group { before, own } = group;
    if own.is_empty() {
        return Ok(before);
    }
    if before.len() * own.len() > MAX_ALTERNATIVES {
        return Err(GlobError::TooManyAlternatives);
    }
    let mut joined = Vec::with_capacity(before.len() * own.len());
    for start in &before {
        for end in &own {
            let mut one = vec![start.clone()];
            append(&mut one, end);
            joined.append(&mut one);
        }
    }
    Ok(joined)
}

/// Appends to each text. Stars in a row are one: the library gives two of them another meaning.
fn append(texts: &mut [String], end: &str) {
    for text in texts {
        let end = if text.ends_with('*') { end.trim_start_matches('*') } else { end };
        text.push_str(end);
    }
}

/// The rest of a character class, in the syntax of the library.
fn class(chars: &mut std::str::Chars<'_>) -> Result<String, GlobError> {
    let mut class = "[".to_owned();
    if chars.as_str().starts_with(['!', '^']) {
        chars.next();
        class.push('!');
    }
    // A `]` at the beginning is one of the characters.
    let first = chars.next().ok_or(GlobError::UnclosedClass)?;
    class.push(first);
    for char in chars.by_ref() {
        class.push(char);
        if char == ']' {
            return Ok(class);
        }
    }
    Err(GlobError::UnclosedClass)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_match(pattern: &str, text: &str) -> bool {
        Glob::new(pattern).unwrap().is_match(text)
    }

    #[test]
    fn names_are_matched_whole() {
        for (pattern, text, wanted) in [
            ("claude", "claude", true),
            ("claude", "claude-3", false),
            ("*claude*", "us.anthropic.claude-3", true),
            ("us.*", "eu.anthropic", false),
            ("us.*", "us.", true),
            ("nova-?", "nova-2", true),
            ("nova-?", "nova-", false),
            ("claude-[0-9]", "claude-4", true),
            ("claude-[!0-9]", "claude-4", false),
            ("claude-[^0-9]", "claude-4", false),
            ("claude-[^0-9]", "claude-x", true),
            ("{us,eu}.*", "eu.x", true),
            ("{us,eu}.*", "ap.x", false),
            ("a{,b}", "a", false),
            ("a{}b", "ab", true),
            ("{a,b{c,d}}[,]{e,*f}", "bd,xf", true),
            ("{a,b{c,d}}[,]{e,*f}", "b,e", false),
            ("*{*,a}", "anything", true),
            (r"\*", "*", true),
            (r"\*", "a", false),
            ("a]", "a]", true),
            ("[]]", "]", true),
            ("arn:*:profile/**", "arn:aws:profile/a/b", true),
            ("*profile/?", "a/b/profile/c", true),
            ("**", "anything", true),
            ("us.**", "us.anthropic/x", true),
        ] {
            assert_eq!(is_match(pattern, text), wanted, "{pattern} {text}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (pattern, expected) in [
            ("[", GlobError::UnclosedClass),
            ("[!]", GlobError::UnclosedClass),
            ("a}", GlobError::UnopenedAlternates),
            ("{a,b", GlobError::UnclosedAlternates),
            ("a\\", GlobError::DanglingEscape),
        ] {
            assert_eq!(Glob::new(pattern).unwrap_err(), expected, "{pattern}");
        }
    }

    #[test]
    fn no_pattern_exhausts_stack_or_time() {
        let braces = |count: usize| format!("{}a{}", "{".repeat(count), "}".repeat(count));
        assert!(is_match(&braces(1000), "a"));
        assert_eq!(Glob::new(&braces(50_000)).unwrap_err(), GlobError::TooLong);
        let slow = "*a".repeat(MAX_BYTES / 2);
        assert!(!is_match(&slow, &format!("{}b", "a".repeat(2048))));
        let many = "{a,b,c,d,e,f,g,h,i,j,k,l}".repeat(3);
        assert_eq!(Glob::new(&many).unwrap_err(), GlobError::TooManyAlternatives);
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics_the_reader(pattern in "[ab/*?{},!^\\[\\]\\\\-]{0,20}", text in "[ab/*,-]{0,20}") {
            if let Ok(glob) = Glob::new(&pattern) {
                let _ = glob.is_match(&text);
            }
        }
    }
}

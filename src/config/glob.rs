//! Patterns of names: `*`, `?`, `[a-z]`, `{one,other}`, and `**` between slashes.
//!
//! They mean what the `globset` library has them mean without options: a star takes slashes too, a
//! backslash takes the next character for itself, and an empty alternative is none. Properties hold
//! the two against each other. A match takes time in proportion to the lengths of pattern and text,
//! whatever they are, and there is no regular expression behind it: those take a lot of code, and memory
//! for each pattern.

/// A pattern that was read.
#[derive(Clone, Debug)]
pub struct Glob {
    /// What a text begins with, up to the first special character.
    prefix: String,
    /// What its rest is matched by, from the first step until there are no more.
    steps: Vec<Step>,
}

/// Why a pattern is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GlobError {
    /// A `[` has no end.
    #[error("unclosed character class; missing ']'")]
    UnclosedClass,
    /// A range runs backwards.
    #[error("invalid range; '{0}' > '{1}'")]
    InvalidRange(char, char),
    /// A `}` has no beginning.
    #[error("unopened alternate group; missing '{{' (maybe escape '}}' with '[}}]'?)")]
    UnopenedAlternates,
    /// A `{` has no end.
    #[error("unclosed alternate group; missing '}}' (maybe escape '{{' with '[{{]'?)")]
    UnclosedAlternates,
    /// Nothing follows a backslash.
    #[error("dangling '\\'")]
    DanglingEscape,
}

impl Glob {
    /// Whether a text where names and patterns may stand is a pattern.
    pub fn describes(text: &str) -> bool {
        text.contains(['*', '?', '[', '{'])
    }

    /// Reads a pattern.
    ///
    /// # Errors
    /// When it is none.
    pub fn new(pattern: &str) -> Result<Glob, GlobError> {
        let tokens =
            Reader { left: pattern.chars(), prev: None, now: None, tokens: Vec::new(), open: 0 };
        let mut tokens = tokens.read()?;
        if matches!(*tokens, [Token::DirsFirst]) {
            tokens = vec![Token::Stars];
        }
        let mut tokens = tokens.into_iter().peekable();
        let mut prefix = String::new();
        while let Some(Token::Literal(char)) = tokens.next_if(|it| matches!(it, Token::Literal(_)))
        {
            prefix.push(char);
        }
        Ok(Glob { prefix, steps: steps(tokens) })
    }

    /// Whether it describes the whole text.
    pub fn is_match(&self, text: &str) -> bool {
        let Some(rest) = text.strip_prefix(self.prefix.as_str()) else { return false };
        match self.steps.as_slice() {
            [] => return rest.is_empty(),
            [Step::Either(3), Step::Any, Step::Jump(0)] => return true,
            _ => {}
        }
        let (mut now, mut next) = (Places::new(&self.steps), Places::new(&self.steps));
        now.enter(0);
        for char in rest.chars() {
            for &place in &now.list {
                if self.steps.get(place).is_some_and(|step| step.takes(char)) {
                    next.enter(place + 1);
                }
            }
            now.leave();
            std::mem::swap(&mut now, &mut next);
        }
        now.list.contains(&self.steps.len())
    }
}

/// What a pattern says, piece by piece.
#[derive(Debug)]
enum Token {
    Literal(char),
    Any,
    Class(Class),
    Stars,
    /// `**/` at the beginning. Stars alone are any text.
    DirsFirst,
    /// `/**` at the end.
    DirsLast,
    /// `/**/`.
    DirsBetween,
    Open,
    Next,
    Close,
}

/// Characters of which one is meant, or none.
#[derive(Clone, Debug)]
struct Class {
    negated: bool,
    ranges: Vec<(char, char)>,
}

struct Reader<'a> {
    left: std::str::Chars<'a>,
    prev: Option<char>,
    now: Option<char>,
    tokens: Vec<Token>,
    /// Groups that are open.
    open: usize,
}

impl Reader<'_> {
    fn read(mut self) -> Result<Vec<Token>, GlobError> {
        while let Some(char) = self.bump() {
            let token = match char {
                '?' => Token::Any,
                '*' => {
                    self.star();
                    continue;
                }
                '[' => Token::Class(self.class()?),
                '{' => {
                    self.open += 1;
                    Token::Open
                }
                '}' => {
                    self.open = self.open.checked_sub(1).ok_or(GlobError::UnopenedAlternates)?;
                    Token::Close
                }
                ',' if self.open > 0 => Token::Next,
                '\\' => Token::Literal(self.bump().ok_or(GlobError::DanglingEscape)?),
                other => Token::Literal(other),
            };
            self.tokens.push(token);
        }
        if self.open > 0 { Err(GlobError::UnclosedAlternates) } else { Ok(self.tokens) }
    }

    fn bump(&mut self) -> Option<char> {
        self.prev = self.now;
        self.now = self.left.next();
        self.now
    }

    fn peek(&self) -> Option<char> {
        self.left.clone().next()
    }

    fn star(&mut self) {
        let before = self.prev;
        if self.peek() != Some('*') {
            return self.tokens.push(Token::Stars);
        }
        self.bump();
        let is_first = matches!(self.tokens.last(), None | Some(Token::Open | Token::Next));
        let after = self.peek();
        let token = match (is_first, after) {
            (true, None | Some('/')) => {
                self.bump();
                Token::DirsFirst
            }
            (false, None) if before == Some('/') => self.dirs(Token::DirsLast),
            (false, Some(',' | '}')) if before == Some('/') && self.open > 0 => {
                self.dirs(Token::DirsLast)
            }
            (false, Some('/')) if before == Some('/') => {
                self.bump();
                self.dirs(Token::DirsBetween)
            }
            _ => Token::Stars,
        };
        self.tokens.push(token);
    }

    /// What comes in the place of a slash and the stars after it.
    fn dirs(&mut self, usual: Token) -> Token {
        match self.tokens.pop() {
            Some(known @ (Token::DirsFirst | Token::DirsLast)) => known,
            _ => usual,
        }
    }

    fn class(&mut self) -> Result<Class, GlobError> {
        let negated = matches!(self.peek(), Some('!' | '^'));
        if negated {
            self.bump();
        }
        let mut ranges: Vec<(char, char)> = Vec::new();
        let mut is_range = false;
        loop {
            let char = self.bump().ok_or(GlobError::UnclosedClass)?;
            match (char, ranges.last_mut()) {
                (']', Some(_)) => break,
                (to, Some(range)) if is_range => {
                    if to < range.0 {
                        return Err(GlobError::InvalidRange(range.0, to));
                    }
                    range.1 = to;
                    is_range = false;
                }
                ('-', Some(_)) => is_range = true,
                (other, _) => ranges.push((other, other)),
            }
        }
        if is_range {
            ranges.push(('-', '-'));
        }
        Ok(Class { negated, ranges })
    }
}

/// What a pattern does with a text.
#[derive(Clone, Debug)]
enum Step {
    /// Takes this character, and goes on.
    Literal(char),
    /// Takes any.
    Any,
    /// Takes one of these.
    Class(Class),
    /// Takes none, and does not go on.
    Never,
    /// Goes on with the next step, or with that one.
    Either(usize),
    /// Goes on with that one.
    Jump(usize),
}

impl Step {
    fn takes(&self, char: char) -> bool {
        match self {
            Step::Literal(one) => *one == char,
            Step::Any => true,
            Step::Class(Class { negated, ranges }) => {
                ranges.iter().any(|(from, to)| (from..=to).contains(&&char)) != *negated
            }
            Step::Never | Step::Either(_) | Step::Jump(_) => false,
        }
    }
}

/// A group of alternatives that is being written down.
struct Group {
    /// The step at which the alternative begins.
    branch: usize,
    /// The jumps from the ends of alternatives to that of the group.
    ends: Vec<usize>,
}

fn steps(tokens: impl Iterator<Item = Token>) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut groups: Vec<Group> = Vec::new();
    for token in tokens {
        match token {
            Token::Literal(char) => steps.push(Step::Literal(char)),
            Token::Any => steps.push(Step::Any),
            Token::Class(class) => steps.push(Step::Class(class)),
            Token::Stars => stars(&mut steps),
            Token::DirsFirst => dirs(&mut steps),
            Token::DirsLast => {
                steps.push(Step::Literal('/'));
                stars(&mut steps);
            }
            Token::DirsBetween => {
                steps.push(Step::Literal('/'));
                dirs(&mut steps);
            }
            Token::Open => {
                groups.push(Group { branch: steps.len(), ends: Vec::new() });
                steps.push(Step::Never);
            }
            Token::Next => {
                if let Some(group) = groups.last_mut() {
                    group.end_branch(&mut steps);
                    group.branch = steps.len();
                    steps.push(Step::Never);
                }
            }
            Token::Close => {
                if let Some(mut group) = groups.pop() {
                    group.end_branch(&mut steps);
                    if !group.ends.is_empty() {
                        // There is nothing else.
                        steps.push(Step::Never);
                    }
                    let end = steps.len();
                    for jump in group.ends {
                        put(&mut steps, jump, Step::Jump(end));
                    }
                }
            }
        }
    }
    steps
}

impl Group {
    /// Has the alternative lead to the end of the group, and its beginning to the next one. One that
    /// is empty is none.
    fn end_branch(&mut self, steps: &mut Vec<Step>) {
        if steps.len() == self.branch + 1 {
            steps.pop();
            return;
        }
        self.ends.push(steps.len());
        steps.push(Step::Never);
        let next = steps.len();
        put(steps, self.branch, Step::Either(next));
    }
}

fn put(steps: &mut [Step], place: usize, step: Step) {
    if let Some(it) = steps.get_mut(place) {
        *it = step;
    }
}

/// Any text.
fn stars(steps: &mut Vec<Step>) {
    let start = steps.len();
    steps.extend([Step::Either(start + 3), Step::Any, Step::Jump(start)]);
}

/// Nothing, or any text that ends with a slash.
fn dirs(steps: &mut Vec<Step>) {
    steps.push(Step::Either(steps.len() + 5));
    stars(steps);
    steps.push(Step::Literal('/'));
}

/// Steps that may come next, each once.
struct Places<'a> {
    steps: &'a [Step],
    list: Vec<usize>,
    known: Vec<bool>,
    /// What is still to be entered.
    todo: Vec<usize>,
}

impl<'a> Places<'a> {
    fn new(steps: &'a [Step]) -> Places<'a> {
        let known = vec![false; steps.len() + 1];
        Places { steps, list: Vec::new(), known, todo: Vec::new() }
    }

    /// Enters a step, and all that can be reached from it without a character.
    fn enter(&mut self, place: usize) {
        self.todo.push(place);
        while let Some(place) = self.todo.pop() {
            match self.known.get_mut(place) {
                Some(known) if !*known => *known = true,
                _ => continue,
            }
            self.list.push(place);
            match self.steps.get(place) {
                Some(Step::Either(other)) => self.todo.extend([place + 1, *other]),
                Some(Step::Jump(to)) => self.todo.push(*to),
                _ => {}
            }
        }
    }

    fn leave(&mut self) {
        for place in self.list.drain(..) {
            if let Some(known) = self.known.get_mut(place) {
                *known = false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
            ("{us,eu}.*", "eu.x", true),
            ("{us,eu}.*", "ap.x", false),
            ("a{,b}", "a", false),
            (r"\*", "*", true),
            ("arn:*:profile/**", "arn:aws:profile/a/b", true),
            ("**", "anything", true),
        ] {
            assert_eq!(is_match(pattern, text), wanted, "{pattern} {text}");
        }
    }

    #[test]
    fn no_pattern_exhausts_stack_or_time() {
        let deep = format!("{}a{}", "{".repeat(50_000), "}".repeat(50_000));
        assert!(is_match(&deep, "a"));
        let slow = "*a".repeat(500);
        assert!(!is_match(&slow, &format!("{}b", "a".repeat(2000))));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn patterns_mean_what_globset_has_them_mean(
            pattern in r"[ab/*?{},!\[\]^-]{0,10}|([ab/]|\*\*?|/\*\*/|\?|\{[ab/*]{0,3},[ab/*]{0,3}\}|\[!?[ab-]{1,3}\]){0,6}",
            texts in prop::collection::vec("[ab/*,!^{}\\[\\]-]{0,8}", 24),
        ) {
            match (globset::Glob::new(&pattern), Glob::new(&pattern)) {
                (Ok(theirs), Ok(own)) => {
                    let theirs = theirs.compile_matcher();
                    for text in &texts {
                        prop_assert_eq!(own.is_match(text), theirs.is_match(text), "{} {}", pattern, text);
                    }
                }
                (theirs, own) => prop_assert_eq!(
                    theirs.err().map(|it| it.kind().to_string()),
                    own.err().map(|it| it.to_string())
                ),
            }
        }
    }
}

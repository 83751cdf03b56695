//! Limits that keep a template from exhausting the stack, and whether it compiles.
//!
//! `minijinja` takes a step down the stack for each operator, filter and `elif` in a row, without a
//! bound. So what a template strings together is counted before it is compiled: no template that
//! passes exhausts the stack, neither here nor where it is used.

use std::path::Path;

use super::files;
#[cfg(test)]
use super::units::schema_of;

/// Largest template, in bytes.
const MAX_TEMPLATE_BYTES: u64 = 64 << 10;

/// Most characters between the delimiters of one tag, blanks and strings left out.
const MAX_TAG_CHARS: usize = 400;

/// Deepest nesting of brackets in one tag. Each is many steps down the stack.
const MAX_BRACKETS: i64 = 32;

/// Deepest nesting of blocks. An `elif` is one inside its `if`.
const MAX_BLOCKS: usize = 50;

/// The schema of a template, as text or `file:PATH`.
#[cfg(test)]
pub(super) struct Template;

#[cfg(test)]
schema_of!(Template, { "type": "string", "format": super::schema::TEMPLATE_FORMAT });

/// Reads a template, as text or `file:PATH`, and checks it. The error is a phrase for a person.
pub(super) fn read(text: &str, base: Option<&Path>) -> Result<String, String> {
    let Some(path) = text.strip_prefix("file:") else {
        check(text).map_err(|why| format!("the template {why}"))?;
        return Ok(text.to_owned());
    };
    let path = files::resolve(base, path);
    let name = format!("the file '{}'", path.display());
    let template = files::read_text(&path, MAX_TEMPLATE_BYTES)
        .map_err(|why| format!("names {name}: {why}"))?;
    check(&template).map_err(|why| format!("{name} {why}"))?;
    Ok(template)
}

/// Checks a template. The error continues a sentence that names the template.
fn check(template: &str) -> Result<(), String> {
    if template.trim().is_empty() {
        return Err("is empty".to_owned());
    }
    if template.len() as u64 > MAX_TEMPLATE_BYTES {
        return Err(format!("is larger than {}", files::in_words(MAX_TEMPLATE_BYTES)));
    }
    check_tags(template).map_err(|(rest, why)| {
        let before = template.len() - rest.len();
        let lines = template.bytes().take(before).filter(|byte| *byte == b'\n').count();
        format!("is too much in line {}: {why}", lines + 1)
    })?;
    match minijinja::Environment::new().template_from_str(template) {
        Ok(_) => Ok(()),
        Err(error) => {
            let line = error.line().unwrap_or(1);
            let why = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
            Err(format!("is wrong in line {line}: {why}"))
        }
    }
}

/// Counts what each tag strings together, and the blocks around it. The error has the text from the
/// tag on.
fn check_tags(template: &str) -> Result<(), (&str, String)> {
    let (mut rest, mut blocks) = (template, Blocks::default());
    while let Some((tag, start, body)) = next_tag(rest) {
        rest = match start {
            "{#" => body.split_once("#}").map_or("", |(_, after)| after),
            "{%" if named(body, "raw").is_some_and(|after| after.starts_with("%}")) => {
                after_raw(body)
            }
            _ => {
                let statement = start == "{%";
                let length = Length::of(body, if statement { "%}" } else { "}}" });
                if statement {
                    blocks.count(body, length.assigns);
                }
                length.check().and_then(|()| blocks.check()).map_err(|why| (tag, why))?;
                length.after
            }
        };
    }
    Ok(())
}

/// The blocks around a place in a template: for each, how many it counts as.
#[derive(Default)]
struct Blocks(Vec<usize>);

impl Blocks {
    fn count(&mut self, body: &str, assigns: bool) {
        let is = |name| named(body, name).is_some();
        if is("end") {
            self.0.pop();
        } else if is("elif") {
            self.0.last_mut().into_iter().for_each(|block| *block += 1);
        } else if ["if", "for", "with", "filter", "autoescape"].into_iter().any(is)
            || is("set") && !assigns
        {
            self.0.push(1);
        }
    }

    fn check(&self) -> Result<(), String> {
        if self.0.iter().sum::<usize>() > MAX_BLOCKS {
            return Err(format!("more than {MAX_BLOCKS} blocks in one another"));
        }
        Ok(())
    }
}

/// The text from the next tag on, how the tag starts, and what comes after that.
fn next_tag(text: &str) -> Option<(&str, &str, &str)> {
    text.match_indices('{').find_map(|(at, _)| {
        let tag = text.get(at..)?;
        let (start, body) = tag.split_at_checked(2)?;
        matches!(start, "{{" | "{%" | "{#").then_some((tag, start, body))
    })
}

/// What comes after the keyword that a tag's body starts with, if it is `name`.
fn named<'t>(body: &'t str, name: &str) -> Option<&'t str> {
    let body = body.strip_prefix(['-', '+']).unwrap_or(body).trim_ascii_start();
    let after = body.strip_prefix(name)?.trim_ascii_start();
    Some(after.strip_prefix(['-', '+']).unwrap_or(after))
}

fn after_raw(body: &str) -> &str {
    let tags = body.match_indices("{%").filter_map(|(at, start)| body.get(at + start.len()..));
    tags.filter_map(|tag| named(tag, "endraw")?.strip_prefix("%}")).next().unwrap_or_default()
}

/// How much there is in a tag.
struct Length<'t> {
    /// Characters, without blanks and the content of strings.
    chars: usize,
    /// Brackets open at once.
    brackets: i64,
    /// Whether a `=` stands outside of brackets, as in a `set` that is no block.
    assigns: bool,
    /// What comes after the tag.
    after: &'t str,
}

impl<'t> Length<'t> {
    /// Brackets and strings may hold what otherwise ends a tag.
    fn of(body: &'t str, end: &str) -> Self {
        let (mut chars, mut brackets, mut assigns, mut open) = (0, 0, false, 0_i64);
        let mut rest = body.chars();
        loop {
            if let Some(after) = rest.as_str().strip_prefix(end).filter(|_| open == 0) {
                return Self { chars, brackets, assigns, after };
            }
            match rest.next() {
                None => return Self { chars, brackets, assigns, after: "" },
                Some(quote @ ('\'' | '"')) => skip_string(&mut rest, quote),
                Some('(' | '[' | '{') => open += 1,
                Some(')' | ']' | '}') => open -= 1,
                Some('=') if open == 0 => assigns = true,
                Some(blank) if blank.is_ascii_whitespace() => continue,
                Some(_) => {}
            }
            chars += 1;
            brackets = brackets.max(open);
        }
    }

    fn check(&self) -> Result<(), String> {
        if self.chars > MAX_TAG_CHARS {
            return Err(format!("more than {MAX_TAG_CHARS} characters in one tag"));
        }
        if self.brackets > MAX_BRACKETS {
            return Err(format!("more than {MAX_BRACKETS} brackets in one another"));
        }
        Ok(())
    }
}

fn skip_string(rest: &mut std::str::Chars<'_>, quote: char) {
    while let Some(c) = rest.next() {
        if c == '\\' {
            rest.next();
        } else if c == quote {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LegacyPrompts;

    const BLOCK: &str = "{% if a %}";

    /// Checks with half the stack that a thread has.
    fn check_on_a_small_stack(template: String) -> Result<(), String> {
        let thread = std::thread::Builder::new().stack_size(1 << 20);
        thread.spawn(move || check(&template)).unwrap().join().unwrap()
    }

    #[test]
    fn the_shipped_templates_are_right() {
        let LegacyPrompts { analysis_system, analysis, chat_system, chat, test } =
            LegacyPrompts::default();
        for template in [analysis_system, analysis, chat_system, chat, test] {
            assert_eq!(check(&template), Ok(()));
        }
    }

    #[test]
    fn right_templates_pass() {
        let long = "x".repeat(5000);
        for template in [
            "plain",
            "{{ a }} { {x} {# {{ #} %} }}",
            "{% if a is defined and a|length > 3 %}{{ a[:3] }}{% elif b %}b{% else %}c{% endif %}",
            "{% for k, v in {'a': {'b': 1}}|items %}{{ k ~ '}}' ~ \"%}\\\"\" }}{% endfor %}",
            "{%- raw -%} {{ ' {%- endraw -%} {{ a }}",
            &format!("{long}{{{{ '{long}' }}}}{{# {long} #}}{{% raw %}}{{{{ {long}{{% endraw %}}"),
            &"{{ a }}".repeat(9000),
            &"{% if a %}{% elif b %}{% endif %}{% set x = 1 %}".repeat(1000),
            &(BLOCK.repeat(50) + &"{% endif %}".repeat(50)),
            &format!("{{{{ {}a{} }}}}", "(".repeat(32), ")".repeat(32)),
            &format!("{{{{ {}a }}}}", "a+".repeat(190)),
        ] {
            assert_eq!(check(template), Ok(()), "{template}");
        }
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        for (template, expected) in [
            ("", "is empty"),
            (" \n", "is empty"),
            ("a\n{{ b }\nc", "is wrong in line 2: "),
            ("a\n\n{% if b %}", "is wrong in line 3: unexpected end of input"),
            ("{% include 'x' %}", "is wrong in line 1: unknown statement include"),
            (&"x".repeat((64 << 10) + 1), "is larger than 64KiB"),
            (&format!("a\n{{{{ {} }}}}", "a+".repeat(300)), "is too much in line 2: more than 400"),
            (&format!("\n{}", BLOCK.repeat(51)), "is too much in line 2: more than 50 blocks"),
            (
                &format!("{{{{ {} }}}}", "[".repeat(33)),
                "is too much in line 1: more than 32 brackets",
            ),
        ] {
            let error = check(template).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn no_template_exhausts_the_stack() {
        let max = MAX_TEMPLATE_BYTES as usize;
        let parts = "(;[;{'a':;-;- ;not ;a(;a[;a|;a.;a+;a**;a~;a==;a and ;a if ;a if a else ;a is not ;\
                     a,;a:;{;';\"}}\"+";
        for part in parts.split(';') {
            for times in [32, MAX_TAG_CHARS / part.len(), max / part.len() - 10] {
                for statement in ["if ", "set a=", "for a in ", "elif ", "with a=", "filter a|"] {
                    let tag = format!("{statement}{}a", part.repeat(times));
                    let _ = check_on_a_small_stack(format!("{{% {tag} %}}"));
                }
            }
        }
        for block in ["if a", "for a in a", "with", "set a", "set a|f('=', b=c)", "filter a"] {
            let block = format!("{{%- {block} %}}");
            for depth in [MAX_BLOCKS, MAX_BLOCKS + 1, 140, max / block.len()] {
                let elifs = BLOCK.to_owned() + &"{%- elif a%}".repeat(depth - 1);
                for blocks in [block.repeat(depth), elifs] {
                    for row in ["-", "not ", "a+", "a.", "a|", "a if a else "] {
                        let row = row.repeat(MAX_TAG_CHARS / row.len());
                        let _ = check_on_a_small_stack(format!("{blocks}{{{{ {row}a }}}}"));
                    }
                }
            }
        }
        for evasion in ["{{ {'a':{}} ", "{{ '}}' ", "{% raw %}{{ '{% endraw %}{{ ' }}{{ ' "] {
            let _ = check_on_a_small_stack(format!("{evasion}{}", "-".repeat(60_000)));
        }
    }
}

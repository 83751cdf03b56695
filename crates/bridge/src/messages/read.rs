//! Typed reading of JSON members: each function reads one value, or refuses the request by the member's name and
//! goes on behind it.
//!
//! `null` is read as an absent member, as Anthropic's API has it.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde_json::value::RawValue;
use sluice_bedrock::json::{JsonError, Scanner, Type};

use crate::conversation::{At, Json, Text};
use crate::report::Report;

pub(super) type Read<T = ()> = Result<T, JsonError>;

/// The place of a value, as errors name it: a block or the top, and a path from there.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place<'k> {
    pub(super) at: At,
    /// The last keys of the path, the outermost first.
    path: [&'k str; 3],
}

impl<'k> Place<'k> {
    /// A member at the top.
    pub(super) fn top(key: &'k str) -> Place<'k> {
        Place::of(At::default(), key)
    }

    /// A member of what stands here.
    pub(super) fn of(at: At, key: &'k str) -> Place<'k> {
        Place { at, path: ["", "", key] }
    }

    /// A member of the value in this place.
    pub(super) fn member(self, key: &'k str) -> Place<'k> {
        let [_, outer, inner] = self.path;
        Place { at: self.at, path: [outer, inner, key] }
    }

    /// The place as errors name it.
    pub(super) fn param(self) -> String {
        let mut param = match self.at.list {
            "" => String::new(),
            _ => self.at.param(),
        };
        for part in self.path.into_iter().filter(|part| !part.is_empty()) {
            let dot = if param.is_empty() { "" } else { "." };
            let _ = write!(param, "{dot}{part}");
        }
        param
    }

    /// Refuses the request for what stands here.
    pub(super) fn refuse(self, report: &mut Report<'_>, why: &str) {
        let param = self.param();
        let message = format!("`{param}` {why}");
        report.refuse(Some(param), false, message);
    }

    /// Refuses the request for what stands here, which another model might carry.
    pub(super) fn refuse_here(self, report: &mut Report<'_>, why: &str) {
        let param = self.param();
        let message = format!("`{param}` {why}");
        report.refuse(Some(param), true, message);
    }
}

/// Whether the value is `null`, which is then behind the scanner.
pub(super) fn null(scanner: &mut Scanner<'_>) -> Read<bool> {
    if scanner.peek()? != Type::Scalar {
        return Ok(false);
    }
    let mut ahead = scanner.clone();
    let is_null = ahead.value()?.0 == b"null";
    if is_null {
        *scanner = ahead;
    }
    Ok(is_null)
}

/// A text.
pub(super) fn text<'a>(
    scanner: &mut Scanner<'a>,
    place: Place<'_>,
    report: &mut Report<'_>,
) -> Read<Option<Cow<'a, str>>> {
    if scanner.peek()? == Type::String {
        return scanner.string().map(Some);
    }
    if !null(scanner)? {
        place.refuse(report, "must be a string");
        scanner.skip()?;
    }
    Ok(None)
}

/// A text of the prompt.
pub(super) fn prompt_text<'a>(
    scanner: &mut Scanner<'a>,
    place: Place<'_>,
    report: &mut Report<'_>,
) -> Read<Option<Text<'a>>> {
    if scanner.peek()? == Type::String {
        return next_prompt_text(scanner).map(Some);
    }
    Ok(text(scanner, place, report)?.map(Text::from))
}

/// The text that comes next.
pub(super) fn next_prompt_text<'a>(scanner: &mut Scanner<'a>) -> Read<Text<'a>> {
    let mut ahead = scanner.clone();
    let json = std::str::from_utf8(ahead.value()?.0).ok();
    let between_quotes = json.and_then(|json| json.strip_prefix('"')?.strip_suffix('"'));
    match between_quotes.and_then(Text::of_json) {
        Some(text) => {
            *scanner = ahead;
            Ok(text)
        }
        None => scanner.string().map(Text::from),
    }
}

/// `true` or `false`.
pub(super) fn flag(
    scanner: &mut Scanner<'_>,
    place: Place<'_>,
    report: &mut Report<'_>,
) -> Read<Option<bool>> {
    Ok(match scanner.value()?.0 {
        b"true" => Some(true),
        b"false" => Some(false),
        b"null" => None,
        _ => {
            place.refuse(report, "must be `true` or `false`");
            None
        }
    })
}

/// A whole number that is not negative.
pub(super) fn count(
    scanner: &mut Scanner<'_>,
    place: Place<'_>,
    report: &mut Report<'_>,
) -> Read<Option<u64>> {
    if null(scanner)? {
        return Ok(None);
    }
    let count = scanner.count()?.map(|(count, _)| count);
    if count.is_none() {
        place.refuse(report, "must be a whole number, zero or more");
    }
    Ok(count)
}

/// A number, as it is written.
pub(super) fn number<'a>(
    scanner: &mut Scanner<'a>,
    place: Place<'_>,
    report: &mut Report<'_>,
) -> Read<Option<Cow<'a, str>>> {
    if null(scanner)? {
        return Ok(None);
    }
    let (bytes, _) = scanner.value()?;
    let number = serde_json::from_slice::<f64>(bytes).ok().and_then(|_| valid(bytes));
    if number.is_none() {
        place.refuse(report, "must be a number");
    }
    Ok(number.map(|Json(number)| number))
}

/// A value of any type, as it is written.
pub(super) fn json<'a>(
    scanner: &mut Scanner<'a>,
    place: Place<'_>,
    report: &mut Report<'_>,
) -> Read<Option<Json<'a>>> {
    if null(scanner)? {
        return Ok(None);
    }
    let json = valid(scanner.value()?.0);
    if json.is_none() {
        place.refuse(report, "is not valid JSON");
    }
    Ok(json)
}

/// An object, as it is written.
pub(super) fn object<'a>(
    scanner: &mut Scanner<'a>,
    place: Place<'_>,
    report: &mut Report<'_>,
) -> Read<Option<Json<'a>>> {
    let is_object = scanner.peek()? == Type::Object;
    let json = json(scanner, place, report)?;
    if json.is_some() && !is_object {
        place.refuse(report, "must be an object");
        return Ok(None);
    }
    Ok(json)
}

fn valid(bytes: &[u8]) -> Option<Json<'_>> {
    let raw: &RawValue = serde_json::from_slice(bytes).ok()?;
    Some(Json(Cow::Borrowed(raw.get())))
}

/// The members of an object. A value of another type is refused.
pub(super) fn members<'a>(
    scanner: &mut Scanner<'a>,
    place: Place<'_>,
    report: &mut Report<'_>,
    mut member: impl FnMut(&str, &mut Scanner<'a>, &mut Report<'_>) -> Read,
) -> Read {
    if scanner.peek()? == Type::Object {
        return scanner.object(|key, scanner| member(key, scanner, report));
    }
    if !null(scanner)? {
        place.refuse(report, "must be an object");
        scanner.skip()?;
    }
    Ok(())
}

/// The elements of an array. A value of another type is refused.
pub(super) fn elements<'a>(
    scanner: &mut Scanner<'a>,
    place: Place<'_>,
    report: &mut Report<'_>,
    mut element: impl FnMut(u32, &mut Scanner<'a>, &mut Report<'_>) -> Read,
) -> Read {
    if scanner.peek()? == Type::Array {
        let mut index = 0;
        return scanner.array(|scanner| {
            let read = element(index, scanner, report);
            index += 1;
            read
        });
    }
    if !null(scanner)? {
        place.refuse(report, "must be an array");
        scanner.skip()?;
    }
    Ok(())
}

/// The `type` of the object that comes next, which stays before the scanner; `None` if it has none.
pub(super) fn kind<'a>(scanner: &Scanner<'a>) -> Read<Option<Cow<'a, str>>> {
    ahead(scanner, "type")
}

/// A text of the object that comes next, which stays before the scanner. What is behind the text is not read, and
/// in most objects it is first.
pub(super) fn ahead<'a>(scanner: &Scanner<'a>, wanted: &str) -> Read<Option<Cow<'a, str>>> {
    const FOUND: JsonError = JsonError { at: usize::MAX, what: "" };
    let mut found = None;
    let read = scanner.clone().object(|key, scanner| {
        if key == wanted && scanner.peek()? == Type::String {
            found = Some(scanner.string()?);
            return Err(FOUND);
        }
        Ok(())
    });
    match read {
        Err(error) if error != FOUND => Err(error),
        _ => Ok(found),
    }
}

/// Refuses a member that is not known, unless it is `null`.
pub(super) fn unknown(
    scanner: &mut Scanner<'_>,
    place: Place<'_>,
    report: &mut Report<'_>,
) -> Read {
    if !null(scanner)? {
        place.refuse_here(report, "is not known here: leave it out");
        scanner.skip()?;
    }
    Ok(())
}

//! Pairs for AWS's records of a request, such as CloudTrail and the logs of invocations: which texts may be such
//! pairs, and which of the client's parameters become some by the operator's leave.

use std::borrow::Cow;

use crate::report::Report;

/// A pair: its key and its value.
pub(crate) type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// Most pairs of a request.
pub(crate) const MAX_PAIRS: usize = 16;

/// Most bytes of a key and of a value.
const MAX_LEN: usize = 256;

/// What pairs must be like, in words.
pub(crate) const FORM: &str = "can have at most 16 pairs, with at most 256 letters, digits, blanks and \
                               `:_@$#=/+,-.` in each key and value";

/// Whether Bedrock takes the pair.
pub(crate) fn is_legal((key, value): &Pair<'_>) -> bool {
    let is_text = |text: &str| {
        text.len() <= MAX_LEN
            && text.bytes().all(|byte| {
                byte.is_ascii_alphanumeric()
                    || byte.is_ascii_whitespace()
                    || b":_@$#=/+,-.".contains(&byte)
            })
    };
    !key.is_empty() && is_text(key) && is_text(value)
}

/// Records the value of a parameter that the operator lets be recorded. What Bedrock does not take is left out by
/// `name`, or refused if the operator refuses the parameter. `value`: `None` if it is no text.
pub(crate) fn record<'a>(
    param: &str,
    name: &str,
    key: Cow<'a, str>,
    value: Option<Cow<'a, str>>,
    pairs: &mut Vec<Pair<'a>>,
    report: &mut Report<'_>,
) {
    let is_new = pairs.len() < MAX_PAIRS && pairs.iter().all(|(other, _)| *other != key);
    match value.map(|value| (key, value)) {
        Some(pair) if is_new && is_legal(&pair) => pairs.push(pair),
        _ => report.part_of_advice(param, name, FORM),
    }
}

//! Limits of a model that Bedrock names when it refuses a request.
//!
//! Only the beginning of a message is read, which is the service's own text: what it may quote from a
//! request comes later. The wordings were seen in answers of Converse and InvokeModel.

/// A limit of a model, in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedLimit {
    /// The largest answer that may be asked for.
    Output(u32),
    /// The largest input.
    Input(u32),
}

/// What some messages put before the model's own words.
const WRAPPER: &str = "The model returned the following errors: ";

/// The message of an error without what some put before the model's own words.
pub(super) fn own_words(message: &str) -> &str {
    message.strip_prefix(WRAPPER).unwrap_or(message)
}

/// The limit that a message of a ValidationException names, if it names one.
pub fn named_limit(message: &str) -> Option<NamedLimit> {
    let message = own_words(message);
    let number = |text: &str| {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (digits, rest) = text.split_at(end);
        let number = digits.parse().ok().filter(|number| *number > 0)?;
        Some((number, rest.to_owned()))
    };
    let after = |start: &str| number(message.strip_prefix(start)?);
    if let Some((limit, _)) = after("The maximum tokens you requested exceeds the model limit of ")
    {
        return Some(NamedLimit::Output(limit));
    }
    if let Some((_, rest)) = after("max_tokens: ") {
        let (limit, rest) = number(rest.strip_prefix(" > ")?)?;
        let is_limit = rest.starts_with(", which is the maximum allowed number of output tokens");
        return is_limit.then_some(NamedLimit::Output(limit));
    }
    if let Some((_, rest)) = after("prompt is too long: ") {
        let (limit, rest) = number(rest.strip_prefix(" tokens > ")?)?;
        return rest.starts_with(" maximum").then_some(NamedLimit::Input(limit));
    }
    let (limit, rest) = after("This model's maximum context length is ")?;
    rest.starts_with(" tokens").then_some(NamedLimit::Input(limit))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_limit_of_each_wording_is_read() {
        for (message, wanted) in [
            (
                "The maximum tokens you requested exceeds the model limit of 8192. Try again with a \
                 maximum tokens value that is lower than 8192.",
                NamedLimit::Output(8192),
            ),
            (
                "The model returned the following errors: max_tokens: 100000 > 64000, which is the \
                 maximum allowed number of output tokens for claude-sonnet-4-6",
                NamedLimit::Output(64000),
            ),
            ("prompt is too long: 210000 tokens > 200000 maximum", NamedLimit::Input(200_000)),
            (
                "This model's maximum context length is 131072 tokens. Please reduce the length.",
                NamedLimit::Input(131_072),
            ),
        ] {
            assert_eq!(named_limit(message), Some(wanted), "{message}");
        }
    }

    #[test]
    fn words_that_come_later_in_a_message_name_nothing() {
        for message in [
            "",
            "Input is too long for requested model.",
            "unexpected text: prompt is too long: 1 tokens > 1 maximum",
            "max_tokens: 5 > 0, which is the maximum allowed number of output tokens",
            "max_tokens: must be greater than or equal to 1",
            "prompt is too long: 1 tokens > 99999999999999999999 maximum",
        ] {
            assert_eq!(named_limit(message), None, "{message}");
        }
    }

    proptest! {
        #[test]
        fn no_message_makes_it_panic(message in "\\PC{0,200}") {
            let _ = named_limit(&message);
            let _ = named_limit(&format!("max_tokens: {message}"));
        }
    }
}

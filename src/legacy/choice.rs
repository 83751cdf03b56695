//! The choice of a request to be answered at once or by a job: by the member
//! `async` of its JSON, else by `async` in its query, else by the header `x-sluice-async`.

use http::HeaderName;
use http::request::Parts;

use super::json::Field;

const NAME: &str = "async";

static HEADER: HeaderName = HeaderName::from_static("x-sluice-async");

/// The member of a JSON body, for [`super::json::Texts`]. One character more than any right text.
pub(super) const FIELD: (&str, usize) = (NAME, "false".len() + 1);

/// A choice that is neither true nor false.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place} must be true or false")]
pub(super) struct InvalidChoice {
    place: &'static str,
}

/// What a request chooses; `None` where it leaves it to the config.
///
/// # Errors
/// When the value that counts is neither true nor false.
pub(super) fn of(member: &Field, head: &Parts) -> Result<Option<bool>, InvalidChoice> {
    let read = |text: &str, place| match text {
        "true" => Ok(Some(true)),
        "false" => Ok(Some(false)),
        _ => Err(InvalidChoice { place }),
    };
    match member {
        Field::Flag(choice) => return Ok(Some(*choice)),
        Field::Text(text) => return read(text, "\"async\""),
        Field::Other => return Err(InvalidChoice { place: "\"async\"" }),
        Field::Absent => {}
    }
    let mut pairs = head.uri.query().unwrap_or_default().split('&');
    if let Some((_, value)) = pairs.find_map(|pair| pair.split_once('=').filter(|it| it.0 == NAME))
    {
        return read(value, "async in the query");
    }
    let place = "the header x-sluice-async";
    match head.headers.get(&HEADER) {
        Some(value) => read(value.to_str().unwrap_or_default(), place),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(uri: &str, header: Option<&str>) -> Parts {
        let mut request = http::Request::builder().uri(uri);
        if let Some(value) = header {
            request = request.header(&HEADER, value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn the_body_counts_before_the_query_and_that_before_the_header() {
        let plain = head("/chat", None);
        assert_eq!(of(&Field::Absent, &plain), Ok(None));
        assert_eq!(of(&Field::Flag(false), &plain), Ok(Some(false)));
        assert_eq!(of(&Field::Text("true".to_owned()), &plain), Ok(Some(true)));
        let all = head("/chat?a=b&async=false", Some("true"));
        assert_eq!(of(&Field::Flag(true), &all), Ok(Some(true)));
        assert_eq!(of(&Field::Absent, &all), Ok(Some(false)));
        assert_eq!(of(&Field::Absent, &head("/chat?asynchronous=1", Some("true"))), Ok(Some(true)));
    }

    #[test]
    fn an_invalid_choice_is_an_error() {
        for member in [Field::Other, Field::Text("yes".to_owned())] {
            let error = of(&member, &head("/chat?async=true", None)).unwrap_err();
            assert_eq!(error.to_string(), "\"async\" must be true or false");
        }
        assert!(of(&Field::Absent, &head("/chat?async=", Some("true"))).is_err());
        assert!(of(&Field::Absent, &head("/chat", Some("1"))).is_err());
    }
}

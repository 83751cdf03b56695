//! The text of an error with all its causes, as logs and messages show it. An error of TLS is told in
//! plain words.

use std::error::Error;

use crate::config::tls_error;

/// The text of an error with those of all its causes.
pub(crate) fn in_words(error: &(dyn Error + 'static)) -> String {
    with_causes(text_of(error), error)
}

/// Appends the texts of all causes of `error` to `text`.
pub(crate) fn with_causes(mut text: String, error: &(dyn Error + 'static)) -> String {
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {}", text_of(cause));
        source = cause.source();
    }
    text
}

fn text_of(error: &(dyn Error + 'static)) -> String {
    tls_error(error).unwrap_or_else(|| error.to_string())
}

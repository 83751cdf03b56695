//! The text of an error with all its causes, as logs show it.

use std::error::Error;

/// Appends the texts of all causes of `error` to `text`.
pub(crate) fn with_causes(mut text: String, error: &dyn Error) -> String {
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

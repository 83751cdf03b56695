//! Not built yet.

use crate::conversation::Conversation;
use crate::report::Report;

/// Reads the body of a Converse request.
pub(crate) fn read_request<'a>(_: &'a [u8], report: &mut Report<'_>) -> Conversation<'a> {
    report.refuse(None, false, "this translation is not built");
    Conversation::default()
}

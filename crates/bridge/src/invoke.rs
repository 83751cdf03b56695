//! InvokeModel with a body for Claude: for clients that use it with other models, and as the way to Claude for
//! clients of Messages.

pub mod to_claude;

use crate::conversation::Conversation;
use crate::messages;
use crate::report::Report;

/// Writes a stream as chunks, each an event of Messages.
pub(crate) use crate::messages::StreamWriter;

/// Reads the body of a request. The operation says whether the answer is a stream.
pub(crate) fn read_request<'a>(body: &'a [u8], report: &mut Report<'_>) -> Conversation<'a> {
    messages::read_invoke(body, report)
}

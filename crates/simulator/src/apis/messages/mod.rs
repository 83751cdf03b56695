//! Anthropic's Messages: what a request must be, and the form of its answer.

mod read;
mod tools;
mod write;

pub(super) use read::read;
pub(crate) use write::Messages;
